"""Which rows of a data set a training uses, divided by parameter set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from lanflow.core.errors import UserError
from lanflow.data.dataset import DataSet, PackedFile

# Rows of a large array as runs of neighbours: memory for each run, not for each row.


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


# Streams of the seed: each kind of draw has its own, so that more of one never moves another.
_STREAM_FILES, _STREAM_SPLIT, STREAM_ORDER = 1, 2, 3


@dataclass(frozen=True)
class Split:
    """Rows of a data set that one training uses.

    Attributes
    ----------
    train, val
        Row numbers, ascending; no parameter vector is in both.
    file_starts
        Positions in ``train`` at which another file begins, for ``SHUFFLE: false``.
    train_files, val_files
        Names of the files that rows of each side come from; most files serve both.
    n_train_sets, n_val_sets
        Distinct parameter vectors on each side.
    """

    train: RowRuns
    val: RowRuns
    file_starts: np.ndarray
    train_files: tuple[str, ...]
    val_files: tuple[str, ...]
    n_train_sets: int
    n_val_sets: int


def stream(seed: int, *key: int) -> np.random.Generator:
    """Random generator of one use of the seed."""
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
        Which arrays.
    n_files
        Use at most so many files, drawn by the seed.
    train_share
        Share of the parameter sets that is trained on; each side gets at least one.
    seed
        Decides both draws.

    Raises
    ------
    UserError
        If there are fewer than two parameter sets.
    """
    sets = data_set.array(network_type, "sets")
    holders = [file for file in data_set.files if network_type in file.rows]
    if n_files < len(holders):
        chosen = stream(seed, _STREAM_FILES).permutation(len(holders))[:n_files]
        holders = [holders[i] for i in sorted(chosen)]
    runs = [runs_of_equal(sets, *file.rows[network_type]) for file in holders]
    distinct = np.unique(np.concatenate([np.unique(numbers) for _, numbers in runs]))
    if len(distinct) < 2:
        raise UserError(
            f"{data_set.folder}: {len(distinct)} distinct parameter set(s) in {len(holders)} "
            "file(s); at least two are needed, one to train on and one to validate on"
        )
    n_train = min(max(round(train_share * len(distinct)), 1), len(distinct) - 1)
    order = stream(seed, _STREAM_SPLIT).permutation(len(distinct))
    is_train_set = np.zeros(int(distinct[-1]) + 1, dtype=bool)
    is_train_set[distinct[order[:n_train]]] = True
    train, val = (
        [part.of(is_wanted[numbers]).merged() for part, numbers in runs]
        for is_wanted in (is_train_set, ~is_train_set)
    )
    lengths = [len(part) for part in train if len(part)]
    return Split(
        train=RowRuns.join(train),
        val=RowRuns.join(val),
        file_starts=np.cumsum([0, *lengths[:-1]]),
        train_files=_names(holders, train),
        val_files=_names(holders, val),
        n_train_sets=n_train,
        n_val_sets=len(distinct) - n_train,
    )


def _names(files: Sequence[PackedFile], parts: Sequence[RowRuns]) -> tuple[str, ...]:
    """Names of the files that have rows."""
    return tuple(file.name for file, part in zip(files, parts, strict=True) if len(part))
