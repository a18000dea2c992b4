"""A data set: the arrays packed from a manifest's training files, and their record.

A data set is a folder of ``.npy`` arrays beside ``data_set.json``. For each network type that the
files hold there are features (rows, inputs), labels (rows, outputs) and the index of the parameter
set of every row. Equal parameter vectors share an index, whatever file they came from, so a split
by index never has a vector on both sides.

A data set is opened by :func:`open_data_set`, which maps the arrays into memory when they are used,
and packed by :func:`lanflow.data.packing.materialise`.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from lanflow.core.errors import UserError
from lanflow.models.parameters import Bounds
from lanflow.networks.types import NETWORK_TYPES

log = logging.getLogger(__name__)

RECORD_NAME = "data_set.json"
ARRAYS_NAME = "arrays"
DATA_SET_VERSION = 2

# Every file of a data set.
DATA_SET_FILES = (
    RECORD_NAME,
    *(f"{ARRAYS_NAME}/{network_type}_*.npy" for network_type in NETWORK_TYPES),
)

# The arrays of a network type, little-endian.
DTYPES = {"features": "<f4", "labels": "<f4", "sets": "<i4"}

_MOST_FAULTS = 3  # that a message names

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class PackedFile:
    """Rows of one training file: network type -> (first row, number of rows)."""

    name: str
    sha256: str
    rows: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, repr=False, config=_STRICT)
class DataSet:
    """A data set on disk; ``data_set.json`` holds all of it but the folder.

    Attributes
    ----------
    folder
        Where ``data_set.json`` is.
    digest
        The manifest's digest.
    model
        The cognitive model.
    parameters
        Names of the model's parameters, in the order of the columns.
    bounds
        Parameter -> (lower, upper) bound of the values it was drawn from; empty where not recorded.
    n_sets
        Number of distinct parameter vectors.
    n_claimed_sets
        Sum over files of the parameter vectors in each, repeats counted.
    files
        In the manifest's order.
    shapes
        Network type -> (rows, inputs, outputs).
    label_source
        Where the labels come from; ``None`` where the files do not say.
    dropped_rows
        Network type -> rows of the files that were left out for values that cannot be.
    """

    folder: Path
    digest: str
    model: str
    parameters: tuple[str, ...]
    bounds: Bounds
    n_sets: int
    n_claimed_sets: int
    files: tuple[PackedFile, ...]
    shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    label_source: str | None = None
    dropped_rows: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The content of ``data_set.json``."""
        record = {**asdict(self), "bounds": self.bounds.to_json()}
        del record["folder"]
        if not self.dropped_rows:
            del record["dropped_rows"]
        return {"data_set_version": DATA_SET_VERSION, **record}

    @property
    def repeated_share(self) -> float:
        """Share of the parameter vectors that are repeats of others."""
        return 1 - self.n_sets / self.n_claimed_sets

    def __repr__(self) -> str:
        """The data in one line."""
        rows = ", ".join(f"{shape[0]:,} {kind} rows" for kind, shape in self.shapes.items())
        return f"<DataSet {self.model}: {rows} of {self.n_sets:,} parameter sets, {self.folder}>"

    def _repr_html_(self) -> str:
        """Summary of the data for a notebook."""
        from lanflow.core.templates import Code, Table, notebook_html

        rows: list[tuple[str, Any]] = [
            ("folder", Code(str(self.folder))),
            ("parameter sets", self.n_sets),
            ("repeats", f"{self.repeated_share:.1%}"),
            *((f"{kind} rows", shape[0]) for kind, shape in self.shapes.items()),
            *((f"{kind} rows left out", n) for kind, n in self.dropped_rows.items()),
            ("labels", self.label_source or "not recorded"),
            ("digest", Code(self.digest[:12])),
        ]
        bounds = [
            (name, *self.bounds.get(name, ("not recorded", "not recorded")))
            for name in self.parameters
        ]
        return notebook_html(
            f"training data of {self.model}",
            Table("Data set", ["what", "value"], rows),
            Table("Parameters", ["parameter", "lower bound", "upper bound"], bounds),
        )

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
        dtype, shape = self._described(network_type, kind)
        try:
            array: np.memmap = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as e:
            raise UserError(f"{path}: cannot be read ({e}); materialise the data again") from e
        if (array.dtype, array.shape) != (dtype, shape):
            raise UserError(
                f"{path}: holds {array.dtype} {array.shape}, but {self.folder / RECORD_NAME} says "
                f"{dtype} {shape}; materialise the data again"
            )
        return array

    def _described(self, network_type: str, kind: str) -> tuple[np.dtype, tuple[int, ...]]:
        """Type and shape that an array has by the record."""
        n_rows, n_inputs, n_outputs = self.shapes[network_type]
        columns = {"features": n_inputs, "labels": n_outputs}
        shape = (n_rows, columns[kind]) if kind in columns else (n_rows,)
        return np.dtype(DTYPES[kind]), shape

    def check_arrays(self) -> None:
        """Check that every array is there, and of the type and shape that the record says.

        Raises
        ------
        UserError
            Naming the first file that is not.
        """
        for network_type in self.shapes:
            for kind in DTYPES:
                self.array(network_type, kind)

    def check_sets(self, network_type: str, numbers: np.ndarray) -> None:
        """Check that parameter sets, ascending, are among those that the record counts.

        Raises
        ------
        UserError
            Naming the file of the rows.
        """
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < self.n_sets:
            raise UserError(
                f"{self.folder / ARRAYS_NAME / f'{network_type}_sets.npy'}: holds parameter sets "
                f"{numbers[0]} to {numbers[-1]}, but {self.folder / RECORD_NAME} counts "
                f"{self.n_sets}, from 0; materialise the data again"
            )


def open_data_set(folder: Path) -> DataSet:
    """Open a packed data set.

    Raises
    ------
    UserError
        If the folder holds none, a damaged one, or one of another version; naming the key that is
        wrong.
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
        data_set = DataSet(**{**record, "folder": folder})
    except (ValidationError, TypeError) as e:
        raise UserError(f"{path}: damaged ({_explain(e)}); materialise it again") from e
    if wrong := _find_contradiction(data_set):
        raise UserError(f"{path}: {wrong}; materialise it again")
    return data_set


def _explain(error: ValidationError | TypeError) -> str:
    """Pydantic's errors in one line; a key that is no text is a `TypeError`."""
    if isinstance(error, TypeError):
        return str(error)
    faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return "; ".join(faults[:_MOST_FAULTS])


def _find_contradiction(data_set: DataSet) -> str | None:
    """Say in what a data set's record contradicts itself; None if it does not."""
    if unknown := data_set.shapes.keys() - NETWORK_TYPES.keys():
        return f"shapes: {sorted(unknown)[0]!r:.100} is no network type"
    if not data_set.files or not data_set.shapes:
        return "files and shapes must not be empty"
    if data_set.bounds and set(data_set.bounds) != set(data_set.parameters):
        return "bounds are not those of the parameters"
    n_rows = sum(shape[0] for shape in data_set.shapes.values())
    for what, n_sets in (("n_sets", data_set.n_sets), ("n_claimed_sets", data_set.n_claimed_sets)):
        if not 1 <= n_sets <= n_rows:
            return f"{what} is {n_sets}, of {n_rows} rows"
    for network_type, (n_rows, n_inputs, n_outputs) in data_set.shapes.items():
        n_expected = len(data_set.parameters) + 2 * NETWORK_TYPES[network_type].has_trial
        if n_inputs != n_expected or n_outputs < 1:
            return (
                f"shapes.{network_type}: {n_inputs} inputs and {n_outputs} outputs, expected are "
                f"{n_expected} inputs and at least 1 output"
            )
        first = 0
        for file in data_set.files:
            start, length = file.rows.get(network_type, (first, 0))
            if start != first or length < 0:
                return f"rows.{network_type} of file {file.name!r:.200} do not follow those before"
            first += length
        if first != n_rows:
            return f"shapes.{network_type}: {n_rows} rows, the files have {first}"
    return None


def check_repeats(data_set: DataSet, *, max_repeated_sets: float) -> None:
    """Refuse a data set in which more than this share of the parameter sets are repeats.

    Raises
    ------
    UserError
        If it has more.
    """
    if data_set.repeated_share > max_repeated_sets:
        raise UserError(
            f"{data_set.folder}: {data_set.repeated_share:.1%} of the parameter sets are repeats, "
            f"more than the {max_repeated_sets:.1%} that are accepted (--max-repeated-sets, study "
            "key max_repeated_sets)"
        )
