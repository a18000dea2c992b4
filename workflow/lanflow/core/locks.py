"""Lock of a folder of results: one process at a time writes there.

The kernel releases a lock when its process ends, however it ends, so no lock is ever left over. The
lock's file names the holder, for messages only. Locks work between processes of one machine, and
between machines where their file system has locks (NFS 4, Lustre with ``flock``, BeeGFS and others
where they are enabled).
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from lanflow.core.errors import UserError
from lanflow.core.files import explain_os_error

log = logging.getLogger(__name__)

# A process writes its name a moment after it took a lock; others wait this long for the name.
_SECONDS_TO_READ_THE_HOLDER = 1.0

# File descriptors of the locks that this process holds.
_held: set[int] = set()


def _leave_to_parent() -> None:
    """Close the locks that a forked process inherits, which would outlive their holder."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def lock_path(folder: Path) -> Path:
    """Return the lock's file for a folder that is replaced as a whole: it is beside the folder."""
    return folder.absolute().with_name(f".{folder.name}.lock")


@contextlib.contextmanager
def locked(path: Path, what_happens: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock while the body runs.

    Parameters
    ----------
    path
        The lock's file. It is created here and removed at the end, with the folders that were made
        for it and are still empty. A file that a killed process left locks nobody out.
    what_happens
        Start of the message for other processes: ``"results/net is being trained"``.
    wait
        Wait for the process that holds the lock, and log that, instead of raising.

    Raises
    ------
    UserError
        If another process, which is named, holds the lock, or the file cannot be written.
    """
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    file = _take(path, what_happens, wait=wait)
    _held.add(file)
    try:
        _write_holder(file)
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_at(path, file):  # the folder, and its lock, may have been replaced meanwhile
                path.unlink()
        _held.discard(file)
        os.close(file)
        with contextlib.suppress(OSError):  # one that somebody filled, and those above it, stay
            for folder in missing:
                folder.rmdir()


def _take(path: Path, what_happens: str, *, wait: bool) -> int:
    """Open and lock the file at ``path``; repeated if the last holder removed it meanwhile."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # its last holder removed the folder at this moment
                continue
        except OSError as e:
            raise UserError(f"the lock cannot be written: {explain_os_error(e)}") from e
        try:
            if not _lock(file):
                holder = f"{what_happens} by {_read_holder(path)}"
                if not wait:
                    raise UserError(f"{holder}; wait for it or end it")
                log.info("%s; waiting for it", holder)
                _lock(file, wait=True)
            if _is_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int, *, wait: bool = False) -> bool:
    """Lock an open file; False if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno != errno.ESTALE:  # removed on another machine, and opened again by the caller
            log.warning("this file system has no locks (%s); start nothing twice", e.strerror)
    return True


def _is_at(path: Path, file: int) -> bool:
    """Tell whether an open file is the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


def _write_holder(file: int) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with contextlib.suppress(OSError):  # a full disk; the name is for messages only
        os.ftruncate(file, 0)
        os.pwrite(file, (json.dumps(holder) + "\n").encode(), 0)


def _read_holder(path: Path) -> str:
    """Describe the process that holds a lock."""
    end = time.monotonic() + _SECONDS_TO_READ_THE_HOLDER
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(path.read_text())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        time.sleep(0.05)
    return "another process"
