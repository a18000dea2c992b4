"""Progress of long work: a bar on a terminal or in a notebook, or a line every few seconds."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from lanflow.core import interrupts

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts finished units and shows the rate and the time left.

    Parameters
    ----------
    total
        Number of units.
    description, unit
        Name of the work and of its unit, in the singular.
    """

    def __init__(self, total: int, description: str, unit: str) -> None:
        from tqdm.auto import tqdm

        self._total, self._description, self._unit = total, description, unit
        is_seen = sys.stderr.isatty() or _in_notebook()
        self._bar = tqdm(total=total, desc=description, unit=unit, disable=not is_seen)
        self._n_done = 0
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more units as done, and raise an interruption that was lost."""
        interrupts.check()
        self._n_done += n
        self._bar.update(n)
        now = time.monotonic()
        if not self._bar.disable or now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        rate = self._n_done / (now - self._start)
        log.info(
            "%s: %s of %s %ss, %.3g %ss/s, %s left",
            self._description,
            f"{self._n_done:,}",
            f"{self._total:,}",
            self._unit,
            rate,
            self._unit,
            format_seconds((self._total - self._n_done) / rate),
        )


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this; its standard error is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def format_seconds(seconds: float) -> str:
    """Format a duration for reading: ``12 s``, ``3.5 min``, ``2.1 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
