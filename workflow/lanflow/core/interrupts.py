"""Interruptions by signals: they are deferred where work must not be cut in two, and never lost.

Python can lose the exception that a signal handler raises. If the signal arrives during a callback
whose exceptions Python only prints (the garbage collector, ``__del__``, a weak reference) or inside
a library's ``except:``, the work goes on. So the handler also notes the interruption, and
:func:`check`, which long work calls again and again, raises it once more. The swallowed exception
is not reported.

An exception in a callback from C++, of which JAX and others have many, even aborts the process. So
such libraries are imported and used inside :func:`defer_signals`, block by block.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Names of the signals that asked this process to stop since `interruptible` was entered.
_pending: list[str] = []


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


def _interrupt(number: int, _frame: object) -> None:
    _pending.append(signal.Signals(number).name)
    # Schedulers repeat SIGTERM; the work that the first one ended must still be recorded.
    if number == signal.SIGTERM and is_handling_interrupt():
        return
    raise KeyboardInterrupt(_pending[-1])


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
