"""An MLflow server that can be killed and started again with the same store."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


class Server:
    """``mlflow server`` over SQLite on the loopback; the store outlives the server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        log = self._folder / "log.txt"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={
                    **os.environ,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self._process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"{self.url} did not answer:\n{log.read_text()}")

    def kill(self) -> None:
        """Kill the server and its workers at once, as a power cut does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def is_up(self) -> bool:
        return self._process is not None


@contextlib.contextmanager
def running_server(folder: Path, database: Path) -> Iterator[Server]:
    """A server over a copy of a database without experiments."""
    folder.mkdir()
    (folder / "server.db").write_bytes(database.read_bytes())
    made = Server(folder)
    made.start()
    try:
        yield made
    finally:
        if made.is_up:
            made.kill()


@pytest.fixture
def server(tmp_path: Path, _prepared_database: Path) -> Iterator[Server]:
    with running_server(tmp_path / "server", _prepared_database) as made:
        yield made


@pytest.fixture(scope="module")
def lasting_server(
    tmp_path_factory: pytest.TempPathFactory, _prepared_database: Path
) -> Iterator[Server]:
    """One for all tests of a module, which do not kill it: a start takes seconds."""
    folder = tmp_path_factory.mktemp("lasting") / "server"
    with running_server(folder, _prepared_database) as made:
        yield made
