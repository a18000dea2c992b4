"""``lanflow sync``: find the records of runs beside results, and send them to a store.

There are two kinds: runs that no store has whole yet (``unsent_runs``), and finished runs that were
sent to another store than the one in use now (``.sent_runs``).
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, Field

from lanflow.core.errors import StoreError, StoreUnavailableError, UserError
from lanflow.core.files import read_json, write_json
from lanflow.core.names import SENT_RUNS
from lanflow.core.settings import Settings, parse_settings
from lanflow.tracking.record import (
    PENDING_KEY,
    RecordFolder,
    RunRecord,
    find_records,
    sync_command,
)
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import HIDDEN, URI_VARIABLE, Store, resolve_store

log = logging.getLogger(__name__)

# Documents of results that name their run; a chunk of simulations does so under `run_id`.
_DOCUMENTS = ("run.json", "card.json", "chunk.json")
_RUN_ID_KEYS = ("mlflow_run_id", "run_id")
_EXPERIMENT_TAG = "data_generation_experiment_id"


class _ChunkRecord(Settings):
    """The part of a record of ``lanflow generate`` that names its run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str | None
    pending: str | None = Field(None, alias=PENDING_KEY)


@dataclass
class SyncResult:
    """The result of sending the records that were found.

    Attributes
    ----------
    run_ids
        Runs that the store now has whole.
    unsent
        Folder of a record -> why it could not be sent.
    being_written
        Folders of records whose work still goes on.
    """

    run_ids: list[str] = field(default_factory=list)
    unsent: dict[Path, str] = field(default_factory=dict)
    being_written: list[Path] = field(default_factory=list)


def sync_runs(
    places: Iterable[Path], *, uri: str | None = None, artifact_location: str | None = None
) -> SyncResult:
    """Send every record that is found; a run that was sent before is not created again.

    Parameters
    ----------
    places
        Folders of results, or of single records.
    uri, artifact_location
        The store, from options; else from the environment, else the default store. A record of
        any other store is not sent unless that is named: the results may be somebody else's.

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
    """Send one record and return the run's id.

    Parameters
    ----------
    folder, uri, artifact_location
        The record, and the store as for :func:`sync_runs`.
    silent
        URIs of stores that did not answer before, which are tried only once; updated.
    """
    from lanflow.tracking.delivery import Delivery

    record = folder.read_checked()
    named = uri or os.environ.get(URI_VARIABLE)
    where = named or record.tracking_uri
    if HIDDEN in where:
        raise UserError(
            f"the store {where} needs credentials, which no record holds: set {URI_VARIABLE}"
        )
    if named is None and where != resolve_store().shown_uri:
        raise UserError(
            f"it was recorded for the store {where}, which nobody names here: give "
            f"--mlflow-tracking-uri {where}, or set {URI_VARIABLE}"
        )
    store = resolve_store(uri=where, artifact_location=artifact_location)
    if store.shown_uri != record.tracking_uri:
        log.warning("recorded for %s, sent to %s", record.tracking_uri, store.shown_uri)
    was_running = record.status == "RUNNING"
    if was_running:  # the process that wrote it has died, or the record would be locked
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
        # On some network file systems a lock of another node is not seen, so that the run may
        # still go on: it keeps its files.
        folder.remove(keep_files=was_running)
    return run_id


def _name_run(content: Mapping[str, object], record: RunRecord) -> dict[str, object]:
    """Add the run's id to a document that was written before the run had one."""
    named = {key: value for key, value in content.items() if key != PENDING_KEY}
    for key in _RUN_ID_KEYS:
        if key in named and named[key] is None:
            named[key] = record.run_id
    if "mlflow_experiment_id" in named:
        named["mlflow_experiment_id"] = record.experiment_id
    return named


def _name_run_in_artifacts(folder: RecordFolder, record: RunRecord) -> None:
    """Add the run's id to its artifacts, so that they are those of a run sent at once."""
    described = []
    for artifact in record.artifacts:
        path = folder.file_of(artifact)
        is_own = path.resolve().is_relative_to(folder.path.resolve())
        if Path(artifact.name).name in _DOCUMENTS and is_own:
            write_json(path, _name_run(json.loads(path.read_text()), record))
            described.append(folder.make_artifact(path, artifact.name))
        else:
            described.append(artifact)
    record.artifacts = described
    folder.save(record)


def _name_run_in_results(folder: RecordFolder, record: RunRecord) -> None:
    """Add the run's id to the results, whose times stay the same for Snakemake."""
    pending = str(folder.path.relative_to(folder.results))
    for path, content in _read_documents(folder.results):
        is_card = content.get("mlflow_run_id", "") is None and content.get(
            "run_uuid"
        ) == record.tags.get("run_uuid")
        if content.get(PENDING_KEY) == pending or is_card:
            _write_keeping_times(path, _name_run(content, record))


def _read_documents(results: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Read the documents in a folder of results that name their run."""
    for name in _DOCUMENTS:
        path = results / name
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            yield path, content


def _write_keeping_times(path: Path, content: Mapping[str, object]) -> None:
    """Write a document and restore its times, so that Snakemake repeats no job because of it."""
    times = path.stat()
    write_json(path, content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def read_run_ids(
    paths: Sequence[Path], *, uri: str | None = None, artifact_location: str | None = None
) -> list[str]:
    """Read the run ids in records of ``lanflow generate``; unsent runs are sent first.

    Parameters
    ----------
    paths
        Files ``chunk.json``.
    uri, artifact_location
        The store, as for :func:`sync_runs`.

    Raises
    ------
    UserError
        If a record cannot be read or is of no run, or a run cannot be sent.
    """
    chunks = [_read_chunk(path) for path in paths]
    unsent = [
        RecordFolder.of_pending(path.parent, chunk.pending).path
        for path, chunk in zip(paths, chunks, strict=True)
        if chunk.pending
    ]
    if unsent:
        require_all_sent(sync_runs(unsent, uri=uri, artifact_location=artifact_location))
        chunks = [_read_chunk(path) for path in paths]
    return [_run_id(path, chunk) for path, chunk in zip(paths, chunks, strict=True)]


def _run_id(path: Path, chunk: _ChunkRecord) -> str:
    if chunk.run_id is None:
        raise UserError(f"{path}: was simulated without a run; give 'lanflow generate' --mlflow-on")
    return chunk.run_id


def _read_chunk(path: Path) -> _ChunkRecord:
    content = read_json(path)
    if "run_id" not in content:
        raise UserError(f"{path}: not a record of 'lanflow generate' (no key 'run_id')")
    return parse_settings(_ChunkRecord, content, str(path))


def require_all_sent(sent: SyncResult) -> None:
    """Raise if some runs could not be sent.

    Raises
    ------
    UserError
        With one line for each run.
    """
    if sent.unsent:
        lines = [f"  {path}: {reason}" for path, reason in sent.unsent.items()]
        raise UserError(f"{len(sent.unsent)} run(s) are still to be sent:\n" + "\n".join(lines))


def sync_if_unsent(places: Sequence[Path]) -> None:
    """Send unsent runs, so that the results name them; a failure is only a warning."""
    if describe_unsent(places):
        for path, reason in sync_runs(places).unsent.items():
            log.warning("%s is still to be sent: %s", path, reason)


def describe_unsent(places: Iterable[Path]) -> str:
    """Return a line that counts the unsent runs and says how to send them; empty if none."""
    places = list(places)
    found = list(find_records([place for place in places if place.is_dir()]))
    if not found:
        return ""
    stores = set()
    for folder in found:
        with contextlib.suppress(UserError):  # a damaged record, which `lanflow sync` reports
            stores.add(folder.read().tracking_uri)
    commands = {sync_command(places, uri) for uri in stores} or {f"lanflow sync {places[0]}"}
    return (
        f"MLflow: {len(found)} run(s) are still to be sent; nothing of them is lost. When the "
        f"store answers: {'; '.join(sorted(commands))}"
    )


# After a change of store: nothing is trained again. The records of finished runs are beside the
# results, and the new store gets everything in them. The old store keeps its runs.


def move_runs(places: Iterable[Path], store: Store, *, all_runs: bool = False) -> dict[str, str]:
    """Record every finished run in a store, if it was last recorded in another one.

    A run that the store has already is not created again.

    Parameters
    ----------
    places
        Folders of results.
    store
        The store that gets the runs.
    all_runs
        Also look for the runs that were last recorded in this store, which may have been lost since
        or begun anew under the same address.

    Returns
    -------
    dict
        Folder of results -> id of its run in the store, for the runs that were moved.

    Raises
    ------
    UserError
        If the store does not answer or refuses. A run whose files are gone is a warning.
    """
    found = [(folder, folder.read()) for folder in find_records(places, SENT_RUNS)]
    moving = [
        (folder, record)
        for folder, record in found
        if record.tracking_uri != store.shown_uri or (all_runs and not _has_run(store, record))
    ]
    # Simulations first, because trainings name the experiment of their simulations.
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


def _has_run(store: Store, record: RunRecord) -> bool:
    """Tell whether a store has a run, or had it before somebody deleted it."""
    from lanflow.tracking.client import connect
    from lanflow.tracking.runs import NoSuchRunError, find_run

    if record.run_id is None:
        return False
    run_id = record.run_id
    try:
        with_retries(lambda: find_run(connect(store), run_id))
    except NoSuchRunError:
        return False
    except StoreError:
        raise
    except UserError:  # deleted
        return True
    return True


def _move(
    folder: RecordFolder, record: RunRecord, store: Store, experiments: dict[str, str]
) -> str:
    """Record one run in a store, write its new id into its results, and return the id."""
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
    """Write the new ids and the new store into the results and the run's artifacts."""
    names = {
        "mlflow_run_id": record.run_id,
        "run_id": record.run_id,
        "mlflow_experiment_id": record.experiment_id,
        "mlflow_tracking_uri": record.tracking_uri,
    }
    results = folder.results.resolve()
    places = {folder.file_of(artifact).resolve().parent for artifact in record.artifacts}
    for place in {results, *(p for p in places if p.is_relative_to(results))}:
        for path, content in _read_documents(place):
            if "record_version" not in content:
                known = {key: value for key, value in names.items() if key in content}
                _write_keeping_times(path, content | known)
