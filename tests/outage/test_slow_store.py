"""The store takes its time, or takes connections and never answers; the work does not wait."""

import logging
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.cli.train import torchtrain
from lanflow.data.prepare import PackedData
from lanflow.tracking import recorder
from tests.conftest import content_of_run
from tests.outage.conftest import Server
from tests.outage.work import Work, at_lines
from tests.slow_store import SlowStore, slow_store


@pytest.fixture
def slow(lasting_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowStore]:
    with slow_store(lasting_server.url) as store:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.url)
        yield store


@dataclass(frozen=True)
class Compared:
    """Trainings, and the run of one of them whose store answered at once."""

    work: Work
    client: MlflowClient
    expected: dict[str, Any]


@pytest.fixture
def compared(
    slow: SlowStore, tmp_path: Path, packed: PackedData, caplog: pytest.LogCaptureFixture
) -> Compared:
    caplog.set_level(logging.INFO, "lanflow")
    work, client = Work(tmp_path, packed), MlflowClient(tracking_uri=slow.url)
    expected = content_of_run(client, work.train("whole")["mlflow_run_id"])
    slow.requests.clear()
    return Compared(work, client, expected)


@pytest.mark.slow
def test_a_store_that_does_not_answer_holds_no_epoch_up_and_gets_everything_once(
    slow: SlowStore,
    compared: Compared,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, client, expected = compared.work, compared.client, compared.expected
    assert [step for step, _ in expected["history"]["val_loss"]] == list(range(1, 7))

    # It is silent from the first epoch to the last, and nothing is lost, late or sent twice.
    with at_lines({"epoch 1/": lambda: silence(slow), "epoch 6/": lambda: answer(slow)}):
        held = work.train("held")
    assert held["mlflow_pending"] is None
    assert "work goes on" not in caplog.text  # no request had ended when the last epoch had
    assert content_of_run(client, held["mlflow_run_id"]) == expected
    requests = Counter(path for method, path in slow.requests if method == "PUT")
    assert set(requests.values()) == {1}

    # It never answers: the training ends, and what it recorded is sent later.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(recorder, "_SECONDS_TO_BEGIN", 0.1)
    silence(slow)
    never = work.train("never")
    assert (never["status"], never["mlflow_run_id"]) == ("FINISHED", None)
    assert "send it with: lanflow sync" in caplog.text
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    answer(slow)
    assert work.sync()["n_runs_sent"] == 1
    sent = work.read_record("never")
    assert content_of_run(client, sent["mlflow_run_id"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["now", "try"])
def test_a_slow_server_does_not_hold_the_first_epoch_up(
    mode: str,
    slow: SlowStore,
    compared: Compared,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recorder, "_SECONDS_TO_BEGIN", 0.1)
    slow.delay = 1.0
    n_requests: list[int] = []
    with at_lines({"epoch 1/": lambda: n_requests.append(len(slow.requests))}):
        late = compared.work.train("late", mode)
    assert "takes its time; work begins" in caplog.text
    assert n_requests[0] < len(slow.requests)
    assert content_of_run(compared.client, late["mlflow_run_id"]) == compared.expected


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["now", "try"])
def test_a_slow_server_that_refuses_ends_a_training_that_goes_on_when_it_takes_the_run(
    mode: str,
    slow: SlowStore,
    compared: Compared,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recorder, "_SECONDS_TO_BEGIN", 0.0)
    work, client = compared.work, compared.client
    experiment = compared.expected["experiment"]
    client.delete_experiment(experiment)
    slow.delay = 0.2
    slow.requests.clear()
    with at_lines({"epoch 1/": lambda: wait_for_answer(slow, "get-by-name")}):
        assert torchtrain(work.training("refused", mode)) != 0
    assert "is deleted" in caplog.text
    assert work.read_record("refused")["status"] == "FAILED"
    client.restore_experiment(experiment)
    finished = work.train("refused", mode)
    assert client.get_run(finished["mlflow_run_id"]).info.status == "FINISHED"


def wait_for_answer(store: SlowStore, path: str) -> None:
    """Wait until the store has answered a request, and what asked has taken the answer."""
    while not any(path in asked for _, asked in store.requests):
        time.sleep(0.1)
    time.sleep(store.delay + 1.0)


def silence(store: SlowStore) -> None:
    store.is_silent = True


def answer(store: SlowStore) -> None:
    store.is_silent = False


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True], ids=["slow", "silent"])
def test_an_interrupted_training_is_killed_in_its_store_too_now_or_later(
    is_silent: bool,
    slow: SlowStore,
    tmp_path: Path,
    packed: PackedData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "_SECONDS_TO_STOP", 0.5 if is_silent else 60.0)
    work, name = Work(tmp_path, packed), f"cut_{is_silent}"
    client = MlflowClient(tracking_uri=slow.url)

    def interrupt() -> None:
        slow.is_silent = is_silent
        signal.raise_signal(signal.SIGTERM)

    slow.delay = 0.0 if is_silent else 0.3
    with at_lines({"epoch 3/": interrupt}):
        assert torchtrain(work.training(name)) != 0
    slow.is_silent, slow.delay = False, 0.0
    record = work.read_record(name)
    assert record["status"] == "KILLED"
    assert ("mlflow_pending" in record) == is_silent
    assert work.sync()["n_runs_sent"] == int(is_silent)
    content = content_of_run(client, record["mlflow_run_id"])
    assert content["status"] == "KILLED"
    # It continues the same run, which then has every epoch once.
    finished = work.train(name)
    assert finished["mlflow_run_id"] == record["mlflow_run_id"]
    content = content_of_run(client, record["mlflow_run_id"])
    assert content["status"] == "FINISHED"
    assert [step for step, _ in content["history"]["val_loss"]] == list(range(1, 7))
