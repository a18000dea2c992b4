"""Too little memory: address spaces of random sizes, from what suffices to hardly anything."""

import functools
import random
import shutil
from pathlib import Path

from tests.torture.starved import (
    digests,
    generate_words,
    make_inputs,
    run_command,
    statuses,
    train_words,
)
from tests.torture.trial import Trial

_MADE = ("model.onnx", "*.pickle")
# Megabytes of address space: Python alone takes hundreds, with Torch or JAX a few thousand.
_RANGE = {"torchtrain": (300, 6000), "jaxtrain": (300, 6000), "generate": (200, 2500)}


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Run commands in address spaces of random sizes; none may die of a signal."""
    rng = random.Random(seed)
    inputs = make_inputs(folder / "inputs")
    expected = functools.cache(lambda name: _undisturbed(name, inputs, folder / name))
    done = []
    for number in range(trials):
        name = list(_RANGE)[number % len(_RANGE)]
        place = folder / f"trial_{number}"
        done.append(_starved(name, inputs, place, rng.randrange(*_RANGE[name]), expected(name)))
        shutil.rmtree(place, ignore_errors=True)
    return done


def _undisturbed(name: str, inputs: Path, results: Path) -> dict[str, str]:
    ended = run_command(_words(name, inputs, results, None), place=results.parent)
    assert ended.status == 0, ended.text
    return digests(results, *_MADE)


def _words(name: str, inputs: Path, results: Path, database: Path | None) -> list[str]:
    tracked = [] if database is None else ["--mlflow-on"]
    tracked += [] if database is None else ["--mlflow-tracking-uri", f"sqlite:///{database}"]
    if name == "generate":
        return generate_words(inputs, results / "chunk", "--processes", "1", *tracked)
    return train_words(name.removesuffix("train"), inputs, results, *tracked)


def _limit(mb: int) -> dict[str, int]:
    return {"RLIMIT_AS": mb * 2**20}


def _starved(name: str, inputs: Path, place: Path, mb: int, expected: dict[str, str]) -> Trial:
    database, results = place / "mlflow.db", place / "results"
    first = run_command(
        _words(name, inputs, results, database), place=place, limits=_limit(mb), timeout=120
    )
    found = statuses(database)
    second = run_command(_words(name, inputs, results, database), place=place)
    made = digests(results, *_MADE)
    return Trial(
        part="memory",
        name=name,
        survived=first.is_told and second.status == 0,
        lost=len(expected.keys() - made.keys()),
        different=sum(made[key] != expected[key] for key in made.keys() & expected.keys()),
        orphans=found.count("RUNNING") + statuses(database).count("RUNNING"),
        hangs=(first.status is None) + (second.status is None),
        remark=f"{mb} MiB: {first.status} {found} {first.last_line}; then {second.status}",
    )
