"""The warm process: imports what takes seconds, once, and forks a process for each job.

Of each job a second fork, the watcher, passes its status and signals between it and the command
that asked for it, so that neither outlives the other, whatever becomes of the warm process.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lanflow.workflow.warm import client as job_side
from lanflow.workflow.warm.client import GO, READY, Request, user_of
from lanflow.workflow.warm.likeness import is_read_late, likeness

_OWNER = 0  # standard input: a pipe whose other end the build has
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_SECONDS_TO_ASK = 10.0

# Variables that imports have set and that are read later, before (None: not at all) and after. The
# others have been read.
_set_by_imports: dict[str, tuple[str | None, str]] = {}


def serve(folder: Path, preloaded: Sequence[str]) -> None:
    """Import modules, then fork a process for each job that asks, until the build is over.

    Jobs may ask from the beginning; they wait while modules are imported.

    Parameters
    ----------
    folder
        Nobody else's, for the socket.
    preloaded
        Modules to import, and ``module:function`` to call; what is not installed is left out.
    """
    word, before = likeness(), dict(os.environ)
    if word is None:
        return
    path = folder / word
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path.with_suffix(".new")))
            listener.listen(64)
            path.with_suffix(".new").rename(path)
            if all(_load(name) and not _is_over() for name in preloaded):
                gc.collect()
                gc.freeze()  # what is there now is shared, and looked through by no job
                _note_changes(before)
                while not _is_over(listener):
                    _accept(listener)
                    _forget_ended()
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a socket, and its folder with the last one; the build removes it, too."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        if not any(other.is_socket() for other in path.parent.iterdir()):
            shutil.rmtree(path.parent, ignore_errors=True)


def _load(name: str) -> bool:
    """Import a module, or call its function; False if it fails, so that each job says so itself."""
    module, _, function = name.partition(":")
    try:
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()
    except ModuleNotFoundError as e:
        sys.stderr.write(f"{name}: {e}\n")
    except Exception:
        traceback.print_exc()
        return False
    return True


def _note_changes(before: dict[str, str]) -> None:
    for name, value in os.environ.items():
        if is_read_late(name) and before.get(name) != value:
            _set_by_imports[name] = (before.get(name), value)


def _with_changes(variables: dict[str, str]) -> dict[str, str]:
    """Return a job's variables with what imports have set where they found what the job has."""
    changes = {n: new for n, (old, new) in _set_by_imports.items() if variables.get(n) == old}
    return variables | changes


def _is_over(listener: socket.socket | None = None) -> bool:
    """Tell whether the build has ended; with a socket, wait until it has or somebody asks."""
    waited: list[Any] = [_OWNER] if listener is None else [_OWNER, listener]
    return _OWNER in select.select(waited, [], [], 0 if listener is None else None)[0]


def _accept(listener: socket.socket) -> None:
    """Fork a watcher for who asks; who is refused runs the job alone."""
    with contextlib.suppress(OSError):
        asking, _ = listener.accept()
        with asking:
            if user_of(asking) == os.geteuid() and _fork() == 0:
                listener.close()
                watch(asking)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python counts threads of libraries, which stop their own before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _forget_ended() -> None:
    """Take the status of ended watchers, and with it the seconds that their jobs computed."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def watch(asking: socket.socket) -> NoReturn:
    """Fork the job, pass signals on to it, and tell its status; kill it if the asking one is gone.

    Parameters
    ----------
    asking
        Connected with a command that waits in :func:`lanflow.workflow.warm.client.hand_over`.
    """
    with contextlib.suppress(OSError, ValueError):
        asking.settimeout(_SECONDS_TO_ASK)
        request, streams = _receive(asking)
        asking.sendall(READY)
        if asking.recv(1) == GO:  # else it has begun the work itself
            asking.settimeout(None)
            ended = _wake_at_an_end()
            watcher, job = os.getpid(), _fork()
            if job == 0:
                _become(request, streams, watcher)
            for stream in streams:
                os.close(stream)
            status = _follow(job, asking, ended)
            asking.sendall(f"{status}\n".encode())
    os._exit(0)


def _receive(asking: socket.socket) -> tuple[Request, list[int]]:
    head, streams, _, _ = socket.recv_fds(asking, 8, 4)
    size, content = int.from_bytes(head, "big"), b""
    while len(content) < size:
        part = asking.recv(1 << 16)
        if not part:
            raise ConnectionError
        content += part
    request: Request = json.loads(content)
    return request, streams


def _wake_at_an_end() -> int:
    """Return the end of a pipe that can be read once a child has ended."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake)
    return ended


def _follow(job: int, asking: socket.socket, ended: int) -> int:
    """Return the status of a job once it has ended; a negative number is a signal's."""
    waited: list[Any] = [ended, asking]
    while True:
        pid, status = os.waitpid(job, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        ready = select.select(waited, [], [])[0]
        if ended in ready:
            os.read(ended, 1 << 10)
        if asking in ready:
            numbers = _signals_of(asking)
            for number in numbers:
                os.kill(job, number)
            if not numbers:
                waited.remove(asking)
                os.killpg(job, signal.SIGKILL)


def _signals_of(asking: socket.socket) -> bytes:
    """Return the numbers of signals to pass on; none if the command is gone."""
    try:
        return asking.recv(16)
    except OSError:
        return b""


def _become(request: Request, streams: list[int], watcher: int) -> NoReturn:
    """Become the process that a command asked for.

    The socket stays open as long as this process lives, so that the command, which does the work
    itself if all is lost, does not begin before.
    """
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != watcher:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *numbered, folder = streams
    for number, stream in enumerate(numbered):
        os.dup2(stream, number)
    os.fchdir(folder)
    for stream in streams:
        os.close(stream)
    os.environ.clear()
    os.environ.update(_with_changes(request["variables"]))
    sys.argv[:] = request["arguments"]
    sys.path[:] = request["search_path"]
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    job_side.is_fork = True
    _forget_draws()
    _end(_run(request["entry"]))


def _forget_draws() -> None:
    """Forget what a process draws or looks up once: random numbers, where temporary files go."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    tempfile.tempdir = None


def _run(entry: str) -> object:
    """Run a command's function, or the script that is named by the first argument."""
    module, _, function = entry.partition(":")
    try:
        if not entry:
            runpy.run_path(sys.argv[0], run_name="__main__")
            return 0
        return getattr(importlib.import_module(module), function)()
    except SystemExit as e:
        return e.code
    except BaseException:
        traceback.print_exc()
        return 1


def _end(code: object) -> NoReturn:
    """End as Python does, but for taking down module by module what was imported."""
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    status = code if isinstance(code, int) else int(code is not None)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = 120  # as Python ends where its output cannot be written
    os._exit(status & 0xFF)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
