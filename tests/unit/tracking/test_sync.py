"""Runs that reached no store at first, and their content after ``lanflow sync``."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.delivery import FAILURE_TAG
from lanflow.tracking.record import RecordFolder, find_records
from lanflow.tracking.recorder import RunRecorder, record_run
from lanflow.tracking.store import Store, resolve_store
from lanflow.tracking.sync import (
    SyncResult,
    describe_unsent,
    read_run_ids,
    sync_if_unsent,
    sync_runs,
)
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train
from tests.conftest import TRAINING_YAML, content_of_run, training_options

AWAY = "http://ada:pa55word@127.0.0.1:1"


@pytest.fixture
def offline(tmp_path: Path, store: Store, packed: PackedData) -> TrainingOptions:
    return training_options(
        tmp_path,
        packed,
        mlflow_on=True,
        mlflow_tracking_uri=store.uri,
        mlflow_send="later",
        run_uuid="0a1b",
    )


@pytest.fixture(autouse=True)
def _named_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store that a user's shell names."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


def folder_of(options: TrainingOptions) -> Path:
    return options.networks_path_base / "lan" / "ddm" / "net"


def runs_of(client: MlflowClient, experiment: str = "ddm-training") -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def test_a_training_that_reached_no_store_becomes_the_run_that_it_would_have_been(
    offline: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    online = replace(offline, mlflow_send="now", networks_path_base=tmp_path / "online")
    train(online)
    (expected,) = runs_of(client)
    result = train(offline)
    assert (result["status"], result["mlflow_run_id"]) == ("FINISHED", None)
    assert [run.info.run_id for run in runs_of(client)] == [expected.info.run_id]
    assert Path(result["mlflow_pending"]).is_dir()
    card_time = (folder_of(offline) / "card.json").stat().st_mtime_ns
    sent = sync_runs([offline.networks_path_base])
    (run,) = (run for run in runs_of(client) if run.info.run_id != expected.info.run_id)
    assert sent.run_ids == [run.info.run_id]
    assert content_of_run(client, run.info.run_id) == content_of_run(client, expected.info.run_id)
    assert run.info.end_time >= run.info.start_time
    for name in ("card.json", "run.json"):
        artifact = client.download_artifacts(run.info.run_id, f"training_output/{name}")
        for path in (folder_of(offline) / name, Path(artifact)):
            content = json.loads(path.read_text())
            assert content["mlflow_run_id"] == run.info.run_id
            assert "mlflow_pending" not in content
    assert (folder_of(offline) / "card.json").stat().st_mtime_ns == card_time
    assert not (folder_of(offline) / "unsent_runs").exists()


def test_a_run_that_is_sent_twice_is_one_run(
    offline: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    """The first sync was stopped after it had sent everything, before it noted that."""
    kept = Path(train(offline)["mlflow_pending"])
    copy = tmp_path / "copy" / "unsent_runs" / kept.name
    copy.parent.mkdir(parents=True)
    shutil.copytree(kept, copy)
    (first,) = sync_runs([offline.networks_path_base]).run_ids
    before = client.get_run(first).to_dictionary()
    assert sync_runs([offline.networks_path_base]).run_ids == []
    assert sync_runs([tmp_path / "copy"]).run_ids == [first]
    after = client.get_run(first).to_dictionary()
    assert after == before
    history = client.get_metric_history(first, "val_loss")
    assert [entry.step for entry in history] == [1, 2, 3]
    assert len(runs_of(client)) == 1


def test_two_syncs_at_once_make_one_run(
    offline: TrainingOptions, client: MlflowClient, tmp_path: Path
) -> None:
    train(offline)
    barrier = threading.Barrier(2)

    def send(_: int) -> SyncResult:
        barrier.wait()
        return sync_runs([offline.networks_path_base])

    with ThreadPoolExecutor(2) as pool:
        assert not any(sent.unsent for sent in pool.map(send, range(2)))
    assert [run.info.status for run in runs_of(client)] == ["FINISHED"]
    assert not list(find_records([offline.networks_path_base]))


def interrupted(options: TrainingOptions, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    def interrupt(run: RunRecorder, history: Any) -> None:
        log_history(run, history)
        if len([p for p in run._record.metrics if p[0] == "val_loss"]) == epoch:
            raise KeyboardInterrupt("SIGTERM")

    log_history = RunRecorder.log_history
    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "log_history", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(options)


@pytest.mark.parametrize("is_sent_between", [True, False])
def test_a_training_interrupted_offline_goes_on_as_the_same_run(
    offline: TrainingOptions,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    is_sent_between: bool,
) -> None:
    interrupted(offline, monkeypatch, epoch=2)
    record = json.loads((folder_of(offline) / "run.json").read_text())
    assert record["status"] == "KILLED"
    assert (folder_of(offline) / record["mlflow_pending"]).is_dir()
    if is_sent_between:
        (run_id,) = sync_runs([offline.networks_path_base]).run_ids
        run = client.get_run(run_id)
        assert run.info.status == "KILLED"
        assert [m.step for m in client.get_metric_history(run_id, "val_loss")] == [1, 2]
    train(offline)
    (last,) = sync_runs([offline.networks_path_base]).run_ids
    (run,) = runs_of(client)
    assert run.info.run_id == last
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(last, "val_loss")] == [1, 2, 3]


def test_a_run_begun_online_and_finished_offline_keeps_its_id(
    offline: TrainingOptions, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(replace(offline, mlflow_send="now"), monkeypatch, epoch=1)
    (killed,) = runs_of(client)
    result = train(offline)
    assert result["mlflow_run_id"] == killed.info.run_id
    assert client.get_run(killed.info.run_id).info.status == "KILLED"
    assert sync_runs([offline.networks_path_base]).run_ids == [killed.info.run_id]
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "val_loss")
    assert [entry.step for entry in history] == [1, 2, 3]


@pytest.fixture
def writing(tmp_path: Path, store: Store) -> Iterator[RunRecorder]:
    """A run that is still being recorded."""
    names: dict[str, Any] = {"experiment": "e", "name": "n", "tags": {"phase": "train"}}
    with record_run(store, tmp_path / "net", send_mode="later", **names) as run:
        run.begin()
        yield run


def test_a_run_that_goes_on_is_left_alone(
    writing: RunRecorder, tmp_path: Path, client: MlflowClient
) -> None:
    sent = sync_runs([tmp_path])
    assert (sent.run_ids, sent.unsent) == ([], {})
    assert [path.name for path in sent.being_written] == [writing.key]
    assert runs_of(client, "e") == []


def test_a_run_whose_process_was_killed_reads_killed(
    writing: RunRecorder, tmp_path: Path, client: MlflowClient
) -> None:
    writing.log_metrics({"val_loss": 0.5}, step=0)
    writing._folder.unlock()  # as its end does, whatever ended it
    (run_id,) = sync_runs([tmp_path]).run_ids
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("KILLED", {"val_loss": 0.5})
    assert run.info.end_time >= run.info.start_time


def fail(store: Store, folder: Path) -> None:
    names: dict[str, Any] = {"experiment": "e", "name": "n", "tags": {}}
    with record_run(store, folder, send_mode="later", **names) as run:
        run.begin()
        raise ValueError("no luck with http://ada:pa55word@host/x")


def test_a_run_that_failed_offline_says_why(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ValueError, match="no luck"):
        fail(store, tmp_path / "net")
    (run_id,) = sync_runs([tmp_path]).run_ids
    run = connect(store).get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags[FAILURE_TAG] == "ValueError: no luck with http://***@host/x"


def test_no_record_holds_credentials(offline: TrainingOptions, tmp_path: Path) -> None:
    result = train(replace(offline, mlflow_tracking_uri=AWAY))
    assert "pa55word" not in json.dumps(result)
    with pytest.raises(ValueError, match="no luck"):
        fail(resolve_store(uri=AWAY), tmp_path / "net")
    assert len(list(find_records([tmp_path]))) == 2
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"pa55word" not in path.read_bytes(), path


def test_a_store_with_credentials_must_be_named_again(
    offline: TrainingOptions, client: MlflowClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(offline, mlflow_tracking_uri=AWAY))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (reason,) = sync_runs([offline.networks_path_base]).unsent.values()
    assert reason == (
        "the store http://***@127.0.0.1:1 needs credentials, which no record holds: set "
        "MLFLOW_TRACKING_URI"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert len(sync_runs([offline.networks_path_base]).run_ids) == 1
    assert len(runs_of(client)) == 1


def test_sync_tells_each_run_that_it_could_not_send_and_sends_the_others(
    offline: TrainingOptions,
    client: MlflowClient,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        train(replace(offline, network_name=name))
    first, second = find_records([offline.networks_path_base])
    content = (first.path / "run.json").read_bytes()
    (first.path / "run.json").write_bytes(content[:100])
    assert main(["sync", str(offline.networks_path_base)]) == 1
    assert "1 run(s) are still to be sent:" in caplog.text
    assert f"{first.path / 'run.json'}: damaged, not valid JSON" in caplog.text
    assert len(runs_of(client)) == 1
    assert not second.exists()
    assert describe_unsent([offline.networks_path_base]) == (
        "MLflow: 1 run(s) are still to be sent; nothing of them is lost. When the store answers: "
        f"lanflow sync {offline.networks_path_base}"
    )
    (first.path / "run.json").write_bytes(content)
    capsys.readouterr()
    assert main(["sync", str(offline.networks_path_base), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_runs_sent"] == 1
    assert describe_unsent([offline.networks_path_base]) == ""
    assert main(["sync", str(offline.networks_path_base)]) == 0


def test_a_run_that_was_deleted_in_the_store_is_not_made_again(
    offline: TrainingOptions, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(replace(offline, mlflow_send="now"), monkeypatch, epoch=1)
    (killed,) = runs_of(client)
    train(offline)
    client.delete_run(killed.info.run_id)
    (reason,) = sync_runs([offline.networks_path_base]).unsent.values()
    assert reason == f"run {killed.info.run_id!r} is deleted in MLflow"
    assert runs_of(client) == []


def test_results_that_are_read_next_name_runs_that_waited(
    offline: TrainingOptions, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    train(offline)
    record = next(find_records([folder_of(offline)])).path / "run.json"
    content = record.read_text()
    record.write_text("{")
    sync_if_unsent([folder_of(offline)])
    assert "is still to be sent" in caplog.text
    record.write_text(content)
    sync_if_unsent([folder_of(offline)])
    (run,) = runs_of(client)
    card = json.loads((folder_of(offline) / "card.json").read_text())
    assert card["mlflow_run_id"] == run.info.run_id


def test_a_later_training_does_not_take_the_id_of_one_that_waits(
    offline: TrainingOptions, client: MlflowClient, packed: PackedData
) -> None:
    """Both runs are sent, each with its own files."""
    assert offline.config_path is not None
    train(offline)
    onnx = (folder_of(offline) / "model.onnx").read_bytes()
    other = training_options(
        offline.config_path.parent, packed, keys={**TRAINING_YAML, "LEARNING_RATE": 0.02}
    )
    train(replace(offline, config_path=other.config_path, run_uuid="2c3d"))
    assert len(sync_runs([offline.networks_path_base]).run_ids) == 2
    runs = {run.data.tags["run_uuid"]: run.info.run_id for run in runs_of(client)}
    first = Path(client.download_artifacts(runs["0a1b"], "training_output/model.onnx"))
    assert first.read_bytes() == onnx
    card = json.loads((folder_of(offline) / "card.json").read_text())
    assert card["mlflow_run_id"] == runs["2c3d"]


def test_records_of_generation_are_sent_before_their_ids_are_read(tmp_path: Path) -> None:
    path = tmp_path / "chunk.json"
    for content, message in (
        (None, "cannot be read"),
        ("{", "not valid JSON"),
        ("{}", "not a record of 'lanflow generate'"),
    ):
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_run_ids([path])
    path.write_text('{"run_id": "r1"}')
    assert read_run_ids([path]) == ["r1"]


def test_a_folder_that_holds_only_records_is_found(tmp_path: Path) -> None:
    assert not RecordFolder.of_run(tmp_path, "k").exists()
    assert sync_runs([tmp_path]).run_ids == []


def test_a_record_does_not_choose_the_store(
    offline: TrainingOptions, client: MlflowClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of somebody else could name a server of theirs."""
    train(offline)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (reason,) = sync_runs([offline.networks_path_base]).unsent.values()
    assert reason == (
        f"it was recorded for the store {store.uri}, which nobody names here: give "
        f"--mlflow-tracking-uri {store.uri}, or set MLFLOW_TRACKING_URI"
    )
    assert runs_of(client) == []
    assert len(sync_runs([offline.networks_path_base], uri=store.uri).run_ids) == 1


def changed_record(options: TrainingOptions, **artifact: str) -> Path:
    (folder,) = find_records([options.networks_path_base])
    content = json.loads((folder.path / "run.json").read_text())
    content["artifacts"][0] |= artifact
    (folder.path / "run.json").write_text(json.dumps(content))
    return folder.path


@pytest.mark.parametrize("by", ["path", "link", "absolute"])
def test_files_of_elsewhere_are_not_sent(
    offline: TrainingOptions, client: MlflowClient, tmp_path: Path, by: str
) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("PRIVATE KEY")
    train(offline)
    folder = changed_record(offline)
    path = str(secret) if by == "absolute" else os.path.relpath(secret, folder)
    if by == "link":
        (folder / "innocent.txt").symlink_to(secret)
        path = "innocent.txt"
    changed_record(offline, path=path)
    (reason,) = sync_runs([offline.networks_path_base]).unsent.values()
    assert f"names the file {secret}, which is not of these results; it is not sent" in reason
    assert runs_of(client) == []


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "", "x" * 2000, "a\nb"])
def test_names_of_artifacts_cannot_lead_elsewhere(
    offline: TrainingOptions, client: MlflowClient, name: str
) -> None:
    train(offline)
    changed_record(offline, name=name)
    (reason,) = sync_runs([offline.networks_path_base]).unsent.values()
    assert "is no path among artifacts" in reason
    assert runs_of(client) == []


def test_the_command_that_is_printed_sends_the_run(
    offline: TrainingOptions, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(offline)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    _, _, command = describe_unsent([offline.networks_path_base]).partition("answers: lanflow ")
    assert main(command.split()) == 0
    assert len(runs_of(client)) == 1
