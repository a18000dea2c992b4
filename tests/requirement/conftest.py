"""A folder as the examples assume it: config.yaml, ./data, and a store that knows the files."""

import contextlib
import io
import json
import logging
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from lanflow.cli.train import jaxtrain, torchtrain
from lanflow.tracking.store import INVENTORY_NAME
from tests.conftest import TRAINING_YAML, write_training_file

COMMANDS = {"jaxtrain": jaxtrain, "torchtrain": torchtrain}
GENERATION_EXPERIMENT = "ddm-data-generation"


class Place:
    """A working directory, and running the commands in it."""

    def __init__(self, folder: Path, commands: Path = Path(sys.executable).parent) -> None:
        self.folder = folder
        self._commands = commands

    def run(self, script: str, *, status: int = 0, **environment: str) -> str:
        """Run commands as typed; their standard output. ``errors`` keeps the other stream."""
        words = shlex.split(script.replace("\\\n", " "))
        if words[0] in COMMANDS:
            return self._call(words, environment, status)
        variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        places = (self._commands, Path(sys.executable).parent, variables["PATH"])
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env={**variables, "PATH": os.pathsep.join(map(str, places)), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == status, done.stdout + done.stderr
        self.errors = done.stderr
        return done.stdout

    def train(self, script: str, **environment: str) -> dict[str, Any]:
        """Run a training command; the JSON of its last line."""
        result: dict[str, Any] = json.loads(self.run(script, **environment).splitlines()[-1])
        assert Path(result["onnx"]).exists()
        return result

    def _call(self, words: list[str], environment: dict[str, str], status: int) -> str:
        """Call a command's entry point here, where the imports, which take longest, are done."""
        logging.getLogger().handlers.clear()  # of an earlier call, bound to its streams
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            ended = COMMANDS[words[0]](words[1:])
        self.errors = errors.getvalue()
        assert ended == status, self.errors
        return output.getvalue()

    def client(self, uri: str = "sqlite:///{folder}/mlflow.db") -> MlflowClient:
        return MlflowClient(tracking_uri=uri.format(folder=self.folder))

    def track_data(self, client: MlflowClient, *, folder: str = "data") -> str:
        """Record the files of ./data as ssm-simulators' ``generate`` does; the experiment's id."""
        found = client.get_experiment_by_name(GENERATION_EXPERIMENT)
        experiment = (
            found.experiment_id
            if found
            else client.create_experiment(
                GENERATION_EXPERIMENT, artifact_location=str(self.folder / "generation_artifacts")
            )
        )
        paths = sorted((self.folder / "data").glob("*.pickle"))
        for i, path in enumerate(paths):
            run = client.create_run(experiment, run_name=f"worker-{i}")
            client.log_param(run.info.run_id, "data_output_folder", folder)
            entry = {"filename": path.name, "relative_path": f"{folder}/{path.name}"}
            inventory = {
                "num_files": 1,
                "total_size_mb": 0.1,
                "files": [{**entry, "size_bytes": path.stat().st_size, "size_mb": 0.1}],
            }
            client.log_dict(run.info.run_id, inventory, INVENTORY_NAME)
            client.set_terminated(run.info.run_id)
        return str(experiment)


@pytest.fixture
def place(tmp_path: Path, _prepared_database: Path, quick_commands: Path) -> Place:
    """config.yaml and three training files in ./data; an empty store in mlflow.db."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, "N_EPOCHS": 2}))
    for i in range(3):
        write_training_file(tmp_path / f"data/training_data_{i}.pickle", seed=i)
    (tmp_path / "mlflow.db").write_bytes(_prepared_database.read_bytes())
    return Place(tmp_path, quick_commands)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer:\n{log.read_text()}")


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., str]]:
    """Start a server on the loopback that lives as long as the tests; its URL."""
    processes = []

    def start(*command: str, probe: str, **environment: str) -> str:
        port = _free_port()
        log = tmp_path_factory.mktemp("server") / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *(part.format(port=port) for part in command)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=log.parent,
            )
        processes.append(process)
        _wait(f"http://127.0.0.1:{port}{probe}", process, log)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def server(
    start_server: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
    _prepared_database: Path,
) -> str:
    """A tracking server with an SQLite store and artifacts that it serves itself; its URL."""
    folder = tmp_path_factory.mktemp("tracking")
    (folder / "server.db").write_bytes(_prepared_database.read_bytes())
    return start_server(
        *("mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", f"{folder}/artifacts"),
        probe="/health",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
