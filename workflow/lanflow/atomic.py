"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lanflow.own_folder import require_own


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
def fresh_folder(folder: Path, own: Collection[str], *, what: str) -> Iterator[Path]:
    """Fill a new folder beside ``folder`` and put it in its place at the end.

    If the body raises, the new folder is removed and the old one, if any, stays. An old one that
    holds more than ``own`` is refused, before the body and once more before it is replaced.

    Parameters
    ----------
    folder
        Where the new one goes; a link to a folder stays a link.
    own, what
        As for :func:`lanflow.own_folder.require_own`.

    Raises
    ------
    UserError
        If something else is in the old folder: nothing of it is touched.
    """
    require_own(folder, own, what=what)
    folder = folder.resolve() if folder.is_symlink() else folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = _fresh_name(folder)
    old = _fresh_name(folder)
    fresh.mkdir()
    try:
        yield fresh
        require_own(folder, own, what=what)
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
