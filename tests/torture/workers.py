"""Worker processes that the kernel kills, as it does when memory runs out."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.torture.starved import (
    GENERATION_YAML,
    digests,
    generate_words,
    make_inputs,
    run_command,
    statuses,
)
from tests.torture.trial import Trial

# Seconds that a command has to end after its worker was killed.
_LONGEST_END = 10.0
_N_WORKERS = 2


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Kill a worker of `lanflow generate` at a random moment, and generate again."""
    rng = random.Random(seed)
    inputs = make_inputs(folder / "inputs")
    # Simulations with a kernel density: long enough that the workers are started.
    slow = {**GENERATION_YAML, "ESTIMATOR": {"TYPE": "kde"}}
    slow |= {
        "PIPELINE": {"N_PARAMETER_SETS": 30},
        "SIMULATOR": {"N_SAMPLES": 4000, "DELTA_T": 0.001},
    }
    (inputs / "generation.yaml").write_text(yaml.safe_dump(slow))
    ended = run_command(_words(inputs, folder / "undisturbed", None), place=folder)
    assert ended.status == 0, ended.text
    expected = digests(folder / "undisturbed", "*.pickle")
    done = []
    for number in range(trials):
        place = folder / f"trial_{number}"
        done.append(_killed(inputs, place, rng.uniform(0, 2), rng.randrange(_N_WORKERS), expected))
        shutil.rmtree(place, ignore_errors=True)
    return done


def _words(inputs: Path, results: Path, database: Path | None) -> list[str]:
    tracked = [] if database is None else ["--mlflow-on"]
    tracked += [] if database is None else ["--mlflow-tracking-uri", f"sqlite:///{database}"]
    return generate_words(inputs, results / "chunk", "--processes", str(_N_WORKERS), *tracked)


def _killed(inputs: Path, place: Path, after: float, which: int, expected: dict[str, str]) -> Trial:
    database, results = place / "mlflow.db", place / "results"
    moment: list[float] = []
    first = run_command(
        _words(inputs, results, database),
        place=place,
        meanwhile=_kill_a_worker(after, which, moment),
    )
    waited = time.monotonic() - moment[0] if moment else 0.0
    found = statuses(database)
    second = run_command(_words(inputs, results, database), place=place)
    made = digests(results, "*.pickle")
    # The kernel may kill a worker that has given its last result; then nothing is amiss.
    is_told = first.is_told and (first.status == 0 or "worker process was killed" in first.text)
    return Trial(
        part="workers",
        name="generate",
        survived=is_told and waited < _LONGEST_END and second.status == 0,
        lost=len(expected.keys() - made.keys()),
        different=sum(made[key] != expected[key] for key in made.keys() & expected.keys()),
        orphans=found.count("RUNNING") + statuses(database).count("RUNNING"),
        hangs=(first.status is None) + (second.status is None),
        remark=f"killed {after:.2f} s after its start: {first.status} {found} after {waited:.1f} s "
        f"{first.last_line}; then {second.status}",
    )


def _kill_a_worker(
    after: float, which: int, moment: list[float]
) -> Callable[[subprocess.Popen[bytes]], None]:
    def kill(process: subprocess.Popen[bytes]) -> None:
        workers: list[int] = []
        end = time.monotonic() + 60
        while len(workers) < _N_WORKERS and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            workers = _workers_of(process.pid)
        time.sleep(after)
        if len(workers) > which:
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[which], signal.SIGKILL)
                moment.append(time.monotonic())

    return kill


def _workers_of(parent: int) -> list[int]:
    """loky's workers among the children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            is_child = int(path.read_text().rsplit(")", 1)[1].split()[1]) == parent
            command = (path.parent / "cmdline").read_bytes()
            if is_child and b"loky" in command and b"resource_tracker" not in command:
                found.append(int(path.parent.name))
    return sorted(found)
