"""Runs that an MLflow store holds: found by id, by tag or by a search, and read."""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lanflow.core.errors import UserError
from lanflow.core.tables import printable
from lanflow.tracking.client import MlflowClient, MlflowException, ViewType, artifacts
from lanflow.tracking.experiments import Experiment
from lanflow.tracking.record import param_texts
from lanflow.tracking.retry import error_reason, is_temporary, store_error, store_request
from lanflow.tracking.store import INVENTORY_NAME, FoundRun

_INVENTORY_READERS = 16
_RUNS_PER_PAGE = 1000
_OLDEST_FIRST = ["attributes.start_time ASC", "attributes.run_id ASC"]


class NoSuchRunError(UserError):
    """A run that the store does not have, and did not delete."""


def found_run(
    run: Any, inventory: Mapping[str, object] | None = None, inventory_fault: str = ""
) -> FoundRun:
    """Convert MLflow's object of a run."""
    return FoundRun(
        id=run.info.run_id,
        name=printable(run.info.run_name or ""),
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        experiment_id=run.info.experiment_id,
        artifact_uri=run.info.artifact_uri,
        inventory=inventory,
        inventory_fault=inventory_fault,
        deleted=_is_deleted(run),
    )


def _is_deleted(run: Any) -> bool:
    return bool(run.info.lifecycle_stage != "active")


@store_request("searching for runs")
def search_runs(
    client: MlflowClient,
    experiment: Experiment,
    *,
    filter_string: str = "",
    deleted: bool = False,
) -> list[FoundRun]:
    """Search an experiment for runs and read their inventories, in parallel.

    Parameters
    ----------
    client, experiment
        The store, and the experiment in it.
    filter_string
        A filter of MLflow; all runs when left out.
    deleted
        Include deleted runs, without inventory.

    Returns
    -------
    list of FoundRun
        Oldest first.

    Raises
    ------
    UserError
        If MLflow does not understand the filter.
    """
    runs = _search(client, experiment, filter_string, deleted=deleted)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(_INVENTORY_READERS) as pool,
    ):
        inventories = list(pool.map(lambda run: _read_inventory(client, run, folder), runs))
    return [found_run(run, *inventory) for run, inventory in zip(runs, inventories, strict=True)]


@store_request("searching for trainings")
def search_trainings(
    client: MlflowClient, experiment_name: str, data_digest: str
) -> list[FoundRun]:
    """Search an experiment for finished trainings on the data of a digest, oldest first.

    An experiment that does not exist, or is deleted, has none.
    """
    found = client.get_experiment_by_name(experiment_name)
    if found is None or found.lifecycle_stage != "active":
        return []
    experiment = Experiment(found.experiment_id, found.name, found.artifact_location)
    wanted = f"tags.data_digest = '{data_digest}' and attributes.status = 'FINISHED'"
    return [found_run(run) for run in _search(client, experiment, wanted, deleted=False)]


def _search(
    client: MlflowClient, experiment: Experiment, filter_string: str, *, deleted: bool
) -> list[Any]:
    """Fetch all pages of a search, as MLflow's objects."""
    runs: list[Any] = []
    token = None
    while True:
        try:
            page = client.search_runs(
                [experiment.id],
                filter_string=filter_string,
                run_view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
                max_results=_RUNS_PER_PAGE,
                order_by=_OLDEST_FIRST,
                page_token=token,
            )
        except MlflowException as e:
            if filter_string and e.error_code == "INVALID_PARAMETER_VALUE":
                raise UserError(f"filter {filter_string!r}: {error_reason(e)}") from e
            raise
        runs += page
        token = page.token
        if not token:
            return runs


def _read_inventory(
    client: MlflowClient, run: Any, folder: str
) -> tuple[Mapping[str, object] | None, str]:
    """Read a run's inventory; None if it logged none, or why that is none."""
    if _is_deleted(run):
        return None, ""
    try:
        path = _fetch_inventory(client, run, folder)
        if path is None:
            return None, ""
        content = json.loads(path.read_text())
    except (MlflowException, OSError, ValueError, RecursionError) as e:
        if is_temporary(e):
            raise
        return None, f"its {INVENTORY_NAME} cannot be read ({error_reason(e)})"
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        return None, f"its {INVENTORY_NAME} is not an inventory (no list 'files')"
    return content, ""


def _fetch_inventory(client: MlflowClient, run: Any, folder: str) -> Path | None:
    """The file of a run's inventory, downloaded unless it is on this machine; None without one.

    The artifact is read by its address, which saves one request for each run.
    """
    place, uri = run.info.artifact_uri.rstrip("/"), client.tracking_uri
    here = _local_path(f"{place}/{INVENTORY_NAME}")
    if here is not None:
        return here if here.is_file() else None
    listed = artifacts.list_artifacts(artifact_uri=place, tracking_uri=uri)
    if all(Path(entry.path).name != INVENTORY_NAME for entry in listed):
        return None
    fetched = artifacts.download_artifacts(
        artifact_uri=f"{place}/{INVENTORY_NAME}",
        dst_path=str(Path(folder, run.info.run_id)),
        tracking_uri=uri,
    )
    return Path(fetched)


def _local_path(address: str) -> Path | None:
    """The path of an artifact that MLflow keeps in a folder; None if it is elsewhere."""
    parts = urlsplit(address)
    if not parts.scheme:
        return Path(address)
    is_here = parts.scheme == "file" and parts.netloc in ("", "localhost")
    return Path(url2pathname(parts.path)) if is_here else None


def artifact_fetcher(client: MlflowClient) -> Callable[[str, str, Path], Path]:
    """Make a function that downloads an artifact of a run into a folder, from any thread.

    The function takes the run's id, the artifact's path and the folder, and returns the
    downloaded file. It looks the artifact location of each run up once.

    Raises
    ------
    StoreError
        From the function: if the artifact cannot be downloaded.
    """

    @functools.cache
    def location_of(run_id: str) -> str:
        return find_run(client, run_id).artifact_uri.rstrip("/")

    def fetch(run_id: str, path: str, folder: Path) -> Path:
        location = location_of(run_id)
        try:
            fetched = artifacts.download_artifacts(
                artifact_uri=f"{location}/{path}",
                dst_path=str(folder),
                tracking_uri=client.tracking_uri,
            )
        except Exception as e:  # MLflow, requests and boto3 have no common base class
            raise store_error(f"run {run_id}: {path} cannot be downloaded", e) from e
        return Path(fetched)

    return fetch


@store_request("looking for the run")
def find_run(client: MlflowClient, run_id: str) -> FoundRun:
    """Read a run of the store.

    Raises
    ------
    UserError
        If there is no such run, or it is deleted.
    """
    try:
        found = client.get_run(run_id)
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NoSuchRunError(f"run {run_id!r} is not in this MLflow store") from e
    if _is_deleted(found):
        raise UserError(f"run {run_id!r} is deleted in MLflow")
    return found_run(found)


@store_request("looking for the run")
def find_run_by_tag(
    client: MlflowClient, experiment: Experiment, tag: str, value: str
) -> FoundRun | None:
    """Find the oldest run of an experiment that carries a tag; None if no run does."""
    found = client.search_runs(
        [experiment.id],
        filter_string=f"tags.`{tag}` = '{value}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found_run(found[0]) if found else None


def changed_params(run: FoundRun, params: Mapping[str, object]) -> list[str]:
    """Describe each param that a run recorded with another value, one phrase for each."""
    return [
        f"{key} {run.params[key]}, not {text}"
        for key, text in param_texts(params).items()
        if key in run.params and run.params[key] != text
    ]
