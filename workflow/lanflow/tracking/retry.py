"""Asking again, for a while, a store that does not answer."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from lanflow.core import interrupts
from lanflow.core.errors import StoreError, StoreUnavailableError, UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.store import redact

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_VARIABLE = "LANFLOW_STORE_PATIENCE"
# Longer than a server takes to start again.
_DEFAULT_SECONDS = 60.0
_LONGEST_PAUSE = 8.0


def retry_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long a store that does not answer is asked again: LANFLOW_STORE_PATIENCE, then 60.

    Raises
    ------
    UserError
        If the variable is not a number of seconds.
    """
    text = environment.get(RETRY_VARIABLE) or str(_DEFAULT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{RETRY_VARIABLE}: {text!r} is not a number of seconds, 0 or more")
    return seconds


def with_retries(ask: Callable[[], T], *, seconds: float | None = None) -> T:
    """Ask, and ask again while the store does not answer.

    Parameters
    ----------
    ask
        Can be called again after it failed.
    seconds
        When the last try starts, at the latest; :func:`retry_seconds` when left out.

    Raises
    ------
    StoreUnavailableError
        If the store did not answer in time.
    StoreError
        At once, if the store refuses.
    """
    seconds = retry_seconds() if seconds is None else seconds
    start = time.monotonic()
    pause = 1.0
    while True:
        try:
            return ask()
        except StoreUnavailableError as e:
            left = start + seconds - time.monotonic()
            if left <= 0:
                raise
            level = logging.WARNING if pause == 1 else logging.DEBUG
            log.log(level, "%s; asking again for %.0f s", e, left)
        time.sleep(min(pause, left))
        interrupts.check()
        pause = min(2 * pause, _LONGEST_PAUSE)


# What a store answers wrong, as one message: whether it refuses, or is away for now.


# What MLflow calls errors that may be over soon; a server that is not there is INTERNAL_ERROR.
_TEMPORARY_CODES = {"INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE"}
# Errors of sockets, requests and boto3, which has classes only where it is installed.
_TEMPORARY_TYPES = {"ConnectionError", "HTTPClientError", "Timeout", "TimeoutError"}


@contextlib.contextmanager
def store_request(doing: str) -> Iterator[None]:
    """Ask the store for one thing, whole; what it answers wrong becomes one message."""
    with defer_signals():
        try:
            yield
        except UserError:
            raise
        except Exception as e:  # MLflow, SQLAlchemy, requests, boto3: each has its own
            raise store_error(f"MLflow store: {doing} failed", e) from e


def store_error(message: str, error: Exception) -> StoreError:
    """The error for a person that tells of another."""
    kind = StoreUnavailableError if is_temporary(error) else StoreError
    return kind(f"{message} ({error_reason(error)})")


def is_temporary(error: Exception) -> bool:
    """Whether the same request may well be answered later."""
    if "sqlite3" in f"{type(error).__module__} {error}":
        return "locked" in str(error)
    if hasattr(error, "error_code"):  # MLflow's own
        return error.error_code in _TEMPORARY_CODES
    return any(kind.__name__ in _TEMPORARY_TYPES for kind in type(error).__mro__)


def error_reason(error: Exception) -> str:
    """What an error says, in one line, without credentials and without SQL."""
    return " ".join(redact(str(error)).split("[SQL:")[0].split()) or type(error).__name__
