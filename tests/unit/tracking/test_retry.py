import signal
import sqlite3
import time

import pytest
from mlflow.exceptions import MlflowException, RestException

from lanflow.core.errors import StoreError, StoreUnavailableError, UserError
from lanflow.core.interrupts import interruptible
from lanflow.tracking.retry import (
    is_temporary,
    requesting,
    retry_seconds,
    store_error,
    with_retries,
)
from tests.conftest import lose_an_interruption


class Clock:
    """A clock that advances only during sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Store:
    """A request that succeeds from some time on."""

    def __init__(self, clock: Clock, back_at: float) -> None:
        self.clock, self.back_at, self.n_asked = clock, back_at, 0

    def __call__(self) -> str:
        self.n_asked += 1
        if self.clock.now < self.back_at:
            raise StoreUnavailableError("away")
        return "here"


def test_a_store_is_asked_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    assert with_retries(Store(clock, back_at=12), seconds=60) == "here"
    assert clock.pauses == [1, 2, 4, 8]
    assert caplog.messages == ["away; asking again for 60 s"]  # once


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store = Store(clock, back_at=1000)
    with pytest.raises(StoreUnavailableError):
        with_retries(store, seconds=20)
    assert clock.now == 20
    assert store.n_asked == 6


def test_a_store_that_refuses_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def refuse() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        with_retries(refuse, seconds=60)
    assert clock.pauses == []


def test_how_long_is_the_users_to_say() -> None:
    assert retry_seconds({}) == 60
    assert retry_seconds({"LANFLOW_STORE_PATIENCE": ""}) == 60
    assert retry_seconds({"LANFLOW_STORE_PATIENCE": "2.5"}) == 2.5
    for text in ("a while", "-1", "inf", "nan"):
        with pytest.raises(UserError, match=r"LANFLOW_STORE_PATIENCE: .* is not a number of sec"):
            retry_seconds({"LANFLOW_STORE_PATIENCE": text})


def test_an_interruption_that_was_lost_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store = Store(clock, back_at=1000)

    def ask() -> str:
        lose_an_interruption(signal.SIGTERM)
        return store()

    def work() -> None:
        with interruptible():
            with_retries(ask, seconds=60)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert store.n_asked == 1


class HTTPClientError(Exception):
    """An error as boto3 raises it for a server that does not answer."""


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MlflowException("API request to http://host failed with exception refused"), True),
        (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many"}), True),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), False),
        (MlflowException("(sqlite3.OperationalError) database is locked"), True),
        (MlflowException("(sqlite3.OperationalError) no such table: runs"), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.DatabaseError("file is not a database"), False),
        (ConnectionRefusedError("refused"), True),
        (TimeoutError("slow"), True),
        (HTTPClientError("no route"), True),
        (PermissionError("read-only"), False),
    ],
    ids=str,
)
def test_what_may_be_over_soon_is_told_from_a_refusal(error: Exception, passing: bool) -> None:
    assert is_temporary(error) == passing
    assert isinstance(store_error("opening", error), StoreUnavailableError) == passing


def ask(error: Exception) -> None:
    with requesting("looking for the run", "http://ada:pa55word@host"):
        raise error


def test_what_a_store_answers_wrong_is_one_message_without_credentials_and_sql() -> None:
    with pytest.raises(StoreError) as caught:
        ask(ValueError("at http://ada:pa55word@host\n[SQL: INSERT]"))
    assert str(caught.value) == (
        "MLflow store http://***@host: looking for the run failed (at http://***@host)"
    )
    with pytest.raises(UserError, match=r"^mine$"):
        ask(UserError("mine"))
