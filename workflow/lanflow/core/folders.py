"""Protection of folders: lanflow does not write into one that holds files of someone else."""

import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from lanflow.core.errors import UserError

# Files that file managers, NFS and Snakemake leave in any folder.
_ANYWHERE = (".DS_Store", ".nfs*", ".snakemake_timestamp")
# A temporary file of lanflow.core.files, left by a process that was killed.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}")
_N_NAMED = 3


def find_leftovers(
    folder: Path, names: Collection[str], *, also: Collection[str] = ()
) -> list[Path]:
    """List the temporary files and folders in a folder; a living process may use them.

    Parameters
    ----------
    folder
        The folder; it need not exist.
    names
        What they are to become.
    also
        Ends of names, for files that lie beside each temporary one.
    """
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            for end in also:
                name = name.removesuffix(end)
            left = _LEFTOVER.fullmatch(name)
            if left and left["name"] in names:
                found.append(folder / entry.name)
    return found


def given_or_temporary(given: Path | str | None) -> Path:
    """Return the folder that is given, or make a temporary one."""
    return Path(tempfile.mkdtemp(prefix="lanflow_")) if given is None else Path(given)


def refuse_foreign_files(folder: Path, own: Iterable[str], *, what: str) -> None:
    """Raise if a folder holds anything that its writer does not make.

    Every command that writes a folder calls this before it writes.

    Parameters
    ----------
    folder
        The folder; it need not exist.
    own
        Paths in the folder that the writer makes, as patterns of :mod:`fnmatch` with ``/``
        between folders. A pattern that ends with ``/`` is a folder with all its content.
    what
        Name of what the writer makes, for the message: "this bundle".

    Raises
    ------
    UserError
        If the folder or one of its parents is a file, if it cannot be read, or if it holds other
        files, which the message names.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        if os.path.lexists(place):
            found = "a file" if place.exists() else "a link to nothing"
            raise UserError(f"{place}: is {found}; name a folder. Nothing was changed")
    if not folder.is_dir():
        return
    others = sorted(_others(folder, tuple(own)))
    if others:
        named = ", ".join(name if name.isprintable() else ascii(name) for name in others[:_N_NAMED])
        more = f" and {len(others) - _N_NAMED} more" if len(others) > _N_NAMED else ""
        raise UserError(
            f"{folder}: holds what is not of {what} ({named}{more}); name a folder of its own, or "
            "move that elsewhere. Nothing was changed"
        )


def _others(folder: Path, own: tuple[str, ...]) -> Iterator[str]:
    """List the paths in a folder that no pattern matches; a foreign folder counts as one path."""
    for place, inner, files in os.walk(folder, onerror=_refuse):
        at = Path(place).relative_to(folder)
        paths = [(at / name).as_posix() for name in files]
        yield from (path for path in paths if not _is_own(path, own))
        for name in tuple(inner):
            left = _LEFTOVER.fullmatch(name)
            path = (at / (left["name"] if left else name)).as_posix() + "/"
            if left and any(pattern.startswith(path) for pattern in own):
                inner.remove(name)
            elif not any(pattern.startswith(path) and pattern != path for pattern in own):
                inner.remove(name)
                if path not in own:
                    yield path


def _is_own(path: str, own: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    if any(fnmatchcase(name, pattern) for pattern in _ANYWHERE):
        return True
    if left := _LEFTOVER.fullmatch(name):
        path = path.removesuffix(name) + left["name"]
    return any(fnmatchcase(path, pattern) for pattern in own)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}). Nothing was changed")
