"""The kernel kills a process of ``lanflow generate``, as it does where memory runs out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lanflow.tracking.store import Store
from tests.unit.data.generation.test_run import GENERATION_YAML, runs_of

SECONDS = 60


def workers_of(pid: int) -> Iterator[int]:
    """The processes that a command started to work for it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == pid and b"popen_loky_posix" in command:
            yield int(path.parent.name)


@pytest.mark.slow
def test_a_killed_worker_ends_the_command_with_the_likely_reason(
    tmp_path: Path, store: Store
) -> None:
    pipeline = {"N_PARAMETER_SETS": 4, "N_SUBRUNS": 1}
    simulator = {"N_SAMPLES": 20_000, "DELTA_T": 0.001}
    path = tmp_path / "generation.yaml"
    content = {**GENERATION_YAML, "PIPELINE": pipeline, "SIMULATOR": simulator}
    path.write_text(yaml.safe_dump(content))
    lanflow = str(Path(sys.executable).with_name("lanflow"))
    command = [lanflow, "generate", "--config-path", str(path)]
    command += ["--output", str(tmp_path / "chunk"), "--n-files", "500", "--processes", "2"]
    command += ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    with (tmp_path / "err").open("w") as errors:
        main = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL)
    try:
        partial = tmp_path / "chunk" / "training_data.partial"
        end = time.monotonic() + 2 * SECONDS
        while not (workers := list(workers_of(main.pid))) or not list(partial.glob("*.pickle")):
            assert main.poll() is None, (tmp_path / "err").read_text()
            assert time.monotonic() < end, "no worker was started"
            time.sleep(0.1)
        os.kill(workers[0], signal.SIGKILL)
        assert main.wait(SECONDS) == 1
    finally:
        main.kill()
        main.wait()
    told = (tmp_path / "err").read_text()
    assert "a worker process was killed (SIGKILL), most likely because memory ran out" in told
    assert "what is finished is kept" in told
    assert "Traceback" not in told
    assert list(partial.glob("*.pickle"))
    assert [run.info.status for run in runs_of(store)] == ["FAILED"]
    assert not list(workers_of(main.pid))
