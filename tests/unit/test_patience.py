import signal
import time

import pytest

from lanflow.errors import StoreAwayError, StoreError, UserError
from lanflow.interruption import interruptible
from lanflow.patience import patience_seconds, patiently
from tests.conftest import lose_an_interruption


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Store:
    """Answers from some time on."""

    def __init__(self, clock: Clock, back_at: float) -> None:
        self.clock, self.back_at, self.n_asked = clock, back_at, 0

    def __call__(self) -> str:
        self.n_asked += 1
        if self.clock.now < self.back_at:
            raise StoreAwayError("away")
        return "here"


def test_a_store_is_asked_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    assert patiently(Store(clock, back_at=12), seconds=60) == "here"
    assert clock.pauses == [1, 2, 4, 8]
    assert caplog.messages == ["away; asking again for 60 s"]  # once


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store = Store(clock, back_at=1000)
    with pytest.raises(StoreAwayError):
        patiently(store, seconds=20)
    assert clock.now == 20
    assert store.n_asked == 6


def test_a_store_that_refuses_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def refuse() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        patiently(refuse, seconds=60)
    assert clock.pauses == []


def test_how_long_is_the_users_to_say() -> None:
    assert patience_seconds({}) == 60
    assert patience_seconds({"LANFLOW_STORE_PATIENCE": ""}) == 60
    assert patience_seconds({"LANFLOW_STORE_PATIENCE": "2.5"}) == 2.5
    for text in ("a while", "-1", "inf", "nan"):
        with pytest.raises(UserError, match=r"LANFLOW_STORE_PATIENCE: .* is not a number of sec"):
            patience_seconds({"LANFLOW_STORE_PATIENCE": text})


def test_an_interruption_that_was_lost_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store = Store(clock, back_at=1000)

    def ask() -> str:
        lose_an_interruption(signal.SIGTERM)
        return store()

    def work() -> None:
        with interruptible():
            patiently(ask, seconds=60)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert store.n_asked == 1
