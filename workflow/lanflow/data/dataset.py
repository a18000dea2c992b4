"""A packed data set on disk: memory-mapped arrays and their record.

A data set is a folder of ``.npy`` arrays beside ``data_set.json``. For each network type that the
files hold there are features (rows, inputs), labels (rows, outputs) and the index of the parameter
set of every row. Equal parameter vectors share an index, whatever file they came from, so a split
by index never has a vector on both sides.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.files import replace_folder, write_json
from lanflow.data.manifest import label_source_of
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.networks.types import NETWORK_TYPES

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


# From training files to a packed data set, one file in memory at a time.


# Every file of a data set.
DATA_SET_FILES = (
    RECORD_NAME,
    *(f"{ARRAYS_NAME}/{network_type}_*.npy" for network_type in NETWORK_TYPES),
)


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
        np.ascontiguousarray(rows, dtype=self._dtype).tofile(self._file)
        self.n_rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()


class _Packer:
    """Appends training files to the arrays of a data set and numbers their parameter vectors."""

    def __init__(self, folder: Path, n_parameters: int) -> None:
        self._folder = folder
        self._n_parameters = n_parameters
        self._arrays: dict[str, tuple[_GrowingArray, _GrowingArray, _GrowingArray]] = {}
        self._set_index: dict[bytes, int] = {}

    def add(self, name: str, network_type: str, features: np.ndarray, labels: np.ndarray) -> int:
        """Append the rows of a file; gives how many parameter sets the file claims to hold."""
        if network_type not in self._arrays:
            self._arrays[network_type] = (
                _GrowingArray(
                    self._folder / f"{network_type}_features.npy", "<f4", features.shape[1]
                ),
                _GrowingArray(self._folder / f"{network_type}_labels.npy", "<f4", labels.shape[1]),
                _GrowingArray(self._folder / f"{network_type}_sets.npy", "<i4", None),
            )
        arrays = self._arrays[network_type]
        for array, rows in zip(arrays[:2], (features, labels), strict=True):
            if array.columns != rows.shape[1]:
                raise UserError(
                    f"{name}: its {network_type} arrays have {rows.shape[1]} columns, those of the "
                    f"files before it {array.columns}; these files do not belong together"
                )
            array.append(rows)
        sets = self._number_sets(features[:, : self._n_parameters])
        arrays[2].append(sets)
        # Without trials there is a row for each set.
        return len(np.unique(sets)) if NETWORK_TYPES[network_type].has_trial else len(sets)

    def _number_sets(self, theta: np.ndarray) -> np.ndarray:
        """Index of the parameter vector of every row; rows of a set stand together in a file."""
        theta = np.ascontiguousarray(theta, dtype=np.float32) + np.float32(0)  # -0.0 equals 0.0
        starts = np.flatnonzero(np.r_[True, np.any(theta[1:] != theta[:-1], axis=1)])
        numbers = [
            self._set_index.setdefault(theta[i].tobytes(), len(self._set_index)) for i in starts
        ]
        lengths = np.diff(np.r_[starts, len(theta)])
        return np.repeat(np.array(numbers, dtype=np.int32), lengths)

    def n_rows(self, network_type: str) -> int:
        return self._arrays[network_type][0].n_rows if network_type in self._arrays else 0

    @property
    def n_sets(self) -> int:
        return len(self._set_index)

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        shapes = {}
        for network_type, (features, labels, _) in self._arrays.items():
            assert features.columns is not None
            assert labels.columns is not None
            shapes[network_type] = (features.n_rows, features.columns, labels.columns)
        return shapes

    def close(self) -> None:
        for arrays in self._arrays.values():
            for array in arrays:
                array.close()


def materialise(
    manifest: Mapping[str, Any],
    folder: Path,
    *,
    relabel: Callable[[TrainingFileContent, Path], TrainingFileContent] = lambda file, _: file,
    also_own: Sequence[str] = (),
    on_file: Callable[[], None] = lambda: None,
) -> DataSet:
    """Pack the files of a manifest into a data set.

    Each file is read once, with the restricted reader, and must have the recorded sha256. Memory
    holds one file at a time.

    Parameters
    ----------
    manifest
        As :func:`lanflow.data.manifest.build_manifest` made it.
    folder
        Where the data set appears, whole or not at all.
    relabel
        Gives a file the labels that the manifest says; see :mod:`lanflow.data.relabel`.
    also_own
        What the caller keeps in the folder beside the data set, and may be replaced with it.
    on_file
        Called after each file.

    Raises
    ------
    UserError
        If a file is missing, changed, or not a sound training file of the manifest's model; or if
        anything but an earlier data set is in the folder, which is left as it is.
    """
    files: list[PackedFile] = []
    n_claimed_sets = 0
    parameters = tuple(manifest["parameters"])
    with replace_folder(folder, (*DATA_SET_FILES, *also_own), what="a data set") as fresh:
        arrays = fresh / ARRAYS_NAME
        arrays.mkdir()
        with contextlib.closing(_Packer(arrays, len(parameters))) as packer:
            for entry in manifest["files"]:
                file, n_claimed = _pack_file(packer, entry, manifest, relabel)
                files.append(file)
                n_claimed_sets += n_claimed
                on_file()
        data_set = DataSet(
            folder=folder,
            digest=manifest["digest"],
            model=manifest["model"],
            parameters=parameters,
            bounds={name: (low, high) for name, (low, high) in manifest["bounds"].items()},
            n_sets=packer.n_sets,
            n_claimed_sets=n_claimed_sets,
            files=tuple(files),
            shapes=packer.shapes,
            label_source=label_source_of(manifest),
        )
        record = {"data_set_version": DATA_SET_VERSION, **asdict(data_set)}
        del record["folder"]
        write_json(fresh / RECORD_NAME, record)
    return data_set


def _pack_file(
    packer: _Packer,
    entry: Mapping[str, Any],
    manifest: Mapping[str, Any],
    relabel: Callable[[TrainingFileContent, Path], TrainingFileContent],
) -> tuple[PackedFile, int]:
    """Append a file; gives where its rows are, and how many parameter sets it claims to hold."""
    path = Path(entry["path"])
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}), but the manifest lists it") from e
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry["sha256"]:
        raise UserError(
            f"{path}: its content is not what the manifest froze (sha256 {sha256[:12]}... instead "
            f"of {entry['sha256'][:12]}...); restore the file, or refresh the manifest to accept it"
        )
    training_file = read_training_file(content, path)
    _check_belongs(training_file, manifest, path)
    rows, n_claimed = {}, 0
    for network_type, (features, labels) in relabel(training_file, path).arrays.items():
        rows[network_type] = (packer.n_rows(network_type), len(features))
        n_claimed = max(n_claimed, packer.add(str(path), network_type, features, labels))
    return PackedFile(name=entry["name"], sha256=sha256, rows=rows), n_claimed


def _check_belongs(
    training_file: TrainingFileContent, manifest: Mapping[str, Any], path: Path
) -> None:
    """Refuse a file of another model, other parameters, or another box of them."""
    bounds = {name: list(pair) for name, pair in training_file.bounds.items()}
    for what, found, expected in (
        ("model", training_file.model, manifest["model"]),
        ("parameters", list(training_file.parameters), manifest["parameters"]),
        ("bounds", bounds, manifest["bounds"]),
    ):
        if found != expected:
            raise UserError(
                f"{path}: {what} {found}, the data set's first file has {expected}; these files "
                "do not belong together"
            )
