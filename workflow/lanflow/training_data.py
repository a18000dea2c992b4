"""Which rows of a data set a training uses, and in what order it visits them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lanflow.data_set import DataSet
from lanflow.errors import UserError

# Streams of the seed: each kind of draw has its own, so that more of one never moves another.
_STREAM_FILES, _STREAM_SPLIT, _STREAM_ORDER = 1, 2, 3


@dataclass(frozen=True)
class Split:
    """Rows of a data set that one training uses.

    Attributes
    ----------
    train, val
        Row indices, int64, ascending; no parameter vector is in both.
    file_starts
        Positions in ``train`` at which another file begins, for ``SHUFFLE: false``.
    train_files, val_files
        Names of the files that rows of each side come from; most files serve both.
    n_train_sets, n_val_sets
        Distinct parameter vectors on each side.
    """

    train: np.ndarray
    val: np.ndarray
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
    row_ranges = [file.rows[network_type] for file in holders]
    rows = np.concatenate([np.arange(first, first + n) for first, n in row_ranges])
    set_of_row = np.asarray(sets[rows])
    distinct = np.unique(set_of_row)
    if len(distinct) < 2:
        raise UserError(
            f"{data_set.folder}: {len(distinct)} distinct parameter set(s) in {len(holders)} "
            "file(s); at least two are needed, one to train on and one to validate on"
        )
    n_train = min(max(round(train_share * len(distinct)), 1), len(distinct) - 1)
    order = stream(seed, _STREAM_SPLIT).permutation(len(distinct))
    is_train_set = np.zeros(int(distinct[-1]) + 1, dtype=bool)
    is_train_set[distinct[order[:n_train]]] = True
    in_train = is_train_set[set_of_row]
    file_of_row = np.repeat(np.arange(len(holders)), [n for _, n in row_ranges])
    sides = file_of_row[in_train], file_of_row[~in_train]
    train_files, val_files = (tuple(holders[i].name for i in np.unique(side)) for side in sides)
    return Split(
        train=rows[in_train],
        val=rows[~in_train],
        file_starts=np.flatnonzero(np.r_[True, sides[0][1:] != sides[0][:-1]]),
        train_files=train_files,
        val_files=val_files,
        n_train_sets=n_train,
        n_val_sets=len(distinct) - n_train,
    )


def epoch_order(split: Split, *, shuffle: bool, seed: int, epoch: int) -> np.ndarray:
    """Order in which an epoch visits the training rows; each exactly once.

    Parameters
    ----------
    split
        The rows.
    shuffle
        ``True`` mixes all rows. ``False`` keeps the files in their order and mixes the rows within
        each, which is what ``SHUFFLE: False`` means in LANfactory.
    seed, epoch
        Decide the order; nothing else does.

    Returns
    -------
    numpy.ndarray
        Row indices into the data set's arrays, shape (rows,), int64.
    """
    rng = stream(seed, _STREAM_ORDER, epoch)
    if shuffle:
        return split.train[rng.permutation(len(split.train))]
    pieces = np.split(split.train, split.file_starts[1:])
    return np.concatenate([piece[rng.permutation(len(piece))] for piece in pieces])


def iterate_blocks(
    features: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int,
    labels_lower_bound: float | None,
    block_bytes: int = 2**28,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gather rows into contiguous blocks, each a whole number of batches but the last.

    Parameters
    ----------
    features, labels
        Arrays of a data set, (rows, inputs) and (rows, outputs).
    order
        Rows to visit.
    batch_size
        Rows per update.
    labels_lower_bound
        Smaller labels are raised to it.
    block_bytes
        Memory that one block may take.
    """
    row_bytes = 4 * (features.shape[1] + labels.shape[1])
    n_batches = max(block_bytes // (row_bytes * batch_size), 1)
    block_rows = n_batches * batch_size
    for start in range(0, len(order), block_rows):
        rows = order[start : start + block_rows]
        block_labels = np.take(labels, rows, axis=0)
        if labels_lower_bound is not None:
            np.maximum(block_labels, np.float32(labels_lower_bound), out=block_labels)
        yield np.take(features, rows, axis=0), block_labels
