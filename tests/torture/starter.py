"""Starts lanflow's commands in forks of a process that imported everything, and kills them.

Imports take seconds, and a trial starts a command twice; so :class:`Starter` keeps one process that
has done them, and forks it for each command. ``python -m tests.torture.starter`` is that process:
it reads a line of JSON for each command and answers with one.

A command is killed before its K-th crash point. Crash points are counted by Python's audit hook
(files opened for writing, renames, removals, new folders) and by SQLite's trace of statements, so
the same K is the same instruction again.
"""

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_REPOSITORY = Path(__file__).resolve().parents[2]
# What the commands import while they work.
_IMPORTS = (
    "lanflow.cli.main",
    "lanflow.training.run",
    "lanflow.training.backends.jax",
    "lanflow.training.backends.torch",
    "lanflow.networks.onnx",
    "lanflow.networks.runtime",
    "lanflow.core.figures",
    "lanflow.data.generation.run",
    "lanflow.data.generation.generate",
    "lanflow.models.analytic",
    "lanflow.data.prepare",
    "lanflow.tracking.delivery",
    "lanflow.tracking.unfinished",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.command",
    "cloudpickle",
)
_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
_STATEMENTS = ("BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT")
_NO_RESULTS = ("/dev/", "/proc/", "__pycache__", "/.cache/")


@dataclass(frozen=True)
class Started:
    """The end of one command.

    Attributes
    ----------
    status
        Exit status, negative for a signal; ``None`` if it hung and was killed.
    points
        What it did at each crash point, up to the last.
    log
        What it printed.
    """

    status: int | None
    points: list[str]
    log: str


class Starter:
    """A process that forks commands; used as a context."""

    def __enter__(self) -> Self:
        variables = {
            "PYTHONPATH": os.pathsep.join([str(_REPOSITORY / "workflow"), str(_REPOSITORY)]),
            "JAX_PLATFORMS": "cpu",
            "MPLBACKEND": "Agg",
            "OMP_WAIT_POLICY": "PASSIVE",
            "LANFLOW_STORE_PATIENCE": "20",
        }
        dropped = ("MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_LOCATION", "MLFLOW_EXPERIMENT_NAME")
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.torture.starter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_REPOSITORY,
            env={**kept, **variables},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def start(
        self,
        command: Sequence[object],
        folder: Path,
        *,
        kill_at: int | None = None,
        seconds: float = 120.0,
    ) -> Started:
        """Run a command in a folder until it ends, is killed at a crash point, or hangs."""
        folder.mkdir(parents=True, exist_ok=True)
        order = {"command": list(map(str, command)), "folder": str(folder)}
        order |= {"kill_at": kill_at, "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        points = (folder / _POINTS).read_text(errors="replace").splitlines()
        log = (folder / _LOG).read_text(errors="replace")
        return Started(answer["status"], points, log)


_POINTS, _LOG = "crash_points.txt", "log.txt"
OF_STARTER = (_POINTS, _LOG)


class _CrashPoints:
    """Counts crash points and writes them down; kills this process before the one asked for."""

    def __init__(self, path: Path, kill_at: int | None) -> None:
        self._n, self._kill_at = 0, kill_at
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        sys.addaudithook(self._on_event)
        connect = sqlite3.dbapi2.connect

        def traced(*arguments: Any, **keys: Any) -> Any:
            connection = connect(*arguments, **keys)
            connection.set_trace_callback(self._on_statement)
            return connection

        sqlite3.dbapi2.connect = sqlite3.connect = traced

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str | bytes):
                self._count(f"open {os.fsdecode(path)}")
        elif event in _EVENTS:
            paths = [str(each) for each in arguments if isinstance(each, str | bytes | Path)]
            self._count(" ".join([event, *paths]))

    def _on_statement(self, statement: str) -> None:
        if statement.lstrip().upper().startswith(_STATEMENTS):
            self._count(f"sql {' '.join(statement.split())[:80]}")

    def _count(self, what: str) -> None:
        if any(each in what for each in _NO_RESULTS):
            return
        self._n += 1
        os.write(self._file, f"{self._n} {what}\n".encode(errors="replace"))
        if self._n == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _main_of(name: str) -> Any:
    module = "lanflow.cli.main" if name == "lanflow" else "lanflow.cli.train"
    return getattr(importlib.import_module(module), "main" if name == "lanflow" else name)


def _run(order: dict[str, Any]) -> int:
    """Run a command in this process, which is a fork made for it; its exit status."""
    os.chdir(order["folder"])
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(_LOG, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(log, 0)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    name, *arguments = order["command"]
    _CrashPoints(Path(order["folder"], _POINTS), order["kill_at"])
    try:
        return int(_main_of(name)(arguments) or 0)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _wait(child: int, seconds: float) -> int | None:
    """The exit status of a child; None if it did not end in time, and then it is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    """Fork a child for each line of the input and answer with its exit status."""
    for name in _IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = _run(order)
            finally:
                os._exit(code)
        status = _wait(child, order["seconds"])
        sys.stdout.write(json.dumps({"status": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
