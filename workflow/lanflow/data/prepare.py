"""From what a person gives to a packed data set: folder, experiment, both, or one packed."""

import glob
import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import read_record, write_json
from lanflow.core.folders import refuse_foreign_files
from lanflow.core.locks import lock_path, locked
from lanflow.core.progress import Progress
from lanflow.core.settings import parse_settings
from lanflow.data import locate
from lanflow.data.audit import audit_data_set
from lanflow.data.dataset import (
    ARRAYS_NAME,
    DATA_SET_FILES,
    RECORD_NAME,
    DataSet,
    materialise,
    open_data_set,
)
from lanflow.data.experiment import RunSelection, build_query, first_ten
from lanflow.data.manifest import (
    MANIFEST_VERSION,
    Manifest,
    build_manifest,
    verify_manifest,
    with_labels_from,
)
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import Store

log = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class LocatedData:
    """A packed data set and the manifest it was packed from."""

    data_set: DataSet
    manifest: Mapping[str, Any]


def query_experiment(
    store: Store,
    id_or_name: str,
    selection: RunSelection = RunSelection(),  # noqa: B008
) -> dict[str, Any]:
    """Ask MLflow for the runs and files of a data-generation experiment, and log what is left out.

    Raises
    ------
    UserError
        If the store, the experiment or files in it are missing, or runs are to be refused.
    """
    from lanflow.tracking import client as tracking_client
    from lanflow.tracking import runs as tracking_runs

    def ask() -> tuple[Any, list[Any]]:
        client = tracking_client.connect(store)
        experiment = tracking_client.find_experiment(client, store, id_or_name)
        filter_string = selection.filter or ""
        return experiment, tracking_runs.search_runs(
            client, experiment, filter_string=filter_string, deleted=True
        )

    experiment, runs = with_retries(ask)
    query = build_query({"id": experiment.id, "name": experiment.name}, runs, selection)
    _log_left_out(query["left_out"])
    for run in query["runs"]:
        if run["status"] != "FINISHED":
            log.warning(
                "run %s (%s) reads %s, but left an inventory of all its files: taken",
                run["run_id"],
                run["run_name"],
                run["status"],
            )
    return query


def _log_left_out(entries: Sequence[Mapping[str, Any]]) -> None:
    """One line for each reason; files where they are what is left out."""
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        files = f": {first_ten(entry['files'])}" if entry.get("files") else ""
        text = f"{entry['run_id']} ({entry['run_name']}){files}"
        by_reason.setdefault(entry["reason"], []).append(text)
    for reason, texts in by_reason.items():
        log.warning("left out, %s: %d run(s): %s", reason, len(texts), first_ten(texts))


def download_absent(
    store: Store, query: Mapping[str, Any], places: locate.Places, folder: Path
) -> locate.Places:
    """Download files that are on no folder here, where their runs logged them as artifacts.

    Parameters
    ----------
    store
        Where the runs are.
    query
        From :func:`query_experiment`.
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
    runs = locate.runs_to_download(query, places)
    if not runs:
        return places
    from lanflow.tracking.client import connect
    from lanflow.tracking.runs import artifact_fetcher

    fetch = artifact_fetcher(connect(store))
    downloads = locate.plan_downloads(runs, folder)
    for run in runs:
        names = [glob.escape(file["name"]) for file in run["files"]]
        refuse_foreign_files(
            folder / run["run_id"], names, what=f"the files of run {run['run_id']}"
        )
    with (
        locked(folder / ".lock", f"{folder} is being downloaded", wait=True),
        Progress(len(downloads), "downloading files", "file") as progress,
    ):
        n_fetched = locate.download_files(downloads, folder, fetch, on_file=progress.advance)
    log.info(
        "downloaded %d file(s) of %d run(s) to %s; %d were there already",
        n_fetched,
        len(runs),
        folder,
        len(downloads) - n_fetched,
    )
    return replace(places, downloaded={run["run_id"]: folder / run["run_id"] for run in runs})


def freeze(
    *,
    query: Mapping[str, Any] | None,
    places: locate.Places,
    model: str | None,
    relabel: str | None = None,
) -> dict[str, Any]:
    """Find the files of a query or of a folder and write down what they are.

    With ``relabel`` (``auto``, ``analytic``, ``solver``) labels are computed anew when they are
    packed.

    Raises
    ------
    UserError
        If files are missing, changed, or of another model, or it has no such labels.
    """
    if query is not None:
        located = locate.locate_files(query, places)
        tracked = [file for run in query["runs"] for file in run["files"]]
        extra = locate.extra_files(tracked, places.folder)
    else:
        assert places.folder is not None
        located, extra = locate.LocatedFiles(locate.list_folder(places.folder), []), []
    files = located.files
    if relabel is not None and model is not None:
        _relabel_source(relabel, model)  # a wish that cannot be met ends here
    if extra:
        assert places.folder is not None
        if places.use_extra_files:
            files = files + [f for f in locate.list_folder(places.folder) if f["name"] in extra]
        log.warning(
            "%s holds %d file(s) that the experiment does not track; they are %s: %s",
            places.folder,
            len(extra),
            "trained on too, as asked" if places.use_extra_files else "not trained on",
            ", ".join(extra[:10]) + (" ..." if len(extra) > 10 else ""),
        )
    with Progress(len(files), "reading files", "file") as progress:
        manifest = build_manifest(
            files,
            query=query,
            model=model,
            extra=extra,
            left_out=located.left_out,
            on_file=progress.advance,
        )
    _log_left_out([entry for entry in manifest["left_out"] if entry["files"]])
    if relabel is None:
        return manifest
    return with_labels_from(manifest, _relabel_source(relabel, manifest["model"]))


def _relabel_source(asked: str, model: str) -> str:
    from lanflow.data.relabel import relabel_source

    return relabel_source(asked, model)


def pack(
    manifest: Mapping[str, Any],
    folder: Path,
    *,
    n_processes: int = 1,
    also_own: Sequence[str] = (),
) -> DataSet:
    """Pack a manifest's files, with a progress bar.

    Labels that the manifest wants anew are computed on ``n_processes`` processes.

    Raises
    ------
    UserError
        As :func:`lanflow.data.dataset.materialise`, which says what ``also_own`` is.
    """
    from lanflow.data.relabel import relabeller

    source = manifest["relabel"]
    doing = "packing files" if source is None else f"packing files, labels {source}"
    with (
        Progress(len(manifest["files"]), doing, "file") as progress,
        relabeller(source, n_processes=n_processes) as relabel,
    ):
        data_set = materialise(
            manifest, folder, relabel=relabel, also_own=also_own, on_file=progress.advance
        )
    rows = ", ".join(f"{n_rows:,} {kind}" for kind, (n_rows, _, _) in data_set.shapes.items())
    log.info(
        "packed %d file(s), %d parameter sets; rows: %s", len(data_set.files), data_set.n_sets, rows
    )
    return data_set


def pack_once(manifest: Mapping[str, Any], cache: Path) -> LocatedData:
    """Pack a manifest's files under ``cache``, or take what was packed of the same files before.

    Raises
    ------
    UserError
        As :func:`lanflow.data.dataset.materialise`.
    """
    # Names are part of it: they decide the order of the rows and stand in the lineage.
    names = [file["name"] for file in manifest["files"]]
    key = hashlib.sha256(json.dumps([manifest["digest"], names]).encode()).hexdigest()
    folder = cache / key[:16]
    refuse_foreign_files(folder, (*DATA_SET_FILES, MANIFEST_NAME), what="a data set")
    with locked(lock_path(folder), f"{folder} is being packed", wait=True):
        try:
            data_set = open_data_set(folder)
        except UserError:
            data_set = pack(manifest, folder, also_own=(MANIFEST_NAME,))
            write_json(folder / MANIFEST_NAME, manifest)
    return LocatedData(data_set, manifest)


def open_packed(folder: Path, manifest_path: Path) -> LocatedData:
    """Open a data set that was packed before, and its manifest.

    Raises
    ------
    UserError
        If one is missing, or they do not belong together.
    """
    data_set = open_data_set(folder)
    manifest = read_record(manifest_path, "manifest_version", MANIFEST_VERSION)
    if manifest["digest"] != data_set.digest:
        raise UserError(
            f"{folder} was not packed from {manifest_path} (digests {data_set.digest[:12]}... and "
            f"{manifest['digest'][:12]}...); materialise it again"
        )
    if not (folder / ARRAYS_NAME).is_dir():
        with locked(lock_path(folder), f"{folder} is being packed", wait=True):
            if not (folder / ARRAYS_NAME).is_dir():
                _pack_arrays_again(data_set, manifest)
    return LocatedData(data_set, manifest)


def _pack_arrays_again(data_set: DataSet, manifest: Mapping[str, Any]) -> None:
    """Pack the arrays of a data set anew that were removed to save space.

    The record stays as it is, and so do the networks that were trained on it.
    """
    log.info("%s: its arrays were removed; packing them again", data_set.folder)
    try:
        beside = data_set.folder.with_name(f".{data_set.folder.name}.again")
        folder = pack(manifest, beside).folder
    except UserError as e:
        raise UserError(
            f"{data_set.folder}: its arrays were removed and cannot be packed again: {e}. "
            "Training files that were simulated here come back with "
            "'snakemake --forcerun generate_data'"
        ) from e
    if replace(open_data_set(folder), folder=data_set.folder) != data_set:
        raise UserError(f"{data_set.folder}: its files no longer give what {RECORD_NAME} says")
    (folder / ARRAYS_NAME).rename(data_set.folder / ARRAYS_NAME)
    shutil.rmtree(folder)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check its shape.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another version.
    """
    content = read_record(path, "manifest_version", MANIFEST_VERSION)
    return parse_settings(Manifest, content, str(path)).model_dump(mode="json")


def verify(manifest: Mapping[str, Any]) -> None:
    """Check a manifest's files again, with a progress bar.

    Raises
    ------
    UserError
        Listing all that differs.
    """
    with Progress(len(manifest["files"]), "verifying files", "file") as progress:
        verify_manifest(manifest, on_file=progress.advance)


def audit(data: LocatedData) -> dict[str, Any]:
    """Measure a packed data set, with a progress bar, and log what to be warned of."""
    with Progress(len(data.data_set.files), "auditing files", "file") as progress:
        record = audit_data_set(data.data_set, data.manifest, on_file=progress.advance)
    for warning in record["warnings"]:
        log.warning("WARNING: %s: %s", data.data_set.model, warning)
    return record
