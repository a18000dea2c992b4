"""Before the first job of a study, its store is prepared once; at the end, runs are sent."""

import json
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.study.config import StudyConfig
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import find_experiment
from lanflow.tracking.store import Store, resolve_store
from lanflow.training.run import train
from lanflow.workflow.run import prepare_store, send_unsent
from tests.conftest import training_options


@pytest.fixture
def exported(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in the environment, as the workflow sets it for its jobs."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return store


def test_the_experiments_are_made_and_it_is_done_once(exported: Store, tmp_path: Path) -> None:
    record = tmp_path / "prepared.json"
    prepare_store(exported, ["one", "two"], record, print)
    client = connect(exported)
    assert find_experiment(client, exported, "two").name == "two"
    written = record.stat().st_mtime_ns
    prepare_store(exported, ["two"], record, print)
    assert record.stat().st_mtime_ns == written
    prepare_store(exported, ["two", "three"], record, print)
    assert find_experiment(client, exported, "three").name == "three"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["uri", "artifact_location"])
def test_another_store_or_place_for_artifacts_is_made_ready_too(
    exported: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    record = tmp_path / "prepared.json"
    prepare_store(exported, ["one"], record, print)
    if change == "uri":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    else:
        monkeypatch.setenv("MLFLOW_ARTIFACT_LOCATION", str(tmp_path / "artifacts"))
    other = resolve_store()
    prepare_store(other, ["one"], record, print)
    assert json.loads(record.read_text())["tracking_uri"] == other.shown_uri
    assert json.loads(record.read_text())["artifact_location"] == other.artifact_location


def test_a_store_that_is_not_there_starts_nothing_and_its_password_stays_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = "http://ada:pa55word@127.0.0.1:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"not ready \(http://\*\*\*@127\.0\.0\.1:1\), so no job"):
        prepare_store(resolve_store(), ["one"], tmp_path / "prepared.json", print)
    assert "cannot be opened" in capfd.readouterr().err
    assert "pa55word" not in capfd.readouterr().err
    assert not (tmp_path / "prepared.json").exists()


def test_a_study_ends_by_sending_what_waits_and_saying_what_still_does(
    tmp_path: Path,
    packed: PackedData,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    study = StudyConfig(study="s", results=str(tmp_path / "results"))
    told: list[str] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:pa55word@127.0.0.1:1")
    send_unsent(study, told.append)
    assert (told, capfd.readouterr()) == ([], ("", ""))  # nothing waits
    (tmp_path / "results").mkdir()
    options = training_options(tmp_path / "results", packed, mlflow_on=True, mlflow_send="later")
    train(options)
    command = f"lanflow sync {tmp_path / 'results'}"
    send_unsent(study, told.append)
    output, errors = capfd.readouterr()
    assert output == ""
    assert "cannot be opened" in errors
    assert told == [
        f"sending runs that MLflow did not get yet: {command}",
        "MLflow: 1 run(s) are still to be sent; nothing of them is lost. When the store answers: "
        f"{command}",
    ]
    assert "pa55word" not in errors
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    send_unsent(study, told.append)
    assert told[-1] == "MLflow: every run was sent"
    client = connect(store)
    experiment = client.get_experiment_by_name("ddm-training").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"]
