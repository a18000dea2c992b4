"""Runs whose record is still beside the results: finding them, and bringing them into the store."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanflow.core.errors import StoreUnavailableError, UserError
from lanflow.core.files import write_json
from lanflow.core.names import SENT_RUNS
from lanflow.tracking.record import PENDING_KEY, RecordFolder, RunRecord, find_records
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import URI_VARIABLE, Store, resolve_store

log = logging.getLogger(__name__)

# Documents of results that name their run; `run_id` is how a chunk of simulations calls it.
DOCUMENTS = ("run.json", "card.json", "chunk.json")
_RUN_ID_KEYS = ("mlflow_run_id", "run_id")
_HIDDEN = "***"


@dataclass
class SyncResult:
    """What became of the records that were found.

    Attributes
    ----------
    run_ids
        Runs that the store now has whole.
    unsent
        Record's folder -> why the store does not have it.
    being_written
        Records of work that still goes on.
    """

    run_ids: list[str] = field(default_factory=list)
    unsent: dict[Path, str] = field(default_factory=dict)
    being_written: list[Path] = field(default_factory=list)


def sync_runs(
    places: Iterable[Path], *, uri: str | None = None, artifact_location: str | None = None
) -> SyncResult:
    """Bring every run into the store whose record is found; a run that was sent stays one run.

    Parameters
    ----------
    places
        Folders of results, or of single records.
    uri, artifact_location
        From options; then from the environment, then where each record says it belongs.

    Raises
    ------
    UserError
        If a folder does not exist.
    """
    sent = SyncResult()
    silent: set[str] = set()
    for folder in find_records(places):
        if not folder.lock():
            sent.being_written.append(folder.path)
            continue
        try:
            sent.run_ids.append(_send(folder, uri, artifact_location, silent))
        except UserError as e:
            sent.unsent[folder.path] = str(e)
        finally:
            folder.unlock()
    return sent


def _send(
    folder: RecordFolder, uri: str | None, artifact_location: str | None, silent: set[str]
) -> str:
    """Send one run; a store that was silent once, after asking for a while, is asked only once."""
    from lanflow.tracking.delivery import Delivery

    record = folder.read_checked()
    where = uri or os.environ.get(URI_VARIABLE) or record.tracking_uri
    if _HIDDEN in where:
        raise UserError(
            f"the store {where} needs credentials, which no record holds: set {URI_VARIABLE}"
        )
    store = resolve_store(uri=where, artifact_location=artifact_location)
    if store.shown_uri != record.tracking_uri:
        log.warning("recorded for %s, sent to %s", record.tracking_uri, store.shown_uri)
    was_running = record.status == "RUNNING"
    if was_running:  # whoever wrote it is gone, or the record would be locked
        record.status, record.end_time = "KILLED", folder.last_write_ms()
    delivery = Delivery(store, record, folder)
    seconds = 0.0 if store.uri in silent else None
    try:
        run_id = with_retries(delivery.ensure_run, seconds=seconds)
        folder.save(record)
        _name_run_in_artifacts(folder, record)
        with_retries(delivery.send, seconds=seconds)
    except StoreUnavailableError:
        silent.add(store.uri)
        raise
    _name_run_in_results(folder, record)
    if record.status == "FINISHED" and not record.is_addition:
        folder.mark_sent()
    else:
        # Not every network file system shows the lock of another node: it could go on after all.
        folder.remove(keep_files=was_running)
    return run_id


def _name_run(content: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    """A document of a run that had no id when it was written, with the id."""
    named = {key: value for key, value in content.items() if key != PENDING_KEY}
    for key in _RUN_ID_KEYS:
        if key in named and named[key] is None:
            named[key] = record.run_id
    if "mlflow_experiment_id" in named:
        named["mlflow_experiment_id"] = record.experiment_id
    return named


def _name_run_in_artifacts(folder: RecordFolder, record: RunRecord) -> None:
    """Artifacts are what an uninterrupted run would have left."""
    described = []
    for artifact in record.artifacts:
        path = folder.file_of(artifact)
        is_own = path.resolve().is_relative_to(folder.path.resolve())
        if Path(artifact.name).name in DOCUMENTS and is_own:
            write_json(path, _name_run(json.loads(path.read_text()), record))
            described.append(folder.make_artifact(path, artifact.name))
        else:
            described.append(artifact)
    record.artifacts = described
    folder.save(record)


def _name_run_in_results(folder: RecordFolder, record: RunRecord) -> None:
    """Results that wait for this run learn its id; to Snakemake they stay as old as they were."""
    pending = str(folder.path.relative_to(folder.results))
    for path, content in read_documents(folder.results):
        is_card = content.get("mlflow_run_id", "") is None and content.get(
            "run_uuid"
        ) == record.tags.get("run_uuid")
        if content.get(PENDING_KEY) == pending or is_card:
            write_keeping_times(path, _name_run(content, record))


def read_documents(results: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Documents in a folder of results that name their run, with what they say."""
    for name in DOCUMENTS:
        path = results / name
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            yield path, content


def write_keeping_times(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document anew that stays as old as it was, so that nothing is made again for it."""
    times = path.stat()
    write_json(path, content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def read_run_ids(
    records: Sequence[Path], *, uri: str | None = None, artifact_location: str | None = None
) -> list[str]:
    """Run ids of records of ``lanflow generate``; runs that are still to be sent are sent first.

    Raises
    ------
    UserError
        If a record cannot be read, or the store does not take a run.
    """
    contents = [_read(path) for path in records]
    waiting = [
        path.parent / content[PENDING_KEY]
        for path, content in zip(records, contents, strict=True)
        if content.get(PENDING_KEY)
    ]
    if waiting:
        require_all_sent(sync_runs(waiting, uri=uri, artifact_location=artifact_location))
        contents = [_read(path) for path in records]
    return [content["run_id"] for content in contents]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise UserError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(content, dict) or "run_id" not in content:
        raise UserError(f"{path}: not a record of 'lanflow generate' (no key 'run_id')")
    return content


def require_all_sent(sent: SyncResult) -> None:
    """Refuse to go on if runs are still to be sent.

    Raises
    ------
    UserError
        With a line for each of them.
    """
    if sent.unsent:
        lines = [f"  {path}: {reason}" for path, reason in sent.unsent.items()]
        raise UserError(f"{len(sent.unsent)} run(s) are still to be sent:\n" + "\n".join(lines))


def sync_if_unsent(places: Sequence[Path]) -> None:
    """Send what waits, so that results that are read next name their runs; it may go on waiting."""
    if describe_unsent(places):
        for path, reason in sync_runs(places).unsent.items():
            log.warning("%s is still to be sent: %s", path, reason)


def describe_unsent(places: Iterable[Path]) -> str:
    """A line about what is still to be sent and how; empty if nothing is."""
    places = list(places)
    n_unsent = sum(1 for _ in find_records([place for place in places if place.is_dir()]))
    if n_unsent == 0:
        return ""
    shown = " ".join(str(place) for place in places)
    return (
        f"MLflow: {n_unsent} run(s) are still to be sent; nothing of them is lost. When the store "
        f"answers: lanflow sync {shown}"
    )


# Runs that finished, recorded in another store than the one they were made with.
#
# A study whose store changed trains nothing again: the records of its runs are beside the results
# (:mod:`lanflow.tracking.record`), and the new store gets all they hold. The old store keeps its
# runs.


_EXPERIMENT_TAG = "data_generation_experiment_id"


def move_runs(places: Iterable[Path], store: Store) -> dict[str, str]:
    """Record every finished run in a store that it was not recorded in last.

    A run that the store has already stays one run.

    Parameters
    ----------
    places
        Folders of results.
    store
        Where to.

    Returns
    -------
    dict
        Folder of results -> id of its run there, of the runs that were moved.

    Raises
    ------
    UserError
        If the store does not answer or refuses. A run whose files are gone is a warning.
    """
    found = [(folder, folder.read()) for folder in find_records(places, SENT_RUNS)]
    moving = [(f, record) for f, record in found if record.tracking_uri != store.shown_uri]
    # Simulations first: trainings name the experiment of theirs.
    moving.sort(key=lambda pair: pair[1].tags.get("phase") != "datagen")
    experiments: dict[str, str] = {}
    moved = {}
    for folder, record in moving:
        try:
            folder.read_checked()
        except UserError as e:
            log.warning("left in %s alone: %s", record.tracking_uri, e)
            continue
        old_experiment = record.experiment_id
        moved[str(folder.results)] = _move(folder, record, store, experiments)
        if old_experiment is not None and record.experiment_id is not None:
            experiments[old_experiment] = record.experiment_id
    return moved


def _move(
    folder: RecordFolder, record: RunRecord, store: Store, experiments: dict[str, str]
) -> str:
    """Record one run in a store and name it in its results; the run's id there."""
    from lanflow.tracking.delivery import Delivery

    record.run_id = record.experiment_id = None
    record.tracking_uri = store.shown_uri
    if (experiment := record.tags.get(_EXPERIMENT_TAG)) in experiments:
        record.tags[_EXPERIMENT_TAG] = experiments[experiment]
    delivery = Delivery(store, record, folder)
    run_id = with_retries(delivery.ensure_run)
    _name_in_documents(folder, record)
    record.artifacts = [
        folder.make_artifact(folder.file_of(artifact), artifact.name)
        for artifact in record.artifacts
    ]
    with_retries(delivery.send)
    folder.save(record)
    return run_id


def _name_in_documents(folder: RecordFolder, record: RunRecord) -> None:
    """Let what says where a run is say where it is now, in the results and in its artifacts."""
    names = {
        "mlflow_run_id": record.run_id,
        "run_id": record.run_id,
        "mlflow_experiment_id": record.experiment_id,
        "mlflow_tracking_uri": record.tracking_uri,
    }
    results = folder.results.resolve()
    places = {folder.file_of(artifact).resolve().parent for artifact in record.artifacts}
    for place in {results, *(p for p in places if p.is_relative_to(results))}:
        for path, content in read_documents(place):
            if "record_version" not in content:
                known = {key: value for key, value in names.items() if key in content}
                write_keeping_times(path, content | known)
