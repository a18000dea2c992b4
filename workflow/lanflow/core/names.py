"""Names that become part of a path: one that could lead elsewhere is refused."""

from lanflow.core.errors import UserError

MAX_LENGTH = 100  # bytes: three such names and a suffix are what file systems take
ACCEPTED = (
    f"a name of at most {MAX_LENGTH} printable characters, without / and \\, that begins with "
    "neither - nor . and has no blanks at its ends"
)

UNFINISHED = "unfinished.json"  # which run a training belongs to that may be continued
# Both, once the training has finished: should its files be removed, they are written from these.
FINISHED_CHECKPOINT, FINISHED = ".finished.npz", ".finished.json"
UNSENT_RUNS = "unsent_runs"  # the folder of records that a store is still to be told
SENT_RUNS = ".sent_runs"  # and of those that it has


def is_name(text: object) -> bool:
    """Tell whether a text can be the name of a file or folder anywhere, and of nothing else."""
    return (
        isinstance(text, str)
        and text.isprintable()  # no control characters, no bytes that are no text
        and 0 < len(text.encode()) <= MAX_LENGTH
        and not text.startswith(("-", "."))
        and not set(text) & {"/", "\\"}
        and text == text.strip()
    )


def check_name(text: str) -> str:
    """The same text, for a setting.

    Raises
    ------
    ValueError
        If it is not a name; says what is accepted.
    """
    if not is_name(text):
        raise ValueError(f"{_shown(text)} is not a name; accepted is {ACCEPTED}")
    return text


def require_name(text: str, what: str) -> str:
    """The same text, for what a person or a store gave.

    Parameters
    ----------
    text
        To become part of a path.
    what
        The option or the place that it came from.

    Raises
    ------
    UserError
        If it is not a name; says what is accepted.
    """
    try:
        return check_name(text)
    except ValueError as e:
        raise UserError(f"{what}: {e}") from e


def _shown(text: object) -> str:
    shown = ascii(text)
    return shown if len(shown) <= MAX_LENGTH else f"{shown[:MAX_LENGTH]}..."
