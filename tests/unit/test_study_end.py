from pathlib import Path

import pytest

from lanflow.data_source import LocatedData
from lanflow.store import Store
from lanflow.study import StudyConfig
from lanflow.study_end import send_unsent
from lanflow.tracking import connect
from lanflow.training_step import train
from tests.conftest import training_options


def test_a_study_ends_by_sending_what_waits_and_saying_what_still_does(
    tmp_path: Path,
    packed: LocatedData,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    study = StudyConfig(study="s", results="results")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:pa55word@127.0.0.1:1")
    send_unsent(study, directory=str(tmp_path))
    assert capfd.readouterr() == ("", "")  # nothing waits
    (tmp_path / "results").mkdir()
    options = training_options(tmp_path / "results", packed, mlflow_on=True, mlflow_send="later")
    train(options)
    command = f"lanflow sync {tmp_path / 'results'}"
    send_unsent(study, directory=str(tmp_path))
    output, told = capfd.readouterr()
    assert output == ""
    assert f"sending runs that MLflow did not get yet: {command}\n" in told
    assert "cannot be opened" in told
    assert told.endswith(
        "MLflow: 1 run(s) are still to be sent; nothing of them is lost. When the store answers: "
        f"{command}\n"
    )
    assert "pa55word" not in told
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    send_unsent(study, directory=str(tmp_path))
    assert capfd.readouterr()[1].endswith("MLflow: every run was sent\n")
    client = connect(store)
    experiment = client.get_experiment_by_name("ddm-training").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"]
