"""Rows of a large array as runs of neighbours: memory for each run, not for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

_SCANNED_ROWS = 2**22


@dataclass(frozen=True)
class RowRuns:
    """Rows of an array, in an order of their own.

    A position counts the rows from 0 in that order; a row number says where a row is in the array.

    Attributes
    ----------
    starts
        First row number of each run, (runs,) int64.
    lengths
        Rows of each run, (runs,) int64, all positive.
    """

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["RowRuns"]) -> Self:
        """Rows of one after the other."""
        starts = [part.starts for part in parts]
        lengths = [part.lengths for part in parts]
        return cls(np.concatenate(starts), np.concatenate(lengths))

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.lengths)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def rows(self) -> np.ndarray:
        """Row number of every position, (rows,) int64."""
        before = self._ends - self.lengths
        return np.asarray(np.arange(len(self)) + np.repeat(self.starts - before, self.lengths))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Row numbers at positions."""
        run = np.searchsorted(self._ends, positions, side="right")
        return np.asarray(self.starts[run] + positions - (self._ends - self.lengths)[run])

    def part(self, first: int, last: int) -> Self:
        """The rows at positions from ``first`` to before ``last``."""
        last = min(last, len(self))
        low = int(np.searchsorted(self._ends, first, side="right"))
        high = int(np.searchsorted(self._ends, last, side="left")) + 1
        starts, lengths = self.starts[low:high].copy(), self.lengths[low:high].copy()
        if last <= first or len(starts) == 0:
            return type(self)(starts[:0], lengths[:0])
        skipped = first - int(self._ends[low] - self.lengths[low])
        starts[0] += skipped
        lengths[0] -= skipped
        lengths[-1] -= int(self._ends[high - 1]) - last
        return type(self)(starts, lengths)

    def of(self, chosen: np.ndarray) -> Self:
        """Only these of the runs."""
        return type(self)(self.starts[chosen], self.lengths[chosen])

    def cut(self, length: int) -> Self:
        """The same rows in runs of at most ``length``."""
        n_pieces = -(-self.lengths // length)
        first = np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        skipped = (np.arange(len(first)) - first) * length
        starts = np.repeat(self.starts, n_pieces) + skipped
        return type(self)(starts, np.minimum(np.repeat(self.lengths, n_pieces) - skipped, length))

    def merged(self) -> Self:
        """The same rows, runs that follow one another in the array being one."""
        if len(self.starts) == 0:
            return self
        is_first = np.r_[True, self.starts[1:] != self.starts[:-1] + self.lengths[:-1]]
        return type(self)(
            self.starts[is_first], np.add.reduceat(self.lengths, np.flatnonzero(is_first))
        )


def runs_of_equal(numbers: np.ndarray, first: int, n_rows: int) -> tuple[RowRuns, np.ndarray]:
    """Runs of equal numbers among ``n_rows`` rows from ``first`` on, and the number of each.

    Parameters
    ----------
    numbers
        (rows,), of any size; some of it is looked at at a time.
    """
    starts, values = [], []
    previous = None
    for begin in range(first, first + n_rows, _SCANNED_ROWS):
        block = np.asarray(numbers[begin : min(begin + _SCANNED_ROWS, first + n_rows)])
        changes = np.flatnonzero(np.r_[previous != block[0], block[1:] != block[:-1]])
        starts.append(begin + changes)
        values.append(block[changes])
        previous = block[-1]
    if not starts:
        nothing = np.empty(0, np.int64)
        return RowRuns(nothing, nothing), nothing
    all_starts = np.concatenate(starts).astype(np.int64)
    return RowRuns(all_starts, np.diff(all_starts, append=first + n_rows)), np.concatenate(values)
