"""Continuing an interrupted run, and closing one that nobody continues.

``unfinished.json`` beside the results names the run of the work that is going on there. It is
written before the run's record, and the record before the run in the store, which carries the
record's key as a tag. So whatever instruction a process is killed at, the next start of the same
work finds the run. When the work finishes, the file is hidden as ``.finished.json``. A start of
other work in the same folder closes the run that was left.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lanflow.core.errors import StoreError, UserError
from lanflow.core.files import write_bytes, write_json
from lanflow.core.names import FINISHED, UNFINISHED, UNSENT_RUNS
from lanflow.core.settings import Name
from lanflow.tracking.record import RecordFolder, RunRecord, new_key, sync_command
from lanflow.tracking.recorder import RunRecorder, fetch_run, record_run
from lanflow.tracking.store import SendMode, Store

log = logging.getLogger(__name__)

_LEFT_BEHIND = "the process was killed, and other work was begun in its folder"


class _UnfinishedRun(BaseModel):
    """The content of ``unfinished.json``; its further keys describe the work."""

    model_config = ConfigDict(extra="allow", frozen=True)

    run_key: Name
    mlflow_run_id: str | None = None


@contextlib.contextmanager
def record_work(
    store: Store,
    results: Path,
    work: Mapping[str, object],
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    send_mode: SendMode,
    run_id: str | None = None,
) -> Iterator[RunRecorder]:
    """Record the body as :func:`lanflow.tracking.recorder.record_run` does, or continue its run.

    The caller holds the lock of the folder of results.

    Parameters
    ----------
    store, results, experiment, name, tags, send_mode
        As for ``record_run``.
    work
        Everything that decides the results, and the store. Other work is another run.
    run_id
        Id of a run to continue, if a person named one.

    Raises
    ------
    StoreError
        If the store cannot tell whether the interrupted run is there, and the mode is ``now``.
    """
    path = results / UNFINISHED
    before = path.read_bytes() if path.exists() else None
    key, run_id = _find_run(store, send_mode, results, work, run_id)
    write_json(path, {**work, "run_key": key, "mlflow_run_id": run_id})
    _close_others(store, send_mode, results, key, run_id)
    recorded = record_run(
        store,
        results,
        experiment=experiment,
        name=name,
        tags=tags,
        send_mode=send_mode,
        key=key,
        run_id=run_id,
    )
    run = None
    try:
        with recorded as run:
            yield run
    except BaseException:
        if run is not None and run.may_be_in_store:  # its record is gone if it was sent
            write_json(path, {**work, "run_key": key, "mlflow_run_id": run.id})
        elif before is not None:  # of a run that is still to be continued
            write_bytes(path, before)
        else:
            path.unlink(missing_ok=True)
        raise


def hide_finished(folder: Path) -> None:
    """Rename ``unfinished.json`` to ``.finished.json``, for :func:`resume_finished`."""
    if (folder / UNFINISHED).exists():
        (folder / UNFINISHED).replace(folder / FINISHED)


def resume_finished(folder: Path) -> None:
    """Rename ``.finished.json`` back, so that the work continues the run that finished it.

    To be called when the results were removed. A run of other work is not continued.
    """
    kept, path = folder / FINISHED, folder / UNFINISHED
    if kept.exists() and not path.exists():
        kept.replace(path)


def _find_run(
    store: Store, send_mode: SendMode, results: Path, work: Mapping[str, object], run_id: str | None
) -> tuple[str, str | None]:
    """Return key and id of the run of this work: the interrupted one, or a new key.

    The id is None where the store has to be searched for the key. An interrupted run that was
    deleted in the store gives way to a new one.
    """
    saved = _read_unfinished(results / UNFINISHED, work)
    if saved is None or (run_id is not None and run_id != saved.mlflow_run_id):
        return new_key(), run_id
    if run_id is not None:  # the caller has looked at it
        return saved.run_key, run_id
    folder = RecordFolder.of_run(results, saved.run_key)
    known_id = saved.mlflow_run_id or (folder.read().run_id if folder.exists() else None)
    if known_id is not None and send_mode != "later":
        try:
            fetch_run(store, known_id, seconds=None if send_mode == "now" else 0)
        except StoreError as e:
            if send_mode == "now":
                raise
            log.warning("%s", e)
        except UserError as e:
            log.warning("%s; starting another", e)
            return new_key(), None
    return saved.run_key, known_id


def _read_unfinished(path: Path, work: Mapping[str, object]) -> _UnfinishedRun | None:
    """Read ``unfinished.json``; None if it is missing, damaged, or of other work."""
    try:
        saved = _UnfinishedRun.model_validate_json(path.read_text())
    except (OSError, ValueError):
        return None
    return saved if saved.model_extra == work else None


def _close_others(
    store: Store, send_mode: SendMode, results: Path, key: str, run_id: str | None
) -> None:
    """Close the runs that killed processes left RUNNING here, except the one to continue."""
    for path in sorted((results / UNSENT_RUNS).glob("*")):
        folder = RecordFolder(path)
        if path.name == key or not path.is_dir() or not folder.lock():
            continue
        try:
            if not folder.exists():  # killed before there was a record
                folder.remove()
                continue
            record = folder.read()
            if record.status == "RUNNING" and not record.is_addition:
                if run_id is not None and record.run_id == run_id:
                    folder.remove()  # the run goes on under another key
                else:
                    _close(store, send_mode, folder, record)
        finally:
            folder.unlock()


def _close(store: Store, send_mode: SendMode, folder: RecordFolder, record: RunRecord) -> None:
    """End a run as KILLED with the reason, in the store or for ``lanflow sync``."""
    record.status, record.failure = "KILLED", _LEFT_BEHIND
    record.end_time = folder.last_write_ms()
    # Other files are results, which the work that begins here replaces.
    record.artifacts = [each for each in record.artifacts if folder.holds(each)]
    folder.save(record)
    if send_mode != "later" and store.shown_uri == record.tracking_uri:
        from lanflow.tracking.delivery import Delivery

        delivery = Delivery(store, record, folder)
        try:
            if record.metrics or delivery.is_in_store():  # a run that never began is none
                delivery.send()
                log.warning("run %s was left RUNNING; it now reads KILLED", record.run_id)
            folder.remove()
            return
        except StoreError as e:
            log.warning("%s", e)
        except UserError:  # it was deleted
            folder.remove()
            return
    command = sync_command([folder.path], record.tracking_uri)
    log.warning("an earlier run was left RUNNING; end it with: %s", command)
