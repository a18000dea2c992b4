"""Names of files, folders, runs and licences, and limits of what a person may give.

A name that could lead outside its folder is refused.
"""

import re

from lanflow.core.errors import UserError

MAX_LENGTH = 100  # bytes: two such names and a suffix fit into the 255 of a file name
# MLflow takes 500 for an experiment and 255 for a run that shows in its pages.
MAX_TITLE_LENGTH = 250
ACCEPTED = (
    f"a name of at most {MAX_LENGTH} printable characters, without / and \\, that begins with "
    "neither - nor . and has no blanks at its ends"
)

# Of counts and of seeds, in files and as options: more is a slip of the finger.
LARGEST_COUNT, LARGEST_SEED = 10**9, 2**63 - 1
# Megabytes that the rows of a training may take, unless told otherwise.
DEFAULT_MEMORY_MB = 4000
# As LANfactory publishes networks, and as the repository is licensed that HSSM downloads from.
DEFAULT_LICENCE = "bsd-2-clause"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

UNFINISHED = "unfinished.json"  # names the run to continue if the same work starts again
# The checkpoint and that file once the work has finished. If its results are removed, they are
# written again from these.
FINISHED_CHECKPOINT, FINISHED = ".finished.npz", ".finished.json"
UNSENT_RUNS = "unsent_runs"  # folder of records of runs that are still to be sent to a store
SENT_RUNS = ".sent_runs"  # folder of records of runs that a store has


def is_name(text: object) -> bool:
    """Tell whether a text is a valid name of a file or folder on every system."""
    return (
        isinstance(text, str)
        and text.isprintable()  # no control characters, no undecodable bytes
        and 0 < len(text.encode()) <= MAX_LENGTH
        and not text.startswith(("-", "."))
        and not set(text) & {"/", "\\"}
        and text == text.strip()
    )


def check_name(text: str) -> str:
    """Return a name unchanged, or raise the error that pydantic expects of a validator.

    Raises
    ------
    ValueError
        If it is not a valid name; the message says what is accepted.
    """
    if not is_name(text):
        raise ValueError(f"{_shown(text)} is not a name; accepted is {ACCEPTED}")
    return text


def require_name(text: str, what: str) -> str:
    """Return a name unchanged, or raise an error that says where it came from.

    Parameters
    ----------
    text
        The name, which is to become part of a path.
    what
        The option or the place of the name, for the message.

    Raises
    ------
    UserError
        If it is not a valid name; the message says what is accepted.
    """
    try:
        return check_name(text)
    except ValueError as e:
        raise UserError(f"{what}: {e}") from e


def check_title(text: str) -> str:
    """Return the title of a run or an experiment unchanged: a line that people read in MLflow.

    Raises
    ------
    ValueError
        If it is empty, too long, or not one line of text; the message says what is accepted.
    """
    if not (text.isprintable() and text.strip() and len(text) <= MAX_TITLE_LENGTH):
        raise ValueError(
            f"{_shown(text)} cannot be a name in MLflow; accepted is one line of at most "
            f"{MAX_TITLE_LENGTH} printable characters"
        )
    return text


def parse_licence(text: str) -> str:
    """Check that a text can be one of the hub's identifiers of licences.

    Raises
    ------
    ValueError
        For anything else, such as a licence's title.
    """
    if not _LICENCE.fullmatch(text):
        raise ValueError(
            f"{text!r} is not an identifier of a licence such as mit, bsd-3-clause or cc-by-4.0"
        )
    return text


def _shown(text: object) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_LENGTH else f"{shown[:MAX_LENGTH]}..."
