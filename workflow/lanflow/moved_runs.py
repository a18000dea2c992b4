"""Runs that finished, recorded in another store than the one they were made with.

A study whose store changed trains nothing again: the records of its runs are beside the results
(:mod:`lanflow.run_record`), and the new store gets all they hold. The old store keeps its runs.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from lanflow import artifacts
from lanflow.errors import UserError
from lanflow.patience import patiently
from lanflow.run_record import RecordFolder, RunRecord, find_records
from lanflow.store import Store
from lanflow.unsent_runs import documents_of, write_as_old

log = logging.getLogger(__name__)

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
    found = [(folder, folder.read()) for folder in find_records(places, artifacts.SENT_RUNS)]
    moving = [(f, record) for f, record in found if record.tracking_uri != store.shown_uri]
    # Simulations first: trainings name the experiment of theirs.
    moving.sort(key=lambda pair: pair[1].tags.get("phase") != "datagen")
    experiments: dict[str, str] = {}
    moved = {}
    for folder, record in moving:
        try:
            folder.load()
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
    from lanflow.delivery import Delivery

    record.run_id = record.experiment_id = None
    record.tracking_uri = store.shown_uri
    if (experiment := record.tags.get(_EXPERIMENT_TAG)) in experiments:
        record.tags[_EXPERIMENT_TAG] = experiments[experiment]
    delivery = Delivery(store, record, folder)
    run_id = patiently(delivery.reach)
    _name_in_documents(folder, record)
    record.artifacts = [
        folder.describe(folder.file_of(artifact), artifact.name) for artifact in record.artifacts
    ]
    patiently(delivery.send)
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
        for path, content in documents_of(place):
            if "record_version" not in content:
                known = {key: value for key, value in names.items() if key in content}
                write_as_old(path, content | known)
