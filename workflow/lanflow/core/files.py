"""Files and folders that appear complete or not at all, also if many processes start at once."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.folders import find_leftovers, refuse_foreign_files

# Seconds that a process waits for a folder's lock: many times what its holder needs.
_LONGEST_WAIT = 120.0

_READ_BYTES = 2**22

# Files that SQLite keeps beside a database, by the ends of their names.
_OF_SQLITE = "-journal", "-wal", "-shm"
# No room: on the disk, in a quota, or for so large a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Not allowed to write, whatever the room.
_NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM)


def explain_os_error(error: OSError) -> str:
    """Say in one line which file the system refused, why, and what to do.

    Every command ends an :class:`OSError` with this line: a full or read-only disk, a quota, a
    missing right or a name that is too long is none of lanflow's faults.

    Parameters
    ----------
    error
        As the system raised it.

    Returns
    -------
    str
        The file and the reason; where there is no room, also the folder and what is free there.
    """
    name = error.filename2 or error.filename
    path = Path(tempfile.gettempdir() if name is None else os.fsdecode(name)).absolute()
    shown = f"{path}" if str(path).isprintable() else ascii(str(path))
    if name is None and error.errno not in _NO_ROOM:
        return error.strerror or str(error)
    is_in_the_way = isinstance(error, FileExistsError) and path.exists() and not path.is_dir()
    reason = "is a file; name a folder" if is_in_the_way else error.strerror or error
    message = f"{shown}: {reason}"
    if error.errno in _NO_ROOM:
        folder = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
        free = shutil.disk_usage(folder).free / 2**20
        return (
            f"{message}; {free:,.1f} MiB are free on the disk of {folder}. Make room there (or ask "
            "for a larger quota), and give the same command again: what is finished is kept"
        )
    if error.errno in _NO_RIGHT:
        return f"{message}; name another place, or ask for the right to use this one"
    return message


@contextlib.contextmanager
def name_in_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an :class:`OSError` of the body name the file that a person knows.

    Python does not name the file that a write failed on, and lanflow writes under other names.

    Parameters
    ----------
    path
        The name for errors that have none.
    temporary
        Where the body writes what becomes ``path``.
    """
    try:
        yield
    except OSError as e:
        name = os.fsdecode(e.filename) if isinstance(e.filename, str | bytes) else None
        if name is None and e.errno is not None:
            e.filename = str(path)
        elif name is not None and temporary is not None and Path(name).is_relative_to(temporary):
            e.filename, e.filename2 = str(path / Path(name).relative_to(temporary)), None
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old content or the new, never a part.

    What killed processes left of earlier tries to write the same file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, [path.name])
    while not _write_and_replace(path, content):
        pass


def _write_and_replace(path: Path, content: bytes) -> bool:
    """Write a temporary file and move it to ``path``; False if another writer removed it."""
    fresh = _temporary_path(path)
    with name_in_errors(path, fresh):
        try:
            with fresh.open("xb") as file:
                # Before it was locked, another writer may have taken it for a leftover.
                if _try_lock(file.fileno()) is False or not fresh.exists():
                    return False
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                fresh.replace(path)
        finally:
            with contextlib.suppress(OSError):  # the error of the body says what is wrong
                fresh.unlink(missing_ok=True)
    return True


def _temporary_path(path: Path) -> Path:
    """Return a hidden path beside ``path`` that no other process uses.

    Files created there have the permissions of the user's umask, unlike those of :mod:`tempfile`.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def remove_leftovers(folder: Path, names: Collection[str]) -> None:
    """Remove temporary files and folders for these names that no process holds a lock on.

    Processes that were killed left them. Where files or folders cannot be locked, such as folders
    on NFS, nothing is removed.
    """
    for left in find_leftovers(folder, names):
        with contextlib.suppress(OSError):  # it is somebody else's, or gone
            handle = os.open(left, os.O_RDONLY if left.is_dir() else os.O_RDWR)
            try:
                if _try_lock(handle):
                    _remove(left)
            finally:
                os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Another job may still map files of a folder, which some file systems do not delete.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _try_lock(handle: int) -> bool | None:
    """Lock an open file or folder: False if another process holds it, None without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Mark a temporary folder as in use."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _try_lock(handle)
        yield
    finally:
        os.close(handle)


def write_text(path: Path, content: str) -> None:
    """Write a text file (UTF-8) in one step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step, indented, with a newline at the end."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replace_folder(folder: Path, own: Collection[str], *, what: str) -> Iterator[Path]:
    """Fill a new folder beside ``folder``, which replaces it at the end.

    If the body raises, the new folder is removed and the old one stays. An old folder that holds
    anything but ``own`` is refused before the body, and again before it is replaced.

    Parameters
    ----------
    folder
        The folder to replace, if it exists; a link to a folder stays a link.
    own, what
        As for :func:`lanflow.core.folders.refuse_foreign_files`.

    Raises
    ------
    UserError
        If the old folder holds anything else; it is left as it is.
    """
    refuse_foreign_files(folder, own, what=what)
    folder = folder.resolve() if folder.is_symlink() else folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent, [folder.name])
    fresh, old = _temporary_path(folder), _temporary_path(folder)
    try:
        with name_in_errors(folder, fresh):
            fresh.mkdir()
            with _locked_folder(fresh):
                yield fresh
                refuse_foreign_files(folder, own, what=what)
                if folder.exists():
                    folder.rename(old)
                fresh.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (fresh, old):
            _remove(left)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder during the body, and yield whether that succeeded.

    The lock is on the folder itself: it leaves no file and ends with the process. On a file system
    without locks, or when other processes hold it for minutes, the body runs without the lock, so
    results must not depend on it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open folder; False if there are no locks or the wait was too long."""
    end = time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < end:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return False
        else:
            return True
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, which nobody changes in place; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def create_once(path: Path, make: Callable[[Path], None]) -> None:
    """Create a file that is missing or empty, in one of the processes that need it.

    The file is written beside its place and linked there when it is complete. So a process that is
    killed leaves no part of it, and a late process never replaces a file that another one uses.

    Parameters
    ----------
    path
        The file.
    make
        Writes and closes a file at the path that it is given.
    """
    if not _is_missing_or_empty(path) and not _leftovers_of_database(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(path.parent) as is_locked:
        if is_locked:  # so nobody is making it, and these are of a process that was killed
            for left in _leftovers_of_database(path):
                left.unlink(missing_ok=True)
        if not _is_missing_or_empty(path):
            return
        fresh = _temporary_path(path)
        try:
            make(fresh)
            _link_into_place(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def _leftovers_of_database(path: Path) -> list[Path]:
    return find_leftovers(path.parent, [path.name], also=_OF_SQLITE)


def _is_missing_or_empty(path: Path) -> bool:
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _link_into_place(fresh: Path, path: Path) -> None:
    """Put a new file in its place, unless another process has done so."""
    if path.exists():  # and empty
        fresh.replace(path)
        return
    try:
        os.link(fresh, path)
    except FileExistsError:
        return  # another process was faster, on a file system without locks
    except OSError:  # a file system without links
        if not path.exists():
            fresh.rename(path)


def read_json(path: Path, *, hint: str = "") -> dict[str, Any]:
    """Read a JSON file that holds keys and values.

    Parameters
    ----------
    path
        The file.
    hint
        Advice for a file that cannot be read; part of the error message.

    Raises
    ------
    UserError
        If the file is missing, damaged, or holds anything else.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}){hint and '; ' + hint}") from e
    except (ValueError, RecursionError) as e:  # the latter from thousands of brackets
        raise UserError(f"{path}: damaged, not valid JSON ({e})") from e
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def read_record(path: Path, version_key: str, version: int) -> dict[str, Any]:
    """Read a JSON file that must have a certain version under ``version_key``.

    Raises
    ------
    UserError
        If the file is missing, damaged, or of another version.
    """
    content = read_json(path)
    found = content.get(version_key)
    if found != version:
        raise UserError(f"{path}: {version_key} is {found!r}, this lanflow reads {version}")
    return content


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 digest of a file, as hexadecimal text.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
    return digest.hexdigest()


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path from the root without ``..``; links are not resolved."""
    return Path(os.path.normpath(Path.cwd() / path))
