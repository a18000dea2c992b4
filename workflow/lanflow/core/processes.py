"""Worker processes that end when this process says so, or with it.

A scheduler stops a job by a signal to each of its processes. A worker that dies of the signal while
it returns a result leaves half a message, and its pool waits forever for the rest. So workers
ignore these signals and leave them to their parent; if the parent dies, they exit.
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
    """Start worker processes for the body; at its end, tasks that have begun are finished.

    Parameters
    ----------
    n_processes
        Number of processes.
    start
        Called with ``arguments`` in each process before its first task.
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
