"""MLflow, and the only module that imports it: stores and experiments.

Everything goes through ``MlflowClient`` with an explicit run id; MLflow's global state ("the active
run") is never used.
"""

import contextlib
import glob
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import artifacts as artifacts
from mlflow.entities import Dataset as Dataset
from mlflow.entities import DatasetInput as DatasetInput
from mlflow.entities import InputTag as InputTag
from mlflow.entities import Metric as Metric
from mlflow.entities import Param as Param
from mlflow.entities import RunTag as RunTag
from mlflow.entities import ViewType as ViewType
from mlflow.exceptions import MlflowException as MlflowException
from mlflow.tracking import MlflowClient as MlflowClient

from lanflow.core.errors import UserError
from lanflow.core.files import create_once, lock_folder
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.retry import store_error, store_request, with_retries
from lanflow.tracking.store import Store, redact

# Set before mlflow is imported: a compute node has no business calling home, and a bar for each of
# a thousand inventories tells nobody anything. A request is tried once and for half a minute, not
# eight times for two minutes each, as nothing can stop MLflow meanwhile; lanflow.tracking.retry
# tries again. What the user set stays.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Not setdefault: the address that MLflow would print holds the password of the tracking URI.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

log = logging.getLogger(__name__)

# Of lanflow's work on the schema, among the locks that a PostgreSQL database gives to its users.
_LOCK_KEY = int.from_bytes(b"lanflow", "big")

# MLflow logs a traceback, SQL included, of an error that it raises as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Experiment:
    """An MLflow experiment."""

    id: str
    name: str
    artifact_location: str


def connect(store: Store) -> MlflowClient:
    """Open a store; an SQLite store is created if it is not there.

    Raises
    ------
    UserError
        If it cannot be opened, with MLflow's reason and without credentials.
    """
    try:
        if store.is_folder:
            _allow_file_store(store)
        with _schema_in_turn(store), defer_signals(), _quiet_migrations():
            client = MlflowClient(tracking_uri=store.uri)
            client.search_experiments(max_results=1)
    except Exception as e:  # MLflow, SQLAlchemy, requests: each has its own
        what = f"MLflow store {store.shown_uri}: cannot be opened"
        raise store_error(_with_mending(store, what, e), e) from e
    return client


def _allow_file_store(store: Store) -> None:
    """MLflow refuses a folder as a store unless they are told it is meant."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    log.warning(
        "%s is a folder; MLflow keeps such stores working but no longer develops them. Move it to "
        "SQLite with 'mlflow migrate-filestore'",
        store.shown_uri,
    )


@contextlib.contextmanager
def _schema_in_turn(store: Store) -> Iterator[None]:
    """Let MLflow open a database; as long as its schema is not whole, one process at a time.

    MLflow makes the schema, or brings an old one up, in any process that finds it so. Several that
    do it at once fail, and leave a database of SQLite broken for good.
    """
    if not (store.sqlite_path or store.uri.startswith("postgresql")):
        yield
        return
    if store.sqlite_path:
        path = Path(store.sqlite_path)
        create_once(path, _build_database)
        _check_database(path)
    if _is_whole(store):
        yield
        return
    with _schema_lock(store):
        yield


def _build_database(path: Path) -> None:
    """Fill a new file of SQLite with all that MLflow makes when it opens an empty one."""
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    with defer_signals(), _quiet_migrations():
        _get_sqlalchemy_store(f"sqlite:///{path}", None).engine.dispose()


def _check_database(path: Path) -> None:
    """Let a file that SQLite cannot open fail now; MLflow would try again for 100 seconds."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA schema_version")


@contextlib.contextmanager
def _engine(store: Store) -> Iterator[Any]:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(store.uri)
    try:
        yield engine
    finally:
        engine.dispose()


def _is_whole(store: Store) -> bool:
    """Whether a database has every table, and the experiment that MLflow makes last."""
    import sqlalchemy
    from mlflow.store.db import utils

    with _engine(store) as engine:
        if not utils._all_tables_exist(engine):
            return False
        with engine.connect() as connection:
            first = "SELECT experiment_id FROM experiments WHERE experiment_id = 0"
            return connection.execute(sqlalchemy.text(first)).first() is not None


@contextlib.contextmanager
def _schema_lock(store: Store) -> Iterator[None]:
    """Keep other processes of ours from making or changing the schema meanwhile."""
    import sqlalchemy

    if store.sqlite_path:
        with lock_folder(Path(store.sqlite_path).parent):
            yield
    elif store.uri.startswith("postgresql"):
        lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
        with _engine(store) as engine, engine.begin() as connection:
            connection.execute(lock, {"key": _LOCK_KEY})
            yield
    else:
        yield


def _with_mending(store: Store, message: str, error: Exception) -> str:
    """The message, with the way out where a schema is half made."""
    try:
        is_half_made = bool(store.sqlite_path) and _is_half_made(store, error)
    except Exception:  # of a file that cannot even be looked into, the first error tells more
        return message
    if not is_half_made:
        return message
    path = Path(store.sqlite_path)
    kept = sorted(path.parent.glob(f"{glob.escape(path.name)}.before-*"))
    instead = f"put {kept[-1]} in its place" if kept else "run the command again, which makes anew"
    return (
        f"{message}: making or upgrading its schema was begun and did not end, and cannot be gone "
        f"on with. Move it away (mv {path} {path}.broken) and {instead}. The reason"
    )


def _is_half_made(store: Store, error: Exception) -> bool:
    """Whether a database of SQLite has tables half changed, or another schema that stays so."""
    from mlflow.store.db import utils
    from sqlalchemy.exc import DBAPIError

    with _engine(store) as engine:
        if utils._get_schema_version(engine) == utils._get_latest_schema_revision():
            return False
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    has_copies = any(name.startswith("_alembic_tmp_") for name in tables)
    return has_copies or (isinstance(error, DBAPIError) and "locked" not in str(error))


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


@store_request("opening the experiment")
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


@store_request("looking for the experiment")
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

    prepared = with_retries(ask)
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


@store_request("upgrading its schema")
def upgrade_schema(store: Store) -> None:
    """Bring a database that an older MLflow made up to this one; workers never do.

    An SQLite file is copied first: a migration cannot be taken back.
    """
    from mlflow.store.db import utils

    path = Path(store.sqlite_path)
    if not store.is_database or (store.sqlite_path and not path.exists()):
        return
    with _schema_lock(store), _engine(store) as engine:
        found, current = utils._get_schema_version(engine), utils._get_latest_schema_revision()
        if found in (None, current):  # None: an empty database, which connecting fills
            return
        log.warning("%s: upgrading its schema from %s to %s", store.shown_uri, found, current)
        kept = path.with_name(f"{path.name}.before-{current}")
        if store.sqlite_path and not kept.exists():  # one of a try that failed is the better
            fresh = kept.with_name(f".{kept.name}")
            shutil.copy2(path, fresh)
            fresh.replace(kept)
        try:
            with _quiet_migrations():
                utils._upgrade_db(engine)
        except Exception as e:
            what = f"MLflow store {store.shown_uri}: its schema cannot be upgraded"
            raise store_error(_with_mending(store, what, e), e) from e


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
        store_request(f"writing to the artifact location {redact(location)}"),
    ):
        path = Path(folder, "probe.txt")
        path.write_text("Written and removed by lanflow's check of the store.\n")
        repository = get_artifact_repository(location, tracking_uri=store.uri)
        repository.log_artifact(str(path), name)
        repository.delete_artifacts(name)
