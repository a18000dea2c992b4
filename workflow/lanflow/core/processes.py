"""Worker processes that end when this process says so, or with it.

A scheduler stops a job by a signal to each of its processes. A worker that dies of the signal while
it returns a result leaves half a message, and its pool waits forever for the rest. So workers
ignore these signals and leave them to their parent; if the parent dies, they exit. A worker can
still be killed, by the kernel when memory runs out. So results travel as files, and the messages of
a pool are too short to be left half-written.
"""

import os
import pickle
import re
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lanflow.core.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds between two looks of a worker for its parent.
_WATCH_SECONDS = 0.5
# Megabytes that the rows of a training may take, unless told otherwise.
DEFAULT_MEMORY_MB = 4000


class WorkerDiedError(UserError):
    """A worker process ended before it gave its result."""


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool:
    """Processes that work for the body of :func:`worker_pool`.

    Parameters
    ----------
    executor
        loky's.
    folder
        Where results wait to be read.
    """

    def __init__(self, executor: Any, folder: Path) -> None:
        self._executor, self._folder = executor, folder
        self._futures: list[Any] = []

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunksize: int = 1
    ) -> Iterator[Result]:
        """Apply a function to items, in order, some at a time in each process.

        All of them are begun by the first call for a result.

        Raises
        ------
        WorkerDiedError
            If a process was killed.
        """
        from concurrent.futures.process import BrokenProcessPool

        waiting = list(items)
        chunks = [waiting[i : i + chunksize] for i in range(0, len(waiting), chunksize)]
        futures = [self._executor.submit(_work, function, chunk, self._folder) for chunk in chunks]
        self._futures += futures
        for future in futures:
            try:
                path = self._folder / future.result()
            except BrokenProcessPool as e:
                raise WorkerDiedError(_explain_death(e, self._executor._max_workers)) from e
            content = path.read_bytes()
            path.unlink()
            yield from pickle.loads(content)  # noqa: S301 of this process's own workers

    def cancel(self) -> None:
        """Drop what has not begun."""
        for future in self._futures:
            future.cancel()


@contextmanager
def worker_pool(
    n_processes: int,
    start: Callable[..., None] | None = None,
    *arguments: Any,
    environment: Mapping[str, str] | None = None,
) -> Iterator[WorkerPool]:
    """Start worker processes for the body; at its end, tasks that have begun are finished.

    The script that runs is not loaded again in the processes, so it needs no
    ``if __name__ == "__main__"``.

    Parameters
    ----------
    n_processes
        Number of processes.
    start
        Called with ``arguments`` in each process before its first task.
    environment
        Variables of the processes, set before they load anything.
    """
    from loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(
        n_processes,
        initializer=_start,
        initargs=(os.getpid(), start, arguments),
        env=dict(environment or {}),
    )
    with tempfile.TemporaryDirectory(prefix="lanflow_results_") as folder:
        pool = WorkerPool(executor, Path(folder))
        try:
            yield pool
        finally:
            pool.cancel()
            executor.shutdown(wait=True)


def _start(parent: int, start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _work(function: Callable[[Any], Any], items: list[Any], folder: Path) -> str:
    """Apply a function to items; the name of the file with the results."""
    results = [function(item) for item in items]
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        pickle.dump(results, file, protocol=5)
    return Path(file.name).name


def _explain_death(error: "BrokenProcessPool", n_processes: int) -> str:
    """Say that a worker is gone, why, most likely, and what to do."""
    signals = sorted(set(re.findall(r"SIG[A-Z]+", str(error))))
    killed = f" ({', '.join(signals)})" if signals else ""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    return (
        f"a worker process was killed{killed}, most likely because memory ran out: {n_processes} "
        f"processes, of which the largest used {peak:,.0f} MiB. Use fewer processes, or more "
        "memory; what is finished is kept"
    )
