"""A run's record beside the results: all that MLflow shall know of it, until it does.

Each record is a folder ``unsent_runs/{key}``: ``run.json``, replaced in one step, and what shall
become artifacts. It is there from a run's start until the store has all of the run, so a folder
that is left says what is still to be sent. The record of a run that finished then moves to
``.sent_runs/{key}``, from where another store can get it. No part of it needs MLflow.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import ConfigDict, Field

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.core.files import read_json, write_json, write_text
from lanflow.core.names import SENT_RUNS, UNSENT_RUNS
from lanflow.core.settings import Settings, parse_settings

RECORD_NAME = "run.json"
_ARTIFACTS, _LOCK = "artifacts", "lock"
# Key in the documents of results: the record of their run, while that is still to be sent.
PENDING_KEY = "mlflow_pending"

# MLflow refuses longer values (mlflow.utils.validation).
_MAX_PARAM_LENGTH, _MAX_TAG_LENGTH = 6000, 8000

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class DataSetInput(Settings):
    """What a run trained on, as ``mlflow.log_input`` records it."""

    name: str
    digest: str
    profile: dict[str, Any]
    source: dict[str, Any]


class Artifact(Settings):
    """A file that becomes an artifact.

    ``name`` is its path among the run's artifacts, ``path`` where it is, relative to the record.
    """

    name: str
    path: str
    size_bytes: int


class RunRecord(Settings):
    """All of a run; times in milliseconds, ``metrics`` as (name, value, time, step)."""

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
    # Of an evaluation that waits for the store: metrics and files that its training's run gets.
    is_addition: bool = False
    tags: dict[str, str] = Field(default_factory=dict)
    params: dict[str, str] = Field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = Field(default_factory=list)
    data_set: DataSetInput | None = None
    artifacts: list[Artifact] = Field(default_factory=list)


def param_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Params as MLflow keeps them."""
    return {key: str(value)[:_MAX_PARAM_LENGTH] for key, value in params.items()}


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow keeps them."""
    return {key: str(value)[:_MAX_TAG_LENGTH] for key, value in tags.items()}


def now_ms() -> int:
    """The time, as MLflow counts it."""
    return int(time.time() * 1000)


def new_key() -> str:
    """An identity for a run that MLflow has not named yet."""
    return uuid.uuid4().hex


class RecordFolder:
    """The folder of one run's record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def of_run(cls, results: Path, key: str) -> "RecordFolder":
        """The record of a run whose results are in a folder."""
        return cls(results / UNSENT_RUNS / key)

    @classmethod
    def of_sent(cls, results: Path) -> "RecordFolder | None":
        """The record of the run that made the results in a folder, if a store has all of it."""
        for folder in sorted((results / SENT_RUNS).glob("*")):
            if (folder / RECORD_NAME).exists():
                return cls(folder)
        return None

    @property
    def results(self) -> Path:
        """The folder of the run's results."""
        return self.path.parent.parent

    def lock(self) -> bool:
        """Take the record for this process, until it ends; False if another one has it.

        A file system without locks keeps nobody out.
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
        """Give the record free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(self, record: RunRecord) -> None:
        """Write the record, in one step."""
        write_text(self.path / RECORD_NAME, json.dumps(record.model_dump(mode="json")) + "\n")

    def exists(self) -> bool:
        """Whether there is a record."""
        return (self.path / RECORD_NAME).exists()

    def read(self) -> RunRecord:
        """Read the record, and leave its files alone.

        Raises
        ------
        UserError
            If it cannot be read or is damaged.
        """
        path = self.path / RECORD_NAME
        return parse_settings(RunRecord, read_json(path), str(path))

    def read_checked(self) -> RunRecord:
        """Read the record, and check that its files are there.

        Raises
        ------
        UserError
            If it cannot be read, is damaged, or files of it are missing or cut.
        """
        path, record = self.path / RECORD_NAME, self.read()
        for artifact in record.artifacts:
            file = self.file_of(artifact)
            size = file.stat().st_size if file.is_file() else None
            if size != artifact.size_bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise UserError(f"{file} {found}; {path} recorded {artifact.size_bytes} bytes")
        return record

    def file_of(self, artifact: Artifact) -> Path:
        """Where the file of an artifact is."""
        return self.path / artifact.path

    def write_document(self, content: Mapping[str, Any], name: str) -> Artifact:
        """Write JSON that becomes an artifact."""
        path = self.path / _ARTIFACTS / name
        write_json(path, dict(content))
        return self.make_artifact(path, name)

    def make_artifact(self, path: Path, name: str) -> Artifact:
        """A file that becomes an artifact, as it is now."""
        relative = os.path.relpath(path.absolute(), self.path.absolute())
        return Artifact(name=name, path=relative, size_bytes=path.stat().st_size)

    def copy_artifacts(self, record: RunRecord) -> None:
        """Give the record files of its own, so that later results may take the place of these."""
        kept = []
        for artifact in record.artifacts:
            path = self.path / _ARTIFACTS / artifact.name
            if self.file_of(artifact).resolve() != path.resolve():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                _link_or_copy(self.file_of(artifact), path)
            kept.append(self.make_artifact(path, artifact.name))
        record.artifacts = kept
        self.save(record)

    def remove(self, *, keep_files: bool = False) -> None:
        """Remove a record that the store has; with its files, unless they are to be kept."""
        (self.path / RECORD_NAME).unlink(missing_ok=True)  # first: the rest alone is no record
        if not keep_files:
            shutil.rmtree(self.path, ignore_errors=True)
        self.unlock()
        with contextlib.suppress(OSError):  # other runs' records are there
            self.path.parent.rmdir()

    def mark_sent(self) -> None:
        """Keep a record that the store has all of, as that of the run that made these results."""
        place = self.results / SENT_RUNS / self.path.name
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir()
        self.path.rename(place)
        with contextlib.suppress(OSError):  # other runs' records are there
            self.path.parent.rmdir()
        self.path = place
        self.unlock()

    def forget_sent(self) -> None:
        """Forget the run that made what is in the folder of results; this run makes it anew."""
        shutil.rmtree(self.results / SENT_RUNS, ignore_errors=True)

    def last_write_ms(self) -> int:
        """When a file of the record or beside the results was last written, in milliseconds."""
        paths = [self.path / RECORD_NAME, *(p for p in self.results.iterdir() if p.is_file())]
        return int(max(path.stat().st_mtime for path in paths) * 1000)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, which nobody changes in place; a copy where there are none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# Folders of arrays and simulations, which may hold many files, and no record.
_NOT_LOOKED_INTO = {"arrays", "training_data", "training_data.partial", ".snakemake"}


def find_records(places: Iterable[Path], name: str = UNSENT_RUNS) -> Iterator[RecordFolder]:
    """Every record in folders of results, in a fixed order.

    Parameters
    ----------
    places
        Folders of results, or of single records.
    name
        ``unsent_runs``, or ``.sent_runs`` for those that a store has.

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
            inner[:] = [name for name in inner if name not in _NOT_LOOKED_INTO]
            if Path(folder).name == name:
                found.update(Path(folder, name) for name in inner)
                inner.clear()
        if place.parent.name == name:
            found.add(place)
    for path in sorted(found):
        folder_of = RecordFolder(path)
        if folder_of.exists():
            yield folder_of


# Tags that every run of lanflow carries.


_SLURM_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


def source_tags() -> dict[str, str]:
    """Who made the run, and the Slurm job it ran in."""
    tags = {"schema_version": "1", "lanflow_version": __version__, "mlflow.source.name": "lanflow"}
    for variable in _SLURM_VARIABLES:
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags
