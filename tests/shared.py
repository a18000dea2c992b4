"""What the processes of one test run make once, and share."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from the same place at the same time; ``path`` is the lock's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process to need it makes, and the others take as it is.

    Parameters
    ----------
    factory
        Pytest's; of each process, or of the only one.
    name
        The folder's, below the one that the processes of a test run have in common.
    make
        Called with the empty folder. If it fails, the next process that needs it tries again.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, is_made = base / name, base / f"{name}.made"
    with alone(base / f"{name}.lock"):
        if not is_made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            is_made.touch()
    return folder
