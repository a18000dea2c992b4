"""Interruptions: they wait for what must not be cut in two, and none is lost.

Python can lose the exception that a signal's handler raises: one that lands in a callback whose
exceptions it only prints (of the garbage collector, ``__del__``, a weak reference), or inside
somebody's ``except:``, ends there and the work goes on. So a handler also notes that an
interruption was asked for, and :func:`check`, which long work calls again and again, raises it once
more. The lost one is no error to be told of.

Worse, an exception in a callback of C++, which JAX and others have many of, aborts the process. So
their work and their import are done as what must not be cut in two: block by block, the signal
waits until they are done.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Names of the signals that asked this process to stop, since `interruptible` was entered.
_asked_for: list[str] = []


def is_handling_interrupt() -> bool:
    """Whether an interruption is being handled here: the work is being left, or tidied up after."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def check() -> None:
    """Raise the interruption that was asked for, if what raised it first was lost.

    Raises
    ------
    KeyboardInterrupt
        With the signal's name.
    """
    if _asked_for and not is_handling_interrupt() and _is_main_thread():
        raise KeyboardInterrupt(_asked_for[0])


def _interrupt(number: int, _frame: object) -> None:
    _asked_for.append(signal.Signals(number).name)
    # Schedulers repeat SIGTERM; recording the end that the first began must not be cut short.
    if number == signal.SIGTERM and is_handling_interrupt():
        return
    raise KeyboardInterrupt(_asked_for[-1])


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, which a scheduler sends to stop a job, end the work like Ctrl-C does."""
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as behind nohup
        numbers.append(signal.SIGINT)
    _asked_for.clear()
    tell = sys.unraisablehook

    def tell_of_others(lost: "sys.UnraisableHookArgs") -> None:
        if not (_asked_for and isinstance(lost.exc_value, KeyboardInterrupt)):
            tell(lost)

    sys.unraisablehook = tell_of_others
    before = [signal.signal(number, _interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        sys.unraisablehook = tell
        _asked_for.clear()


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the body is done, then let them do what they do.

    A transaction that is cut in two stays open, and its database locked for what must still be
    recorded. A second Ctrl-C does not wait. Only the main thread gets signals; in others this does
    nothing.

    Raises
    ------
    KeyboardInterrupt
        Before the body, if an interruption was asked for earlier and lost.
    """
    if not _is_main_thread():
        yield
        return
    check()
    waiting: list[int] = []

    def wait(number: int, _frame: object) -> None:
        if number == signal.SIGINT and number in waiting:
            raise KeyboardInterrupt
        waiting.append(number)

    before = {number: signal.signal(number, wait) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for waited in waiting:
            signal.raise_signal(waited)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
