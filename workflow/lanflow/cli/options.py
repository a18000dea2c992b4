"""Common parts of all commands: options, exit status, the JSON line at the end, signals."""

import argparse
import contextlib
import errno
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanflow.core.errors import UsageError, UserError, short
from lanflow.core.files import explain_os_error
from lanflow.core.interrupts import interruptible
from lanflow.core.names import LARGEST_COUNT, LARGEST_SEED, check_name, check_title
from lanflow.core.processes import explain_memory_error, n_cores
from lanflow.core.progress import LineFormatter
from lanflow.tracking.store import (
    SEND_MODE_VARIABLE,
    SEND_MODES,
    RedactedRecord,
    Store,
    redact,
    resolve_store,
)

if TYPE_CHECKING:
    from lanflow.models.models_file import ModelsFile

log = logging.getLogger("lanflow")

# Threads or processes: as many as large machines have cores. Thousands would find no memory, and
# libraries end the process where they cannot start one.
_MOST_AT_A_TIME = 1024


def whole_number(text: str) -> int:
    """Parse a non-negative whole number, for argparse."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_COUNT)


def count(text: str) -> int:
    """Parse a positive whole number, for argparse."""
    return _parse_whole(text, "a positive whole number", 1, LARGEST_COUNT)


def seed(text: str) -> int:
    """Parse a seed, for argparse."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_SEED)


def at_a_time(text: str) -> int:
    """Parse a number of threads or processes, for argparse."""
    return _parse_whole(text, "a positive whole number", 1, max(_MOST_AT_A_TIME, n_cores()))


def _parse_whole(text: str, what: str, least: int, most: int) -> int:
    is_short = text.isdecimal() and len(text) <= len(str(LARGEST_SEED))
    if not (is_short and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{short(text)} is not {what} of at most {most:,}")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{short(text)} is not a number from 0 to 1")
    return number


def plain_name(text: str) -> str:
    """Parse a name that becomes part of a path, for argparse."""
    try:
        return check_name(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def output_file(text: str) -> Path:
    """Parse the path of a file to write, for argparse: a place that takes none is told at once."""
    path = Path(text)
    try:
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{short(text)} is a folder; name a file")
        folder = next(place for place in path.absolute().parents if place.exists())
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file; name a folder", str(folder))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as e:
        raise argparse.ArgumentTypeError(explain_os_error(e)) from e
    return path


def title(text: str) -> str:
    """Parse the name of a run or an experiment in MLflow, for argparse."""
    try:
        return check_title(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def add_log_level(group: Any) -> None:
    """Add ``--log-level``."""
    group.add_argument(
        "--log-level",
        "-l",
        type=str.upper,
        choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        default="INFO",
        metavar="LEVEL",
        help="DEBUG, INFO, WARNING, ERROR or CRITICAL",
    )


def add_store(group: Any) -> None:
    """Add the options that name the MLflow store."""
    group.add_argument(
        "--mlflow-tracking-uri",
        metavar="URI",
        help="store (MLFLOW_TRACKING_URI, then sqlite:///mlflow.db)",
    )
    group.add_argument(
        "--mlflow-artifact-location",
        metavar="DIR",
        help="artifacts of experiments made here (MLFLOW_ARTIFACT_LOCATION, then MLflow's own)",
    )


def store_of(parsed: argparse.Namespace) -> Store:
    """Return the MLflow store that the options of :func:`add_store` name."""
    return resolve_store(
        uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
    )


def add_send_mode(group: Any) -> None:
    """Add ``--mlflow-send``."""
    group.add_argument(
        "--mlflow-send",
        choices=SEND_MODES,
        help="now: the store must answer at the start; try: if it does not, the run is kept beside "
        "the results for 'lanflow sync'; later: it is kept there, the store is not asked "
        f"({SEND_MODE_VARIABLE}, then now)",
    )


def add_places(group: Any) -> None:
    """Add the options that map recorded folders to folders of this machine."""
    group.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="base of relative recorded folders; the working directory when left out",
    )
    group.add_argument(
        "--path-map",
        action="append",
        default=[],
        metavar="RECORDED=HERE",
        help="a recorded folder prefix and where it is on this machine; may be repeated",
    )


def add_extra_files(group: Any) -> None:
    """Add ``--use-extra-files``."""
    group.add_argument(
        "--use-extra-files",
        action="store_true",
        help="train on files of the folder that the experiment does not track, too",
    )


def add_models_file(group: Any) -> None:
    """Add ``--models-file``."""
    group.add_argument(
        "--models-file",
        type=Path,
        metavar="FILE",
        help="Python file of your own that defines models; it is run",
    )


def models_file_of(parsed: argparse.Namespace) -> "ModelsFile | None":
    """The models file that the option names.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    from lanflow.models.models_file import ModelsFile

    return None if parsed.models_file is None else ModelsFile.read(parsed.models_file)


def add_max_repeated_sets(group: Any, help_text: str) -> None:
    """Add ``--max-repeated-sets``."""
    group.add_argument(
        "--max-repeated-sets", type=share, default=1.0, metavar="SHARE", help=help_text
    )


def parse_path_map(entries: list[str]) -> dict[str, str]:
    """Parse ``RECORDED=HERE`` entries into a mapping.

    Raises
    ------
    UsageError
        If an entry has no ``=``.
    """
    mapping = {}
    for entry in entries:
        recorded, equals, here = entry.partition("=")
        if not (recorded and equals and here):
            raise UsageError(f"--path-map {entry!r}: expected RECORDED=HERE")
        mapping[recorded] = here
    return mapping


def run_command(
    parser: argparse.ArgumentParser,
    call: Callable[[argparse.Namespace], dict[str, Any] | None],
    arguments: list[str] | None = None,
) -> int:
    """Parse the command line, run a command, print its result as one line of JSON.

    Parameters
    ----------
    parser
        The command's options, with ``--log-level``.
    call
        Does the work and returns the result.
    arguments
        The arguments; those of this process when left out.

    Returns
    -------
    int
        The exit status: 0; 1 for an error, of the user or of lanflow; 2 for options that
        contradict each other; 130 after an interruption.
    """
    parsed = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(parsed.log_level)
    logging.setLogRecordFactory(RedactedRecord)
    try:
        with interruptible():
            result = call(parsed)
            if result is not None:
                _print_line(json.dumps(result))
    except UsageError as e:
        parser.error(redact(str(e)))
    except (UserError, OSError, MemoryError) as e:
        log.error("%s: error: %s", parser.prog, redact(_explain(e)))
        log.debug("%s", redact(traceback.format_exc()))
        return 1
    except KeyboardInterrupt:
        log.error("%s: interrupted", parser.prog)
        return 130
    except Exception:  # a bug: print its traceback, without the password that a URI may hold
        log.error("%s: unexpected error\n%s", parser.prog, redact(traceback.format_exc()))
        return 1
    return 0


def _explain(error: UserError | OSError | MemoryError) -> str:
    """One line for what a person can mend: in the input, on the disk, or in the memory."""
    match error:
        case OSError():
            return explain_os_error(error)
        case MemoryError():
            return explain_memory_error(error)
    return str(error)


def _print_line(text: str) -> None:
    """Write a line to standard output, which may be a file on a full disk.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as e:
        # Python would write the rest once more as it ends, and fail with a message of its own.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UserError(f"standard output: {e.strerror}; the work itself is done") from e
