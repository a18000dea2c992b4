"""A packed data set on disk: memory-mapped arrays and their record.

A data set is a folder of ``.npy`` arrays beside ``data_set.json``. For each network type that the
files hold there are features (rows, inputs), labels (rows, outputs) and the index of the parameter
set of every row. Equal parameter vectors share an index, whatever file they came from, so a split
by index never has a vector on both sides.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lanflow.errors import UserError

RECORD_NAME = "data_set.json"
ARRAYS_NAME = "arrays"
DATA_SET_VERSION = 2


@dataclass(frozen=True)
class PackedFile:
    """Where the rows of one training file lie: network type -> (first row, number of rows)."""

    name: str
    sha256: str
    rows: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class DataSet:
    """A packed data set on disk.

    Attributes
    ----------
    folder
        Where ``data_set.json`` is.
    digest
        The manifest's digest.
    parameters
        Names of the model's parameters, in the order of the columns.
    bounds
        Parameter -> (lower, upper) of the box it was drawn from; empty where not recorded.
    n_sets
        Number of distinct parameter vectors.
    files
        In the manifest's order.
    label_source
        Where the labels come from; ``None`` where the files do not say.
    n_claimed_sets
        Sum over files of the parameter vectors in each, repeats counted.
    """

    folder: Path
    digest: str
    model: str
    parameters: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]
    n_sets: int
    n_claimed_sets: int
    files: tuple[PackedFile, ...]
    shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    label_source: str | None = None

    @property
    def repeated_share(self) -> float:
        """Share of the parameter vectors that are repeats of others."""
        return 1 - self.n_sets / self.n_claimed_sets

    def array(self, network_type: str, kind: str) -> np.ndarray:
        """Memory-map one array.

        Parameters
        ----------
        network_type
            ``lan``, ``cpn``, ``opn`` or ``gonogo``.
        kind
            ``features`` (rows, inputs) float32, ``labels`` (rows, outputs) float32 or
            ``sets`` (rows,) int32.

        Raises
        ------
        UserError
            If the files held nothing for that network type.
        """
        if network_type not in self.shapes:
            raise UserError(
                f"{self.folder / RECORD_NAME}: no {network_type} data in these training files "
                f"(they hold: {', '.join(self.shapes)})"
            )
        path = self.folder / ARRAYS_NAME / f"{network_type}_{kind}.npy"
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as e:
            raise UserError(f"{path}: cannot be read ({e}); materialise the data again") from e
        return array


def open_data_set(folder: Path) -> DataSet:
    """Open a packed data set.

    Raises
    ------
    UserError
        If the folder holds none, a damaged one, or one of another version.
    """
    path = folder / RECORD_NAME
    try:
        record = json.loads(path.read_text())
        version = record.pop("data_set_version", None)
    except (OSError, ValueError, AttributeError, TypeError) as e:
        raise UserError(f"{folder}: not a packed data set (no readable {RECORD_NAME})") from e
    if version != DATA_SET_VERSION:
        raise UserError(
            f"{path}: version {version}, this lanflow reads {DATA_SET_VERSION}; "
            "materialise it again"
        )
    try:
        record["parameters"] = tuple(record["parameters"])
        record["bounds"] = {name: (low, high) for name, (low, high) in record["bounds"].items()}
        record["files"] = tuple(PackedFile(**file) for file in record["files"])
        record["shapes"] = {name: tuple(shape) for name, shape in record["shapes"].items()}
        return DataSet(folder=folder, **record)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UserError(f"{path}: damaged ({e!r}); materialise it again") from e


def check_repeats(data_set: DataSet, *, max_repeated_sets: float) -> None:
    """Refuse a data set with a larger share of repeated parameter sets.

    Raises
    ------
    UserError
        If it has.
    """
    if data_set.repeated_share > max_repeated_sets:
        raise UserError(
            f"{data_set.folder}: {data_set.repeated_share:.1%} of the parameter sets are repeats, "
            f"more than the {max_repeated_sets:.1%} that are accepted (--max-repeated-sets, study "
            "key max_repeated_sets)"
        )
