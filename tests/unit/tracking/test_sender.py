import threading
from concurrent.futures import wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.errors import StoreError, StoreSilentError, StoreUnavailableError
from lanflow.tracking import recorder, sender
from lanflow.tracking.delivery import Delivery, MlflowRun
from lanflow.tracking.record import RecordFolder, RunRecord, find_records, new_key, now_ms
from lanflow.tracking.recorder import RunRecorder, record_run
from lanflow.tracking.sender import Sender
from lanflow.tracking.store import Store
from lanflow.tracking.sync import sync_runs

NAMES: dict[str, Any] = {"experiment": "e", "name": "a name", "tags": {"phase": "train"}}


@dataclass(frozen=True)
class Silence:
    """A store that answers to metrics when it may.

    Attributes
    ----------
    hangs
        It was asked.
    answer
        It may answer.
    sizes
        Points of each request.
    """

    hangs: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Silence:
    log_points, silent = MlflowRun.log_points, Silence()

    def log(run: MlflowRun, points: Any) -> None:
        silent.sizes.append(len(points))
        silent.hangs.set()
        silent.answer.wait(60)
        log_points(run, points)

    monkeypatch.setattr(MlflowRun, "log_points", log)
    return silent


@pytest.fixture
def sending(store: Store, tmp_path: Path) -> Sender:
    folder = RecordFolder.of_run(tmp_path, new_key())
    record = RunRecord(
        key=folder.path.name, tracking_uri=store.shown_uri, experiment="e", start_time=now_ms()
    )
    return Sender(Delivery(store, record, folder), store.shown_uri)


def test_requests_are_made_one_after_the_other_by_one_thread(sending: Sender) -> None:
    threads = [sending.ask(threading.get_ident, seconds=60) for _ in range(3)]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    sending.stop()


def test_an_error_of_a_request_is_raised_where_it_was_asked_for(sending: Sender) -> None:
    def refuse() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match=r"^no$"):
        sending.ask(refuse, seconds=60)
    assert sending.ask(lambda: 1, seconds=60) == 1
    sending.stop()


def test_who_asks_waits_no_longer_than_said_and_the_request_goes_on(sending: Sender) -> None:
    answer, answered = threading.Event(), threading.Event()

    def hang() -> None:
        answer.wait(60)
        answered.set()

    with pytest.raises(StoreSilentError, match="no answer within 0 s"):
        sending.ask(hang, seconds=0.01)
    with pytest.raises(StoreSilentError):  # it has been silent for long already
        sending.ask(lambda: None, seconds=0, silence=0.01)
    answer.set()
    assert answered.wait(60)
    sending.stop()


def test_a_fault_in_the_thread_is_no_wait_without_end(
    sending: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Delivery) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Delivery, "send", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    sending.notify()
    sending._thread.join(60)
    with pytest.raises(StoreError, match="the thread that sends has died"):
        sending.ask(lambda: None, seconds=60)


def test_what_accumulates_while_the_store_answers_is_one_request(
    tmp_path: Path, store: Store, client: MlflowClient, silence: Silence
) -> None:
    """The work goes on while a request hangs; all that it logs meanwhile goes in the next one."""
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        run.log_metrics({"val_loss": 1.0}, step=0)
        assert silence.hangs.wait(60)
        for step in range(1, 100):
            run.log_metrics({"val_loss": 1 / (step + 1)}, step=step)
        silence.answer.set()
    assert silence.sizes == [1, 99]
    history = client.get_metric_history(str(run.id), "val_loss")
    assert [(point.step, point.value) for point in history] == [
        (step, 1 / (step + 1)) for step in range(100)
    ]


def test_a_status_never_arrives_before_what_was_recorded_before_it(
    tmp_path: Path, store: Store, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends while an earlier delivery has its points behind it and its status before it."""
    send_files, in_between, ended = Delivery._send_files, threading.Event(), threading.Event()
    order: list[str] = []

    def send(delivery: Delivery, *given: Any) -> None:
        if in_between.is_set() or not delivery._n_points:
            send_files(delivery, *given)
            return
        in_between.set()
        ended.wait(60)

    def end(run: MlflowRun, status: str, *given: Any) -> None:
        order.append(status)
        client.set_terminated(run.id, status)

    def log(run: MlflowRun, points: Any) -> None:
        order.extend(f"step {point[3]}" for point in points)

    monkeypatch.setattr(Delivery, "_send_files", send)
    monkeypatch.setattr(MlflowRun, "end", end)
    monkeypatch.setattr(MlflowRun, "log_points", log)
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        run.log_metrics({"val_loss": 1.0}, step=0)
        assert in_between.wait(60)
        run.log_metrics({"val_loss": 0.5}, step=1)
        threading.Timer(0.2, ended.set).start()  # the run has ended by then, or it ends later
    assert order == ["step 0", "step 1", "FINISHED"]


def test_an_interrupted_run_whose_store_is_silent_keeps_its_record(
    tmp_path: Path,
    store: Store,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    silence: Silence,
) -> None:
    monkeypatch.setattr(recorder, "_SECONDS_TO_STOP", 0.01)

    def interrupt(run: RunRecorder) -> None:
        run.begin()
        run.log_metrics({"val_loss": 1.0}, step=0)
        assert silence.hangs.wait(60)
        raise KeyboardInterrupt

    recording = record_run(store, tmp_path, send_mode="now", **NAMES)
    with pytest.raises(KeyboardInterrupt), recording as run:
        interrupt(run)
    assert run.pending is not None
    silence.answer.set()
    (left,) = find_records([tmp_path])
    assert left.read().status == "KILLED"
    assert sync_runs([tmp_path], uri=store.uri).run_ids == [run.id]
    found = client.get_run(str(run.id))
    assert (found.info.status, found.data.metrics) == ("KILLED", {"val_loss": 1.0})
    assert len(client.get_metric_history(str(run.id), "val_loss")) == 1


@pytest.mark.parametrize("send_mode", ["now", "try"])
def test_a_server_that_refuses_late_ends_the_work_where_it_must_take_the_run(
    send_mode: Any, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses, refused = threading.Event(), threading.Event()

    def refuse(_: Delivery) -> None:
        refuses.wait(60)
        refused.set()
        raise StoreError("no")

    def work(run: RunRecorder) -> None:
        run.begin()
        run.log_metrics({"val_loss": 1.0}, step=0)  # before the store has answered
        refuses.set()
        assert refused.wait(60)
        wait([run._first_answer] if run._first_answer else [], timeout=60)
        run.log_metrics({"val_loss": 0.5}, step=1)

    monkeypatch.setattr(RunRecorder, "_is_http", True)
    monkeypatch.setattr(recorder, "_SECONDS_TO_BEGIN", 0.0)
    monkeypatch.setattr(Delivery, "send", refuse)
    recording = record_run(store, tmp_path, send_mode=send_mode, **NAMES)
    ends = pytest.raises(StoreError, match=r"^no$") if send_mode == "now" else nullcontext()
    with ends, recording as run:
        work(run)
    (left,) = find_records([tmp_path])
    record = left.read()
    assert record.status == ("FAILED" if send_mode == "now" else "FINISHED")
    assert len(record.metrics) == 2


def test_patience_with_a_silent_store_counts_from_its_silence(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, silence: Silence
) -> None:
    monkeypatch.setenv("LANFLOW_STORE_PATIENCE", "3600")  # from the end of the work, an hour
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        run.log_metrics({"val_loss": 1.0}, step=0)
        assert silence.hangs.wait(60)
        sending = run._sender
        assert sending is not None
        assert sending._unanswered_since is not None
        sending._unanswered_since -= 7200
        sending.delivery.last_answer -= 7200
    assert run.pending is not None
    silence.answer.set()


def test_files_of_a_folder_are_sent_side_by_side_and_the_next_folder_after_them(
    tmp_path: Path, store: Store, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, order = threading.Barrier(4, timeout=60), []
    log_files = MlflowRun.log_files

    def log(run: MlflowRun, paths: Any, folder: str | None = None) -> None:
        if folder is not None:
            together.wait()  # four at a time, or this breaks
        log_files(run, paths, folder)
        order.append(folder)

    monkeypatch.setattr(MlflowRun, "log_files", log)
    files = [tmp_path / f"{i}.txt" for i in range(4)]
    for file in files:
        file.write_text(file.name)
    with record_run(store, tmp_path, send_mode="now", **NAMES) as run:
        run.begin()
        run.log_files(files, "all")
        run.log_json({"files": 4}, "inventory.json")
    assert order == ["all"] * 4 + [None]
    assert len(client.list_artifacts(str(run.id), "all")) == 4


def test_a_file_that_cannot_be_sent_ends_the_sending_and_the_others_are_not_sent_again(
    tmp_path: Path, store: Store, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_files, sent = MlflowRun.log_files, []

    def log(run: MlflowRun, paths: Any, folder: str | None = None) -> None:
        (path,) = paths
        if path.name == "1.txt" and "1.txt" not in sent:
            sent.append(path.name)
            raise StoreUnavailableError("full")
        log_files(run, paths, folder)
        sent.append(path.name)

    monkeypatch.setattr(MlflowRun, "log_files", log)
    monkeypatch.setattr(sender, "_SECONDS_BETWEEN_TRIES", 0.01)
    files = [tmp_path / f"{i}.txt" for i in range(3)]
    for file in files:
        file.write_text(file.name)
    with record_run(store, tmp_path / "net", send_mode="now", **NAMES) as run:
        run.begin()
        run.log_files(files, "all")
        monkeypatch.setenv("LANFLOW_STORE_PATIENCE", "30")
    assert sorted(sent) == ["0.txt", "1.txt", "1.txt", "2.txt"]
    assert len(client.list_artifacts(str(run.id), "all")) == 3
