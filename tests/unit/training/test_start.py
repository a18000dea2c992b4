"""Training that goes on from a network that exists."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UsageError, UserError
from lanflow.data.prepare import PackedData
from lanflow.networks.card import read_card
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from lanflow.training.checkpoints import load_checkpoint
from lanflow.training.run import train
from tests.conftest import BACKENDS, make_backend, training_options

KEYS: dict[str, Any] = {"LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    """A packed data set."""
    from lanflow.data.locate import Places
    from lanflow.data.prepare import freeze, materialise_once
    from tests.conftest import training_file_content, write_training_file

    folder = tmp_path_factory.mktemp("data")
    write_training_file(folder / "files/0.pickle", training_file_content(n_sets=20))
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    return materialise_once(manifest, folder / "cache")


def train_into(folder: Path, data: PackedData, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    keys = {**KEYS, **options.pop("keys", {})}
    return Path(train(training_options(folder, data, keys=keys, **options))["network_folder"])


@pytest.fixture(scope="module")
def sources(data: PackedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backend -> a finished network."""
    folder = tmp_path_factory.mktemp("sources")
    return {name: train_into(folder / name, data, backend=name) for name in BACKENDS}


def weights_of(folder: Path, which: str, name: str) -> dict[str, np.ndarray]:
    backend = make_backend(name)
    return backend.read_native_weights((folder / f"{which}.{backend.weights_suffix}").read_bytes())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("of", BACKENDS)
def test_training_goes_on_from_the_best_weights_of_either_backend(
    data: PackedData, sources: dict[str, Path], tmp_path: Path, backend: str, of: str
) -> None:
    made = train_into(
        tmp_path / "on",
        data,
        backend=backend,
        start_from=sources[of],
        keys={"LEARNING_RATE": 1e-12},
    )
    before, after = (
        weights_of(sources[of], "weights_best", of),
        weights_of(made, "weights_last", backend),
    )
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, atol=1e-6)


def test_the_network_that_it_started_from_is_in_every_record(
    data: PackedData, sources: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    options = {"mlflow_on": True, "mlflow_tracking_uri": store.uri}
    made = train_into(tmp_path / "on", data, start_from=sources["jax"], **options)
    card, its = read_card(made / "card.json"), read_card(sources["jax"] / "card.json")
    record = card.started_from
    assert record is not None
    assert (record.network, record.n_epochs, record.run_uuid) == ("net", 2, its.run_uuid)
    said = record.model_dump(mode="json")
    for name in ("training_data_lineage.json", "run.json"):
        assert json.loads((made / name).read_text())["started_from"] == said
    run = connect(store).get_run(card.mlflow_run_id)
    assert run.data.tags["started_from_sha256"] == record.onnx_sha256
    again = train_into(tmp_path / "again", data, start_from=made)
    twice = read_card(again / "card.json").started_from
    assert twice is not None
    assert twice.n_epochs == 4


def test_the_same_start_gives_the_same_bytes_and_a_killed_training_continues(
    data: PackedData, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {"start_from": sources["torch"], "keys": {"N_EPOCHS": 3}}
    whole = train_into(tmp_path / "whole", data, **start)

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lanflow.training.track._metrics", kill)
        patch.setattr("lanflow.training.track.EpochLog._log_line", kill)
        with pytest.raises(KeyboardInterrupt):
            train_into(tmp_path / "killed", data, **start)
    checkpoint = next((tmp_path / "killed").rglob("checkpoint.npz"))
    stopped = load_checkpoint(checkpoint)
    assert stopped is not None
    assert len(stopped.history) == 1
    continued = train_into(tmp_path / "killed", data, **start)
    assert (continued / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()


def test_the_optimiser_goes_on_where_its_state_belongs_to_the_weights(
    data: PackedData, tmp_path: Path
) -> None:
    # One epoch more from the end is what one epoch more from the start would have been.
    one, two = ({"N_EPOCHS": n, "LR_SCHEDULER": None} for n in (1, 2))
    first = train_into(tmp_path / "first", data, keys=one)
    made = train_into(tmp_path / "on", data, start_from=first, keys=one)
    both = train_into(tmp_path / "both", data, keys=two)
    record = read_card(made / "card.json").started_from
    assert record is not None
    assert record.has_optimizer_state
    last, expected = (weights_of(folder, "weights_last", "torch") for folder in (made, both))
    for name, array in expected.items():
        np.testing.assert_array_equal(last[name], array)
    next(first.glob(".*.npz")).unlink()
    fresh = train_into(tmp_path / "fresh", data, start_from=first, keys={"N_EPOCHS": 1})
    record = read_card(fresh / "card.json").started_from
    assert record is not None
    assert not record.has_optimizer_state


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"LAYER_SIZES": [[9, 1]]}, "layers 8, 1 there and 9, 1 here"),
        ({"ACTIVATIONS": [["relu"]]}, "activations tanh, linear there and relu, linear here"),
        ({"NETWORK_TYPE": "cpn"}, "network type lan there and cpn here"),
    ],
)
def test_a_network_of_another_kind_is_refused_in_a_line(
    data: PackedData, sources: dict[str, Path], tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        train_into(tmp_path / "on", data, start_from=sources["torch"], keys=keys)
    assert str(caught.value) == f"--from {sources['torch']}: cannot be gone on from: {said}"


def test_what_is_no_network_or_the_one_to_be_written_is_refused(
    data: PackedData, sources: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/card\.json"):
        train_into(tmp_path / "on", data, start_from=tmp_path)
    source = sources["torch"]
    with pytest.raises(UsageError, match="is the network that is to be written"):
        train_into(source.parents[3], data, start_from=source)


def test_the_same_name_with_more_epochs_goes_on_and_says_so(
    data: PackedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train_into(tmp_path / "net", data)
    more = train_into(tmp_path / "net", data, keys={"N_EPOCHS": 3})
    assert "finished with 2 epochs; going on to 3" in caplog.text
    whole = train_into(tmp_path / "whole", data, keys={"N_EPOCHS": 3})
    assert (more / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()
    train_into(tmp_path / "net", data, keys={"N_EPOCHS": 4, "LEARNING_RATE": 0.02})
    assert (
        f"trained anew from the start. To go on from its weights instead, give --from {more}"
        in (caplog.text)
    )
