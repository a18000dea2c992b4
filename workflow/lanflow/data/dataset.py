"""A data set: the arrays packed from a manifest's training files, and their record.

A data set is a folder of ``.npy`` arrays beside ``data_set.json``. For each network type that the
files hold there are features (rows, inputs), labels (rows, outputs) and the index of the parameter
set of every row. Equal parameter vectors share an index, whatever file they came from, so a split
by index never has a vector on both sides.

A data set is opened by :func:`open_data_set`, which maps the arrays into memory when they are used,
and packed by :func:`materialise`, which holds one training file in memory at a time.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from lanflow.core.errors import UserError
from lanflow.core.files import replace_folder, write_json
from lanflow.core.progress import Progress
from lanflow.data.manifest import Manifest, ManifestFile
from lanflow.data.relabel import relabeller
from lanflow.data.training_file import (
    TrainingFileContent,
    own_definition,
    read_training_file,
    require_file_memory,
)
from lanflow.models.models_file import ModelsFile
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
_DTYPES = {"features": "<f4", "labels": "<f4", "sets": "<i4"}

_MOST_FAULTS = 3  # that a message names

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class PackedFile:
    """Rows of one training file: network type -> (first row, number of rows)."""

    name: str
    sha256: str
    rows: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, config=_STRICT)
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

    def to_json(self) -> dict[str, object]:
        """The content of ``data_set.json``."""
        record = {**asdict(self), "bounds": self.bounds.to_json()}
        del record["folder"]
        return {"data_set_version": DATA_SET_VERSION, **record}

    @property
    def repeated_share(self) -> float:
        """Share of the parameter vectors that are repeats of others."""
        return 1 - self.n_sets / self.n_claimed_sets

    def _repr_html_(self) -> str:
        """Summary of the data for a notebook."""
        from lanflow.core.templates import Code, Table, notebook_html

        rows: list[tuple[str, Any]] = [
            ("folder", Code(str(self.folder))),
            ("parameter sets", self.n_sets),
            ("repeats", f"{self.repeated_share:.1%}"),
            *((f"{kind} rows", shape[0]) for kind, shape in self.shapes.items()),
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
        return np.dtype(_DTYPES[kind]), shape

    def check_arrays(self) -> None:
        """Check that every array is there, and of the type and shape that the record says.

        Raises
        ------
        UserError
            Naming the first file that is not.
        """
        for network_type in self.shapes:
            for kind in _DTYPES:
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


# Packing: training files become arrays, one file at a time.


class _GrowingArray:
    """A ``.npy`` file that rows are appended to; numpy leaves room in the header for the count."""

    def __init__(self, path: Path, dtype: str, columns: int | None) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self.columns = columns
        self.n_rows = 0
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.n_rows,) if self.columns is None else (self.n_rows, self.columns)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.n_rows += len(rows)

    def close(self) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()


class _Packer:
    """Appends training files to the arrays of a data set and numbers their parameter vectors."""

    def __init__(self, folder: Path, n_parameters: int) -> None:
        self._folder = folder
        self._n_parameters = n_parameters
        self._arrays: dict[str, tuple[_GrowingArray, _GrowingArray, _GrowingArray]] = {}
        self._index_of_set: dict[bytes, int] = {}
        self.files: list[PackedFile] = []
        self.n_claimed_sets = 0

    def add(self, entry: ManifestFile, content: TrainingFileContent) -> None:
        """Append the rows of a file, and note where they are."""
        rows, n_claimed_sets = {}, 0
        for network_type, (features, labels) in content.arrays.items():
            first, n_sets = self._append(entry.path, network_type, features, labels)
            rows[network_type] = first, len(features)
            n_claimed_sets = max(n_claimed_sets, n_sets)
        self.n_claimed_sets += n_claimed_sets
        self.files.append(PackedFile(name=entry.name, sha256=entry.sha256, rows=rows))

    def _append(
        self, path: str, network_type: str, features: np.ndarray, labels: np.ndarray
    ) -> tuple[int, int]:
        """Append rows of one network type; gives the first, and how many sets they claim to be."""
        if network_type not in self._arrays:
            self._arrays[network_type] = (
                self._open(network_type, "features", features.shape[1]),
                self._open(network_type, "labels", labels.shape[1]),
                self._open(network_type, "sets", None),
            )
        arrays = self._arrays[network_type]
        first = arrays[0].n_rows
        for array, rows in zip(arrays[:2], (features, labels), strict=True):
            if array.columns != rows.shape[1]:
                raise UserError(
                    f"{path}: its {network_type} arrays have {rows.shape[1]} columns, those of the "
                    f"files before it {array.columns}; these files do not belong together"
                )
            array.append(rows)
        sets = self._number_sets(features[:, : self._n_parameters])
        arrays[2].append(sets)
        # Without trials there is a row for each set.
        return first, len(np.unique(sets)) if NETWORK_TYPES[network_type].has_trial else len(sets)

    def _open(self, network_type: str, kind: str, columns: int | None) -> _GrowingArray:
        path = self._folder / f"{network_type}_{kind}.npy"
        return _GrowingArray(path, _DTYPES[kind], columns)

    def _number_sets(self, theta: np.ndarray) -> np.ndarray:
        """Index of the parameter vector of every row; rows of a set stand together in a file."""
        theta = np.ascontiguousarray(theta, dtype=np.float32) + np.float32(0)  # -0.0 equals 0.0
        starts = np.flatnonzero(np.r_[True, np.any(theta[1:] != theta[:-1], axis=1)])
        indices = [
            self._index_of_set.setdefault(theta[i].tobytes(), len(self._index_of_set))
            for i in starts
        ]
        lengths = np.diff(np.r_[starts, len(theta)])
        return np.repeat(np.array(indices, dtype=np.int32), lengths)

    @property
    def n_sets(self) -> int:
        return len(self._index_of_set)

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Network type -> (rows, inputs, outputs)."""
        shapes = {}
        for network_type, (features, labels, _) in self._arrays.items():
            assert features.columns is not None
            assert labels.columns is not None
            shapes[network_type] = (features.n_rows, features.columns, labels.columns)
        return shapes

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # all of them, also where one finds no room
            for arrays in self._arrays.values():
                for array in arrays:
                    stack.callback(array.close)


def materialise(
    manifest: Manifest,
    folder: Path,
    *,
    n_processes: int = 1,
    also_own: Sequence[str] = (),
    models_file: ModelsFile | None = None,
) -> DataSet:
    """Pack the files of a manifest into a data set, with a progress bar.

    Each file is read once, with the restricted reader, and must have the recorded sha256. Labels
    that the manifest wants anew are computed on ``n_processes`` processes.

    Parameters
    ----------
    manifest
        Which files, and where their labels come from.
    folder
        Where the data set appears, whole or not at all.
    n_processes
        Parameter sets that are relabelled at a time.
    also_own
        What the caller keeps in the folder beside the data set, and may be replaced with it.
    models_file
        Defines the model of labels that are computed anew, where ssm-simulators does not.

    Raises
    ------
    UserError
        If a file is missing, changed, or not a sound training file of the manifest's model; or if
        anything but an earlier data set is in the folder, which is left as it is.
    """
    largest = max(manifest.files, key=lambda file: file.size_bytes)
    require_file_memory(largest.size_bytes, f"packing {largest.path}, a file")
    doing = f"packing files, labels {manifest.relabel}" if manifest.relabel else "packing files"
    with (
        Progress(len(manifest.files), doing, "file") as progress,
        relabeller(manifest.relabel, n_processes=n_processes, models_file=models_file) as relabel,
        replace_folder(folder, (*DATA_SET_FILES, *also_own), what="a data set") as fresh,
    ):
        arrays = fresh / ARRAYS_NAME
        arrays.mkdir()
        with contextlib.closing(_Packer(arrays, len(manifest.parameters))) as packer:
            for entry in manifest.files:
                # No name for what is read, so that it is gone before the next file is.
                packer.add(entry, relabel(_read_file(entry, manifest), Path(entry.path)))
                progress.advance()
        data_set = DataSet(
            folder=folder,
            digest=manifest.digest,
            model=manifest.model,
            parameters=tuple(manifest.parameters),
            bounds=manifest.bounds,
            n_sets=packer.n_sets,
            n_claimed_sets=packer.n_claimed_sets,
            files=tuple(packer.files),
            shapes=packer.shapes,
            label_source=manifest.label_source,
        )
        write_json(fresh / RECORD_NAME, data_set.to_json())
    n_files = len(data_set.files)
    rows = ", ".join(f"{n_rows:,} {kind}" for kind, (n_rows, _, _) in data_set.shapes.items())
    log.info("packed %d file(s), %d parameter sets; rows: %s", n_files, data_set.n_sets, rows)
    return data_set


def _read_file(entry: ManifestFile, manifest: Manifest) -> TrainingFileContent:
    """Read a training file, and check that it is the one that was frozen and fits the others."""
    path = Path(entry.path)
    try:
        # One that grew since, or a device without an end, is not read.
        is_as_long = path.stat().st_size == entry.size_bytes
        content = path.read_bytes() if is_as_long else b""
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}), but the manifest lists it") from e
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise UserError(
            f"{path}: its content is not what the manifest froze (sha256 {sha256[:12]}... instead "
            f"of {entry.sha256[:12]}...); restore the file, or refresh the manifest to accept it"
        )
    training_file = read_training_file(content, path)
    for what, found, expected in (
        ("model", training_file.model, manifest.model),
        ("parameters", list(training_file.parameters), manifest.parameters),
        ("bounds", training_file.bounds.to_json(), manifest.bounds.to_json()),
        ("definition", _identity(training_file, manifest), _identity_of(manifest)),
    ):
        if found != expected:
            raise UserError(
                f"{path}: {what} {found}, the data set's first file has {expected}; these files "
                "do not belong together"
            )
    return training_file


def _identity_of(manifest: Manifest) -> dict[str, object] | None:
    return None if manifest.definition is None else manifest.definition.identity()


def _identity(file: TrainingFileContent, manifest: Manifest) -> dict[str, object] | None:
    """Definition of a file's model, in the terms of its manifest.

    A manifest may name a models file, and has seen choices, where files say nothing of them.
    """
    found, expected = own_definition(file), manifest.definition
    if found is None or expected is None:
        return None if found is None else found.identity()
    if file.definition.models_file is None and not found.differences(expected):
        return expected.identity()
    return found.identity()
