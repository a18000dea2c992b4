import contextlib
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow import __version__
from lanflow.core.errors import StoreError, UserError
from lanflow.tracking import delivery
from lanflow.tracking.delivery import FAILURE_TAG, MlflowRun
from lanflow.tracking.experiments import Experiment, ensure_experiment
from lanflow.tracking.recorder import RunRecorder, record_run
from lanflow.tracking.runs import changed_params, find_run
from lanflow.tracking.store import FoundRun, Store
from tests.mlflow_runs import made_run


def refuse(store: Store, statement: str) -> None:
    """Make the store refuse a kind of change, as a full or read-only one does."""
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        database.execute(
            f"CREATE TRIGGER refusing BEFORE {statement} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )


def status(client: MlflowClient, run: MlflowRun | RunRecorder) -> str:
    return str(client.get_run(run.id).info.status)


Recording = Callable[..., contextlib.AbstractContextManager[RunRecorder]]


@pytest.fixture
def recording(store: Store, experiment: Experiment, tmp_path: Path) -> Recording:
    """Return a function that records a run of the experiment, which begins at once."""

    @contextlib.contextmanager
    def record(*, name: str = "a name", **given: Any) -> Iterator[RunRecorder]:
        keys = {"tags": {}, "send_mode": "now", **given}
        with record_run(store, tmp_path, experiment=experiment.name, name=name, **keys) as run:
            run.begin()
            yield run

    return record


def test_a_run_that_ends_well_is_finished(
    client: MlflowClient, experiment: Experiment, recording: Recording
) -> None:
    with recording(tags={"phase": "train"}) as run:
        assert status(client, run) == "RUNNING"
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.info.end_time >= found.info.start_time
    assert found.info.run_name == "a name"
    assert found.info.experiment_id == run.experiment_id == experiment.id
    assert found.data.tags["phase"] == "train"


def test_a_run_that_fails_says_why_and_no_password(
    client: MlflowClient, recording: Recording
) -> None:
    with pytest.raises(ValueError, match="no luck"), recording() as run:
        raise ValueError("no luck with http://ada:secret@host/x")
    assert status(client, run) == "FAILED"
    reason = client.get_run(run.id).data.tags[FAILURE_TAG]
    assert reason == "ValueError: no luck with http://***@host/x"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_interrupted_is_killed(
    client: MlflowClient, recording: Recording, end: type[BaseException]
) -> None:
    with pytest.raises(end), recording() as run:
        raise end
    assert status(client, run) == "KILLED"
    assert FAILURE_TAG not in client.get_run(run.id).data.tags


class Interrupting:
    """A value that interrupts this process just when it is sent."""

    def __float__(self) -> float:
        signal.raise_signal(signal.SIGINT)
        return 1.5


def test_an_interruption_waits_for_what_is_being_recorded(
    client: MlflowClient, recording: Recording
) -> None:
    value: Any = Interrupting()
    with pytest.raises(KeyboardInterrupt), recording() as run:
        MlflowRun(client, str(run.id)).log_metrics({"val_loss": value}, step=0)
    found = client.get_run(run.id)
    assert (found.info.status, found.data.metrics) == ("KILLED", {"val_loss": 1.5})


def test_an_interruption_while_a_run_is_created_leaves_no_running_run(
    client: MlflowClient,
    experiment: Experiment,
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_run = delivery.create_run

    def create(*given: Any, **keys: Any) -> FoundRun:
        signal.raise_signal(signal.SIGINT)
        return create_run(*given, **keys)

    monkeypatch.setattr(delivery, "create_run", create)
    with pytest.raises(KeyboardInterrupt), recording(tags={"tag": "text"}):
        pass
    (run,) = client.search_runs([experiment.id])
    assert (run.info.status, run.data.tags["tag"]) == ("KILLED", "text")


def test_a_run_carries_who_made_it_and_its_slurm_job(
    client: MlflowClient, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    with recording() as run:
        tags = client.get_run(run.id).data.tags
    assert tags["schema_version"] == "1"
    assert tags["lanflow_version"] == __version__
    assert tags["mlflow.source.name"] == "lanflow"
    assert {tag: tags[tag] for tag in tags if tag.startswith("slurm")} == {
        "slurm_job_id": "17",
        "slurm_array_task_id": "3",
    }


def test_a_run_is_continued_and_its_old_failure_forgotten(
    client: MlflowClient, experiment: Experiment, recording: Recording
) -> None:
    with recording(name="first") as run:
        run.log_metrics({"val_loss": 1.0}, step=0)
    with pytest.raises(FileNotFoundError), recording(run_id=run.id) as failing:
        failing.log_files([Path("not there")])
    assert FAILURE_TAG in client.get_run(run.id).data.tags
    with recording(name="again", tags={"try": "second"}, run_id=run.id) as again:
        assert (again.id, again.experiment_id) == (run.id, experiment.id)
        assert status(client, run) == "RUNNING"
        assert MlflowRun(client, run.id).steps("val_loss") == {0}
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.tags["try"] == "second"
    assert FAILURE_TAG not in found.data.tags


def test_a_run_that_is_not_there_or_deleted_cannot_be_continued(
    client: MlflowClient, recording: Recording
) -> None:
    with (
        pytest.raises(UserError, match="run 'abc' is not in this MLflow store"),
        recording(run_id="abc"),
    ):
        pass
    with recording() as run:
        pass
    client.delete_run(run.id)
    with pytest.raises(UserError, match=f"run '{run.id}' is deleted"):
        find_run(client, run.id)


def test_a_store_that_refuses_is_one_message_without_sql(
    client: MlflowClient, experiment: Experiment, store: Store
) -> None:
    with made_run(client, experiment) as run:
        refuse(store, "INSERT ON metrics")
        with pytest.raises(StoreError) as caught:
            run.log_metrics({"val_loss": 1.0}, step=0)
        assert run.steps("val_loss") == set()
    message = str(caught.value)
    assert message.startswith(f"MLflow store {store.shown_uri}: recording metrics failed (")
    assert "full" in message
    assert "INSERT" not in message
    assert "\n" not in message


def test_a_run_that_cannot_read_finished_is_an_error(
    client: MlflowClient, experiment: Experiment, store: Store
) -> None:
    with (
        pytest.raises(StoreError, match="ending the run failed"),
        made_run(client, experiment) as run,
    ):
        refuse(store, "UPDATE ON runs")
    assert status(client, run) == "RUNNING"


def test_what_failed_comes_out_also_where_the_store_does_not_take_it(
    store: Store, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        refuse(store, "UPDATE ON runs")
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"), recording():
        fail()
    assert "ending the run failed" in caplog.text
    assert "the run is not in the MLflow store yet" in caplog.text


def test_params_are_recorded_whole_up_to_mlflows_limit(
    client: MlflowClient, experiment: Experiment
) -> None:
    params: dict[str, Any] = {f"param_{i}": i for i in range(250)}
    with made_run(client, experiment) as run:
        run.log_params({**params, "long": "x" * 7000})
        run.log_params(params)  # the same values again, as after an interruption
    found = client.get_run(run.id).data.params
    assert found.pop("long") == "x" * 6000
    assert found == {key: str(value) for key, value in params.items()}


def test_a_changed_param_is_named_before_and_refused_after(
    client: MlflowClient, experiment: Experiment
) -> None:
    with made_run(client, experiment) as run:
        run.log_params({"learning_rate": 0.1, "n_epochs": 3})
        found = find_run(client, run.id)
        assert changed_params(found, {"learning_rate": 0.2, "n_epochs": 3, "new": 1}) == [
            "learning_rate 0.1, not 0.2"
        ]
        with pytest.raises(StoreError, match="recording configuration failed"):
            run.log_params({"learning_rate": 0.2})


def test_metrics_have_one_value_for_each_step(client: MlflowClient, experiment: Experiment) -> None:
    with made_run(client, experiment) as run:
        assert run.steps("val_loss") == set()
        for step in range(3):
            run.log_metrics({"train_loss": step / 2, "val_loss": step / 4}, step=step)
        assert run.steps("val_loss") == {0, 1, 2}
    history = client.get_metric_history(run.id, "val_loss")
    assert [(entry.step, entry.value) for entry in history] == [(0, 0.0), (1, 0.25), (2, 0.5)]


def test_files_become_artifacts(
    client: MlflowClient, experiment: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"network")
    with made_run(client, experiment) as run:
        run.log_files([tmp_path / "model.onnx"], "training_output")
    listed = [entry.path for entry in client.list_artifacts(run.id, "training_output")]
    assert listed == ["training_output/model.onnx"]
    path = client.download_artifacts(run.id, "training_output/model.onnx", str(tmp_path))
    assert Path(path).read_bytes() == b"network"


def test_artifacts_that_cannot_be_written_are_one_message(
    client: MlflowClient, store: Store, tmp_path: Path
) -> None:
    place = Store(uri=store.uri, artifact_location=str(tmp_path / "taken" / "artifacts"))
    experiment = ensure_experiment(client, place, "x")
    shutil.rmtree(tmp_path / "taken")
    (tmp_path / "taken").write_text("a file where a folder was")
    with (
        pytest.raises(StoreError, match=r"MLflow store sqlite:.*: copying files failed"),
        made_run(client, experiment) as run,
    ):
        run.log_files([tmp_path / "taken"])


def test_a_data_set_is_recorded_once_with_its_digest(
    client: MlflowClient, experiment: Experiment
) -> None:
    with made_run(client, experiment) as run:
        for _ in range(2):
            run.log_data_set(
                name="ddm-lan",
                digest="0123456789abcdef" * 4,
                profile={"n_rows": 10},
                source={"experiment": None},
            )
    (found,) = client.get_run(run.id).inputs.dataset_inputs
    assert found.dataset.name == "ddm-lan"
    assert found.dataset.digest == ("0123456789abcdef" * 4)[:36]
    assert json.loads(found.dataset.profile) == {"n_rows": 10}
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
