"""Files and folders that appear whole or not at all, also where many processes start at once."""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.folders import refuse_foreign_files

# How long a process waits for its turn: many times what one turn takes.
_LONGEST_WAIT = 120.0

_READ_BYTES = 2**22


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _fresh_name(path)
    try:
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _fresh_name(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process uses.

    Unlike :mod:`tempfile`, what is created under it has the permissions the user's umask says.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def write_text(path: Path, content: str) -> None:
    """Write a text file (UTF-8) in one step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step, indented, with a newline at the end."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replace_folder(folder: Path, own: Collection[str], *, what: str) -> Iterator[Path]:
    """Fill a new folder beside ``folder`` and put it in its place at the end.

    If the body raises, the new folder is removed and the old one, if any, stays. An old one that
    holds more than ``own`` is refused, before the body and once more before it is replaced.

    Parameters
    ----------
    folder
        Where the new one goes; a link to a folder stays a link.
    own, what
        As for :func:`lanflow.core.folders.refuse_foreign_files`.

    Raises
    ------
    UserError
        If something else is in the old folder: nothing of it is touched.
    """
    refuse_foreign_files(folder, own, what=what)
    folder = folder.resolve() if folder.is_symlink() else folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = _fresh_name(folder)
    old = _fresh_name(folder)
    fresh.mkdir()
    try:
        yield fresh
        refuse_foreign_files(folder, own, what=what)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    # Another job may still map files of the old folder, which some file systems do not delete.
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Let one process at a time do something in a folder; give whether the others are kept out.

    The lock is on the folder itself: it leaves no file, and ends with the process that holds it. On
    a file system without locks, or when the others take minutes, the body runs all the same, so it
    must not rely on its turn where results could be lost.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
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


def create_once(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file that is not there, or is empty; of many processes that do, one makes it.

    It is made beside its place and linked there whole, so a process that is killed meanwhile leaves
    no part of it, and one that is later never replaces what another has put there and used.

    Parameters
    ----------
    path
        Where it appears.
    make
        Writes it to the path given, and has closed it when it returns.
    """
    if not _is_absent(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(path.parent) as is_alone:
        if not _is_absent(path):
            return
        if is_alone:
            for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}*"):
                left.unlink(missing_ok=True)  # by a process that was killed
        fresh = _fresh_name(path)
        try:
            make(fresh)
            _link_into_place(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def _is_absent(path: Path) -> bool:
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _link_into_place(fresh: Path, path: Path) -> None:
    if path.exists():  # and empty
        fresh.replace(path)
        return
    try:
        os.link(fresh, path)
    except FileExistsError:
        return  # of another process, on a file system without locks
    except OSError:  # a file system without links
        if not path.exists():
            fresh.rename(path)


# JSON that lanflow wrote, read back.


def read_json(path: Path, *, hint: str = "") -> dict[str, Any]:
    """The content of a JSON file of keys and values.

    Parameters
    ----------
    path
        The file.
    hint
        What to say of a file that cannot be read.

    Raises
    ------
    UserError
        If it is missing, damaged, or holds anything else.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}){hint and '; ' + hint}") from e
    except ValueError as e:
        raise UserError(f"{path}: damaged, not valid JSON ({e})") from e
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def read_record(path: Path, version_key: str, version: int) -> dict[str, Any]:
    """The content of a record that has a version.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another version.
    """
    content = read_json(path)
    found = content.get(version_key)
    if found != version:
        raise UserError(f"{path}: {version_key} is {found!r}, this lanflow reads {version}")
    return content


def file_sha256(path: Path) -> str:
    """Sha256 (hex) of a file of any size.

    Raises
    ------
    UserError
        If it cannot be read.
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
    """A path from the root, without ``..``; links stay, so a path stays what a person typed."""
    return Path(os.path.normpath(Path.cwd() / path))
