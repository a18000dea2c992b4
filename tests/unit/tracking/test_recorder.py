import logging
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.errors import StoreError, StoreUnavailableError, UserError
from lanflow.tracking import sender
from lanflow.tracking.delivery import Delivery, MlflowRun
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.record import find_records
from lanflow.tracking.recorder import RunRecorder, record_run
from lanflow.tracking.store import Store, resolve_store
from lanflow.tracking.sync import sync_runs

NAMES: dict[str, Any] = {"experiment": "e", "name": "a name", "tags": {"phase": "train"}}
NOWHERE = "http://127.0.0.1:1"


def test_a_run_leaves_no_record_when_the_store_has_all_of_it(
    store: Store, client: MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.onnx").write_bytes(b"network")
    with record_run(store, tmp_path / "net", send_mode="now", **NAMES) as run:
        run.log_params({"learning_rate": 0.1})
        assert run.id is None  # nothing is sent before it begins
        run.begin()
        assert len(list(find_records([tmp_path]))) == 1
        run.set_tags({"more": 1})
        run.log_metrics({"val_loss": 0.5}, step=0)
        run.log_metrics({"val_loss": 0.9}, step=0)  # that step was recorded
        run.log_files([tmp_path / "net" / "model.onnx"], "training_output")
        run.log_json({"a": 1}, "lineage.json")
        run.log_data_set(name="n", digest="d", profile={"n": 1}, source={})
    assert run.pending is None
    assert not list(find_records([tmp_path]))
    assert run.id is not None
    found = client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "a name")
    assert found.data.params == {"learning_rate": "0.1"}
    assert (found.data.tags["phase"], found.data.tags["more"]) == ("train", "1")
    assert found.data.metrics == {"val_loss": 0.5}
    assert {entry.path for entry in client.list_artifacts(run.id)} == {
        "training_output",
        "lineage.json",
    }
    assert len(found.inputs.dataset_inputs) == 1


def begin(store: Store, folder: Path, send_mode: Any) -> RunRecorder:
    with record_run(store, folder, send_mode=send_mode, **NAMES) as run:
        run.begin()
        assert run.ensure_id() is None
        run.log_metrics({"val_loss": 0.5}, step=0)
    return run


@pytest.mark.parametrize("send_mode", ["try", "later"])
def test_a_store_that_is_not_there_gets_the_run_later_where_that_is_said(
    send_mode: str, tmp_path: Path, store: Store, client: MlflowClient
) -> None:
    run = begin(resolve_store(uri=NOWHERE), tmp_path / "net", send_mode)
    assert (run.id, run.experiment_id) == (None, None)
    assert run.pending is not None
    assert run.pending.is_dir()
    (run_id,) = sync_runs([tmp_path], uri=store.uri).run_ids
    assert client.get_run(run_id).data.metrics == {"val_loss": 0.5}


def test_a_store_that_is_not_there_is_an_error_where_nothing_else_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"http://127.0.0.1:1: cannot be opened"):
        begin(resolve_store(uri=NOWHERE), tmp_path / "net", "now")
    assert not list(find_records([tmp_path]))  # there was no run


def test_a_deleted_experiment_is_an_error_whatever_is_said(
    tmp_path: Path, store: Store, client: MlflowClient
) -> None:
    client.delete_experiment(ensure_experiment(client, store, "e").id)
    with pytest.raises(UserError, match="experiment 'e' is deleted"):
        begin(store, tmp_path / "net", "try")


def test_a_run_is_written_by_one_process_at_a_time(tmp_path: Path, store: Store) -> None:
    with record_run(store, tmp_path, send_mode="later", **NAMES) as run:
        run.begin()
        again = record_run(store, tmp_path, send_mode="later", key=run.key, **NAMES)
        with pytest.raises(UserError, match="another process is writing this run"), again:
            pass


def test_a_store_that_is_away_is_warned_of_once_and_gets_all_when_it_is_back(
    tmp_path: Path,
    store: Store,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries, send = [], Delivery.send
    twice = threading.Event()

    def fail(delivery: Delivery) -> None:
        tries.append(delivery)
        if len(tries) == 2:
            twice.set()
        raise StoreUnavailableError("timed out")

    monkeypatch.setattr(sender, "_SECONDS_BETWEEN_TRIES", 0.01)
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        monkeypatch.setattr(Delivery, "send", fail)
        run.log_metrics({"val_loss": 0.5}, step=0)
        assert twice.wait(60)  # without any news it is tried again
        monkeypatch.setattr(Delivery, "send", send)
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "timed out; work goes on" in warnings[0].getMessage()
    assert run.pending is None
    assert client.get_run(str(run.id)).data.metrics == {"val_loss": 0.5}


def test_an_answer_that_was_lost_is_no_second_run_and_no_second_value(
    tmp_path: Path, store: Store, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store carried out the request, and its answer did not arrive."""
    from lanflow.tracking import delivery

    create_run, log_points = delivery.create_run, MlflowRun.log_points
    lost: list[str] = []

    def create(*given: Any, **keys: Any) -> Any:
        created = create_run(*given, **keys)
        if "run" not in lost:
            lost.append("run")
            raise StoreUnavailableError("no answer")
        return created

    def log(run: MlflowRun, points: Any) -> None:
        log_points(run, points)
        if "points" not in lost:
            lost.append("points")
            raise StoreUnavailableError("no answer")

    monkeypatch.setattr(delivery, "create_run", create)
    monkeypatch.setattr(MlflowRun, "log_points", log)
    monkeypatch.setenv("LANFLOW_STORE_PATIENCE", "30")
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        run.log_metrics({"val_loss": 0.5}, step=0)
        run.log_metrics({"val_loss": 0.25}, step=1)
    assert lost == ["run", "points"]
    experiment = client.get_experiment_by_name("e").experiment_id
    (found,) = client.search_runs([experiment])
    assert (found.info.run_id, found.info.status) == (run.id, "FINISHED")
    history = client.get_metric_history(found.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.25)]


def test_what_a_store_refuses_costs_no_error_and_stays_recorded(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("read-only")

    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        monkeypatch.setattr(MlflowRun, "log_points", refuse)
        run.log_metrics({"val_loss": 0.5}, step=0)
    assert run.pending is not None
    (left,) = find_records([tmp_path])
    record = left.read_checked()
    assert (record.status, len(record.metrics), record.run_id) == ("FINISHED", 1, run.id)


N_WRITERS, N_EPOCHS = 8, 15


def write_run(uri: str, folder: str, number: int) -> None:
    store = resolve_store(uri=uri)
    names = {**NAMES, "name": f"writer-{number}"}
    with record_run(store, Path(folder, str(number)), send_mode="try", **names) as run:
        run.begin()
        for step in range(N_EPOCHS):
            run.log_metrics({"train_loss": number + step, "val_loss": number - step}, step=step)
        run.log_json({"number": number}, "number.json")


@pytest.mark.slow
def test_eight_processes_write_to_one_sqlite_store_and_lose_nothing(
    tmp_path: Path, store: Store, client: MlflowClient
) -> None:
    """Runs that the store does not take in time stay beside the results and are sent at the end."""
    experiment = ensure_experiment(client, store, "e")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lanflow.tracking.delivery"])  # one import of MLflow, not eight
    processes = [
        context.Process(target=write_run, args=(store.uri, str(tmp_path / "runs"), number))
        for number in range(N_WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * N_WRITERS
    assert not sync_runs([tmp_path / "runs"]).unsent
    runs = client.search_runs([experiment.id])
    assert sorted(run.info.run_name for run in runs) == [f"writer-{i}" for i in range(N_WRITERS)]
    for run in runs:
        number = int(run.info.run_name.rpartition("-")[2])
        assert run.info.status == "FINISHED"
        for name, sign in (("train_loss", 1), ("val_loss", -1)):
            history = client.get_metric_history(run.info.run_id, name)
            expected = [(step, number + sign * step) for step in range(N_EPOCHS)]
            assert [(point.step, point.value) for point in history] == expected
        assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["number.json"]
