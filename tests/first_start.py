"""Commands that start at once on a store that nobody made."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import TRAINING_YAML

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 2},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
}

# What every process of a race does, forked after the imports: open the store, log a run of its own.
_RACE = """
import os, sys
os.environ["LANFLOW_STORE_PATIENCE"] = "60"
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import resolve_store
from lanflow.tracking.delivery import MlflowRun
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
import alembic.command, mlflow.store.tracking.sqlalchemy_store

def log(store):
    client = with_retries(lambda: connect(store))
    experiment = with_retries(lambda: ensure_experiment(client, store, "x"))
    run = client.create_run(experiment.id)
    client.log_metric(run.info.run_id, "m", 1.0)
    artifact = f"{os.getpid()}.txt"
    client.log_text(run.info.run_id, "text", artifact)
    tracked = MlflowRun(client, run.info.run_id)
    for digest in "01234":
        with_retries(lambda: tracked.log_data_set(name="d", digest=digest, profile={}, source={}))
    client.set_terminated(run.info.run_id)

store = resolve_store(uri=sys.argv[1])
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            log(store)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(f"{sum(map(bool, codes))} of {len(codes)} failed" if any(codes) else 0)
"""


def race(uri: str, n: int, **variables: str) -> None:
    """Let ``n`` processes open a store within milliseconds and log a run each; all must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", _RACE, uri, str(n)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def command_lines(folder: Path, data_set: Path, n: int) -> list[list[str]]:
    """Commands of the four kinds in turn, each with results of its own in ``folder``."""
    (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
    keys = {"LAYER_SIZES": [[4, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 2}
    (folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, **keys}))
    train = ["--config-path", "training.yaml", "--networks-path-base", "networks", "--threads", "1"]
    train += ["--data-set", str(data_set), "--manifest", str(data_set / "manifest.json")]
    train += ["--device", "cpu", "--mlflow-on", "--network-name"]
    generate = ["lanflow", "generate", "--config-path", "generation.yaml", "--mlflow-on"]
    lines = []
    for i in range(n):
        lines += [
            [
                ["lanflow", "prepare", "ddm-training", "ddm-data-generation"],
                [*generate, "--processes", "1", "--chunk", str(i), "--output", f"chunk_{i}"],
                ["jaxtrain", *train, f"net_{i}"],
                ["torchtrain", *train, f"net_{i}"],
            ][i % 4]
        ]
    return lines


def start_all(lines: Sequence[Sequence[str]], folder: Path, uri: str) -> None:
    """Start all commands at once and wait; each must end with status 0."""
    ends = run_at_once(lines, folder, uri)
    failed = [log for code, log in ends if code]
    assert not failed, f"{len(failed)} of {len(ends)} failed; the first: {failed[0]}"


def run_at_once(
    lines: Sequence[Sequence[str]],
    folder: Path,
    uri: str,
    *,
    artifact_location: str | None = None,
    seconds: float = 600,
) -> list[tuple[int | None, str]]:
    """Start all commands at once; status (None: it did not end in time) and output of each."""
    variables = {"MLFLOW_TRACKING_URI": uri, "LANFLOW_STORE_PATIENCE": "60"}
    if artifact_location is not None:
        variables["MLFLOW_ARTIFACT_LOCATION"] = artifact_location
    started = []
    for i, (program, *arguments) in enumerate(lines):
        log_path = folder / f"{i}.log"
        with log_path.open("wb") as output:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments],
                cwd=folder,
                env={**os.environ, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append((process, log_path))
    end = time.monotonic() + seconds
    ends: list[tuple[int | None, str]] = []
    for process, log_path in started:
        try:
            code: int | None = process.wait(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        ends.append((code, log_path.read_text(errors="replace")))
    return ends
