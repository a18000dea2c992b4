"""A job of the workflow that trains others, too; the CPU keeps rows as a GPU does."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from lanflow.training.checkpoints import load_checkpoint
from lanflow.training.fit import TrainingError
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train
from lanflow.training.together.beside import train_beside
from lanflow.training.together.names import Beside
from tests.conftest import TRAINING_YAML, sha256, training_options

KEYS: dict[str, Any] = {
    "LAYER_SIZES": [[8, 1]],
    "ACTIVATIONS": [["tanh"]],
    "N_EPOCHS": 3,
    "CPU_BATCH_SIZE": 70,
}
SEEDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def _keeps_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU keeps all rows, as a GPU does."""
    monkeypatch.setattr(TorchBackend, "bytes_for_rows", lambda _: 2**30)


@pytest.fixture
def options(tmp_path: Path, packed: PackedData) -> TrainingOptions:
    return training_options(tmp_path, packed, keys=KEYS)


def job(options: TrainingOptions, seed: int, **given: Any) -> TrainingOptions:
    return replace(options, seed=seed, network_name=f"net{seed}", **given)


def others(options: TrainingOptions, seed: int, seeds: Sequence[int] = SEEDS) -> list[Beside]:
    assert options.config_path is not None
    return [Beside(f"net{s}", s, 0, options.config_path) for s in seeds if s != seed]


def run_job(
    options: TrainingOptions, seed: int, seeds: Sequence[int] = SEEDS, **given: Any
) -> dict[str, Any]:
    return dict(train_beside(job(options, seed, **given), others(options, seed, seeds)))


def folder_of(options: TrainingOptions, seed: int) -> Path:
    return options.networks_path_base / "lan" / "ddm" / f"net{seed}"


def n_epochs(options: TrainingOptions, seed: int) -> int:
    checkpoint = load_checkpoint(folder_of(options, seed) / network_folder.CHECKPOINT)
    return 0 if checkpoint is None else len(checkpoint.history)


def content_of(options: TrainingOptions) -> list[str]:
    names = (network_folder.ONNX, "weights_last.pt")
    return [sha256(folder_of(options, seed) / name) for seed in SEEDS for name in names]


def test_the_first_job_trains_all_and_each_writes_its_own(
    options: TrainingOptions, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tracked = replace(options, mlflow_on=True, mlflow_tracking_uri=store.uri)
    with caplog.at_level("INFO"):
        first = run_job(tracked, 1)
    assert "training 3 networks as one program; beside this: net2, net3" in caplog.text
    assert [n_epochs(options, seed) for seed in (2, 3)] == [3, 3]
    assert [p.name for p in folder_of(options, 2).iterdir()] == [network_folder.CHECKPOINT]
    caplog.clear()
    with caplog.at_level("INFO"):
        results = [first, *(run_job(tracked, seed) for seed in (2, 3))]
    assert caplog.text.count("continuing after epoch 3 of the checkpoint") == 2
    assert "as one program" not in caplog.text
    client = connect(store)
    for seed, result in zip(SEEDS, results, strict=True):
        assert result["status"] == "FINISHED"
        run = client.get_run(result["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == str(seed)
        history = client.get_metric_history(result["mlflow_run_id"], "val_loss")
        assert [point.step for point in history] == [1, 2, 3]


def test_the_same_study_gives_the_same_bytes_in_whatever_order_its_jobs_run(
    options: TrainingOptions, tmp_path: Path
) -> None:
    for seed in SEEDS:
        run_job(options, seed)
    turned = replace(options, networks_path_base=tmp_path / "turned")
    # Another process trains the second meanwhile, so that it is not taken.
    lock = folder_of(turned, 2) / network_folder.LOCK
    with locked(lock, "it"):
        run_job(turned, 3)
    assert (n_epochs(turned, 1), n_epochs(turned, 2)) == (3, 0)
    run_job(turned, 2)
    run_job(turned, 1)
    assert content_of(turned) == content_of(options)


def test_a_network_that_is_added_leaves_finished_ones_as_they_are(
    options: TrainingOptions,
) -> None:
    for seed in SEEDS:
        run_job(options, seed)
    before = {
        path: path.stat().st_mtime_ns
        for seed in SEEDS
        for path in folder_of(options, seed).iterdir()
    }
    assert run_job(options, 4, (*SEEDS, 4))["status"] == "FINISHED"
    after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    assert after == before


def test_a_job_waits_for_the_one_that_trains_its_network(options: TrainingOptions) -> None:
    run_job(options, 1)
    lock = folder_of(options, 2) / network_folder.LOCK
    results: list[Any] = []
    waiting = threading.Thread(target=lambda: results.append(run_job(options, 2)))
    with locked(lock, "it"):
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive()
    waiting.join()
    assert results[0]["status"] == "FINISHED"


def test_one_beside_that_diverges_is_left_to_its_own_job(
    options: TrainingOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {**KEYS, "OPTIMIZER_": "sgd", "LR_SCHEDULER": None}
    paths = {}
    for name, rate in (("tame", 0.01), ("wild", 1e38)):
        paths[name] = tmp_path / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump({**TRAINING_YAML, **keys, "LEARNING_RATE": rate}))
    tame = replace(options, config_path=paths["tame"])
    wild = Beside("net2", 2, 0, paths["wild"])
    assert train_beside(job(tame, 1), [wild])["status"] == "FINISHED"
    assert "net2: the training loss of epoch 1 is" in caplog.text
    own = job(replace(options, config_path=paths["wild"]), 2)
    with pytest.raises(TrainingError, match="diverged"):
        train_beside(own, [Beside("net1", 1, 0, paths["tame"])])
    record = json.loads((folder_of(options, 2) / network_folder.RECORD).read_text())
    assert record["status"] == "FAILED"


def test_what_is_wrong_with_another_network_does_not_stop_this_one(
    options: TrainingOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = Beside("net9", 9, 0, tmp_path / "none.yaml")
    result = train_beside(job(options, 1), [*others(options, 1), missing])
    assert result["status"] == "FINISHED"
    assert "net9 is not trained beside this network" in caplog.text
    assert n_epochs(options, 2) == 3


def test_networks_of_other_shapes_are_left_alone(options: TrainingOptions, tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS, "LAYER_SIZES": [[9, 1]]}))
    train_beside(job(options, 1), [Beside("net2", 2, 0, path)])
    assert not folder_of(options, 2).exists()


def test_where_no_rows_are_kept_each_job_trains_its_own(
    options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchBackend, "bytes_for_rows", lambda _: 0)
    assert run_job(options, 1)["status"] == "FINISHED"
    assert not folder_of(options, 2).exists()


def test_a_plain_training_does_not_wait(
    options: TrainingOptions,
) -> None:
    lock = folder_of(options, 1) / network_folder.LOCK
    with locked(lock, "it"), pytest.raises(UserError, match="net1 is being trained"):
        train(job(options, 1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beside", "net2:2"], "--beside: expected NAME:SEED:ID:FILE"),
        (["--beside", "net2:x:0:a.yaml"], "--beside: expected NAME:SEED:ID:FILE"),
        (["--beside", "a/b:2:0:a.yaml"], "--beside: "),
        (["--beside", "net2:2:0:a.yaml", "--seed", "1", "2"], "--beside is of one network"),
        (["--beside", "net2:2:0:a.yaml", "--from", "net9"], "--beside: a network that goes on"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--networks-path-base", str(tmp_path), "--training-data-folder", str(tmp_path)]
    assert main(["train", *place, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_word_is_read_as_it_is_written() -> None:
    beside = Beside("net-1_jax", 3, 2, Path("a:b.yaml"))
    assert Beside.of(str(beside)) == beside
