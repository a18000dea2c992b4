import csv
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.core.names import UNFINISHED
from lanflow.data.prepare import PackedData
from lanflow.data.unpickling import read_pickle
from lanflow.models.simulators import find_model
from lanflow.networks import folder as network_folder
from lanflow.networks.folder import NetworkPlace
from lanflow.networks.lanfactory import read_network_config
from lanflow.networks.network import Network
from lanflow.networks.onnx import ContractError, run_onnx
from lanflow.networks.types import NETWORK_TYPES
from lanflow.training.backend import Backend
from lanflow.training.fit import TrainingResult, fit
from lanflow.training.job import TrainingJob
from lanflow.training.save import ForeignNetwork, PlannedTraining, convert_network, save_network
from tests.conftest import REPOSITORY, make_backend, training_job

SETTINGS: dict[str, Any] = {"LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 2}
SUFFIXES = {"jax": "jax", "torch": "pt"}


class Trained:
    """A finished training that can be saved to any place."""

    def __init__(self, data: PackedData, backend_name: str, **keys: Any) -> None:
        self.data = data
        self.backend: Backend = make_backend(backend_name)
        self.job: TrainingJob = training_job(data, self.backend, **{**SETTINGS, **keys})
        self.result: TrainingResult = fit(self.job)

    def place(self, folder: Path, uuid: str = "0a1b") -> NetworkPlace:
        network_type = self.job.config.network_type
        return NetworkPlace(folder, network_type, "ddm", "net", uuid)

    def planned(self, place: NetworkPlace, *, export_onnx: bool = True) -> PlannedTraining:
        return PlannedTraining(self.job, self.data.manifest, place, export_onnx)

    def save(
        self, place: NetworkPlace, run_id: str | None = "run 1", *, export_onnx: bool = True
    ) -> list[Path]:
        return save_network(self.planned(place, export_onnx=export_onnx), self.result, run_id)


@pytest.fixture(scope="module", params=["torch", "jax"])
def trained(
    request: pytest.FixtureRequest,
    packed: PackedData,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    return Trained(packed, request.param)


@pytest.fixture(scope="module")
def by_torch(packed: PackedData, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(packed, "torch")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder_holds_every_file_and_the_list_names_them_all(
    trained: Trained, tmp_path: Path
) -> None:
    place = trained.place(tmp_path)
    paths = trained.save(place)
    suffix = SUFFIXES[trained.backend.name]
    assert names_in(place.folder) == {
        "model.onnx",
        f"weights_best.{suffix}",
        f"weights_last.{suffix}",
        "history.csv",
        "config.json",
        "training_data_lineage.json",
        "card.json",
        "training_curve.png",
    }
    shared = {path for path in place.shared_folder.iterdir() if path.is_file()}
    assert len(shared) == 6
    assert set(paths) == shared | set(place.folder.iterdir())
    assert len(paths) == len(set(paths))


def test_the_files_hold_what_was_trained(trained: Trained, tmp_path: Path) -> None:
    place = trained.place(tmp_path)
    trained.save(place)
    folder, backend, result, job = place.folder, trained.backend, trained.result, trained.job
    suffix = backend.weights_suffix
    for name, weights in (("best", result.best_weights), ("last", result.last_weights)):
        content = (folder / f"weights_{name}.{suffix}").read_bytes()
        assert content == backend.native_weights(weights)
    features = job.data_set.array("lan", "features")[:5]
    backend.restore(result.best_weights, {})
    content = (folder / "model.onnx").read_bytes()
    np.testing.assert_allclose(run_onnx(content, features), backend.predict(features), atol=1e-5)
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [e.val_loss for e in result.history]
    config = json.loads((folder / "config.json").read_text())
    used = {"batch_size": job.batch_size, "memory_mb": 4000}
    assert config == {**job.config.model_dump(mode="json"), **used}
    lineage = json.loads((folder / "training_data_lineage.json").read_text())
    assert lineage == trained.planned(place).lineage()
    assert lineage["training_files"] == [f"training_data_{i}.pickle" for i in range(3)]
    assert (folder / "training_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_files_beside_the_folder_are_the_same_network(trained: Trained, tmp_path: Path) -> None:
    place = trained.place(tmp_path)
    trained.save(place)
    backend_name = trained.backend.name
    for kind, name in (
        ("model", "model.onnx"),
        ("weights", f"weights_best.{SUFFIXES[backend_name]}"),
    ):
        path = place.lanfactory_path(backend_name, kind)
        assert path.read_bytes() == (place.folder / name).read_bytes()
    details = pickle.loads(place.lanfactory_path(backend_name, "data_details").read_bytes())
    ids = "data_file_ids" if backend_name == "jax" else "datafile_ids"
    assert details[f"train_{ids}"] == list(trained.job.split.train_files)
    assert details[f"valid_{ids}"] == list(trained.job.split.val_files)
    assert details["train_data_generator_config"]["model"] == "ddm"
    assert details["valid_data_model_config"] == {
        "name": "ddm",
        "params": ["v", "a", "z", "t"],
        "n_params": 4,
        "param_bounds": [[-3.0, 0.3, 0.1, 0.0], [3.0, 2.5, 0.9, 2.0]],
        "param_bounds_dict": {"v": (-3, 3), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0, 2)},
    }
    assert details["train_data_model_config"] == details["valid_data_model_config"]


def test_the_card_says_what_a_user_must_know(trained: Trained, tmp_path: Path) -> None:
    place = trained.place(tmp_path)
    trained.save(place)
    card = json.loads((place.folder / "card.json").read_text())
    result, job = trained.result, trained.job
    assert card == {
        "model": "ddm",
        "network_type": "lan",
        "backend": trained.backend.name,
        "inputs": ["v", "a", "z", "t", "rt", "choice"],
        "parameters": ["v", "a", "z", "t"],
        "bounds": {"v": [-3.0, 3.0], "a": [0.3, 2.5], "z": [0.1, 0.9], "t": [0.0, 2.0]},
        "output": "log-likelihood of (rt, choice) given the parameters",
        "output_shape": [1, 1],
        "units": {"rt": "seconds"},
        "layer_sizes": [8, 1],
        "activations": ["tanh", "linear"],
        "n_weights": 65,
        "best_epoch": result.best.epoch,
        "best_val_loss": result.best.val_loss,
        "n_epochs": 2,
        "loss": "huber",
        "seed": 1,
        "data_digest": job.data_set.digest,
        "label_source": "kde",
        "n_parameter_sets": 30,
        "n_rows": 600,
        "run_uuid": "0a1b",
        "mlflow_run_id": "run 1",
        "lanflow_version": __version__,
    }


def test_the_card_of_a_choice_network_has_no_trial_among_its_inputs(
    packed: PackedData, tmp_path: Path
) -> None:
    trained = Trained(packed, "torch", NETWORK_TYPE="cpn")
    place = trained.place(tmp_path)
    trained.save(place, run_id=None)
    card = json.loads((place.folder / "card.json").read_text())
    assert card["inputs"] == card["parameters"] == ["v", "a", "z", "t"]
    assert card["units"] == {}
    assert card["output"] == "log-probability of the highest choice"
    assert "choices" not in card  # the plan was not told
    assert card["mlflow_run_id"] is None


def test_without_an_export_no_network_of_an_earlier_training_stays(
    by_torch: Trained, tmp_path: Path
) -> None:
    place = by_torch.place(tmp_path)
    assert place.folder / "model.onnx" in by_torch.save(place)
    assert not [path for path in by_torch.save(place, export_onnx=False) if path.suffix == ".onnx"]
    assert not list(place.shared_folder.rglob("*.onnx"))


def test_weights_of_another_backend_do_not_stay_and_other_files_do(
    by_torch: Trained, tmp_path: Path
) -> None:
    place = by_torch.place(tmp_path)
    place.folder.mkdir(parents=True)
    (place.folder / "weights_best.jax").write_bytes(b"of an earlier training")
    kept = ("notes.txt", network_folder.CHECKPOINT, UNFINISHED, network_folder.RECORD)
    for name in kept:
        (place.folder / name).write_text("to keep")
    paths = by_torch.save(place)
    assert "weights_best.jax" not in names_in(place.folder)
    for name in kept:
        assert (place.folder / name).read_text() == "to keep"
        assert place.folder / name not in paths


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """End the n-th writing of a file from now as Ctrl-C would, just before it is done."""
    real = os.fsync

    def arm(number: int) -> None:
        left = iter(range(number))

        def fsync(file: int) -> None:
            real(file)
            if next(left, None) is None:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", fsync)

    yield arm
    monkeypatch.setattr(os, "fsync", real)


def snapshot(place: NetworkPlace) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in place.shared_folder.rglob("*") if p.is_file()}


def test_an_interruption_inside_saving_leaves_nothing_that_looks_finished(
    by_torch: Trained, packed: PackedData, tmp_path: Path, interrupt_at: Callable[[int], None]
) -> None:
    other = Trained(packed, "torch", seed=2)
    by_torch.save(by_torch.place(tmp_path / "before", uuid="first"))
    n_files = len(other.save(other.place(tmp_path / "whole")))
    for number in range(n_files):
        shutil.copytree(tmp_path / "before", tmp_path / str(number))
        place = other.place(tmp_path / str(number), uuid="second")
        interrupt_at(number)
        with pytest.raises(KeyboardInterrupt):
            other.save(place)
        assert network_folder.CARD not in names_in(place.folder)
        theirs = [path.name for path in place.shared_folder.iterdir() if "second" in path.name]
        has_config = any("network_config" in name for name in theirs)
        assert len(theirs) == 6 if has_config else len(theirs) < 6
        assert not [name for name in snapshot(place) if name.startswith(".")]
    interrupt_at(n_files)
    other.save(place)
    assert json.loads((place.folder / network_folder.CARD).read_text())["seed"] == 2
    assert len([name for name in snapshot(place) if "second" in name]) == 6


def test_a_failing_export_leaves_the_network_that_was_there(
    by_torch: Trained, tmp_path: Path
) -> None:
    place = by_torch.place(tmp_path)
    by_torch.save(place)
    before = snapshot(place)
    broken = copy(by_torch)
    weights = {name: array * np.nan for name, array in by_torch.result.best_weights.items()}
    broken.result = replace(by_torch.result, best_weights=weights)
    with pytest.raises(ContractError, match="differs from the trained one by nan"):
        broken.save(place)
    assert snapshot(place) == before


LANFACTORY = REPOSITORY / "tests" / "fixtures" / "lanfactory"


def foreign(name: str, kind: str, model: str = "ddm") -> ForeignNetwork:
    config = LANFACTORY / f"{kind}_network_config.pickle"
    described = read_network_config(read_pickle(config.read_bytes(), config), str(config))
    assert described.network_type == kind
    return ForeignNetwork(LANFACTORY / name, described, find_model(model), NETWORK_TYPES[kind])


@pytest.mark.parametrize("ending", ["train_state.jax", "train_state_dict_torch.pt"])
@pytest.mark.parametrize("kind", ["lan", "cpn"])
def test_a_network_of_lanfactorys_is_written_as_onnx_with_a_card(
    kind: str, ending: str, tmp_path: Path
) -> None:
    """As LANfactory 0.7.0 saved it and computes it (tests/fixtures/make_lanfactory_files.py)."""
    name = f"{kind}_{ending}"
    card = convert_network(foreign(name, kind), tmp_path)
    theirs = json.loads((LANFACTORY / "outputs.json").read_text())
    network = Network.from_onnx(
        tmp_path / "model.onnx", model="ddm", network_type=kind, card_path=tmp_path / "card.json"
    )
    given = network(np.array(theirs[f"{kind}_rows"]))[:, 0]
    np.testing.assert_allclose(given, theirs[name], rtol=1e-6, atol=1e-6)
    assert network.trained_bounds == card.bounds
    assert card.converted_from.file == name
    written = json.loads((tmp_path / "card.json").read_text())
    assert written["inputs"] == network.input_names
    said = {"lan": "log-likelihood of (rt, choice)", "cpn": "log-probability of choice 1"}
    assert said[kind] in written["output"]


def test_a_network_of_another_shape_or_no_network_is_not_converted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its layers are 6 x 8, .*7 inputs.* has 7 x 8, 8 x 6"):
        convert_network(foreign("lan_train_state.jax", "lan", "angle"), tmp_path)
    bad = replace(foreign("lan_train_state.jax", "lan"), weights_path=LANFACTORY / "outputs.json")
    with pytest.raises(UserError, match=r"outputs\.json: not flax's weights of a perceptron"):
        convert_network(bad, tmp_path)
    assert not list(tmp_path.iterdir())
