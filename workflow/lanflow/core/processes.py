"""Processes that work for this one, and end when it says so, or with it.

A scheduler stops a job by a signal to each of its processes. A worker that dies of it while it
hands over a result leaves half a message behind, for the rest of which its pool waits for ever. So
workers leave such signals to the process that leads them; should that die, they end by themselves.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


def _nothing() -> None:
    pass


@contextmanager
def worker_pool(
    n_processes: int, start: Callable[..., None] = _nothing, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Processes for the body; when it is left, those at work finish what they are at.

    Parameters
    ----------
    n_processes
        How many.
    start
        Called in each with ``arguments``, before it works.
    """
    executor = ProcessPoolExecutor(
        n_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(start, arguments),
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _start(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    start(*arguments)


def _exit_with_parent() -> None:
    leader = multiprocessing.parent_process()
    assert leader is not None
    leader.join()
    os._exit(1)
