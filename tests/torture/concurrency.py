"""Commands of four kinds that start at once on a store that nobody made.

A trial is a command; up to 32 of them start together. Every command must succeed, and its run must
have all of its metrics; networks of one backend must have the same bytes.
"""

import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store, resolve_store
from tests.cluster.services import find, run_postgres
from tests.conftest import pack
from tests.first_start import command_lines, run_at_once
from tests.torture.trial import Trial

_MOST_AT_ONCE, _KINDS = 32, 4
_LONGEST_SECONDS = 1800  # 32 commands import their libraries on the cores there are
# Metrics that each run must have, with how many values.
_N_VALUES = {
    "ddm-data-generation": {"num_files_generated": 1, "total_data_size_mb": 1},
    "ddm-training": {"train_loss": 2, "val_loss": 2, "learning_rate": 2, "best_val_loss": 1},
}


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Start ``trials`` commands on each kind of store, at least one of each kind of command.

    PostgreSQL is left out where it is not installed, and where only one trial is asked for.
    """
    packed, made = pack(folder / "packed"), []
    kinds = ["SQLite", *(["PostgreSQL"] if trials > 1 and find("initdb") else [])]
    for kind in kinds:
        left, race = max(trials, _KINDS), 0
        while left > 0:
            n = max(min(left, _MOST_AT_ONCE), _KINDS)
            place = folder / f"{kind}_{race}"
            place.mkdir()
            with _new_store(kind, place) as store:
                made += _race(kind, store, n, random.Random(f"{seed} {race}"), place, packed)
            left, race = left - n, race + 1
    return made


@contextmanager
def _new_store(kind: str, folder: Path) -> Iterator[Store]:
    """The address of a store that is not there, or is an empty database."""
    if kind == "SQLite":
        yield resolve_store(uri=f"sqlite:///{folder}/store/mlflow.db")
        return
    # PostgreSQL runs as another user, who cannot enter the folders of this one.
    with tempfile.TemporaryDirectory() as place, run_postgres(Path(place)) as uri:
        yield resolve_store(uri=uri, artifact_location=str(folder / "store" / "mlartifacts"))


def _race(
    kind: str, store: Store, n: int, rng: random.Random, folder: Path, packed: PackedData
) -> list[Trial]:
    """Start ``n`` commands at once, in an order of chance; a trial for each."""
    lines = command_lines(folder, packed.data_set.folder, n)
    rng.shuffle(lines)
    ends = run_at_once(
        lines,
        folder,
        store.uri,
        artifact_location=store.artifact_location,
        seconds=_LONGEST_SECONDS,
    )
    trials = []
    for (program, *arguments), (code, log) in zip(lines, ends, strict=True):
        name = arguments[0] if program == "lanflow" else program
        remark = "" if code == 0 else f"status {code}: {log.strip().splitlines()[-1:]}"
        trials.append(
            Trial("concurrency", f"{kind}: {name}", code == 0, hangs=code is None, remark=remark)
        )
    return [*trials, _examine(kind, store, lines, folder)]


def _examine(kind: str, store: Store, lines: list[list[str]], folder: Path) -> Trial:
    """Compare what the store and the folders hold with what the commands were to do."""
    lost = orphans = 0
    client = connect(store)
    for experiment, n_values in _N_VALUES.items():
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id]) if found else []
        is_training = experiment == "ddm-training"
        words = {"jaxtrain", "torchtrain"} if is_training else {"generate"}
        n_expected = sum(not words.isdisjoint(line[:2]) for line in lines)
        lost += abs(n_expected - len(runs))
        orphans += sum(run.info.status != "FINISHED" for run in runs)
        for each in runs:
            for metric, expected in n_values.items():
                found_values = client.get_metric_history(each.info.run_id, metric)
                lost += expected - len(found_values)
    networks: dict[str, Counter[str]] = {}
    for path in folder.glob("networks/**/weights_best.*"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        networks.setdefault(path.suffix, Counter())[digest] += 1
    names = {path.name for path in (folder / "store").iterdir()}
    unexpected = [*names - {"mlartifacts", "mlflow.db"}, *folder.rglob("unsent_runs")]
    return Trial(
        "concurrency",
        f"{kind}: the store",
        survived=True,
        lost=lost,
        different=sum(len(digests) - 1 for digests in networks.values()),
        orphans=orphans,
        leftovers=len(unexpected),
        remark=f"{len(lines)} commands at once; unexpected: {unexpected}" if unexpected else "",
    )
