"""LANfactory 0.7.0, in its own environment, reads what we write: networks, data, experiments."""

import csv
import json
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from lanflow.cli.main import main
from tests.environments import last_line, run
from tests.peers.conftest import HERE, NETWORKS, Network, TrainingData, training_yaml

# One worker, where the networks are trained once.
pytestmark = pytest.mark.peers

TRAINED_BY_BOTH = ("ddm-lan-jax", "ddm-lan-torch", "ddm-cpn-jax", "ddm-cpn-torch")
# Ends of the names of LANfactory's files, ours and its own.
WEIGHTS = {"jax": "train_state.jax", "torch": "train_state_dict.pt"}
CONFIG = "network_config.pickle"


@dataclass(frozen=True)
class TheirTraining:
    """Files of a training by LANfactory's command, from the YAML that ours was trained from."""

    files: list[Path]
    ours: Network

    def read(self, ending: str) -> tuple[Any, Any]:
        """The pickles or tables with this ending: theirs and ours."""
        reader = _read_table if ending.endswith("csv") else _read_pickle
        return reader(_one(self.files, ending)), reader(self.ours.lanfactory_file(ending))


def _one(files: Sequence[Path], ending: str) -> Path:
    (path,) = [path for path in files if path.name.endswith(ending)]
    return path


def _read_pickle(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _train_theirs(
    lanfactory: Path, backend: str, data: TrainingData, yaml_path: Path, options: list[str]
) -> list[Path]:
    """Run LANfactory's command; the files it wrote."""
    base = yaml_path.parent / "networks"
    options += ["--training-data-folder", str(data.folder), "--networks-path-base", str(base)]
    command = lanfactory / f"{backend}train"
    run([command, "--config-path", yaml_path, *options], folder=yaml_path.parent)
    return [path for path in base.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def their_trainings(
    lanfactory: Path,
    training_data: Mapping[str, TrainingData],
    networks: Mapping[str, Network],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, TheirTraining]:
    """LANfactory's trainings on our training files, by the names of ours."""
    made = {}
    for name in TRAINED_BY_BOTH:
        ours = networks[name]
        path = tmp_path_factory.mktemp(name) / "training.yaml"
        path.write_text(yaml.safe_dump(training_yaml(ours.network_type)))
        files = _train_theirs(lanfactory, ours.backend, training_data["ddm"], path, [])
        made[name] = TheirTraining(files, ours)
    return made


@pytest.fixture(params=TRAINED_BY_BOTH)
def their_training(
    request: pytest.FixtureRequest, their_trainings: Mapping[str, TheirTraining]
) -> TheirTraining:
    """One of LANfactory's trainings."""
    return their_trainings[request.param]


@pytest.fixture(scope="session")
def their_outputs(
    lanfactory: Path,
    networks: Mapping[str, Network],
    their_trainings: Mapping[str, TheirTraining],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Path, Any]:
    """What LANfactory's loaders make of files of weights, ours and its own; a process a backend."""
    folder = tmp_path_factory.mktemp("loaded")
    known = [(network, network.lanfactory_files()) for network in networks.values()]
    known += [(training.ours, training.files) for training in their_trainings.values()]
    outputs: dict[Path, Any] = {}
    for backend, ending in WEIGHTS.items():
        chosen = [(network, files) for network, files in known if network.backend == backend]
        cases = [
            {
                "network_config": str(_one(files, CONFIG)),
                "weights": str(_one(files, ending)),
                "rows": network.draw_rows(50).tolist(),
            }
            for network, files in chosen
        ]
        (folder / "cases.json").write_text(json.dumps(cases))
        script = HERE / "scripts" / f"load_{backend}.py"
        output = run([lanfactory / "python", script, "cases.json"], folder=folder)
        outputs |= zip((_one(files, ending) for _, files in chosen), last_line(output), strict=True)
    return outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_lanfactory_loads_our_network_and_gives_our_outputs(
    name: str, their_outputs: Mapping[Path, Any], networks: Mapping[str, Network]
) -> None:
    network = networks[name]
    ours = network.run_onnx(network.draw_rows(50))
    weights = network.lanfactory_file(WEIGHTS[network.backend])
    np.testing.assert_allclose(their_outputs[weights], ours, rtol=1e-5, atol=1e-5)


def test_lanfactorys_commands_train_on_our_training_files(their_training: TheirTraining) -> None:
    history, _ = their_training.read("training_history.csv")
    assert len(history) == 2
    assert all(math.isfinite(float(row["val_loss"])) for row in history)
    weights = [path for path in their_training.files if path.suffix in (".jax", ".pt")]
    assert len(weights) == 1


def test_our_files_have_the_names_of_lanfactorys(their_training: TheirTraining) -> None:
    def names(paths: list[Path]) -> set[str]:
        return {re.sub("[0-9a-f]{32}", "RUN", path.name) for path in paths}

    ours = names(their_training.ours.lanfactory_files())
    newer = {name for name in ours if name.endswith("__model.onnx")}  # LANfactory 0.8, JAX only
    assert len(newer) == (their_training.ours.backend == "jax")
    assert ours - newer == names(their_training.files)


def test_a_network_of_lanfactorys_is_converted_to_the_numbers_it_gives(
    their_training: TheirTraining, their_outputs: Mapping[Path, Any], tmp_path: Path
) -> None:
    ours, folder = their_training.ours, tmp_path / "converted"
    weights = _one(their_training.files, WEIGHTS[ours.backend])
    options = ["--network-config", str(_one(their_training.files, CONFIG))]
    options += ["--network-type", ours.network_type, "--model", "ddm", "--output", str(folder)]
    assert main(["convert", str(weights), *options]) == 0
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    given = [session.run(None, {"input": row[None]})[0] for row in ours.draw_rows(50)]
    np.testing.assert_allclose(np.concatenate(given), their_outputs[weights], rtol=1e-5, atol=1e-6)


def test_our_network_config_is_lanfactorys(their_training: TheirTraining) -> None:
    theirs, ours = their_training.read(CONFIG)
    assert ours == theirs


def test_our_train_config_is_lanfactorys(their_training: TheirTraining) -> None:
    theirs, ours = their_training.read("train_config.pickle")
    schedule = theirs.pop("lr_scheduler_params")
    assert ours.pop("lr_scheduler_params").items() >= schedule.items()  # ours have defaults too
    assert ours == theirs


def test_our_data_details_have_lanfactorys_keys(their_training: TheirTraining) -> None:
    theirs, ours = their_training.read("data_details.pickle")
    newer = ["train_data_model_config", "valid_data_model_config"]  # LANfactory 0.9
    assert [key for key in ours if key not in newer] == list(theirs)
    assert {type(value) for value in ours.values()} == {dict, list}


def test_our_history_has_lanfactorys_columns_and_rows(their_training: TheirTraining) -> None:
    theirs, ours = their_training.read("training_history.csv")
    assert set(theirs[0]) <= set(ours[0])
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs]


def test_lanfactory_validates_its_folder_against_our_experiment(
    lanfactory: Path, training_data: Mapping[str, TrainingData], tmp_path: Path
) -> None:
    data = training_data["ddm"]
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(training_yaml("lan")))
    options = ["--data-generation-experiment-id", "1", "--mlflow-tracking-uri", data.store]
    options += ["--mlflow-experiment-name", "theirs", "--mlflow-artifact-location", "artifacts"]
    _train_theirs(lanfactory, "jax", data, path, options)
    (lineage,) = tmp_path.glob("artifacts/**/training_data_lineage.json")
    record = json.loads(lineage.read_text())
    names = sorted(path.name for path in data.folder.iterdir())
    assert len(names) == 4
    assert sorted(record["expected_files"]) == sorted(record["actual_files_found"]) == names
    assert record["missing_files"] == record["extra_files"] == []
