"""Asking again, for a while, a store that does not answer."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from lanflow.core import interrupts
from lanflow.core.errors import StoreAwayError, StoreError, UserError
from lanflow.core.interrupts import uninterrupted
from lanflow.tracking.store import redact

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_VARIABLE = "LANFLOW_STORE_PATIENCE"
# Longer than a server takes to start again.
_DEFAULT_SECONDS = 60.0
_LONGEST_PAUSE = 8.0


def patience_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long a store that does not answer is asked again: LANFLOW_STORE_PATIENCE, then 60.

    Raises
    ------
    UserError
        If the variable is not a number of seconds.
    """
    text = environment.get(PATIENCE_VARIABLE) or str(_DEFAULT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{PATIENCE_VARIABLE}: {text!r} is not a number of seconds, 0 or more")
    return seconds


def patiently(ask: Callable[[], T], *, seconds: float | None = None) -> T:
    """Ask, and ask again while the store does not answer.

    Parameters
    ----------
    ask
        Can be called again after it failed.
    seconds
        When the last try starts, at the latest; :func:`patience_seconds` when left out.

    Raises
    ------
    StoreAwayError
        If the store did not answer in time.
    StoreError
        At once, if the store refuses.
    """
    seconds = patience_seconds() if seconds is None else seconds
    start = time.monotonic()
    pause = 1.0
    while True:
        try:
            return ask()
        except StoreAwayError as e:
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
