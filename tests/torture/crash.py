"""Commands that are killed: started again, they must end with the bytes of an undisturbed one."""

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lanflow.core.files import write_json
from lanflow.data.locate import Places
from lanflow.data.prepare import freeze, materialise_once
from lanflow.tracking.client import connect
from lanflow.tracking.store import resolve_store
from tests.conftest import TRAINING_YAML, write_training_file
from tests.first_start import GENERATION_YAML
from tests.torture.starter import OF_STARTER, Started, Starter
from tests.torture.trial import Trial

COMMANDS = ("jaxtrain", "torchtrain", "generate", "materialise")

_DATABASE, _ARTIFACTS = "mlflow.db", "mlartifacts"
# What no two runs share: ids, times, places.
_OWN_KEYS = {"run_uuid", "mlflow_run_id", "run_id", "mlflow_experiment_id", "mlflow_tracking_uri"}
_OWN_KEYS |= {"finished", "folder", "relative_path"}
_OWN_PARAMS = {"data_output_folder"}


@dataclass(frozen=True)
class _Inputs:
    """What the commands read, in one folder: settings, a data set, a store without runs."""

    folder: Path

    def make(self) -> None:
        """Make all of it."""
        self.folder.mkdir(parents=True)
        keys = {"LAYER_SIZES": [[4, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 3}
        (self.folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, **keys}))
        (self.folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
        for i in range(2):
            write_training_file(self.folder / "files" / f"training_data_{i}.pickle", seed=i)
        manifest = freeze(query=None, places=Places(folder=self.folder / "files"), model="ddm")
        data = materialise_once(manifest, self.folder / "cache")
        data.data_set.folder.rename(self.folder / "data_set")
        write_json(self.folder / "manifest.json", manifest.model_dump())
        connect(resolve_store(uri=f"sqlite:///{self.folder / _DATABASE}"))

    def command(self, name: str, place: Path) -> list[object]:
        """The command line of a command with results in ``place``."""
        if name == "materialise":
            return ["lanflow", name, self.folder / "manifest.json", "--output", place / "data_set"]
        tracking = ["--mlflow-on", "--mlflow-tracking-uri", f"sqlite:///{place / _DATABASE}"]
        if name == "generate":
            line = ["lanflow", name, "--config-path", self.folder / "generation.yaml", "--n-files"]
            return [*line, 3, "--processes", 1, "--log-files", "--output", place / name, *tracking]
        line = [name, "--config-path", self.folder / "training.yaml", "--device", "cpu"]
        line += ["--data-set", self.folder / "data_set", "--network-name", "net", "--threads", 1]
        return [*line, "--networks-path-base", place / "networks", *tracking]


@dataclass
class _Outcome:
    """What a command left: contents of results and artifacts, runs, metrics and params.

    ``files`` and ``artifacts`` map names, with keys and run uuids replaced, to digests of what the
    same command leaves again; an empty digest stands for what differs every time.
    """

    files: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Kill each command at ``trials`` crash points that the seed chooses."""
    inputs = _Inputs(folder / "inputs")
    inputs.make()
    with Starter() as starter:
        return [
            trial
            for name in COMMANDS
            for trial in _kill(name, inputs, starter, folder / name, seed=seed, n=trials)
        ]


def _kill(
    name: str, inputs: _Inputs, starter: Starter, folder: Path, *, seed: int, n: int
) -> list[Trial]:
    """Kill one command ``n`` times, each time at another of its crash points.

    With fewer points than that, the rest are killed at two: at one, and started again at another.
    """
    undisturbed = _new_place(folder / "undisturbed", inputs)
    started = starter.start(inputs.command(name, undisturbed), undisturbed)
    if started.status != 0:
        raise RuntimeError(f"{name} fails undisturbed: {started.log}")
    expected = _read_outcome(undisturbed)
    points = list(range(1, _n_until_finished(started.points) + 1))
    chance = random.Random(f"{seed} {name}")
    chosen = [[point] for point in sorted(chance.sample(points, min(n, len(points))))]
    chosen += sorted(chance.choices(points, k=2) for _ in range(n - len(chosen)))
    made = []
    for number, kills in enumerate(chosen):
        place = _new_place(folder / f"{number}_at_{'_'.join(map(str, kills))}", inputs)
        made.append(_try_one(name, inputs, starter, place, kills, expected))
        if made[-1].is_clean:
            shutil.rmtree(place)
    return made


def _n_until_finished(points: Sequence[str]) -> int:
    """Crash points before the work is marked as finished; the same command then begins anew."""
    for number, point in enumerate(points, 1):
        if point.endswith(".finished.json"):
            return number
    return len(points)


def _new_place(place: Path, inputs: _Inputs) -> Path:
    place.mkdir(parents=True)
    shutil.copy(inputs.folder / _DATABASE, place / _DATABASE)
    return place


def _try_one(
    name: str,
    inputs: _Inputs,
    starter: Starter,
    place: Path,
    kills: Sequence[int],
    expected: _Outcome,
) -> Trial:
    """Kill a command at crash points, one a start, until it ends by itself, and compare."""
    command = inputs.command(name, place)
    starts: list[Started] = []
    for point in (*kills, None):
        starts.append(starter.start(command, place, kill_at=point))
        if starts[-1].status == 0:
            break
    again = starts[-1]
    hangs = sum(started.status is None for started in starts)
    at = [started.points[-1] for started in starts if started.status != 0][: len(kills)]
    where = f"killed at crash point {', then '.join(at)}".replace(f"{place}/", "")
    if again.status != 0:
        return Trial("crash", name, False, hangs=hangs, remark=f"{where}: {_last_line(again)}")
    found = _read_outcome(place)
    lost, different, leftovers = _compare(expected, found)
    orphans = len(found.statuses) - len(expected.statuses)
    orphans += sum(status != "FINISHED" for status in found.statuses[: len(expected.statuses)])
    wrong = [f"lost {each}" for each in lost] + [f"differs: {each}" for each in different]
    wrong += [f"left over: {each}" for each in leftovers]
    wrong += [f"runs: {found.statuses}"] if orphans else []
    return Trial(
        "crash",
        name,
        True,
        lost=len(lost),
        different=len(different),
        orphans=orphans,
        leftovers=len(leftovers),
        hangs=hangs,
        remark=f"{where}: {'; '.join(wrong) or 'equal'}",
    )


def _last_line(started: Started) -> str:
    lines = started.log.strip().splitlines()
    return f"status {started.status}, {lines[-1][:300] if lines else 'nothing printed'}"


def _compare(expected: _Outcome, found: _Outcome) -> tuple[list[str], list[str], list[str]]:
    """Names of what is lost, what differs, and what is left over."""
    lost, different, leftovers = [], [], []
    for kind in ("files", "artifacts", "values"):
        wanted, there = getattr(expected, kind), getattr(found, kind)
        lost += sorted(wanted.keys() - there.keys())
        leftovers += sorted(there.keys() - wanted.keys())
        different += sorted(key for key in wanted.keys() & there if wanted[key] != there[key])
    return lost, different, leftovers


def _read_outcome(place: Path) -> _Outcome:
    """Read what a command left in its folder and in its store."""
    outcome = _Outcome()
    with sqlite3.connect(f"file:{place / _DATABASE}?mode=ro", uri=True) as database:
        runs = database.execute(
            "SELECT run_uuid, status, artifact_uri FROM runs WHERE lifecycle_stage = 'active'"
        ).fetchall()
        keys = dict(
            database.execute("SELECT value, run_uuid FROM tags WHERE key = 'lanflow.run_key'")
        )
        outcome.statuses = sorted(status for _, status, _ in runs)
        for run_id, _, uri in runs:
            outcome.values |= _read_values(database, run_id)
            outcome.artifacts |= _read_files(Path(uri), {})
    database.close()
    own = dict.fromkeys(keys, "KEY") | dict.fromkeys(_run_uuids(place), "UUID")
    skipped = (_DATABASE, _ARTIFACTS, *OF_STARTER)
    for part in sorted(place.iterdir()):
        if not part.name.startswith(skipped):
            outcome.files |= _read_files(part, own)
    outcome.artifacts = {_named(name, own): d for name, d in outcome.artifacts.items()}
    return outcome


def _read_values(database: sqlite3.Connection, run_id: str) -> dict[str, str]:
    """Metrics by name and step, and params, of a run."""
    metrics = database.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (run_id,))
    values = {f"metric {key} at step {step}": repr(value) for key, step, value in metrics}
    params = database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,))
    return values | {f"param {key}": text for key, text in params if key not in _OWN_PARAMS}


def _run_uuids(place: Path) -> list[str]:
    """Run uuids of the networks in a folder, which stand in the names of LANfactory's files."""
    records = place.glob("networks/*/*/*/run.json")
    return [json.loads(path.read_text())["run_uuid"] for path in records]


def _named(name: str, own: Mapping[str, str]) -> str:
    for text, replaced in own.items():
        name = name.replace(text, replaced)
    return name


def _read_files(folder: Path, own: Mapping[str, str]) -> dict[str, str]:
    """Name -> digest of every file of a folder; an empty folder is an entry, too."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = _named(str(path.relative_to(folder.parent)), own)
        if path.is_file():
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            files[name] = "" if hidden else _digest(path)
        elif not any(path.iterdir()):
            files[f"{name}/"] = ""
    return files


def _digest(path: Path) -> str:
    """Digest of a file less what no two runs share."""
    content = path.read_bytes()
    if path.suffix == ".json":
        content = json.dumps(_without_own_keys(json.loads(content))).encode()
    elif path.name == "history.csv":  # its last column is seconds
        content = b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
    return hashlib.sha256(content).hexdigest()


def _without_own_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_own_keys(v) for k, v in value.items() if k not in _OWN_KEYS}
    return [_without_own_keys(each) for each in value] if isinstance(value, list) else value
