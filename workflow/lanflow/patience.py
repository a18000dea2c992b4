"""Asking again, for a while, a store that does not answer."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from lanflow import interruption
from lanflow.errors import StoreAwayError, UserError

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
        interruption.check()
        pause = min(2 * pause, _LONGEST_PAUSE)
