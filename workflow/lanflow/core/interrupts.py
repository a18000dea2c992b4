"""Interruptions by signals: they are deferred where work must not be cut in two, and never lost.

Python can lose the exception that a signal handler raises. If the signal arrives during a callback
whose exceptions Python only prints (the garbage collector, ``__del__``, a weak reference) or inside
a library's ``except:``, the work goes on. So the handler also notes the interruption, and
:func:`check`, which long work calls again and again, raises it once more. The swallowed exception
is not reported.

An exception in a callback from C++, of which JAX and others have many, even aborts the process. So
such libraries are used inside :func:`defer_signals`, block by block. A library that is half
imported can crash as the process ends, so that an interruption waits for the end of an import.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Names of the signals that asked this process to stop since `interruptible` was entered.
_pending: list[str] = []

# Seconds after which a signal that came during an import is sent again, and how often it is.
_AGAIN, _MOST_TIMES = 0.05, 200
_IMPORT = "<frozen importlib._bootstrap>"


def is_handling_interrupt() -> bool:
    """Tell whether a KeyboardInterrupt is being handled, as while the work is cleaned up."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def check() -> None:
    """Raise a pending interruption again, if its exception was lost.

    Raises
    ------
    KeyboardInterrupt
        With the signal's name.
    """
    if _pending and not is_handling_interrupt() and _is_main_thread():
        raise KeyboardInterrupt(_pending[0])


def _interrupt(number: int, frame: FrameType | None) -> None:
    _pending.append(signal.Signals(number).name)
    # Schedulers repeat SIGTERM; the work that the first one ended must still be recorded.
    if number == signal.SIGTERM and is_handling_interrupt():
        return
    if _is_importing(frame) and len(_pending) < _MOST_TIMES:
        again = threading.Timer(_AGAIN, _send_again, [number])
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt(_pending[-1])


def _send_again(number: int) -> None:
    if _pending:  # else the work has ended meanwhile
        signal.raise_signal(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, by which a scheduler stops a job, raise KeyboardInterrupt as Ctrl-C does."""
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored, for example, by nohup
        numbers.append(signal.SIGINT)
    _pending.clear()
    report = sys.unraisablehook

    def report_others(lost: "sys.UnraisableHookArgs") -> None:
        if not (_pending and isinstance(lost.exc_value, KeyboardInterrupt)):
            report(lost)

    sys.unraisablehook = report_others
    before = [signal.signal(number, _interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        sys.unraisablehook = report
        _pending.clear()


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the body is done.

    A transaction that is cut in two would stay open and keep its database locked. A second Ctrl-C
    is not deferred. Only the main thread gets signals; in other threads this does nothing.

    Raises
    ------
    KeyboardInterrupt
        Before the body, if an earlier interruption was lost.
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
