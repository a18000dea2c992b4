"""The values of options: each function makes one from a word, or says why it is none.

A ValueError tells the reason; the command's message puts the option's name before it.
"""

import os
from pathlib import Path

from lanflow.core.errors import short
from lanflow.core.names import LARGEST_COUNT, LARGEST_SEED, check_name, check_title

# Threads or processes: as many as large machines have cores. Thousands would find no memory, and
# libraries end the process where they cannot start one.
_MOST_AT_A_TIME = 1024


def whole_number(text: str) -> int:
    """Parse a non-negative whole number."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_COUNT)


def count(text: str) -> int:
    """Parse a positive whole number."""
    return _parse_whole(text, "a positive whole number", 1, LARGEST_COUNT)


def seed(text: str) -> int:
    """Parse a seed."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_SEED)


def at_a_time(text: str) -> int:
    """Parse a number of threads or processes."""
    from lanflow.core.processes import n_cores

    return _parse_whole(text, "a positive whole number", 1, max(_MOST_AT_A_TIME, n_cores()))


def _parse_whole(text: str, what: str, least: int, most: int) -> int:
    is_short = text.isdecimal() and len(text) <= len(str(LARGEST_SEED))
    if not (is_short and least <= int(text) <= most):
        raise ValueError(f"{short(text)} is not {what} of at most {most:,}")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise ValueError(f"{short(text)} is not a number from 0 to 1")
    return number


def plain_name(text: str) -> str:
    """Parse a name that becomes part of a path."""
    return check_name(text)


def title(text: str) -> str:
    """Parse the name of a run or an experiment in MLflow."""
    return check_title(text)


def output_file(text: str) -> Path:
    """Parse the path of a file to write: a place that takes none is told at once."""
    path = Path(text)
    try:
        if path.is_dir():
            raise ValueError(f"{short(text)} is a folder; name a file")
        folder = next(place for place in path.absolute().parents if place.exists())
        if not folder.is_dir():
            raise ValueError(f"{folder}: is a file; name a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{folder}: Permission denied")
    except OSError as e:
        from lanflow.core.files import explain_os_error

        raise ValueError(explain_os_error(e)) from e
    return path
