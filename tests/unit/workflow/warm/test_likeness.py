"""Whether a process may be a fork of another one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "from lanflow.workflow.warm.likeness import likeness; print(likeness())"


def likeness(*before: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    command = [*before, sys.executable, "-c", SHOW]
    variables = os.environ | (env or {})
    done = subprocess.run(command, env=variables, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "env",
    [
        *({"PATH": "/nowhere"}, {"TMPDIR": "/x"}, {"LANFLOW_X": "1"}, {"MLFLOW_TRACKING_URI": "x"}),
        # What lanflow itself sets when it needs it, and a process that did hands on.
        *({"NPROC": "1"}, {"MLFLOW_ALLOW_FILE_STORE": "true"}),
    ],
)
def test_what_a_fork_is_given_anew_does_not_count(env: dict[str, str], tmp_path: Path) -> None:
    assert likeness() == likeness(env=env, cwd=tmp_path)


@pytest.mark.parametrize(
    "env",
    [
        *({"OMP_NUM_THREADS": "7"}, {"JAX_PLATFORMS": "cpu,gpu"}, {"GOMP_SPINCOUNT": "5"}),
        *({"LANG": "xx"}, {"ANY_OTHER": "1"}),
    ],
)
def test_a_variable_that_libraries_may_read_does(env: dict[str, str]) -> None:
    assert likeness() != likeness(env=env)


@pytest.mark.parametrize(
    "before",
    [
        *(["setpriv", "--no-new-privs"], ["sh", "-c", 'umask 7; exec "$@"', "-"]),
        ["sh", "-c", 'ulimit -n 99; exec "$@"', "-"],
        ["sh", "-c", 'trap "" INT; exec "$@"', "-"],
    ],
)
def test_what_a_process_inherits_does(before: list[str]) -> None:
    assert likeness() != likeness(*before)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_the_processors_that_it_may_use_do() -> None:
    one = str(min(os.sched_getaffinity(0)))
    assert likeness() != likeness("taskset", "-c", one)


@pytest.mark.parametrize("option", ["-v", "-d"])
def test_a_process_with_a_limit_on_its_memory_is_like_none(option: str) -> None:
    limited = ["sh", "-c", f'ulimit {option} 8000000; exec "$@"', "-"]
    assert likeness(*limited) == "None"
