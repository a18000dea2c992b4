"""Runs whose process was killed: the next start continues them, or closes them with the reason."""

import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from lanflow.core.interrupts import interruptible
from lanflow.tracking import delivery
from lanflow.tracking.client import connect
from lanflow.tracking.delivery import FAILURE_TAG
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.record import find_records
from lanflow.tracking.recorder import RunRecorder
from lanflow.tracking.store import SendMode, Store
from lanflow.tracking.sync import sync_runs
from lanflow.tracking.unfinished import record_work

WORK = {"mlflow_experiment": "e", "n_epochs": 3}
OTHER = {**WORK, "n_epochs": 4}
REASON = "the process was killed, and other work was begun in its folder"


@contextmanager
def recorded(
    store: Store, folder: Path, work: dict[str, Any] = WORK, send_mode: SendMode = "now"
) -> Iterator[RunRecorder]:
    names: dict[str, Any] = {"experiment": "e", "name": "mine", "tags": {}}
    with record_work(store, folder, work, send_mode=send_mode, **names) as run:
        run.begin()
        yield run


def killed(act: Callable[[], None]) -> None:
    """Do something in a process of its own that kills itself."""
    with warnings.catch_warnings(action="ignore"):  # JAX's, if another test imported it
        child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def kill_this_process(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def begin_and_die(store: Store, folder: Path, send_mode: SendMode = "now") -> None:
    with recorded(store, folder, send_mode=send_mode) as run:
        run.log_metrics({"val_loss": 0.5}, step=1)
        kill_this_process()


@pytest.fixture
def left_running(store: Store, tmp_path: Path) -> Path:
    """The folder of a run whose process was killed as soon as the store had made the run."""
    folder = tmp_path / "net"
    create_run = delivery.create_run

    def create_and_die(*arguments: Any, **keys: Any) -> None:
        create_run(*arguments, **keys)
        kill_this_process()

    def act() -> None:
        delivery.create_run = create_and_die  # type: ignore[assignment]
        begin_and_die(store, folder)

    killed(act)
    return folder


def runs_of(store: Store) -> list[Run]:
    """Oldest first."""
    client = connect(store)
    experiment = ensure_experiment(client, store, "e")
    return list(client.search_runs([experiment.id], order_by=["attributes.start_time ASC"]))


def test_a_run_whose_id_nobody_learnt_is_continued(store: Store, left_running: Path) -> None:
    with recorded(store, left_running) as run:
        pass
    (found,) = runs_of(store)
    assert (found.info.run_id, found.info.status) == (run.id, "FINISHED")
    assert not list(find_records([left_running]))


def test_a_run_that_other_work_takes_the_place_of_is_closed_with_the_reason(
    store: Store, left_running: Path
) -> None:
    with recorded(store, left_running, OTHER):
        pass
    first, second = runs_of(store)
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert first.data.tags[FAILURE_TAG] == REASON
    assert FAILURE_TAG not in second.data.tags
    assert not list(find_records([left_running]))


def test_work_that_was_killed_before_it_had_a_run_leaves_none(store: Store, tmp_path: Path) -> None:
    def act() -> None:
        delivery.create_run = kill_this_process  # type: ignore[assignment]
        begin_and_die(store, tmp_path / "net")

    killed(act)
    with recorded(store, tmp_path / "net", OTHER):
        pass
    assert [run.info.status for run in runs_of(store)] == ["FINISHED"]
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        ".sent_runs",
        "unfinished.json",
    ]


def test_a_signal_while_the_run_is_created_leaves_one_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run = delivery.create_run

    def interrupted(*arguments: Any, **keys: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return create_run(*arguments, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "create_run", interrupted)
        with pytest.raises(KeyboardInterrupt), interruptible(), recorded(store, tmp_path / "net"):
            pass
    (first,) = runs_of(store)
    assert first.info.status == "KILLED"
    with recorded(store, tmp_path / "net") as run:
        pass
    (found,) = runs_of(store)
    assert (found.info.run_id, found.info.status) == (run.id, "FINISHED")


@pytest.mark.parametrize("content", ["{", "[]", json.dumps(WORK), '{"run_key": "../x"}'])
def test_a_damaged_mark_starts_another_run_and_the_first_is_closed(
    store: Store, left_running: Path, content: str
) -> None:
    path = left_running / "unfinished.json"
    if content.endswith('x"}'):
        content = json.dumps({**json.loads(path.read_text()), "run_key": "../x"})
    path.write_text(content)
    with recorded(store, left_running):
        pass
    assert [run.info.status for run in runs_of(store)] == ["KILLED", "FINISHED"]
    assert not (left_running / "x").exists()


def test_a_run_that_was_deleted_gives_way_to_another(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed(lambda: begin_and_die(store, tmp_path))
    (first,) = runs_of(store)
    connect(store).delete_run(first.info.run_id)
    with recorded(store, tmp_path):
        pass
    (found,) = runs_of(store)
    assert found.info.run_id != first.info.run_id
    assert "is deleted in MLflow; starting another" in caplog.text
    assert not list(find_records([tmp_path]))


def test_a_run_that_no_store_has_is_closed_when_it_is_sent(store: Store, tmp_path: Path) -> None:
    killed(lambda: begin_and_die(store, tmp_path, "later"))
    with recorded(store, tmp_path, OTHER, "later"):
        pass
    sync_runs([tmp_path], uri=store.uri)
    first, second = runs_of(store)
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert (first.data.tags[FAILURE_TAG], first.data.metrics) == (REASON, {"val_loss": 0.5})


def test_parts_of_artifacts_that_a_killed_process_left_are_removed(
    store: Store, tmp_path: Path
) -> None:
    killed(lambda: begin_and_die(store, tmp_path))
    (first,) = runs_of(store)
    artifacts = Path(first.info.artifact_uri)
    (artifacts / "training_output").mkdir(parents=True)
    (artifacts / "training_output" / ".artifact.uploading.x1").write_text("half")
    (artifacts / "mine.txt").write_text("mine")
    with recorded(store, tmp_path):
        pass
    assert [path.name for path in artifacts.rglob("*") if path.is_file()] == ["mine.txt"]
