"""Trainings and generations with their commands, and what happens to their store meanwhile."""

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from lanflow.cli.main import main
from lanflow.cli.train import torchtrain
from lanflow.data.prepare import PackedData
from tests.conftest import TRAINING_YAML

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 3, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 300, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 20},
    "ESTIMATOR": {"TYPE": "analytic"},
}


@contextlib.contextmanager
def at_lines(actions: dict[str, Callable[[], None]]) -> Iterator[None]:
    """Call a function when a line with this beginning is logged."""

    class Acting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for start, action in actions.items():
                if record.getMessage().startswith(start):
                    action()

    log, handler = logging.getLogger("lanflow"), Acting()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Work:
    """Run trainings and generations with their commands, each in its own folder."""

    def __init__(self, folder: Path, packed: PackedData) -> None:
        self.folder = folder
        self._data_set = packed.data_set.folder
        keys = {"N_EPOCHS": 6, "LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]]}
        (folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, **keys}))
        (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))

    def training(self, name: str, mode: str = "try") -> list[str]:
        """The command line of a training into the folder of that name, with this send mode."""
        given = ["--config-path", str(self.folder / "training.yaml"), "--network-name", "net"]
        given += ["--networks-path-base", str(self.folder / name), "--data-set"]
        given += [str(self._data_set), "--manifest", str(self._data_set / "manifest.json")]
        given += ["--device", "cpu", "--threads", "1", "--run-uuid", "0a1b"]
        return [*given, "--mlflow-on", "--mlflow-send", mode]

    def train(self, name: str, mode: str = "try") -> dict[str, Any]:
        return last_line(torchtrain, self.training(name, mode))

    def read_record(self, name: str) -> dict[str, Any]:
        """Read ``run.json`` of the network in the folder of that name."""
        path = self.folder / name / "lan" / "ddm" / "net" / "run.json"
        return dict(json.loads(path.read_text()))

    def generate(self, name: str) -> dict[str, Any]:
        given = ["generate", "--config-path", str(self.folder / "generation.yaml"), "--processes"]
        given += ["1", "--output", str(self.folder / name), "--mlflow-on", "--mlflow-send", "try"]
        return last_line(main, [*given, "--json"])

    def sync(self) -> dict[str, Any]:
        return last_line(main, ["sync", str(self.folder), "--json"])


def last_line(command: Callable[[list[str]], int], given: list[str]) -> dict[str, Any]:
    """Run a command, which must end with status 0; the JSON in the last line that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert command(given) == 0
    return dict(json.loads(printed.getvalue().splitlines()[-1]))
