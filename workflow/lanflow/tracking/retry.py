"""Requests to an MLflow store: one error type for all libraries, advice, retries with back-off.

:func:`store_request` turns whatever MLflow and the libraries below it raise into a
:class:`~lanflow.core.errors.StoreError`, which names the store and says what can be done.
:func:`with_retries` repeats a request for as long as the store is unavailable.
"""

import contextlib
import functools
import logging
import os
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from lanflow.core import interrupts
from lanflow.core.errors import StoreError, StoreUnavailableError, UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.store import redact

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

RETRY_VARIABLE = "LANFLOW_STORE_PATIENCE"
# Longer than a server takes to start again.
_DEFAULT_SECONDS = 60.0
_LONGEST_PAUSE = 8.0

# MLflow's codes of temporary errors; a server that is not there is INTERNAL_ERROR.
_TEMPORARY_CODES = {"INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE"}
# Temporary errors of sockets, requests and boto3. They are compared by name, because boto3's
# classes exist only where it is installed.
_TEMPORARY_TYPES = {"ConnectionError", "HTTPClientError", "Timeout", "TimeoutError"}
# Errors of an encrypted connection, by the names that requests and Python write into them.
_TLS_ERRORS = ("SSLError", "TLS CA certificate", "TLS certificate")
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
# The status of an answer that is not of MLflow's API, as MLflow and requests write it.
_STATUS = re.compile(r"failed with error code (\d{3})|^(\d{3}) \w+ Error: ")
_STATUS_OF_CODE = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
_PAGE = re.compile(r"(Response (?:body|text): ?'?)\s*<.*", re.DOTALL)
_NO_API = ("the response body was not in a valid JSON format", "failed with error code 404")
_ACCOUNT = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_LONGEST_REASON = 600  # characters


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


def store_request(doing: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function one request to the store, as :func:`requesting` does with a body.

    The store is that of the function's client, which is its first argument or the object that it
    is a method of.

    Parameters
    ----------
    doing
        What the request does; part of the message.
    """

    def decorate(request: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(request)
        def guarded(*given: P.args, **keys: P.kwargs) -> T:
            with requesting(doing, _uri_of(given)):
                return request(*given, **keys)

        return guarded

    return decorate


def _uri_of(given: tuple[Any, ...]) -> str:
    """Return the address of a client, of an object that has one, or of a store."""
    first = given[0] if given else None
    return str(getattr(first, "tracking_uri", None) or getattr(first, "uri", ""))


@contextlib.contextmanager
def requesting(doing: str, uri: str) -> Iterator[None]:
    """Run one request to the store with signals deferred, and raise its errors as `StoreError`.

    The catch is broad on purpose: MLflow, SQLAlchemy, requests and boto3 have no common base
    class, and an error in any of them must not end a training.

    Parameters
    ----------
    doing
        What the request does; part of the message.
    uri
        The store's address, which the message shows without credentials.
    """
    with defer_signals():
        try:
            yield
        except UserError:
            raise
        except Exception as e:
            raise store_error(f"MLflow store {redact(uri)}: {doing} failed", e, uri=uri) from e


def store_error(message: str, error: Exception, *, uri: str = "") -> StoreError:
    """Make the error to raise ``from`` a library's error: unavailable if that is temporary."""
    kind = StoreUnavailableError if is_temporary(error) else StoreError
    out = advice(error, uri)
    return kind(f"{message} ({error_reason(error)}){out and '; ' + out}")


def is_temporary(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    text = str(error)
    if "sqlite3" in f"{type(error).__module__} {text}":
        return "locked" in text
    if any(name in text for name in _TLS_ERRORS) or _is_no_api(error):
        return False
    if hasattr(error, "error_code"):  # MLflow's own
        return error.error_code in _TEMPORARY_CODES
    return any(kind.__name__ in _TEMPORARY_TYPES for kind in type(error).__mro__)


def _status_of(error: Exception) -> int:
    """Return the HTTP status that an error tells of; 0 if it tells of none."""
    found = _STATUS.search(str(error))
    if found:
        return int(found[1] or found[2])
    return _STATUS_OF_CODE.get(str(getattr(error, "error_code", "")), 0)


def _is_no_api(error: Exception) -> bool:
    """Tell whether something answered that is no MLflow server, or not at this path."""
    answer = getattr(error, "json", None)  # of another service, it has none of MLflow's codes
    is_foreign = isinstance(answer, dict) and "error_code" not in answer
    return is_foreign or any(text in str(error) for text in _NO_API)


def advice(error: Exception, uri: str) -> str:
    """Say what to do about an error of a server's address, access or surroundings; else nothing.

    Parameters
    ----------
    error
        As a library raised it.
    uri
        The store's address.
    """
    text, status = str(error), _status_of(error)
    if any(name in text for name in _TLS_ERRORS):
        return _tls_advice(text)
    proxy = _proxy_advice(uri)
    if "ProxyError" in text:
        return proxy or "add the server's host to NO_PROXY if no proxy leads to it"
    if status == 401:
        return f"the server asks who you are: set {_ACCOUNT}"
    if status == 403:
        refused = f"the server does not let this account do that; the account is in {_ACCOUNT}"
        return "; ".join(filter(None, [refused, proxy]))
    if _is_no_api(error):
        prefix = "no MLflow server answers at this path; if it is behind a path prefix, end the URI"
        return "; ".join(filter(None, [f"{prefix} with it (https://host/prefix)", proxy]))
    return proxy if status or "HTTP" in text else ""


def _tls_advice(text: str) -> str:
    if any(name in text for name in _NO_TLS):
        return "the server may not speak TLS: try http:// in place of https://"
    return (
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file with the certificate of the authority "
        "that signed the server's, or, where nobody can listen in, set "
        "MLFLOW_TRACKING_INSECURE_TLS=true"
    )


def _proxy_advice(uri: str) -> str:
    """Name the proxy that requests to a server go through; empty if there is none."""
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError:  # no URI, which `error` tells of
        return ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return ""
    return (
        f"the request went through the proxy {redact(proxy)}; if none is needed, add "
        f"{parts.hostname} to NO_PROXY"
    )


def error_reason(error: Exception) -> str:
    """Return an error's message as one short line, without credentials, SQL and pages of HTML."""
    text = _PAGE.sub(r"\1a page of HTML", str(error)).split("[SQL:")[0]
    line = " ".join(redact(text).split()) or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
