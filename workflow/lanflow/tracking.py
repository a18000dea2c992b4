"""MLflow, and the only module that imports it: stores, experiments, runs that are there.

Everything goes through ``MlflowClient`` with an explicit run id; MLflow's global state ("the active
run") is never used.
"""

import contextlib
import functools
import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Set before mlflow is imported: a compute node has no business calling home, and a bar for each of
# a thousand inventories tells nobody anything. A request is tried once and for half a minute, not
# eight times for two minutes each, as nothing can stop MLflow meanwhile; lanflow.patience tries
# again. What the user set stays.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Not setdefault: the address that MLflow would print holds the password of the tracking URI.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow import artifacts

# "as" gives a name on: tracked_run takes it from here, so that the lines above come first.
from mlflow.entities import Dataset as Dataset
from mlflow.entities import DatasetInput as DatasetInput
from mlflow.entities import InputTag as InputTag
from mlflow.entities import Metric as Metric
from mlflow.entities import Param as Param
from mlflow.entities import RunTag as RunTag
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient as MlflowClient

from lanflow.asking import asking, is_passing, reason_of, store_error
from lanflow.errors import UserError
from lanflow.interruption import uninterrupted
from lanflow.patience import patiently
from lanflow.store import INVENTORY_NAME, Store, redact

log = logging.getLogger(__name__)

_INVENTORY_READERS = 16

# MLflow logs a traceback, SQL included, of an error that it raises as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Experiment:
    """An MLflow experiment."""

    id: str
    name: str
    artifact_location: str


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


def connect(store: Store) -> MlflowClient:
    """Open a store; an SQLite store is created if it is not there.

    Raises
    ------
    UserError
        If it cannot be opened, with MLflow's reason and without credentials.
    """
    try:
        if store.uri.startswith("sqlite:"):
            _open_database(Path(store.sqlite_path))
        elif store.is_folder:
            _allow_file_store(store)
        with uninterrupted(), _quiet_migrations():
            client = MlflowClient(tracking_uri=store.uri)
            client.search_experiments(max_results=1)
    except Exception as e:  # MLflow, SQLAlchemy, requests: each has its own
        raise store_error(f"MLflow store {store.shown_uri}: cannot be opened", e) from e
    return client


def _allow_file_store(store: Store) -> None:
    """MLflow refuses a folder as a store unless they are told it is meant."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    log.warning(
        "%s is a folder; MLflow keeps such stores working but no longer develops them. Move it to "
        "SQLite with 'mlflow migrate-filestore'",
        store.shown_uri,
    )


def _open_database(path: Path) -> None:
    """Let a file that SQLite cannot open fail now; MLflow would try again for 100 seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA schema_version")


@contextlib.contextmanager
def _quiet_migrations() -> Iterator[None]:
    """Keep the hundred lines that creating a database logs out of a person's sight."""
    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.WARNING)
    try:
        yield
    finally:
        alembic.setLevel(level)


@asking("opening the experiment")
def ensure_experiment(client: MlflowClient, store: Store, name: str) -> Experiment:
    """Get an experiment by name, or create it with the store's artifact location.

    This is the only place that creates experiments. An experiment keeps the artifact location it
    was created with; if another is asked for, a warning says which is used.

    Raises
    ------
    UserError
        If the experiment was deleted in MLflow.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, artifact_location=store.new_artifact_location)
        except MlflowException as e:
            # Another job of the same study may have been a moment faster.
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"experiment {name!r} is deleted in {store.shown_uri}; restore it with "
            f"'mlflow experiments restore --experiment-id {found.experiment_id}' or use another "
            "name"
        )
    if store.artifact_location and found.artifact_location.rstrip("/") != (
        store.artifact_location.rstrip("/")
    ):
        log.warning(
            "experiment %r exists with artifact location %s, which is used; %s was asked for, but "
            "MLflow cannot move an experiment's artifacts",
            name,
            redact(found.artifact_location),
            redact(store.artifact_location),
        )
    return Experiment(found.experiment_id, found.name, found.artifact_location)


@asking("looking for the experiment")
def find_experiment(client: MlflowClient, store: Store, id_or_name: str) -> Experiment:
    """Get an existing experiment by id or by name.

    Raises
    ------
    UserError
        If there is none, listing those that exist.
    """
    found = client.get_experiment_by_name(id_or_name)
    if found is None and id_or_name.isdigit():
        with contextlib.suppress(MlflowException):
            found = client.get_experiment(id_or_name)
    if found is None or found.lifecycle_stage != "active":
        existing = [f"{e.name} (id {e.experiment_id})" for e in client.search_experiments()]
        raise UserError(
            f"experiment {id_or_name!r} is not in {store.shown_uri}; it has: "
            f"{', '.join(sorted(existing)) or 'none'}"
        )
    return Experiment(found.experiment_id, found.name, found.artifact_location)


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


def prepare_store(store: Store, experiments: Sequence[str]) -> dict[str, Any]:
    """Create or open the store and its experiments, once, before any job uses it.

    Returns
    -------
    dict
        What was prepared, without credentials.
    """

    def ask() -> list[Experiment]:
        client = connect(store)
        return [ensure_experiment(client, store, name) for name in experiments]

    prepared = patiently(ask)
    return {
        "tracking_uri": store.shown_uri,
        "mlflow_version": mlflow.__version__,
        "experiments": [
            {
                "id": experiment.id,
                "name": experiment.name,
                "artifact_location": redact(experiment.artifact_location),
            }
            for experiment in prepared
        ],
    }


@asking("upgrading its schema")
def upgrade_schema(store: Store) -> None:
    """Bring a database that an older MLflow made up to this one; workers never do.

    An SQLite file is copied first: a migration cannot be taken back.
    """
    from mlflow.store.db import utils

    path = Path(store.sqlite_path)
    if not store.is_database or (store.sqlite_path and not path.exists()):
        return
    engine = utils.create_sqlalchemy_engine(store.uri)
    try:
        found, current = utils._get_schema_version(engine), utils._get_latest_schema_revision()
        if found in (None, current):  # None: an empty database, which connecting fills
            return
        log.warning("%s: upgrading its schema from %s to %s", store.shown_uri, found, current)
        if store.sqlite_path:
            shutil.copy2(path, path.with_name(f"{path.name}.before-{current}"))
        with _quiet_migrations():
            utils._upgrade_db(engine)
    finally:
        engine.dispose()


def probe_artifacts(store: Store, location: str) -> None:
    """Write a file to where artifacts go, and take it away again.

    Raises
    ------
    StoreError
        If that cannot be done from here.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    name = f".lanflow-{os.getpid()}-{os.urandom(4).hex()}"
    with (
        tempfile.TemporaryDirectory() as folder,
        asking(f"writing to the artifact location {redact(location)}"),
    ):
        path = Path(folder, "probe.txt")
        path.write_text("Written and removed by lanflow's check of the store.\n")
        repository = get_artifact_repository(location, tracking_uri=store.uri)
        repository.log_artifact(str(path), name)
        repository.delete_artifacts(name)
