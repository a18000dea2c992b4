"""Warm processes that have imported nothing, and jobs that say what they are."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lanflow.workflow.warm.client import VARIABLE
from lanflow.workflow.warm.start import WarmProcesses, private_folder

HEAD = """\
from lanflow.workflow.warm import client
client.hand_over("")
import json, os, sys, time
"""


def wait_for(condition: Callable[[], Any], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def variables(**given: str) -> dict[str, str]:
    """Those of this process, without the one that pytest changes all the time."""
    return {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} | given


@pytest.fixture
def warm() -> Iterator[WarmProcesses]:
    """A warm process with the variables of this one."""
    folder = private_folder()
    assert folder is not None
    started = WarmProcesses(folder)
    started.start(variables(), [])
    wait_for(started.n_serving)
    yield started
    started.end()


class Job:
    """A script that hands itself over, if it is told where to."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "job.py"
        self.path.write_text(HEAD + text)

    def start(self, warm: WarmProcesses | None, *words: str, **given: Any) -> Any:
        env = given.pop("env", variables())
        if warm is not None:
            env = env | {VARIABLE: str(warm.folder)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [*given.pop("before", ()), sys.executable, str(self.path), *words]
        return subprocess.Popen(command, env=env, **{**streams, **given})

    def run(self, warm: WarmProcesses | None, *words: str, **given: Any) -> tuple[int, str, str]:
        started = self.start(warm, *words, **given)
        output, errors = started.communicate(timeout=120)
        return started.returncode, output, errors

    def told(self, warm: WarmProcesses | None, *words: str, **given: Any) -> Any:
        """The JSON that it prints."""
        status, output, errors = self.run(warm, *words, **given)
        assert status == 0, errors
        return json.loads(output)


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], Job]:
    return lambda text: Job(tmp_path, text)
