"""Lines of a log: the progress of long work, and warnings.

Long work shows a bar on a terminal or in a notebook, or a line every few seconds in a log. These
lines are for people; :func:`find_progress` reads them again for the terminal of a build.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from lanflow.core import interrupts

log = logging.getLogger(__name__)

Item = TypeVar("Item")

# The first line comes early, so that a job of a minute shows how far it is.
_SECONDS_TO_FIRST_LINE, _SECONDS_BETWEEN_LINES = 2.0, 10.0
# Work that may be done before anybody looks has no bar until then.
_SECONDS_TO_BAR = 1.0

_PACE = r"(?:(\S+(?: [kMG])?) \S.*/s|(\S+ \S+) a \S.*)"
_UNITS = re.compile(rf"(?:.*: )?([\d,]+ of [\d,]+ [^,]+), {_PACE}, (.+) left")
_EPOCH = re.compile(r"epoch (\d+)/(\d+) .* ([\d,]+) rows/s +(.+) left")


WARNING_MARK = "WARNING: "


class LineFormatter(logging.Formatter):
    """Writes messages as they are; a warning of lanflow's says that it is one.

    The terminal of a build finds the warnings of a job by this mark.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines, of one record."""
        text = super().format(record)
        is_ours = record.name.split(".")[0] == __name__.split(".")[0]
        return f"{WARNING_MARK}{text}" if record.levelno == logging.WARNING and is_ours else text


class Progress:
    """Counts finished units and shows the rate and the time left.

    Parameters
    ----------
    total
        Number of units.
    description, unit
        Name of the work and of its unit, in the singular.
    delay
        Seconds before there is a bar; none is shown of work that is done by then.
    """

    def __init__(self, total: int, description: str, unit: str, *, delay: float = 0.0) -> None:
        from tqdm.auto import tqdm

        self._total, self._description, self._unit = total, description, unit
        is_seen = sys.stderr.isatty() or in_notebook()
        self._bar = tqdm(total=total, desc=description, unit=unit, disable=not is_seen, delay=delay)
        self._n_done = 0
        self._start = time.monotonic()
        self._next_line = self._start + _SECONDS_TO_FIRST_LINE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the bar where it is."""
        self._bar.close()

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more units as done, and raise an interruption that was lost."""
        interrupts.check()
        self._n_done += n
        self._bar.update(n)
        now = time.monotonic()
        if not self._bar.disable or now < self._next_line:
            return
        self._next_line = now + _SECONDS_BETWEEN_LINES
        rate = self._n_done / (now - self._start)
        log.info(
            "%s: %s of %s %ss, %s, %s left",
            self._description,
            f"{self._n_done:,}",
            f"{self._total:,}",
            self._unit,
            _pace(rate, self._unit),
            format_seconds((self._total - self._n_done) / rate),
        )


def _pace(rate: float, unit: str) -> str:
    """Units a second, or how long each takes."""
    if rate < 1:
        return f"{format_seconds(1 / rate)} a {unit}"
    return f"{rate:.3g} {unit}s/s" if rate < 100 else f"{format_count(rate)} {unit}s/s"


def with_progress(items: Sequence[Item], description: str, unit: str) -> Iterator[Item]:
    """Go through items and show how many are done, if that takes longer than a moment.

    Parameters
    ----------
    items
        What is gone through.
    description, unit
        As for :class:`Progress`.
    """
    with Progress(len(items), description, unit, delay=_SECONDS_TO_BAR) as progress:
        for item in items:
            yield item
            progress.advance()


def in_notebook() -> bool:
    """Tell whether a notebook's kernel runs this; its standard error is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class Shown(NamedTuple):
    """Content of one line of progress.

    Attributes
    ----------
    done
        Such as ``120 of 4,000 parameter sets`` or ``epoch 3 of 24``.
    rate
        Such as ``31.2/s``, ``25 s each`` or ``1.4 M rows/s``.
    left
        Such as ``12 s``.
    """

    done: str
    rate: str
    left: str


def epoch_line(
    epoch: int, n_epochs: int, losses: str, *, rows_per_second: float, seconds_left: float
) -> str:
    """Format one epoch of a training for its log; epochs are counted from 1."""
    return (
        f"epoch {epoch}/{n_epochs}  {losses}  {rows_per_second:,.0f} rows/s  "
        f"{format_seconds(seconds_left)} left"
    )


def find_progress(lines: Iterable[str]) -> Shown | None:
    """Return what the last line of progress among the lines of a log says; None without one."""
    for line in reversed(list(lines)):
        if found := _EPOCH.fullmatch(line):
            rate = f"{format_count(int(found[3].replace(',', '')))} rows/s"
            return Shown(f"epoch {found[1]} of {found[2]}", rate, found[4])
        if found := _UNITS.fullmatch(line):
            pace = f"{found[2]}/s" if found[2] else f"{found[3]} each"
            return Shown(found[1], pace, found[4])
    return None


def format_count(n: float) -> str:
    """Format a large number for reading: ``950``, ``12 k``, ``1.4 M``."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if n >= size:
            n = n / (1e3 if letter == " k" else size)
            return f"{n:.1f}{letter}" if n < 10 else f"{n:.0f}{letter}"
    return f"{n:,.0f}"


def format_seconds(seconds: float) -> str:
    """Format a duration for reading: ``12 s``, ``3.5 min``, ``2.1 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
