"""Which rows of a data set a training uses, divided by parameter set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanflow.data_set import DataSet, PackedFile
from lanflow.errors import UserError
from lanflow.row_runs import RowRuns, runs_of_equal

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
