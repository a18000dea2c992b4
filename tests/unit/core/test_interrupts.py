import importlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lanflow.core import interrupts
from lanflow.core.interrupts import check, defer_signals, interruptible, is_handling_interrupt
from tests.conftest import lose_an_interruption


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Let SIGTERM raise as in a command, and restore the handlers afterwards."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_until_the_work_is_whole(number: signal.Signals) -> None:
    done: list[str] = []

    def work() -> None:
        with defer_signals():
            signal.raise_signal(number)
            done.append("whole")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]


def test_a_signal_waits_for_the_outermost_work() -> None:
    done: list[str] = []

    def work() -> None:
        with defer_signals():
            with defer_signals():
                signal.raise_signal(signal.SIGTERM)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        work()
    assert done == ["whole"]


def test_without_a_signal_nothing_changes() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with defer_signals():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_comes_out_of_work_that_failed() -> None:
    def work() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("no luck")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_second_ctrl_c_does_not_wait() -> None:
    done: list[str] = []

    def work() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            signal.raise_signal(signal.SIGINT)
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with defer_signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_other_threads_may_use_it_too() -> None:
    done: list[str] = []

    def work() -> None:
        with defer_signals():
            done.append("whole")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["whole"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Collect what Python reports of exceptions that cannot be caught."""
    told: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_value))
    return told


class Interrupted:
    """An object whose last reference is dropped just when a signal arrives."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def interrupted(work: Callable[[], None]) -> str:
    """Do work that is interrupted and return the name of the signal."""
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        work()
    return str(caught.value)


def test_an_interruption_lost_in_a_destructor_comes_out_of_the_next_check(
    told: list[BaseException | None],
) -> None:
    def work() -> None:
        thing = Interrupted()
        del thing
        check()

    assert interrupted(work) == "SIGTERM"
    assert told == []


def test_other_errors_lost_in_a_destructor_are_told_of(told: list[BaseException | None]) -> None:
    """Before, during and after an interruption."""

    class Broken:
        def __del__(self) -> None:
            raise KeyError("ours")

    def work() -> None:
        Broken()
        Interrupted()
        Broken()
        check()

    assert interrupted(work) == "SIGTERM"
    Broken()
    assert [type(error) for error in told] == [KeyError, KeyError, KeyError]


def test_an_interruption_that_was_not_asked_for_is_told_of(
    told: list[BaseException | None],
) -> None:
    class Broken:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    with interruptible():
        Broken()
    assert [type(error) for error in told] == [KeyboardInterrupt]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_lost_in_a_collection_comes_out_before_work_that_must_be_whole(
    number: signal.Signals,
) -> None:
    done: list[str] = []

    def work() -> None:
        lose_an_interruption(number)
        done.append("lost")
        with defer_signals():
            done.append("never")

    assert interrupted(work) == number.name
    assert done == ["lost"]


def test_an_interruption_that_somebody_swallows_comes_out_again() -> None:
    done: list[str] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            done.append("swallowed")
        check()

    assert interrupted(work) == "SIGTERM"
    assert done == ["swallowed"]


def test_what_is_tidied_up_after_an_interruption_is_not_interrupted_again() -> None:
    done: list[str] = []

    def tidy() -> None:
        assert is_handling_interrupt()
        try:
            raise OSError
        except OSError:
            check()  # an error on the way does not hide what is under way
        with defer_signals():
            signal.raise_signal(signal.SIGTERM)
        done.append("tidy")

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            tidy()

    assert interrupted(work) == "SIGTERM"
    assert done == ["tidy"]


def test_nothing_is_left_of_an_interruption_when_its_work_has_ended() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    check()
    with interruptible():
        check()


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that is interrupted while it is imported."""
    text = "import signal\nsignal.raise_signal(signal.SIGTERM)\nis_whole = True\n"
    (tmp_path / "interrupted_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "interrupted_module"
    sys.modules.pop("interrupted_module", None)


def test_an_interruption_waits_for_the_end_of_an_import(slow_module: str) -> None:
    def work() -> None:
        with interruptible():
            importlib.import_module(slow_module)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        work()
    assert sys.modules[slow_module].is_whole


def test_an_import_that_never_ends_is_interrupted_all_the_same(
    slow_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_MOST_TIMES", 1)
    with pytest.raises(KeyboardInterrupt), interruptible():
        importlib.import_module(slow_module)
    assert slow_module not in sys.modules


def test_work_that_ends_before_the_signal_comes_again_is_not_interrupted(slow_module: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible():
        importlib.import_module(slow_module)
    time.sleep(0.2)
    assert signal.getsignal(signal.SIGTERM) is before
