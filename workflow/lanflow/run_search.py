"""Runs that are there already: searched for, found, and what they logged."""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.asking import asking, is_passing, reason_of, store_error
from lanflow.errors import UserError
from lanflow.store import INVENTORY_NAME, redact
from lanflow.tracking import Experiment, MlflowClient, MlflowException, ViewType, artifacts

_INVENTORY_READERS = 16


@dataclass(frozen=True)
class FoundRun:
    """A run of an experiment, with its inventory where it has one."""

    id: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inventory: Mapping[str, Any] | None
    deleted: bool = False


@asking("searching for runs")
def search_runs(
    client: MlflowClient,
    experiment: Experiment,
    *,
    filter_string: str = "",
    deleted: bool = False,
) -> list[FoundRun]:
    """Runs of an experiment, oldest first, with their inventories.

    The runs come in pages of one search; inventories are read in parallel.

    Parameters
    ----------
    client, experiment
        Where they are.
    filter_string
        MLflow's; all runs when left out.
    deleted
        Give deleted runs too, without inventory.

    Raises
    ------
    UserError
        If MLflow does not understand the filter, or an inventory cannot be read.
    """
    runs = _search(client, experiment, filter_string, deleted=deleted)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(_INVENTORY_READERS) as pool,
    ):
        inventories = list(pool.map(lambda run: _read_inventory(client, run, folder), runs))
    return [
        FoundRun(
            id=run.info.run_id,
            name=run.info.run_name,
            status=run.info.status,
            params=dict(run.data.params),
            tags=dict(run.data.tags),
            inventory=inventory,
            deleted=_is_deleted(run),
        )
        for run, inventory in zip(runs, inventories, strict=True)
    ]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of a training."""

    id: str
    name: str
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@asking("searching for trainings")
def search_trainings(
    client: MlflowClient, experiment_name: str, data_digest: str
) -> list[TrainedRun]:
    """Finished runs of an experiment that trained on the data of a digest, oldest first."""
    found = client.get_experiment_by_name(experiment_name)
    if found is None or found.lifecycle_stage != "active":
        return []
    experiment = Experiment(found.experiment_id, found.name, found.artifact_location)
    wanted = f"tags.data_digest = '{data_digest}' and attributes.status = 'FINISHED'"
    return [
        TrainedRun(
            id=run.info.run_id,
            name=run.info.run_name,
            artifact_uri=run.info.artifact_uri,
            params=dict(run.data.params),
            tags=dict(run.data.tags),
            metrics=dict(run.data.metrics),
        )
        for run in _search(client, experiment, wanted, deleted=False)
    ]


def _search(
    client: MlflowClient, experiment: Experiment, filter_string: str, *, deleted: bool
) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        try:
            page = client.search_runs(
                [experiment.id],
                filter_string=filter_string,
                run_view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
        except MlflowException as e:
            if filter_string and e.error_code == "INVALID_PARAMETER_VALUE":
                raise UserError(f"filter {filter_string!r}: {reason_of(e)}") from e
            raise
        runs += page
        token = page.token
        if not token:
            return runs


def _is_deleted(run: Any) -> bool:
    return bool(run.info.lifecycle_stage != "active")


def _read_inventory(client: MlflowClient, run: Any, folder: str) -> Mapping[str, Any] | None:
    """The inventory a run logged, or None; a file that is not an inventory is an error.

    By its address, so that no run is asked for a second time.
    """
    if _is_deleted(run):
        return None
    run_id, place = run.info.run_id, run.info.artifact_uri.rstrip("/")
    uri = client.tracking_uri
    try:
        listed = artifacts.list_artifacts(artifact_uri=place, tracking_uri=uri)
        if all(Path(entry.path).name != INVENTORY_NAME for entry in listed):
            return None
        path = artifacts.download_artifacts(
            artifact_uri=f"{place}/{INVENTORY_NAME}",
            dst_path=str(Path(folder, run_id)),
            tracking_uri=uri,
        )
        content = json.loads(Path(path).read_text())
    except (MlflowException, OSError, ValueError) as e:
        if is_passing(e):
            raise
        raise UserError(f"run {run_id}: {INVENTORY_NAME} cannot be read ({redact(str(e))})") from e
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise UserError(f"run {run_id}: {INVENTORY_NAME} is not an inventory (no list 'files')")
    return content


def artifact_fetcher(client: MlflowClient) -> Callable[[str, str, Path], Path]:
    """A function that downloads an artifact of a run into a folder, from any thread.

    Each run is asked once where its artifacts are.

    Raises
    ------
    StoreError
        From the function: if it cannot be downloaded.
    """

    @functools.cache
    def place_of(run_id: str) -> str:
        return str(find_run(client, run_id).info.artifact_uri).rstrip("/")

    def fetch(run_id: str, path: str, folder: Path) -> Path:
        place = place_of(run_id)
        try:
            fetched = artifacts.download_artifacts(
                artifact_uri=f"{place}/{path}",
                dst_path=str(folder),
                tracking_uri=client.tracking_uri,
            )
        except Exception as e:  # MLflow, requests, boto3: each has its own
            raise store_error(f"run {run_id}: {path} cannot be downloaded", e) from e
        return Path(fetched)

    return fetch


@asking("looking for the run")
def find_run(client: MlflowClient, run_id: str) -> Any:
    """Get an existing run.

    Raises
    ------
    UserError
        If there is none, or it is deleted.
    """
    try:
        found = client.get_run(run_id)
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"run {run_id!r} is not in this MLflow store") from e
    if found.info.lifecycle_stage != "active":
        raise UserError(f"run {run_id!r} is deleted in MLflow")
    return found


@asking("looking for the run")
def find_run_by_tag(client: MlflowClient, experiment: Experiment, tag: str, value: str) -> Any:
    """The run of an experiment that carries a tag, the oldest if there are several, or None."""
    found = client.search_runs(
        [experiment.id],
        filter_string=f"tags.`{tag}` = '{value}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None
