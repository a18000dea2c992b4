"""Cores and memory that this process may use, and worker processes, which end with it.

Work that cannot fit in memory is refused before it begins, by :func:`require_memory`: the kernel
ends a process that takes too much without a word.

A scheduler stops a job by a signal to each of its processes. A worker that dies of the signal while
it returns a result leaves half a message, and its pool waits forever for the rest. So workers
ignore these signals and leave them to their parent; if the parent dies, they exit. A worker can
still be killed, by the kernel when memory runs out. So results travel as files, and the messages of
a pool are too short to be left half-written.
"""

import contextlib
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lanflow.core.errors import UserError
from lanflow.core.files import name_in_errors

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")

# Variables of a process that has one core for itself, where others have theirs: libraries read them
# as they are loaded. Threads beyond the cores wait for one another, and OpenBLAS's spin meanwhile.
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# Seconds between two looks of a worker for its parent.
_WATCH_SECONDS = 0.5

_CGROUPS = Path("/sys/fs/cgroup")
# Version 1 writes a number near 2**63 where there is no limit.
_NO_LIMIT = 2**60


class WorkerDiedError(UserError):
    """A worker process ended before it gave its result."""


def n_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class MemoryLimit:
    """The most memory that something lets this process have.

    Attributes
    ----------
    name
        What sets the limit, for messages.
    total_bytes, used_bytes
        The limit, and what this process has already of what it counts.
    is_shared
        Whether worker processes count, too.
    counts_mapped
        Whether files that are mapped into memory count.
    """

    name: str
    total_bytes: int
    used_bytes: int
    is_shared: bool = True
    counts_mapped: bool = False

    @property
    def left_bytes(self) -> int:
        """Bytes that this process can still get."""
        return max(self.total_bytes - self.used_bytes, 0)


def memory_limits() -> list[MemoryLimit]:
    """List the limits on this process's memory: the shell's, its cgroups' and the machine's."""
    size, resident, data = _own_memory()
    limits = []
    for kind, name, used in (
        (resource.RLIMIT_AS, "the limit on its address space (ulimit -v)", size),
        (resource.RLIMIT_DATA, "the limit on its data (ulimit -d)", data),
    ):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(MemoryLimit(name, soft, used, False, kind == resource.RLIMIT_AS))
    try:
        swap = _swap_bytes()
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not a system that tells
        return limits
    limits.append(MemoryLimit("this machine", machine + swap, resident))
    cgroup = cgroup_bytes()
    if cgroup is not None:
        name = "the memory limit of this job or container (cgroup)"
        limits.append(MemoryLimit(name, cgroup + swap, resident))
    return limits


def _own_memory() -> tuple[int, int, int]:
    """Return the bytes that this process has: address space, resident, data."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:  # no Linux; the most that it had at a time
        unit = 1 if sys.platform == "darwin" else 2**10
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return most, most, most
    size, resident, data = (int(fields[i]) * resource.getpagesize() for i in (0, 1, 5))
    return size, resident, data


def _swap_bytes() -> int:
    """Return the swap space of this machine in bytes; 0 where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 2**10 for line in lines if line.startswith("SwapTotal:"))


def cgroup_bytes(proc: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> int | None:
    """Find the least memory limit of the cgroups, of version 1 or 2, that this process is in.

    Parameters
    ----------
    proc
        Lists the cgroups of this process, ``number:controllers:path`` a line.
    root
        Where the system shows the cgroups.

    Returns
    -------
    int or None
        Bytes; ``None`` where there is no limit.
    """
    try:
        lines = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return None
    found = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = Path(path.lstrip("/"))
        for folder in (top / place, *(top / parent for parent in place.parents)):
            with contextlib.suppress(OSError, ValueError):  # "max", or another's cgroup
                found.append(int((folder / name).read_text()))
    least = min(found, default=_NO_LIMIT)
    return least if least < _NO_LIMIT else None


def require_memory(
    what: str, needed_bytes: int, *, advice: str, mapped_bytes: int = 0, workers_bytes: int = 0
) -> None:
    """Refuse work that cannot fit in memory, before it begins.

    Parameters
    ----------
    what
        The work, for the message.
    needed_bytes
        What this process needs beside what it has, estimated.
    advice
        What makes it need less.
    mapped_bytes
        Files that it maps into memory.
    workers_bytes
        What its worker processes need together.

    Raises
    ------
    UserError
        With the estimate, the limit, what sets it, and the advice.
    """
    for limit in memory_limits():
        needed = needed_bytes
        needed += mapped_bytes if limit.counts_mapped else 0
        needed += workers_bytes if limit.is_shared else 0
        if needed > limit.left_bytes:
            raise UserError(
                f"{what} needs about {_gib(needed)} of memory, and {limit.name} leaves "
                f"{_gib(limit.left_bytes)} of {_gib(limit.total_bytes)}; {advice}"
            )


def explain_memory_error(error: MemoryError) -> str:
    """Say in one line that memory ran out, how much there is, and what to do."""
    limit = min(memory_limits(), key=lambda limit: limit.left_bytes, default=None)
    reason = " ".join(str(error).split())[:300]
    most = "" if limit is None else f"; {limit.name} allows {_gib(limit.total_bytes)}"
    return (
        f"memory ran out{reason and f' ({reason})'}{most}. Ask for less at a time, or for more "
        "memory; what is finished is kept"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"


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
        waiting = list(items)
        chunks = [waiting[i : i + chunksize] for i in range(0, len(waiting), chunksize)]
        with self._explaining_death():  # the first may kill its worker while others are begun
            futures = [
                self._executor.submit(_work, function, chunk, self._folder) for chunk in chunks
            ]
        self._futures += futures
        for future in futures:
            with self._explaining_death():
                path = self._folder / future.result()
            content = path.read_bytes()
            path.unlink()
            yield from pickle.loads(content)  # noqa: S301 of this process's own workers

    @contextmanager
    def _explaining_death(self) -> Iterator[None]:
        """Say why a pool broke in the body, most likely."""
        from concurrent.futures.process import BrokenProcessPool

        try:
            yield
        except BrokenProcessPool as e:
            raise WorkerDiedError(_explain_death(e, self._executor._max_workers)) from e

    def cancel(self) -> None:
        """Drop what has not begun."""
        for future in self._futures:
            future.cancel()


@contextmanager
def one_core() -> Iterator[None]:
    """Let numpy's products take one core in the body, as in a worker.

    Where work is done partly here and partly by workers, or by either: sums that are split among
    cores differ in their last digits.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def worker_pool(
    n_processes: int,
    start: Callable[..., None] | None = None,
    *arguments: Any,
) -> Iterator[WorkerPool]:
    """Start worker processes for the body; at its end, tasks that have begun are finished.

    Each uses one core, whatever this process was told: a job of four threads has four of them.

    The script that runs is not loaded again in the processes, so it needs no
    ``if __name__ == "__main__"``.

    Parameters
    ----------
    n_processes
        Number of processes.
    start
        Called with ``arguments`` in each process before its first task.
    """
    from loky import ProcessPoolExecutor

    with tempfile.TemporaryDirectory(prefix="lanflow_results_") as folder:
        executor = ProcessPoolExecutor(
            n_processes,
            initializer=_start,
            initargs=(os.getpid(), folder, start, arguments),
            env=ONE_CORE,  # set before they load anything
        )
        pool = WorkerPool(executor, Path(folder))
        try:
            yield pool
        finally:
            pool.cancel()
            executor.shutdown(wait=True)


def _start(
    parent: int, folder: str, start: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent, folder), daemon=True).start()
    if start is not None:
        start(*arguments)


def _exit_with_parent(parent: int, folder: str) -> None:
    """End this process after the one that leads it, which left its results behind if killed."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _work(function: Callable[[Any], Any], items: list[Any], folder: Path) -> str:
    """Apply a function to items, and return the name of the file with the results."""
    results = [function(item) for item in items]
    with name_in_errors(folder):
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            pickle.dump(results, file, protocol=5)
        return Path(file.name).name


def _explain_death(error: "BrokenProcessPool", n_processes: int) -> str:
    """Say that a worker is gone, why, as far as can be told, and what to do."""
    signals = sorted(set(re.findall(r"SIG[A-Z]+", str(error))))
    killed = f" ({', '.join(signals)})" if signals else ""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    return (
        f"a worker process was killed{killed}, most likely because memory ran out: {n_processes} "
        f"processes, of which the largest used {peak:,.0f} MiB. Use fewer processes, or more "
        "memory; what is finished is kept"
    )
