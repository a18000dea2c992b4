"""Errors that are shown to the user as one message, without a traceback."""

# The exit status of a command that judged networks which did not pass.
DID_NOT_PASS = 3


class UserError(Exception):
    """An error that the user can correct: a file, a key, a folder or a value.

    The message names the fault, its place, and what is accepted. A command prints the message
    alone and exits with status 1.
    """


class UsageError(UserError):
    """An error for options that contradict each other; the command exits with status 2."""


class GatesError(UserError):
    """Networks that do not pass their gates, where that was asked; the exit status is 3."""


class StoreError(UserError):
    """An MLflow store that refuses a request or does not answer."""


class StoreSilentError(StoreError):
    """An MLflow store that has taken a request, and has not answered for as long as was waited."""


class StoreUnavailableError(StoreError):
    """An MLflow store that does not answer now but may do so later."""


def explain_import_error(error: ImportError, doing: str, *, extra: str) -> str:
    """Say that a library is not installed, or that it is and the system does not load it.

    Parameters
    ----------
    error
        As Python raised it.
    doing
        What needs the library: "generating data".
    extra
        Of lanflow's optional dependencies, what brings it.
    """
    if isinstance(error, ModuleNotFoundError):
        return f"{doing} needs {error.name}; install lanflow[{extra}]"
    reason = " ".join(str(error).split())[:300]
    return f"{doing} needs a library that cannot be loaded here ({reason})"


def short(value: object) -> str:
    """Format a value for an error message, cut at 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
