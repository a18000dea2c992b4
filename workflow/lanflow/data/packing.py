"""Packing a data set: training files become arrays, one file in memory at a time."""

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.files import replace_folder, write_json
from lanflow.core.progress import Progress
from lanflow.data.dataset import (
    ARRAYS_NAME,
    DATA_SET_FILES,
    DTYPES,
    RECORD_NAME,
    DataSet,
    PackedFile,
)
from lanflow.data.manifest import Manifest, ManifestFile
from lanflow.data.relabel import relabeller
from lanflow.data.training_file import (
    TrainingFileContent,
    own_definition,
    read_training_file,
    require_file_memory,
)
from lanflow.models.models_file import ModelsFile
from lanflow.networks.types import NETWORK_TYPES

log = logging.getLogger(__name__)


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
        numbers, lengths = self._number_sets(features[:, : self._n_parameters])
        arrays[2].append(np.repeat(numbers, lengths))
        # Without trials there is a row for each set.
        has_trial = NETWORK_TYPES[network_type].has_trial
        return first, len(np.unique(numbers)) if has_trial else len(features)

    def _open(self, network_type: str, kind: str, columns: int | None) -> _GrowingArray:
        path = self._folder / f"{network_type}_{kind}.npy"
        return _GrowingArray(path, DTYPES[kind], columns)

    def _number_sets(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index of the parameter vector of rows that stand together, and how many rows each has."""
        is_new = np.zeros(len(theta), bool)
        is_new[:1] = True
        for column in theta.T:
            is_new[1:] |= column[1:] != column[:-1]
        starts = np.flatnonzero(is_new)
        vectors = theta[starts].astype(np.float32) + np.float32(0)  # -0.0 equals 0.0
        indices = [
            self._index_of_set.setdefault(vector.tobytes(), len(self._index_of_set))
            for vector in vectors
        ]
        return np.array(indices, dtype=np.int32), np.diff(np.r_[starts, len(theta)])

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
            dropped_rows=manifest.dropped_rows,
        )
        write_json(fresh / RECORD_NAME, data_set.to_json())
    n_files = len(data_set.files)
    rows = ", ".join(f"{n_rows:,} {kind}" for kind, (n_rows, _, _) in data_set.shapes.items())
    log.info("packed %d file(s), %d parameter sets; rows: %s", n_files, data_set.n_sets, rows)
    if dropped := ", ".join(f"{n:,} {kind}" for kind, n in data_set.dropped_rows.items()):
        log.warning("left out rows with values that cannot be: %s", dropped)
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
    training_file = read_training_file(content, path, drop_invalid=manifest.drop_invalid)
    for what, found, expected in (
        ("model", training_file.model, manifest.model),
        ("parameters", list(training_file.parameters), manifest.parameters),
        ("bounds", training_file.bounds, manifest.bounds),
        ("definition", _identity(training_file, manifest), _identity_of(manifest)),
    ):
        if found != expected:
            raise UserError(
                f"{path}: {what} {found}, the data set's first file has {expected}; these files "
                "do not belong together"
            )
    if training_file.n_dropped != entry.dropped_rows:
        raise UserError(
            f"{path}: {dict(training_file.n_dropped)} rows hold values that cannot be, but the "
            f"manifest says {entry.dropped_rows}; write the manifest again"
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
