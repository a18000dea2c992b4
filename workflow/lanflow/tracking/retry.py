"""Requests to an MLflow store: one error type for all libraries, and retries with back-off.

:func:`store_request` turns whatever MLflow and the libraries below it raise into a
:class:`~lanflow.core.errors.StoreError`. :func:`with_retries` repeats a request for as long as the
store is unavailable.
"""

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

# MLflow's codes of temporary errors; a server that is not there is INTERNAL_ERROR.
_TEMPORARY_CODES = {"INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE"}
# Temporary errors of sockets, requests and boto3. They are compared by name, because boto3's
# classes exist only where it is installed.
_TEMPORARY_TYPES = {"ConnectionError", "HTTPClientError", "Timeout", "TimeoutError"}


def retry_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Return how long a request is retried: ``LANFLOW_STORE_PATIENCE``, or else 60 seconds.

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


def with_retries(request: Callable[[], T], *, seconds: float | None = None) -> T:
    """Retry a request with back-off until it succeeds or time is up.

    Parameters
    ----------
    request
        The request; it must be safe to call again after it failed.
    seconds
        No try starts later than this; :func:`retry_seconds` when left out.

    Raises
    ------
    StoreUnavailableError
        If the store did not answer in time.
    StoreError
        If the store refuses; such a request is not retried.
    """
    seconds = retry_seconds() if seconds is None else seconds
    start = time.monotonic()
    pause = 1.0
    while True:
        try:
            return request()
        except StoreUnavailableError as e:
            left = start + seconds - time.monotonic()
            if left <= 0:
                raise
            level = logging.WARNING if pause == 1 else logging.DEBUG
            log.log(level, "%s; asking again for %.0f s", e, left)
        time.sleep(min(pause, left))
        interrupts.check()
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextlib.contextmanager
def store_request(doing: str) -> Iterator[None]:
    """Run one request to the store with signals deferred, and raise its errors as `StoreError`.

    The catch is broad on purpose: MLflow, SQLAlchemy, requests and boto3 have no common base
    class, and an error in any of them must not end a training.

    Parameters
    ----------
    doing
        What the request does; part of the message.
    """
    with defer_signals():
        try:
            yield
        except UserError:
            raise
        except Exception as e:
            raise store_error(f"MLflow store: {doing} failed", e) from e


def store_error(message: str, error: Exception) -> StoreError:
    """Make the error to raise ``from`` a library's error: unavailable if that is temporary."""
    kind = StoreUnavailableError if is_temporary(error) else StoreError
    return kind(f"{message} ({error_reason(error)})")


def is_temporary(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    if "sqlite3" in f"{type(error).__module__} {error}":
        return "locked" in str(error)
    if hasattr(error, "error_code"):  # MLflow's own
        return error.error_code in _TEMPORARY_CODES
    return any(kind.__name__ in _TEMPORARY_TYPES for kind in type(error).__mro__)


def error_reason(error: Exception) -> str:
    """Return an error's message as one line, without credentials and without SQL."""
    return " ".join(redact(str(error)).split("[SQL:")[0].split()) or type(error).__name__
