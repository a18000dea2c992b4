import contextlib
import hashlib
import json
import logging
import signal
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from lanflow import __version__
from lanflow.core.errors import StoreError, UserError
from lanflow.core.locks import locked
from lanflow.data.prepare import PackedData
from lanflow.tracking import recorder
from lanflow.tracking.client import connect
from lanflow.tracking.delivery import FAILURE_TAG
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.record import find_records
from lanflow.tracking.recorder import record_run
from lanflow.tracking.store import Store
from lanflow.tracking.sync import sync_runs
from lanflow.training.checkpoints import Epoch
from lanflow.training.fit import TrainingError
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train
from lanflow.training.track import EpochLog
from tests.conftest import make_backend, training_job, training_options
from tests.mlflow_runs import made_run

KEYS: dict[str, Any] = {"LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 4}


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return connect(store)


@pytest.fixture
def options(tmp_path: Path, store: Store, packed: PackedData) -> TrainingOptions:
    """A tracked training by Torch."""
    return training_options(
        tmp_path, packed, keys=KEYS, mlflow_on=True, mlflow_tracking_uri=store.uri
    )


def with_keys(options: TrainingOptions, packed: PackedData, **keys: Any) -> TrainingOptions:
    """The same with other keys of the YAML."""
    assert options.config_path is not None
    changed = training_options(options.config_path.parent, packed, keys={**KEYS, **keys})
    return replace(options, config_path=changed.config_path)


def runs_of(client: MlflowClient, name: str = "ddm-training") -> list[Run]:
    """Oldest first."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return list(runs)


def steps(client: MlflowClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in client.get_metric_history(run_id, metric)]


def folder_of(options: TrainingOptions) -> Path:
    return options.networks_path_base / "lan" / "ddm" / "net"


def read_json(options: TrainingOptions, name: str) -> Any:
    return json.loads((folder_of(options) / name).read_text())


def history_of(options: TrainingOptions) -> list[list[str]]:
    """Rows without their seconds."""
    lines = (folder_of(options) / "history.csv").read_text().splitlines()
    return [line.split(",")[:-1] for line in lines[1:]]


class SignalAt(logging.Handler):
    """Sends this process a signal when a line is logged, as a scheduler would in mid-training."""

    def __init__(self, start_of_line: str) -> None:
        super().__init__()
        self.start_of_line = start_of_line

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self.start_of_line):
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def interrupted_at(start_of_line: str) -> Iterator[None]:
    log = logging.getLogger("lanflow")
    handler, level = SignalAt(start_of_line), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def test_a_run_carries_the_effective_configuration(
    options: TrainingOptions, client: MlflowClient, packed: PackedData
) -> None:
    train(with_keys(options, packed, CPU_BATCH_SIZE=5000, LEARNING_RATE="1e-3"))
    (run,) = runs_of(client)
    bounds = '{"a": [0.3, 2.5], "t": [0.0, 2.0], "v": [-3.0, 3.0], "z": [0.1, 0.9]}'
    assert run.data.params == {
        "network_type": "lan",
        "model": "ddm",
        "generator_approach": "lan",
        "optimizer": "adam",
        "n_epochs": "4",
        "cpu_batch_size": "5000",
        "gpu_batch_size": "64",
        "batch_size": "480",  # all rows there are
        "shuffle": "True",
        "layer_sizes": "[8, 1]",
        "activations": "['tanh']",
        "weight_decay": "0.0",
        "train_val_split": "0.8",
        "n_training_files": "100",
        "labels_lower_bound": "-16.11809565095832",
        "learning_rate": "0.001",
        "lr_scheduler": "reduce_on_plateau",
        "lr_scheduler_params": str(
            {
                "factor": 0.1,
                "patience": 2,
                "threshold": 0.001,
                "min_lr": 1e-8,
                "verbose": True,
                "warmup_epochs": 1.0,
            }
        ),
        "network_id": "0",
        "seed": "1",
        "backend": "torch",
        "device": "cpu, 1 thread(s)",
        "loss": "huber",
        "input_dim": "6",
        "n_weights": "65",
        "param_space": '["v", "a", "z", "t"]',
        "param_bounds_json": bounds,
        "param_bounds_sha256": hashlib.sha256(bounds.encode()).hexdigest(),
    }


def test_a_run_carries_identity_and_lineage(
    options: TrainingOptions, client: MlflowClient, packed: PackedData
) -> None:
    result = train(replace(options, run_uuid="0a1b", mlflow_run_name="first try"))
    (run,) = runs_of(client)
    assert run.info.run_id == result["mlflow_run_id"]
    assert run.info.run_name == "first try"
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    digest = packed.data_set.digest
    record = read_json(options, "run.json")
    expected = {
        "schema_version": "1",
        "phase": "train",
        "run_uuid": "0a1b",
        "config_sha256": record["config_sha256"],
        "data_digest": digest,
        "training_data_folder": str(Path(packed.manifest.files[0].path).parent),
        "n_training_files_used": "3",
        "lanflow_version": __version__,
    }
    assert {key: tags[key] for key in expected} == expected
    assert "data_generation_experiment_id" not in tags  # there is none
    assert FAILURE_TAG not in tags
    (data_set,) = run.inputs.dataset_inputs
    assert data_set.dataset.name == "ddm-lan"
    assert data_set.dataset.digest == digest[:36]
    profile = {"n_rows": 600, "n_parameter_sets": 30, "n_files": 3}
    assert json.loads(data_set.dataset.profile) == profile


def test_a_run_has_each_epoch_once_and_the_best(
    options: TrainingOptions, client: MlflowClient
) -> None:
    result = train(options)
    (run,) = runs_of(client)
    rows = history_of(options)
    for column, metric in ((1, "train_loss"), (2, "val_loss"), (3, "learning_rate")):
        expected = [(int(row[0]), float(row[column])) for row in rows]
        assert steps(client, run.info.run_id, metric) == expected
    best = (result["best_epoch"], result["best_val_loss"])
    assert steps(client, run.info.run_id, "best_val_loss") == [best]
    assert steps(client, run.info.run_id, "best_epoch") == [(best[0], best[0])]


def test_a_run_holds_the_networks_files_and_its_lineage(
    options: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    train(options)
    (run,) = runs_of(client)
    root = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    logged = {path.name: path.read_bytes() for path in (root / "training_output").iterdir()}
    shared = [path for path in folder_of(options).parent.iterdir() if path.is_file()]
    own = [path for path in folder_of(options).iterdir() if not path.name.startswith(".")]
    expected = [*own, *shared]
    assert len(expected) == 9 + 6
    assert logged.keys() == {path.name for path in expected}
    for path in expected:
        if path.name != "run.json":
            assert logged[path.name] == path.read_bytes()
    assert json.loads(logged["run.json"]) == read_json(options, "run.json")
    lineage = json.loads((root / "training_data_lineage.json").read_text())
    assert lineage == read_json(options, "training_data_lineage.json")
    assert lineage["training_files"] == [f"training_data_{i}.pickle" for i in range(3)]
    assert lineage["validation_files"]


def test_record_card_and_run_agree(
    options: TrainingOptions, client: MlflowClient, store: Store
) -> None:
    result = train(options)
    (run,) = runs_of(client)
    record, card = read_json(options, "run.json"), read_json(options, "card.json")
    assert record["status"] == run.info.status == result["status"] == "FINISHED"
    assert record["mlflow_run_id"] == card["mlflow_run_id"] == run.info.run_id
    assert record["mlflow_experiment_id"] == run.info.experiment_id
    assert record["mlflow_tracking_uri"] == store.shown_uri
    assert record["run_uuid"] == card["run_uuid"] == run.data.tags["run_uuid"]
    assert record["data_digest"] == card["data_digest"] == run.data.tags["data_digest"]
    assert record["config_sha256"] == run.data.tags["config_sha256"]
    assert card["best_val_loss"] == run.data.metrics["best_val_loss"]
    assert card["best_epoch"] == run.data.metrics["best_epoch"]
    assert sorted(record["versions"]) == ["lanflow", "numpy", "torch"]


def test_without_tracking_there_is_a_record_and_no_run(
    options: TrainingOptions, client: MlflowClient
) -> None:
    result = train(replace(options, mlflow_on=False))
    assert result["mlflow_run_id"] is None
    assert read_json(options, "run.json")["status"] == "FINISHED"
    assert read_json(options, "card.json")["mlflow_run_id"] is None
    assert client.get_experiment_by_name("ddm-training") is None


def test_the_experiment_is_made_once_with_its_artifact_location(
    options: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    place = tmp_path / "artifacts"
    for name in ("one", "two"):
        train(
            replace(
                options,
                network_name=name,
                mlflow_experiment_name="tries",
                mlflow_artifact_location=str(place),
            )
        )
    experiment = client.get_experiment_by_name("tries")
    assert experiment.artifact_location == str(place)
    assert len(runs_of(client, "tries")) == 2
    assert len(list(place.rglob("model.onnx"))) == 2


def test_a_training_that_diverges_fails_with_the_reason(
    options: TrainingOptions, client: MlflowClient, packed: PackedData
) -> None:
    wild = with_keys(options, packed, LEARNING_RATE=1e20, OPTIMIZER_="sgd", ACTIVATIONS=[["relu"]])
    with pytest.raises(TrainingError, match="Lower LEARNING_RATE"):
        train(wild)
    (run,) = runs_of(client)
    assert run.info.status == "FAILED"
    reason = run.data.tags[FAILURE_TAG]
    assert reason.startswith("TrainingError: the training loss of epoch 1 is")
    record = read_json(options, "run.json")
    assert (record["status"], record["reason"]) == ("FAILED", reason)
    assert record["mlflow_run_id"] == run.info.run_id
    assert not (folder_of(options) / "model.onnx").exists()


def test_an_interrupted_training_is_killed_and_continued_as_the_same_run(
    options: TrainingOptions, client: MlflowClient, tmp_path: Path, packed: PackedData
) -> None:
    whole = replace(options, network_name="net", networks_path_base=tmp_path / "whole")
    train(replace(whole, mlflow_on=False))
    with interrupted_at("epoch 2/"):
        train(options)
    (run,) = runs_of(client)
    assert run.info.status == "KILLED"
    record = read_json(options, "run.json")
    assert (record["status"], record["reason"]) == ("KILLED", "KeyboardInterrupt: ")
    assert (folder_of(options) / "checkpoint.npz").exists()
    assert not (folder_of(options) / "card.json").exists()
    # Snakemake removes what it knows as an output before it tries again.
    (folder_of(options) / "run.json").unlink()
    with interrupted_at("epoch 3/"):
        train(options)
    train(options)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    for metric in ("train_loss", "val_loss", "learning_rate"):
        assert [step for step, _ in steps(client, run.info.run_id, metric)] == [1, 2, 3, 4]
    assert history_of(options) == history_of(whole)
    onnx = [(folder_of(each) / "model.onnx").read_bytes() for each in (options, whole)]
    assert onnx[0] == onnx[1]
    assert len(run.inputs.dataset_inputs) == 1
    left = {path.name for path in folder_of(options).iterdir()}
    assert not left & {"checkpoint.npz", "unfinished.json"}


def test_a_training_interrupted_while_its_files_are_copied_is_not_finished_anywhere(
    options: TrainingOptions, client: MlflowClient
) -> None:
    with interrupted_at("exported network equals"):
        train(options)
    (run,) = runs_of(client)
    assert run.info.status == read_json(options, "run.json")["status"] == "KILLED"
    assert not (folder_of(options) / "card.json").exists()
    train(options)
    (run,) = runs_of(client)
    assert run.info.status == read_json(options, "run.json")["status"] == "FINISHED"
    assert [step for step, _ in steps(client, run.info.run_id, "val_loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("keys", [{"LEARNING_RATE": 0.02}, {"N_EPOCHS": 5}], ids=str)
def test_an_interrupted_run_is_not_continued_with_other_settings(
    options: TrainingOptions, client: MlflowClient, packed: PackedData, keys: dict[str, Any]
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    train(with_keys(options, packed, **keys))
    killed, finished = runs_of(client)
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    logged = [step for step, _ in steps(client, finished.info.run_id, "val_loss")]
    assert logged == list(range(1, keys.get("N_EPOCHS", 4) + 1))
    assert len(steps(client, killed.info.run_id, "val_loss")) == 2


def test_an_interrupted_training_keeps_its_run_uuid_and_so_its_files(
    options: TrainingOptions, packed: PackedData
) -> None:
    assert options.run_uuid is None
    with interrupted_at("epoch 2/"):
        train(options)
    run_uuid = read_json(options, "run.json")["run_uuid"]
    assert train(options)["run_uuid"] == run_uuid
    with interrupted_at("epoch 2/"):
        train(options)
    again = read_json(options, "run.json")["run_uuid"]
    assert again != run_uuid  # the first had finished
    assert train(with_keys(options, packed, LEARNING_RATE=0.02))["run_uuid"] != again


def test_an_interrupted_run_is_not_continued_in_another_experiment(
    options: TrainingOptions, client: MlflowClient
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    train(replace(options, mlflow_experiment_name="tries"))
    (killed,), (finished,) = runs_of(client), runs_of(client, "tries")
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    assert len(steps(client, finished.info.run_id, "val_loss")) == 4


@pytest.mark.parametrize("left", ["{", "[]", "{}"])
def test_a_damaged_note_of_the_interrupted_run_starts_another(
    options: TrainingOptions, client: MlflowClient, left: str
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    (folder_of(options) / "unfinished.json").write_text(left)
    train(options)
    assert [run.info.status for run in runs_of(client)] == ["KILLED", "FINISHED"]


def test_an_interrupted_run_that_was_deleted_gives_way_to_another(
    options: TrainingOptions, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    (killed,) = runs_of(client)
    client.delete_run(killed.info.run_id)
    train(options)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    assert f"run {killed.info.run_id!r} is deleted in MLflow; starting another" in caplog.text
    assert len(steps(client, run.info.run_id, "val_loss")) == 4


def test_a_store_that_cannot_tell_of_the_interrupted_run_is_an_error(
    options: TrainingOptions, store: Store
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        database.execute("ALTER TABLE runs RENAME TO gone")
    with pytest.raises(StoreError, match="looking for the run failed"):
        train(options)
    assert (folder_of(options) / "unfinished.json").exists()


def test_a_finished_training_that_is_repeated_is_a_run_of_its_own(
    options: TrainingOptions, client: MlflowClient
) -> None:
    train(options)
    train(options)
    first, second = runs_of(client)
    assert steps(client, first.info.run_id, "val_loss") == steps(
        client, second.info.run_id, "val_loss"
    )


def remove_outputs(options: TrainingOptions) -> dict[str, bytes]:
    """Remove what Snakemake knows as outputs, as it does before it repeats a job."""
    names = ["model.onnx", "history.csv", "config.json", "training_data_lineage.json", "card.json"]
    names += ["run.json", "training_curve.png"]
    contents = {name: (folder_of(options) / name).read_bytes() for name in names}
    for name in names:
        (folder_of(options) / name).unlink()
    return contents


def test_a_finished_training_whose_network_was_removed_is_written_again_under_its_run(
    options: TrainingOptions, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(options)
    contents = remove_outputs(options)
    caplog.set_level(logging.INFO, "lanflow")
    with interrupted_at("exported network equals"):
        train(options)
    assert train(options)["mlflow_run_id"] == first["mlflow_run_id"]
    assert "this training finished before, and its network was removed" in caplog.text
    (run,) = runs_of(client)
    assert run.info.status == read_json(options, "run.json")["status"] == "FINISHED"
    assert [step for step, _ in steps(client, run.info.run_id, "val_loss")] == [1, 2, 3, 4]
    for name in ("model.onnx", "history.csv", "config.json", "training_data_lineage.json"):
        assert (folder_of(options) / name).read_bytes() == contents[name], name


@pytest.mark.parametrize(
    ("keys", "n_trained"),
    [({"LEARNING_RATE": 0.02}, 4), ({"N_EPOCHS": 6}, 2), ({"N_EPOCHS": 2}, 2)],
)
def test_another_training_in_place_of_one_that_was_removed_is_a_run_of_its_own(
    options: TrainingOptions,
    client: MlflowClient,
    packed: PackedData,
    caplog: pytest.LogCaptureFixture,
    keys: dict[str, Any],
    n_trained: int,
) -> None:
    train(options)
    remove_outputs(options)
    caplog.set_level(logging.INFO, "lanflow")
    caplog.clear()
    train(with_keys(options, packed, **keys))
    first, second = runs_of(client)
    assert first.info.status == second.info.status == "FINISHED"
    n_epochs = keys.get("N_EPOCHS", 4)
    logged = [step for step, _ in steps(client, second.info.run_id, "val_loss")]
    assert logged == list(range(1, n_epochs + 1))
    # More epochs go on from where fewer ended, to the same bytes.
    start = n_epochs - n_trained
    assert (f"continuing after epoch {start} " in caplog.text) is (start > 0)


def test_a_network_that_another_process_trains_is_refused_and_left_alone(
    options: TrainingOptions, client: MlflowClient
) -> None:
    with (
        locked(folder_of(options) / ".lock", "it is being made"),
        pytest.raises(UserError, match=r"/lan/ddm/net is being trained by process \d+ on .* since"),
    ):
        train(options)
    assert not folder_of(options).exists()
    assert client.get_experiment_by_name("ddm-training") is None


def test_a_run_id_alone_continues_the_checkpoint_of_that_run(
    options: TrainingOptions, client: MlflowClient
) -> None:
    unnamed = replace(options, network_name=None)
    with interrupted_at("epoch 2/"):
        train(unnamed)
    (killed,) = runs_of(client)
    result = train(replace(unnamed, mlflow_on=False, mlflow_run_id=killed.info.run_id))
    assert result["run_uuid"] == killed.data.tags["run_uuid"]
    assert result["mlflow_run_id"] == killed.info.run_id
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in steps(client, run.info.run_id, "val_loss")] == [1, 2, 3, 4]
    (folder,) = [path for path in folder_of(options).parent.iterdir() if path.is_dir()]
    assert folder.name == result["run_uuid"]


def test_a_run_that_was_made_elsewhere_takes_a_training(
    options: TrainingOptions, client: MlflowClient, store: Store
) -> None:
    """As by a script that starts the run and logs things of its own."""
    experiment = ensure_experiment(client, store, "mine")
    with made_run(client, experiment, name="mine") as mine:
        mine.log_params({"idea": "wider"})
    result = train(replace(options, mlflow_run_id=mine.id))
    (run,) = runs_of(client, "mine")
    assert result["mlflow_experiment_id"] == experiment.id
    assert run.data.params["idea"] == "wider"
    assert run.info.run_name == "mine"
    assert len(steps(client, mine.id, "val_loss")) == 4


def test_a_run_of_other_settings_is_refused_and_left_as_it_is(
    options: TrainingOptions, client: MlflowClient, packed: PackedData
) -> None:
    run_id = train(options)["mlflow_run_id"]
    before = client.get_run(run_id).to_dictionary()
    with pytest.raises(UserError, match=r"recorded with other settings: learning_rate 0.01, not"):
        train(replace(with_keys(options, packed, LEARNING_RATE=0.5), mlflow_run_id=run_id))
    assert client.get_run(run_id).to_dictionary() == before


def test_a_run_of_other_data_is_refused_and_left_as_it_is(
    options: TrainingOptions, client: MlflowClient
) -> None:
    run_id = train(options)["mlflow_run_id"]
    client.set_tag(run_id, "training_fingerprint", "of other data")
    before = client.get_run(run_id).to_dictionary()
    with pytest.raises(UserError, match=f"run {run_id} holds epochs of another training"):
        train(replace(options, mlflow_run_id=run_id))
    assert client.get_run(run_id).to_dictionary() == before


def test_an_unknown_run_is_refused(options: TrainingOptions, client: MlflowClient) -> None:
    with pytest.raises(UserError, match="run 'abc' is not in this MLflow store"):
        train(replace(options, mlflow_run_id="abc"))


def refuse_metrics(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        database.execute(
            "CREATE TRIGGER refusing BEFORE INSERT ON metrics "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )


def accept_metrics(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        database.execute("DROP TRIGGER refusing")


def test_a_store_that_refuses_for_a_while_gets_the_epochs_later(
    client: MlflowClient,
    store: Store,
    packed: PackedData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "_PAUSE_PER_SAVE", 0)
    job = training_job(packed, make_backend("torch"), **KEYS)
    history = [Epoch(i, i + 0.5, i + 0.25, 0.01, 1.0) for i in range(4)]
    names = {"experiment": "x", "name": "a name", "tags": {}}
    with record_run(store, tmp_path, send_mode="now", **names) as run:
        run.begin()
        log_epochs = EpochLog(run, job)
        log_epochs(history[:1])
        refuse_metrics(store)
        log_epochs(history[:2])
        (left,) = find_records([tmp_path])
        assert [point[3] for point in left.read_checked().metrics if point[0] == "val_loss"] == [
            0,
            1,
        ]
        accept_metrics(store)
        log_epochs(history[:3])
    assert run.id is not None
    assert steps(client, run.id, "val_loss") == [(0, 0.25), (1, 1.25), (2, 2.25)]


def test_a_store_that_refuses_to_the_end_costs_neither_results_nor_history(
    options: TrainingOptions,
    client: MlflowClient,
    store: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse_metrics(store)
    result = train(options)
    assert "work goes on, what MLflow missed will be sent later" in caplog.text
    assert f"send it with: lanflow sync {result['mlflow_pending']}" in caplog.text
    record = read_json(options, "run.json")
    assert (result["status"], record["status"]) == ("FINISHED", "FINISHED")
    assert folder_of(options) / record["mlflow_pending"] == Path(result["mlflow_pending"])
    (run,) = runs_of(client)
    assert run.info.status == "RUNNING"  # as far as the store knows
    assert result["mlflow_run_id"] == run.info.run_id
    accept_metrics(store)
    sent = sync_runs([options.networks_path_base], uri=options.mlflow_tracking_uri)
    assert sent.run_ids == [run.info.run_id]
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    for column, metric in ((1, "train_loss"), (2, "val_loss"), (3, "learning_rate")):
        expected = [(int(row[0]), float(row[column])) for row in history_of(options)]
        assert steps(client, run.info.run_id, metric) == expected
    assert "mlflow_pending" not in read_json(options, "run.json")


def test_a_store_that_cannot_be_opened_ends_before_training(
    options: TrainingOptions, tmp_path: Path
) -> None:
    (tmp_path / "other.db").write_text("not a database" * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        train(replace(options, mlflow_tracking_uri=f"sqlite:///{tmp_path}/other.db"))
    assert not options.networks_path_base.exists()  # nothing was begun


def test_an_unreachable_store_does_not_forget_the_interrupted_run(
    options: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    with interrupted_at("epoch 2/"):
        train(options)
    (tmp_path / "other.db").write_text("not a database" * 100)
    with pytest.raises(UserError):
        train(replace(options, mlflow_tracking_uri=f"sqlite:///{tmp_path}/other.db"))
    train(options)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"


def test_a_password_of_the_store_is_in_no_record(
    options: TrainingOptions, store: Store, client: MlflowClient, tmp_path: Path
) -> None:
    uri = f"{store.uri}?note=http://ada:pa55word@host"
    result = train(replace(options, mlflow_tracking_uri=uri))
    for path in (tmp_path / "networks").rglob("*"):
        assert not path.is_file() or b"pa55word" not in path.read_bytes(), path
    assert "pa55word" not in json.dumps(result)
    found = client.get_run(result["mlflow_run_id"])
    assert "pa55word" not in json.dumps(found.to_dictionary())


def test_in_a_notebook_epochs_move_a_bar(
    packed: PackedData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    job = training_job(packed, make_backend("torch"), N_EPOCHS=2)
    with EpochLog(None, job) as log_epochs:
        log_epochs([Epoch(1, 0.5, 0.25, 0.01, 2.0)])
    assert "ddm lan: training:  50%" in capsys.readouterr().err


def test_each_epoch_is_logged_in_one_line(
    packed: PackedData, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lanflow")
    log_epochs = EpochLog(None, training_job(packed, make_backend("torch"), N_EPOCHS=4))
    caplog.clear()
    history = [Epoch(i, 0.5, 0.25, 0.01, 2.0) for i in (1, 2)]
    log_epochs(history[:1])
    log_epochs(history)
    assert caplog.messages == [
        "epoch 1/4  train_loss 0.5  val_loss 0.25  learning_rate 0.01  240 rows/s  6 s left",
        "epoch 2/4  train_loss 0.5  val_loss 0.25  learning_rate 0.01  240 rows/s  4 s left",
    ]
