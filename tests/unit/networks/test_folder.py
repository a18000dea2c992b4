import csv
import io
import pickle
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.networks.folder import HISTORY, NetworkPlace, history_csv, read_history, save_history
from lanflow.networks.lanfactory import save_lanfactory_files
from lanflow.training.checkpoints import Epoch

HISTORY_OF_TWO = [
    Epoch(epoch=1, train_loss=0.5, val_loss=0.1 + 0.2, learning_rate=0.01, seconds=1.23456),
    Epoch(epoch=2, train_loss=0.25, val_loss=1e-9, learning_rate=0.001, seconds=2),
]


def place_in(base: Path) -> NetworkPlace:
    return NetworkPlace(base=base, network_type="lan", model="ddm", name="mine", run_uuid="r0")


def save(base: Path, backend: str, *, onnx: bytes | None = b"onnx") -> list[Path]:
    return save_lanfactory_files(
        place_in(base),
        backend,
        network_config={"layer_sizes": [16, 1]},
        train_config={"n_epochs": 2},
        data_details={"train_data_file_ids": ["a.pickle"]},
        history=HISTORY_OF_TWO,
        weights=b"weights",
        onnx=onnx,
    )


def test_a_network_has_a_folder_of_its_own_below_type_and_model(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    assert place.shared_folder == tmp_path / "lan" / "ddm"
    assert place.folder == tmp_path / "lan" / "ddm" / "mine"


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        (
            "jax",
            {
                "r0_lan_ddm_network_config.pickle",
                "r0_lan_ddm__train_state.jax",
                "r0_lan_ddm__jax_training_history.csv",
                "r0_lan_ddm__train_config.pickle",
                "r0_lan_ddm__data_details.pickle",
                "r0_lan_ddm__model.onnx",
            },
        ),
        (
            "torch",
            {
                "r0_lan_ddm_network_config.pickle",
                "ddm_lan_r0_train_state_dict.pt",
                "ddm_lan_r0_training_history.csv",
                "ddm_lan_r0_train_config.pickle",
                "ddm_lan_r0_data_details.pickle",
                "ddm_lan_r0_model.onnx",
            },
        ),
    ],
)
def test_files_have_lanfactorys_names_and_contents(
    tmp_path: Path, backend: str, names: set[str]
) -> None:
    paths = save(tmp_path, backend)
    assert {path.name for path in paths} == names
    assert set(paths) == set((tmp_path / "lan" / "ddm").iterdir())
    content = {path.name: path.read_bytes() for path in paths}
    assert pickle.loads(content["r0_lan_ddm_network_config.pickle"]) == {"layer_sizes": [16, 1]}
    place = place_in(tmp_path)
    for kind, expected in (
        ("train_config", {"n_epochs": 2}),
        ("data_details", {"train_data_file_ids": ["a.pickle"]}),
    ):
        assert pickle.loads(place.lanfactory_path(backend, kind).read_bytes()) == expected
    assert place.lanfactory_path(backend, "weights").read_bytes() == b"weights"
    assert place.lanfactory_path(backend, "model").read_bytes() == b"onnx"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_an_export_no_network_file_is_written(tmp_path: Path, backend: str) -> None:
    assert not [path for path in save(tmp_path, backend, onnx=None) if path.suffix == ".onnx"]


def test_the_file_that_loaders_ask_for_first_is_written_last(tmp_path: Path) -> None:
    assert save(tmp_path, "jax")[-1].name.endswith("_network_config.pickle")


def test_lanfactorys_history_is_the_one_that_pandas_wrote_there(tmp_path: Path) -> None:
    """LANfactory counts epochs from 0, and lanflow from 1."""
    save(tmp_path, "jax")
    path = place_in(tmp_path).lanfactory_path("jax", "history")
    frame = pd.read_csv(path, index_col=0)
    assert frame.index.tolist() == [0, 1]
    assert frame["epoch"].tolist() == [0.0, 1.0]
    assert frame["val_loss"].tolist() == [0.1 + 0.2, 1e-9]
    assert frame["train_loss"].tolist() == [0.5, 0.25]


def test_a_history_has_a_line_for_each_epoch(tmp_path: Path) -> None:
    path = save_history(tmp_path, HISTORY_OF_TWO)
    assert path == tmp_path / HISTORY
    assert path.read_text().splitlines() == [
        "epoch,train_loss,val_loss,learning_rate,seconds",
        "1,0.5,0.30000000000000004,0.01,1.235",
        "2,0.25,1e-09,0.001,2",
    ]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 3), max_size=5))
def test_losses_and_rates_come_back_to_the_last_bit(values: list[tuple[float, ...]]) -> None:
    history = [
        Epoch(epoch=i, train_loss=train, val_loss=val, learning_rate=rate, seconds=0.5)
        for i, (train, val, rate) in enumerate(values)
    ]
    rows = list(csv.DictReader(io.StringIO(history_csv(history))))
    assert [float(row["train_loss"]) for row in rows] == [value[0] for value in values]
    assert [float(row["val_loss"]) for row in rows] == [value[1] for value in values]
    assert [float(row["learning_rate"]) for row in rows] == [value[2] for value in values]


def test_a_history_that_was_saved_can_be_read(tmp_path: Path) -> None:
    read = read_history(save_history(tmp_path, HISTORY_OF_TWO))
    assert read[0] == {
        "epoch": 1,
        "train_loss": 0.5,
        "val_loss": 0.1 + 0.2,
        "learning_rate": 0.01,
        "seconds": 1.235,
    }
    assert [epoch["epoch"] for epoch in read] == [1, 2]
