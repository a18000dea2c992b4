"""Split of a data set into training and validation rows; whole parameter sets go to either side.

The rows of a parameter set lie together, so a side is kept as ranges of neighbouring rows. That
takes memory for each range, not for each of up to 10^9 rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from lanflow.core.errors import UserError
from lanflow.data.dataset import DataSet, PackedFile

# Rows looked at in one go when ranges are searched for.
_SCANNED_ROWS = 2**22
# Each use of the seed draws from a stream of its own: more draws for one use never move another.
STREAM_WEIGHTS, STREAM_FILES, STREAM_SPLIT, STREAM_ORDER, STREAM_PROBES = range(5)


@dataclass(frozen=True)
class RowRanges:
    """Rows of an array as ranges of neighbours, in any order.

    A row number is the place of a row in the array. A position counts the rows of these ranges, one
    range after the other, from 0.

    Attributes
    ----------
    starts
        First row number of each range, (ranges,) int64.
    lengths
        Rows of each range, (ranges,) int64, all positive.
    """

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["RowRanges"]) -> Self:
        """The rows of all parts, one part after the other."""
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
        """Row numbers at these positions, (positions,) int64."""
        which = np.searchsorted(self._ends, positions, side="right")
        return np.asarray(self.starts[which] + positions - (self._ends - self.lengths)[which])

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

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Positions of these row numbers, (rows,) int64; the ranges ascend and hold them all."""
        which = np.searchsorted(self.starts, rows, side="right") - 1
        return np.asarray((self._ends - self.lengths - self.starts)[which] + rows)

    def take(self, chosen: np.ndarray) -> Self:
        """Only these ranges, by their numbers or a mask."""
        return type(self)(self.starts[chosen], self.lengths[chosen])

    def cut(self, length: int) -> Self:
        """The same rows in ranges of at most ``length`` rows."""
        n_pieces = -(-self.lengths // length)
        first = np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        skipped = (np.arange(len(first)) - first) * length
        starts = np.repeat(self.starts, n_pieces) + skipped
        return type(self)(starts, np.minimum(np.repeat(self.lengths, n_pieces) - skipped, length))

    def merged(self) -> Self:
        """The same rows, with ranges joined where one starts at the end of another."""
        if len(self.starts) == 0:
            return self
        is_first = np.r_[True, self.starts[1:] != self.starts[:-1] + self.lengths[:-1]]
        return type(self)(
            self.starts[is_first], np.add.reduceat(self.lengths, np.flatnonzero(is_first))
        )

    def ascending(self) -> Self:
        """The same rows in the order of their numbers; no two ranges may share a row."""
        return self.take(np.argsort(self.starts)).merged()


def ranges_of_equal(numbers: np.ndarray, first: int, n_rows: int) -> tuple[RowRanges, np.ndarray]:
    """Ranges of neighbouring rows with the same number.

    Parameters
    ----------
    numbers
        (rows,) integers; a block of them is read at a time, so they may be larger than memory.
    first, n_rows
        Look at ``n_rows`` rows from row ``first`` on.

    Returns
    -------
    RowRanges
        The ranges, in ascending order.
    numpy.ndarray
        The number of each range, (ranges,).
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
        return RowRanges(nothing, nothing), nothing
    all_starts = np.concatenate(starts).astype(np.int64)
    return RowRanges(all_starts, np.diff(all_starts, append=first + n_rows)), np.concatenate(values)


@dataclass(frozen=True)
class Split:
    """The rows that one training uses.

    Attributes
    ----------
    train, val
        Rows to train and to validate on, ascending; no parameter set has rows in both.
    file_starts
        Positions in ``train`` at which the rows of another file begin, for ``SHUFFLE: false``.
    train_files, val_files
        Names of the files that the rows of each side come from; most files are in both.
    n_train_sets, n_val_sets
        Distinct parameter sets of each side.
    """

    train: RowRanges
    val: RowRanges
    file_starts: np.ndarray
    train_files: tuple[str, ...]
    val_files: tuple[str, ...]
    n_train_sets: int
    n_val_sets: int


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random generator for one use of the seed: a ``STREAM_`` number, and maybe an epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def split_rows(
    data_set: DataSet, network_type: str, *, n_files: int, train_share: float, seed: int
) -> Split:
    """Choose files and divide their parameter sets between training and validation.

    Parameters
    ----------
    data_set
        The packed data.
    network_type
        Names the arrays.
    n_files
        Files to use at most; if there are more, the seed draws them.
    train_share
        Share of the parameter sets to train on, between 0 and 1; each side gets at least one.
    seed
        Decides which files are used and which sets are trained on.

    Raises
    ------
    UserError
        If there are fewer than two parameter sets.
    """
    sets = data_set.array(network_type, "sets")
    holders = [file for file in data_set.files if network_type in file.rows]
    if n_files < len(holders):
        chosen = stream(seed, STREAM_FILES).permutation(len(holders))[:n_files]
        holders = [holders[i] for i in sorted(chosen)]
    sets_of_files = [ranges_of_equal(sets, *file.rows[network_type]) for file in holders]
    distinct = np.unique(np.concatenate([np.unique(numbers) for _, numbers in sets_of_files]))
    data_set.check_sets(network_type, distinct)
    if len(distinct) < 2:
        raise UserError(
            f"{data_set.folder}: {len(distinct)} distinct parameter set(s) in {len(holders)} "
            "file(s); at least two are needed, one to train on and one to validate on"
        )
    n_train = min(max(round(train_share * len(distinct)), 1), len(distinct) - 1)
    order = stream(seed, STREAM_SPLIT).permutation(len(distinct))
    is_train_set = np.zeros(int(distinct[-1]) + 1, dtype=bool)
    is_train_set[distinct[order[:n_train]]] = True
    train, val = (
        [ranges.take(is_wanted[numbers]).merged() for ranges, numbers in sets_of_files]
        for is_wanted in (is_train_set, ~is_train_set)
    )
    lengths = [len(part) for part in train if len(part)]
    return Split(
        train=RowRanges.join(train),
        val=RowRanges.join(val),
        file_starts=np.cumsum([0, *lengths[:-1]]),
        train_files=_files_with_rows(holders, train),
        val_files=_files_with_rows(holders, val),
        n_train_sets=n_train,
        n_val_sets=len(distinct) - n_train,
    )


def _files_with_rows(files: Sequence[PackedFile], parts: Sequence[RowRanges]) -> tuple[str, ...]:
    return tuple(file.name for file, part in zip(files, parts, strict=True) if len(part))
