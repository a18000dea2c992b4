"""A run's record on disk: everything that MLflow is to hold of the run.

A record is a folder ``unsent_runs/{key}`` beside the results. It holds ``run.json``, which is
replaced in one step, and files that are to become artifacts. It exists from the run's start until
the store has all of the run, so a folder that is left names a run that is still to be sent. The
record of a run that finished then moves to ``.sent_runs/{key}``, from where it can be sent to
another store. Records are written without MLflow.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.core.files import link_or_copy, read_json, write_json, write_text
from lanflow.core.names import SENT_RUNS, UNSENT_RUNS, is_name
from lanflow.core.settings import Settings, parse_settings
from lanflow.tracking.store import HIDDEN, resolve_store

RECORD_NAME = "run.json"
_ARTIFACTS, _LOCK = "artifacts", "lock"
# Key in documents of results: where the record of their run is, while it is still to be sent.
PENDING_KEY = "mlflow_pending"

# MLflow refuses longer values (mlflow.utils.validation).
_MAX_PARAM_LENGTH, _MAX_TAG_LENGTH = 6000, 8000
_MAX_NAME_LENGTH = 1000

_SLURM_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")

# Folders that may hold very many files, and never a record.
_NOT_SEARCHED = {"arrays", "training_data", "training_data.partial", ".snakemake"}

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
# One value of a metric: name, value, time in milliseconds since 1970, step.
Point = tuple[str, float, int, int]


class DataSetInput(Settings):
    """The training data of a run, as ``mlflow.log_input`` records it.

    Attributes
    ----------
    profile, source
        Size of the data and where it comes from; to MLflow each is any JSON object.
    """

    name: str
    digest: str
    profile: dict[str, JsonValue]
    source: dict[str, JsonValue]


# Beside a network's folder lie the files of its run that LANfactory's loaders look for.
_LANFACTORY_FILE = re.compile(
    r".+_(?:network_config|train_config|data_details)\.pickle|.+_training_history\.csv"
    r"|.+_train_state(?:\.jax|_dict\.pt)|.+_model\.onnx"
)


def _check_artifact_name(name: str) -> str:
    parts = name.split("/")
    if len(name) > _MAX_NAME_LENGTH or not all(map(is_name, parts)):
        raise ValueError(f"{name[:200]!a} is no path among artifacts")
    return name


class Artifact(Settings):
    """A file that becomes an artifact.

    Attributes
    ----------
    name
        Its path among the run's artifacts.
    path
        The file, relative to the record's folder.
    """

    name: Annotated[str, AfterValidator(_check_artifact_name)]
    path: str
    size_bytes: int


class RunRecord(Settings):
    """A run, with times in milliseconds since 1970.

    Attributes
    ----------
    is_addition
        Whether this is an evaluation that was recorded after its training's run had ended: it
        adds metrics and files to that run.
    """

    model_config = ConfigDict(frozen=False, extra="forbid")

    record_version: Literal[1] = 1
    key: str
    tracking_uri: str
    experiment: str
    name: str | None = None
    run_id: str | None = None
    experiment_id: str | None = None
    status: Status = "RUNNING"
    failure: str | None = None
    start_time: int
    end_time: int | None = None
    is_addition: bool = False
    tags: dict[str, str] = Field(default_factory=dict)
    params: dict[str, str] = Field(default_factory=dict)
    metrics: list[Point] = Field(default_factory=list)
    data_set: DataSetInput | None = None
    artifacts: list[Artifact] = Field(default_factory=list)


def param_texts(params: Mapping[str, object]) -> dict[str, str]:
    """Convert params to texts of a length that MLflow takes."""
    return {key: str(value)[:_MAX_PARAM_LENGTH] for key, value in params.items()}


def tag_texts(tags: Mapping[str, object]) -> dict[str, str]:
    """Convert tags to texts of a length that MLflow takes."""
    return {key: str(value)[:_MAX_TAG_LENGTH] for key, value in tags.items()}


def source_tags() -> dict[str, str]:
    """Return the tags of every run: lanflow's version, and the Slurm job that this is."""
    tags = {"schema_version": "1", "lanflow_version": __version__, "mlflow.source.name": "lanflow"}
    for variable in _SLURM_VARIABLES:
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags


def now_ms() -> int:
    """Return the time in milliseconds since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


def new_key() -> str:
    """Make an identity for a run that has no MLflow id yet."""
    return uuid.uuid4().hex


def sync_command(places: Iterable[Path], tracking_uri: str) -> str:
    """Return the command that sends records; it names their store if that is not in use here."""
    command = shlex.join(["lanflow", "sync", *map(str, places)])
    if tracking_uri == resolve_store().shown_uri or HIDDEN in tracking_uri:
        return command  # credentials come from the environment alone
    return f"{command} --mlflow-tracking-uri {shlex.quote(tracking_uri)}"


class RecordFolder:
    """The folder of one run's record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def of_run(cls, results: Path, key: str) -> "RecordFolder":
        """Return the record of a run that is still to be sent, beside its results."""
        return cls(results / UNSENT_RUNS / key)

    @classmethod
    def of_pending(cls, results: Path, pending: str) -> "RecordFolder":
        """Return the record that a document of results names under ``mlflow_pending``.

        Raises
        ------
        UserError
            If the name leads anywhere but to the records beside the results.
        """
        folder, _, key = pending.partition("/")
        if folder != UNSENT_RUNS or not is_name(key):
            raise UserError(
                f"{results}: {PENDING_KEY} is {pending[:200]!a}, which is no record in "
                f"{UNSENT_RUNS}/; the folder was changed by somebody else"
            )
        return cls.of_run(results, key)

    @classmethod
    def of_sent(cls, results: Path) -> "RecordFolder | None":
        """Return the record of the run that made some results, if a store has all of that run."""
        for folder in sorted((results / SENT_RUNS).glob("*")):
            if (folder / RECORD_NAME).exists():
                return cls(folder)
        return None

    @property
    def results(self) -> Path:
        """The folder of the run's results."""
        return self.path.parent.parent

    def lock(self) -> bool:
        """Lock the record for this process, until it ends; False if another process holds it.

        On a file system without locks this always succeeds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / _LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        except OSError:
            lock.close()
            return True
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(self, record: RunRecord) -> None:
        """Write the record in one step."""
        write_text(self.path / RECORD_NAME, json.dumps(record.model_dump(mode="json")) + "\n")

    def exists(self) -> bool:
        """Tell whether the folder holds a record."""
        return (self.path / RECORD_NAME).exists()

    def read(self) -> RunRecord:
        """Read the record without looking at its files.

        Raises
        ------
        UserError
            If it cannot be read or is damaged.
        """
        path = self.path / RECORD_NAME
        return parse_settings(RunRecord, read_json(path), str(path))

    def read_checked(self) -> RunRecord:
        """Read the record and check the sizes of its files.

        Raises
        ------
        UserError
            If it cannot be read or is damaged, or if a file is missing or of another size.
        """
        path, record = self.path / RECORD_NAME, self.read()
        for artifact in record.artifacts:
            file = self.file_of(artifact)
            self._require_own(file)
            size = file.stat().st_size if file.is_file() else None
            if size != artifact.size_bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise UserError(f"{file} {found}; {path} recorded {artifact.size_bytes} bytes")
        return record

    def file_of(self, artifact: Artifact) -> Path:
        """Return the path of an artifact's file."""
        return self.path / artifact.path

    def holds(self, artifact: Artifact) -> bool:
        """Tell whether an artifact's file is in the record's folder, and not among the results."""
        file = self.file_of(artifact)
        return file.is_file() and file.resolve().is_relative_to(self.path.resolve())

    def _require_own(self, file: Path) -> None:
        """Refuse to send a file that is neither of the results nor of LANfactory beside them.

        A folder of results may be somebody else's, and its record would choose what is sent.

        Raises
        ------
        UserError
            Naming the file.
        """
        results, resolved = self.results.resolve(), file.resolve()
        is_beside = resolved.parent == results.parent and _LANFACTORY_FILE.fullmatch(resolved.name)
        if not resolved.is_relative_to(results) and not is_beside:
            raise UserError(
                f"{self.path / RECORD_NAME}: names the file {resolved}, which is not of these "
                "results; it is not sent"
            )

    def write_document(self, content: Mapping[str, object], name: str) -> Artifact:
        """Write JSON into the record, to become an artifact."""
        path = self.path / _ARTIFACTS / name
        write_json(path, dict(content))
        return self.make_artifact(path, name)

    def make_artifact(self, path: Path, name: str) -> Artifact:
        """Describe a file that is to become an artifact, with its present size."""
        relative = os.path.relpath(path.absolute(), self.path.absolute())
        return Artifact(name=name, path=relative, size_bytes=path.stat().st_size)

    def copy_artifacts(self, record: RunRecord) -> None:
        """Copy all artifacts into the record's folder and save the record.

        Later results may then replace the originals.
        """
        copied = []
        for artifact in record.artifacts:
            path = self.path / _ARTIFACTS / artifact.name
            if self.file_of(artifact).resolve() != path.resolve():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                link_or_copy(self.file_of(artifact), path)
            copied.append(self.make_artifact(path, artifact.name))
        record.artifacts = copied
        self.save(record)

    def remove(self, *, keep_files: bool = False) -> None:
        """Remove a record that the store has, with its files unless they are to be kept."""
        (self.path / RECORD_NAME).unlink(missing_ok=True)  # first: the rest alone is no record
        if not keep_files:
            shutil.rmtree(self.path, ignore_errors=True)
        self.unlock()
        self._remove_parent_if_empty()

    def mark_sent(self) -> None:
        """Move the record to ``.sent_runs``, in place of any record there."""
        place = self.results / SENT_RUNS / self.path.name
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir()
        self.path.rename(place)
        self._remove_parent_if_empty()
        self.path = place
        self.unlock()

    def _remove_parent_if_empty(self) -> None:
        with contextlib.suppress(OSError):  # it holds records of other runs
            self.path.parent.rmdir()

    def remove_sent(self) -> None:
        """Remove the record of the run that made the results before; this run replaces them."""
        shutil.rmtree(self.results / SENT_RUNS, ignore_errors=True)

    def last_write_ms(self) -> int:
        """Return when the record or a file of the results was last written, in milliseconds."""
        paths = [self.path / RECORD_NAME, *(p for p in self.results.iterdir() if p.is_file())]
        return int(max(path.stat().st_mtime for path in paths) * 1000)


def find_records(places: Iterable[Path], name: str = UNSENT_RUNS) -> Iterator[RecordFolder]:
    """Find every record in folders of results, in a fixed order.

    Parameters
    ----------
    places
        Folders of results, or of single records.
    name
        ``unsent_runs``, or ``.sent_runs`` for records of runs that a store has.

    Raises
    ------
    UserError
        If a folder does not exist.
    """
    found: set[Path] = set()
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder of results")
        for folder, inner, _ in os.walk(place):
            inner[:] = [name for name in inner if name not in _NOT_SEARCHED]
            if Path(folder).name == name:
                found.update(Path(folder, name) for name in inner)
                inner.clear()
        if place.parent.name == name:
            found.add(place)
    for path in sorted(found):
        record = RecordFolder(path)
        if record.exists():
            yield record
