"""The peers' own environments, and tiny networks of ours for them to read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.conftest import TRAINING_YAML
from tests.environments import last_line, peer_environment, run_ours

HERE = Path(__file__).parent

GENERATION_YAML = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 8},
    "SIMULATOR": {"N_SAMPLES": 500, "DELTA_T": 0.001},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 100},
    "ESTIMATOR": {"TYPE": "kde"},
}
# LANfactory refuses a batch size that does not divide the rows of a file, and splits by file.
ROWS_PER_BATCH = {"lan": 100, "cpn": 4}
NETWORKS = {
    "ddm-lan-jax": 0,
    "ddm-lan-torch": 0,
    "angle-lan-jax": 1,
    "angle-lan-torch": 1,
    "ddm-cpn-jax": 0,
    "ddm-cpn-torch": 0,
    "angle-lan-jax-relu": 2,
}
"""Networks to train, as model-type-backend, and their index into the lists of ``training_yaml``."""


def training_yaml(network_type: str) -> dict[str, Any]:
    """A training YAML that LANfactory's commands take too."""
    return {
        **TRAINING_YAML,
        "NETWORK_TYPE": network_type,
        "GENERATOR_APPROACH": "lan",
        "CPU_BATCH_SIZE": ROWS_PER_BATCH[network_type],
        "GPU_BATCH_SIZE": ROWS_PER_BATCH[network_type],
        "N_EPOCHS": 2,
        "TRAIN_VAL_SPLIT": 0.5,
        "TRAINING_DATA_FOLDER": None,
        "LAYER_SIZES": [[16, 16, 1], [12, 12, 1], [12, 12, 1]],
        "ACTIVATIONS": [["tanh", "tanh"], ["sigmoid", "tanh"], ["relu", "relu"]],
    }


@pytest.fixture(scope="session")
def lanfactory() -> Path:
    """LANfactory's commands and its python."""
    return peer_environment("lanfactory")


@pytest.fixture(scope="session")
def hssm() -> Path:
    """The python that has HSSM."""
    return peer_environment("hssm")


@dataclass(frozen=True)
class Network:
    """One of our trained networks.

    Attributes
    ----------
    folder
        The network's own; LANfactory's files are beside it.
    run_uuid
        Stands in the names of those.
    """

    model: str
    network_type: str
    backend: str
    folder: Path
    run_uuid: str

    def lanfactory_files(self) -> list[Path]:
        """The files beside the network's folder that belong to it."""
        return sorted(self.folder.parent.glob(f"*{self.run_uuid}*"))

    def lanfactory_file(self, ending: str) -> Path:
        """The one of those files whose name ends so."""
        (path,) = [path for path in self.lanfactory_files() if path.name.endswith(ending)]
        return path

    @cached_property
    def card(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "card.json").read_text())
        return content

    def draw_rows(self, n_rows: int) -> np.ndarray:
        """Inputs within the trained bounds."""
        rng = np.random.default_rng(0)
        rows = rng.uniform(*np.transpose(list(self.card["bounds"].values())), (n_rows, self._n))
        if self.network_type == "lan":
            trials = np.stack([rng.uniform(0.1, 4, n_rows), rng.choice([-1, 1], n_rows)], axis=1)
            rows = np.concatenate([rows, trials], axis=1)
        return rows.astype(np.float32)

    @property
    def _n(self) -> int:
        return len(self.card["parameters"])

    def run_onnx(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of ``model.onnx`` for rows of inputs, one at a time."""
        session = onnxruntime.InferenceSession(self.folder / "model.onnx")
        rows = np.asarray(rows, dtype=np.float32)
        return np.concatenate([session.run(None, {"input": row[None]})[0] for row in rows])


@dataclass(frozen=True)
class TrainingData:
    """What ``lanflow generate`` made of one model, and the store that tracked it."""

    folder: Path
    store: str


@pytest.fixture(scope="session")
def training_data(
    tmp_path_factory: pytest.TempPathFactory, quick_commands: Path
) -> Mapping[str, TrainingData]:
    """Training files of each model, made by our command in an experiment of its own store."""
    data = {}
    for model in ("ddm", "angle"):
        folder = tmp_path_factory.mktemp(f"{model}_data")
        (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
        data[model] = TrainingData(folder / "chunk" / "training_data", f"sqlite:///{folder}/m.db")
        command = quick_commands / "lanflow"
        options = ["--config-path", "generation.yaml", "--model", model, "--output", "chunk"]
        options += ["--n-files", "4", "--processes", "1", "--mlflow-on"]
        options += ["--mlflow-tracking-uri", data[model].store]
        run_ours([command, "generate", *options], folder=folder)
    return data


@pytest.fixture(scope="session")
def networks(
    training_data: Mapping[str, TrainingData],
    tmp_path_factory: pytest.TempPathFactory,
    quick_commands: Path,
) -> Mapping[str, Network]:
    """Our networks, trained by our commands, by the names in ``NETWORKS``."""
    folder = tmp_path_factory.mktemp("ours")
    trained = {}
    for name, network_id in NETWORKS.items():
        model, network_type, backend = name.split("-")[:3]
        path = folder / f"{network_type}.yaml"
        path.write_text(yaml.safe_dump(training_yaml(network_type)))
        options = ["--config-path", path, "--network-id", str(network_id), "--model", model]
        options += ["--training-data-folder", training_data[model].folder]
        options += ["--networks-path-base", folder, "--network-name", name]
        command = quick_commands / f"{backend}train"
        record = last_line(run_ours([command, *options], folder=folder))
        trained[name] = Network(
            model, network_type, backend, Path(record["network_folder"]), record["run_uuid"]
        )
    return trained
