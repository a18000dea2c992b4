"""From what a person gives to a packed data set.

A person gives a folder of training files, a data-generation experiment in MLflow, or both: the
experiment is queried, files that are not here are downloaded, what was found is frozen in a
manifest, and the manifest's files are packed into a data set. Or a person gives a data set that was
packed before.
"""

import glob
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import write_json
from lanflow.core.folders import given_or_temporary, refuse_foreign_files
from lanflow.core.locks import lock_path, locked
from lanflow.core.processes import n_cores
from lanflow.core.progress import Progress
from lanflow.data.dataset import ARRAYS_NAME, DATA_SET_FILES, RECORD_NAME, DataSet, open_data_set
from lanflow.data.download import download_files, plan_downloads, runs_to_download
from lanflow.data.experiment import (
    GenerationExperiment,
    Query,
    RunSelection,
    build_query,
    first_ten,
)
from lanflow.data.locate import Places, locate_files
from lanflow.data.manifest import Manifest, build_manifest, read_manifest, require_own_digest
from lanflow.data.packing import materialise
from lanflow.data.relabel import relabel_source
from lanflow.models.models_file import ModelsFile
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import Store

log = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
# In a folder of data that no study made, beside its manifest.
GENERATION_NAME, DATA_SET_NAME = "generation", "data_set"


@dataclass(frozen=True)
class PackedData:
    """A packed data set and the manifest it was packed from."""

    data_set: DataSet
    manifest: Manifest


def query_experiment(
    store: Store,
    id_or_name: str,
    selection: RunSelection = RunSelection(),  # noqa: B008
) -> Query:
    """Ask MLflow for the runs and files of an experiment, and log what is left out.

    Raises
    ------
    UserError
        If the store, the experiment or files in it are missing, or runs are to be refused.
    """
    from lanflow.tracking.client import connect
    from lanflow.tracking.experiments import find_experiment
    from lanflow.tracking.runs import search_runs

    def ask() -> tuple[Any, list[Any]]:
        client = connect(store)
        experiment = find_experiment(client, store, id_or_name)
        filter_string = selection.filter or ""
        return experiment, search_runs(
            client, experiment, filter_string=filter_string, deleted=True
        )

    found, runs = with_retries(ask)
    experiment = GenerationExperiment(id=found.id, name=found.name)
    query = build_query(experiment, runs, selection)
    _log_left_out((run.reason, f"{run.run_id} ({run.run_name})") for run in query.left_out)
    for run in query.runs:
        if run.status != "FINISHED":
            log.warning(
                "run %s (%s) reads %s, but left an inventory of all its files: taken",
                run.run_id,
                run.run_name,
                run.status,
            )
    return query


def _log_left_out(runs: Iterable[tuple[str, str]]) -> None:
    """Log what is left out, as pairs of reason and run: one line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for reason, run in runs:
        by_reason.setdefault(reason, []).append(run)
    for reason, named in by_reason.items():
        log.warning("left out, %s: %d run(s): %s", reason, len(named), first_ten(named))


def download_absent(store: Store, query: Query, places: Places, folder: Path) -> Places:
    """Download files that are in no folder here, where their runs logged them as artifacts.

    Parameters
    ----------
    store
        Where the runs are.
    query
        The runs and their files.
    places
        Where folders are; a run whose folder is found by them is not downloaded.
    folder
        Where downloads go; what is there already, whole, is not downloaded again.

    Returns
    -------
    Places
        With the downloads.

    Raises
    ------
    UserError
        If a file cannot be downloaded, or is not what its run recorded; or if a run's folder holds
        anything but its files, and then nothing is downloaded.
    """
    runs = runs_to_download(query, places)
    if not runs:
        return places
    from lanflow.tracking.client import connect
    from lanflow.tracking.runs import artifact_fetcher

    fetch = artifact_fetcher(connect(store))
    downloads = plan_downloads(runs, folder)
    for run in runs:
        names = [glob.escape(file.name) for file in run.files]
        refuse_foreign_files(folder / run.run_id, names, what=f"the files of run {run.run_id}")
    with (
        locked(folder / ".lock", f"{folder} is being downloaded", wait=True),
        Progress(len(downloads), "downloading files", "file") as progress,
    ):
        n_fetched = download_files(downloads, folder, fetch, on_file=progress.advance)
    log.info(
        "downloaded %d file(s) of %d run(s) to %s; %d were there already",
        n_fetched,
        len(runs),
        folder,
        len(downloads) - n_fetched,
    )
    return replace(places, downloaded={run.run_id: folder / run.run_id for run in runs})


def freeze(
    *,
    query: Query | None,
    places: Places,
    model: str | None,
    relabel: str | None = None,
    models_file: ModelsFile | None = None,
    drop_invalid: bool = False,
) -> Manifest:
    """Find the files of a query or of a folder, and freeze what they are.

    With ``relabel`` (``auto``, ``analytic``, ``solver``) labels are computed anew when the files
    are packed. ``models_file`` defines the model, where ssm-simulators does not. ``drop_invalid``
    leaves rows out that hold a value which cannot be.

    Raises
    ------
    UserError
        If files are missing, changed, or of another model, or it has no such labels.
    """
    located = locate_files(query, places)
    if relabel is not None and model is not None:
        # A model without such labels is refused before reading.
        relabel_source(relabel, model, models_file=models_file)
    if located.extra:
        log.warning(
            "%s holds %d file(s) that the experiment does not track; they are %s: %s",
            places.folder,
            len(located.extra),
            "trained on too, as asked" if places.use_extra_files else "not trained on",
            ", ".join(located.extra[:10]) + (" ..." if len(located.extra) > 10 else ""),
        )
    manifest = build_manifest(
        located, query=query, model=model, models_file=models_file, drop_invalid=drop_invalid
    )
    _log_left_out(
        (run.reason, f"{run.run_id} ({run.run_name}): {first_ten(run.files)}")
        for run in manifest.left_out
        if run.files
    )
    if relabel is None:
        return manifest
    source = relabel_source(
        relabel, manifest.model, definition=manifest.definition, models_file=models_file
    )
    return manifest.relabelled(source)


def own_folder(given: Path | str | None) -> Path:
    """The folder of data that no study makes: the one that is given, or a temporary one.

    Raises
    ------
    UserError
        If anything else is there.
    """
    folder = given_or_temporary(given)
    own = (f"{GENERATION_NAME}/", f"{DATA_SET_NAME}/", MANIFEST_NAME)
    refuse_foreign_files(folder, own, what="data")
    return folder


def pack_folder(
    source: Path,
    folder: Path,
    *,
    model: str | None,
    relabel: str | None,
    models_file: ModelsFile | None,
    drop_invalid: bool,
) -> DataSet:
    """Freeze a folder of training files, and pack it into a folder of data that no study makes.

    Parameters
    ----------
    source
        The folder of training files.
    folder
        As :func:`own_folder` gives it.
    model, relabel, models_file, drop_invalid
        As :func:`freeze` has them.

    Raises
    ------
    UserError
        If there are no training files, or they are damaged or of another model.
    """
    manifest = freeze(
        query=None,
        places=Places(folder=source),
        model=model,
        relabel=relabel,
        models_file=models_file,
        drop_invalid=drop_invalid,
    )
    n_processes = n_cores() if relabel else 1
    data = materialise(
        manifest, folder / DATA_SET_NAME, n_processes=n_processes, models_file=models_file
    )
    write_json(folder / MANIFEST_NAME, manifest.model_dump())
    return data


def materialise_once(manifest: Manifest, cache: Path) -> PackedData:
    """Pack a manifest's files under ``cache``, or take what was packed of the same files before.

    Raises
    ------
    UserError
        As :func:`lanflow.data.packing.materialise`.
    """
    # File names count: they decide the order of the rows and stand in the lineage.
    names = [file.name for file in manifest.files]
    key = hashlib.sha256(json.dumps([manifest.digest, names]).encode()).hexdigest()
    folder = cache / key[:16]
    refuse_foreign_files(folder, (*DATA_SET_FILES, MANIFEST_NAME), what="a data set")
    with locked(lock_path(folder), f"{folder} is being packed", wait=True):
        try:
            data_set = open_data_set(folder)
            _require_packed_from(data_set, manifest, folder / MANIFEST_NAME)
            data_set.check_arrays()
        except UserError:
            data_set = materialise(manifest, folder, also_own=(MANIFEST_NAME,))
        if not (folder / MANIFEST_NAME).exists():
            write_json(folder / MANIFEST_NAME, manifest.model_dump())
    return PackedData(data_set, manifest)


def open_packed(
    folder: Path, manifest_path: Path, *, models_file: ModelsFile | None = None
) -> PackedData:
    """Open a data set that was packed before, and its manifest; pack removed arrays again.

    Of labels that are computed, ``models_file`` defines the model, where ssm-simulators does not.

    Raises
    ------
    UserError
        If one is missing or was changed, or they do not belong together.
    """
    data_set = open_data_set(folder)
    manifest = read_manifest(manifest_path)
    require_own_digest(manifest, manifest_path)
    _require_packed_from(data_set, manifest, manifest_path)
    beside = folder.with_name(f".{folder.name}.again")
    if beside.exists() or not (folder / ARRAYS_NAME).is_dir():
        with locked(lock_path(folder), f"{folder} is being packed", wait=True):
            if not (folder / ARRAYS_NAME).is_dir():
                _restore_arrays(data_set, manifest, beside, models_file)
            shutil.rmtree(beside, ignore_errors=True)  # also that of a process that was killed
    data_set.check_arrays()
    return PackedData(data_set, manifest)


def _require_packed_from(data_set: DataSet, manifest: Manifest, manifest_path: Path) -> None:
    """Refuse a data set that was not packed from a manifest, by their records.

    Raises
    ------
    UserError
        Naming both, and what differs.
    """
    pairs: dict[str, tuple[object, object]] = {
        "digest": (data_set.digest, manifest.digest),
        "model": (data_set.model, manifest.model),
        "parameters": (list(data_set.parameters), manifest.parameters),
        "bounds": (data_set.bounds.to_json(), manifest.bounds.to_json()),
        "label_source": (data_set.label_source, manifest.label_source),
        "dropped_rows": (dict(data_set.dropped_rows), manifest.dropped_rows),
        "files": (
            [(file.name, file.sha256) for file in data_set.files],
            [(file.name, file.sha256) for file in manifest.files],
        ),
    }
    for what, (packed, frozen) in pairs.items():
        if packed != frozen:
            raise UserError(
                f"{data_set.folder} was not packed from {manifest_path} ({what}: {packed!r:.80} "
                f"and {frozen!r:.80}); materialise it again"
            )


def _restore_arrays(
    data_set: DataSet, manifest: Manifest, beside: Path, models_file: ModelsFile | None
) -> None:
    """Pack the arrays of a data set again that were removed to save space.

    The record stays as it is, so networks that were trained on it stay valid.
    """
    log.info("%s: its arrays were removed; packing them again", data_set.folder)
    try:
        materialise(manifest, beside, models_file=models_file)
    except UserError as e:
        raise UserError(
            f"{data_set.folder}: its arrays were removed and cannot be packed again: {e}. "
            "Training files that were simulated here come back with "
            "'snakemake --forcerun generate_data'"
        ) from e
    if replace(open_data_set(beside), folder=data_set.folder) != data_set:
        raise UserError(f"{data_set.folder}: its files no longer give what {RECORD_NAME} says")
    (beside / ARRAYS_NAME).rename(data_set.folder / ARRAYS_NAME)
