"""Several networks by one command; where they are stacked, the CPU keeps rows as a GPU does."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.core.locks import locked
from lanflow.data.prepare import PackedData
from lanflow.networks import folder as network_folder
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from lanflow.training.backends.torch import TorchBackend
from lanflow.training.checkpoints import Epoch, load_checkpoint
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train
from lanflow.training.together import run as together_run
from lanflow.training.together.run import options_of_each, train_together
from lanflow.training.track import EpochLog
from tests.conftest import TRAINING_YAML, content_of_run, sha256, training_options

KEYS: dict[str, Any] = {
    "LAYER_SIZES": [[8, 1], [6, 1]],
    "ACTIVATIONS": [["tanh"], ["tanh"]],
    "N_EPOCHS": 3,
    "CPU_BATCH_SIZE": 70,
}


@pytest.fixture
def keeps_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU keeps all rows, as a GPU does."""
    monkeypatch.setattr(TorchBackend, "bytes_for_rows", lambda _: 2**30)


@pytest.fixture
def options(tmp_path: Path, packed: PackedData, store: Store) -> TrainingOptions:
    return training_options(
        tmp_path, packed, keys=KEYS, mlflow_on=True, mlflow_tracking_uri=store.uri
    )


@pytest.fixture
def three(options: TrainingOptions) -> list[TrainingOptions]:
    return options_of_each(options, network_ids=[0], seeds=[1, 2, 3])


def folder_of(options: TrainingOptions) -> Path:
    assert options.network_name is not None
    return options.networks_path_base / "lan" / "ddm" / options.network_name


def record_of(options: TrainingOptions) -> dict[str, Any]:
    return dict(json.loads((folder_of(options) / network_folder.RECORD).read_text()))


def weights_of(options: TrainingOptions) -> dict[str, np.ndarray]:
    checkpoint = load_checkpoint(folder_of(options) / ".finished.npz")
    assert checkpoint is not None
    return checkpoint.weights


def elsewhere(options: Sequence[TrainingOptions], base: Path) -> list[TrainingOptions]:
    """The same trainings in another folder, in no store."""
    return [replace(each, networks_path_base=base, mlflow_on=False) for each in options]


def test_each_seed_and_network_id_has_a_name_of_its_own(options: TrainingOptions) -> None:
    named = replace(options, mlflow_run_name="run")
    made = options_of_each(named, network_ids=[0, 1], seeds=[3, 4])
    assert [(o.network_id, o.seed, o.network_name, o.mlflow_run_name) for o in made] == [
        (0, 3, "net-id0-seed3", "run-id0-seed3"),
        (0, 4, "net-id0-seed4", "run-id0-seed4"),
        (1, 3, "net-id1-seed3", "run-id1-seed3"),
        (1, 4, "net-id1-seed4", "run-id1-seed4"),
    ]
    (one, _) = options_of_each(options, network_ids=[1], seeds=[3, 4])
    assert one.network_name == "net-seed3"
    (nameless, _) = options_of_each(
        replace(options, network_name=None), network_ids=[1], seeds=[3, 4]
    )
    assert nameless.network_name is None


@pytest.mark.usefixtures("keeps_rows")
def test_each_network_has_its_own_folder_and_run(
    three: list[TrainingOptions], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        endings = train_together(three)
    assert "training 3 networks as one program" in caplog.text
    assert all(caplog.text.count(f"net-seed{each.seed}: epoch ") == 3 for each in three)
    client = connect(store)
    alone = elsewhere(three, tmp_path / "alone")
    for ending, each, one in zip(endings, three, alone, strict=True):
        assert ending["status"] == "FINISHED"
        assert ending["network_folder"] == str(folder_of(each))
        assert record_of(each)["status"] == "FINISHED"
        run = content_of_run(client, str(record_of(each)["mlflow_run_id"]))
        assert run["status"] == "FINISHED"
        assert run["params"]["seed"] == str(each.seed)
        assert [step for step, _ in run["history"]["val_loss"]] == [1, 2, 3]
        assert "training_output/model.onnx" in run["files"]
        train(one)
        expected = weights_of(one)
        for name, array in weights_of(each).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=3e-6)
    assert len({sha256(folder_of(each) / network_folder.ONNX) for each in three}) == 3


@pytest.mark.usefixtures("keeps_rows")
def test_finished_networks_stay_as_they_are(
    options: TrainingOptions, three: list[TrainingOptions]
) -> None:
    train_together(three)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for each in three
        for path in folder_of(each).iterdir()
        if path.is_file()
    }
    four = options_of_each(options, network_ids=[0], seeds=[1, 2, 3, 4])
    statuses = [ending["status"] for ending in train_together(four)]
    assert statuses == ["KEPT", "KEPT", "KEPT", "FINISHED"]
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    longer = training_options(
        options.networks_path_base.parent, _data_of(options), keys={**KEYS, "N_EPOCHS": 4}
    )
    of_longer = options_of_each(longer, network_ids=[0], seeds=[1, 2])
    assert [ending["status"] for ending in train_together(of_longer)] == ["FINISHED"] * 2


def _data_of(options: TrainingOptions) -> Any:
    from lanflow.data.prepare import open_packed

    assert options.data_set is not None
    assert options.manifest is not None
    return open_packed(options.data_set, options.manifest, models_file=None)


@pytest.mark.usefixtures("keeps_rows")
def test_one_that_fails_is_recorded_and_takes_no_other_with_it(
    three: list[TrainingOptions], store: Store, tmp_path: Path
) -> None:
    wild = tmp_path / "wild.yaml"
    keys = {"OPTIMIZER_": "sgd", "LEARNING_RATE": 1e38, "LR_SCHEDULER": None}
    wild.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS, **keys}))
    tame = tmp_path / "tame.yaml"
    tame.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS, **keys, "LEARNING_RATE": 0.01}))
    given = [replace(each, config_path=tame) for each in three]
    given[1] = replace(given[1], config_path=wild)
    endings = train_together(given)
    assert [ending["status"] for ending in endings] == ["FINISHED", "FAILED", "FINISHED"]
    assert "diverged" in str(endings[1])
    assert [record_of(each)["status"] for each in three] == ["FINISHED", "FAILED", "FINISHED"]
    client = connect(store)
    statuses = [client.get_run(record_of(e)["mlflow_run_id"]).info.status for e in three]
    assert statuses == ["FINISHED", "FAILED", "FINISHED"]


@pytest.mark.usefixtures("keeps_rows")
def test_the_same_command_goes_on_with_killed_networks_and_their_runs(
    three: list[TrainingOptions],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = elsewhere(three, tmp_path / "whole")
    train_together(whole)

    class Killing(EpochLog):
        def __call__(self, history: Sequence[Epoch]) -> None:
            super().__call__(history)
            if self._job.config.seed == 2 and len(history) == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(together_run, "EpochLog", Killing)
        with pytest.raises(KeyboardInterrupt):
            train_together(three)
    client = connect(store)
    runs = [str(record_of(each)["mlflow_run_id"]) for each in three]
    assert [record_of(each)["status"] for each in three] == ["KILLED"] * 3
    assert [client.get_run(run).info.status for run in runs] == ["KILLED"] * 3
    assert [ending["status"] for ending in train_together(three)] == ["FINISHED"] * 3
    assert [record_of(each)["mlflow_run_id"] for each in three] == runs
    for each, expected in zip(three, whole, strict=True):
        names = (network_folder.ONNX, f"{network_folder.WEIGHTS[0]}.pt")
        for name in names:
            assert sha256(folder_of(each) / name) == sha256(folder_of(expected) / name)
        history = client.get_metric_history(str(record_of(each)["mlflow_run_id"]), "val_loss")
        assert [point.step for point in history] == [1, 2, 3]


def test_without_room_on_the_device_networks_are_those_that_are_trained_one_by_one(
    options: TrainingOptions, tmp_path: Path
) -> None:
    together = options_of_each(options, network_ids=[0, 1], seeds=[1, 2])
    alone = elsewhere(together, tmp_path / "alone")
    train_together(together)
    for each, one in zip(together, alone, strict=True):
        train(one)
        assert sha256(folder_of(each) / network_folder.ONNX) == sha256(
            folder_of(one) / network_folder.ONNX
        )


def test_none_is_begun_where_another_process_trains_one(three: list[TrainingOptions]) -> None:
    lock = folder_of(three[2]) / network_folder.LOCK
    with locked(lock, "it"), pytest.raises(UserError, match="net-seed3 is being trained"):
        train_together(three)
    assert not any((folder_of(each) / network_folder.RECORD).exists() for each in three)
    assert [ending["status"] for ending in train_together(three)] == ["FINISHED"] * 3


@pytest.fixture
def arguments(options: TrainingOptions) -> list[str]:
    return [
        *("train", "--backend", "torch", "--device", "cpu", "--threads", "1", "--json"),
        *("--config-path", str(options.config_path), "--data-set", str(options.data_set)),
        *("--manifest", str(options.manifest), "--network-name", "net"),
        *("--networks-path-base", str(options.networks_path_base)),
    ]


def test_the_command_trains_a_network_for_each_seed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--seed", "1", "2", "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert planned["status"] == "DRY_RUN"
    assert [each["n_train_rows"] for each in planned["networks"]] == [480, 480]
    assert main([*arguments, "--seed", "1", "2"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result["status"] == "FINISHED"
    names = [Path(each["network_folder"]).name for each in result["networks"]]
    assert names == ["net-seed1", "net-seed2"]
    assert printed.err.count("trained: best val_loss") == 2
    assert main([*arguments, "--seed", "1", "2"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["status"] for each in again["networks"]] == ["KEPT", "KEPT"]


def test_a_command_of_which_one_network_fails_fails(
    arguments: list[str], options: TrainingOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert options.config_path is not None
    keys = {"OPTIMIZER_": "sgd", "LEARNING_RATE": 1e38, "LR_SCHEDULER": None}
    options.config_path.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS, **keys}))
    assert main([*arguments, "--seed", "1", "2"]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["status"] == "FAILED"
    assert all("diverged" in each["reason"] for each in result["networks"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1", "1"], "--seed 1 1: give each number once"),
        (["--network-id", "0", "0"], "--network-id 0 0: give each number once"),
        (["--seed", "1", "2", "--run-uuid", "abc"], "--run-uuid is of one network"),
        (["--seed", "1", "2", "--mlflow-run-id", "abc"], "--mlflow-run-id is of one network"),
    ],
)
def test_what_names_one_network_is_refused_for_several(
    arguments: list[str], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *words]) == 2
    assert message in capsys.readouterr().err
