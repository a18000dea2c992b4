"""What a store answers wrong, as one message: whether it refuses, or is away for now."""

import contextlib
from collections.abc import Iterator

from lanflow.errors import StoreAwayError, StoreError, UserError
from lanflow.interruption import uninterrupted
from lanflow.store import redact

# What MLflow calls errors that may be over soon; a server that is not there is INTERNAL_ERROR.
_PASSING_CODES = {"INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE"}
# Errors of sockets, requests and boto3, which has classes only where it is installed.
_PASSING_TYPES = {"ConnectionError", "HTTPClientError", "Timeout", "TimeoutError"}


@contextlib.contextmanager
def asking(doing: str) -> Iterator[None]:
    """Ask the store for one thing, whole; what it answers wrong becomes one message."""
    with uninterrupted():
        try:
            yield
        except UserError:
            raise
        except Exception as e:  # MLflow, SQLAlchemy, requests, boto3: each has its own
            raise store_error(f"MLflow store: {doing} failed", e) from e


def store_error(message: str, error: Exception) -> StoreError:
    """The error for a person that tells of another."""
    kind = StoreAwayError if is_passing(error) else StoreError
    return kind(f"{message} ({reason_of(error)})")


def is_passing(error: Exception) -> bool:
    """Whether the same request may well be answered later."""
    if "sqlite3" in f"{type(error).__module__} {error}":
        return "locked" in str(error)
    if hasattr(error, "error_code"):  # MLflow's own
        return error.error_code in _PASSING_CODES
    return any(kind.__name__ in _PASSING_TYPES for kind in type(error).__mro__)


def reason_of(error: Exception) -> str:
    """What an error says, in one line, without credentials and without SQL."""
    return " ".join(redact(str(error)).split("[SQL:")[0].split()) or type(error).__name__
