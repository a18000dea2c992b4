"""Opening MLflow stores: their databases, what is wrong with those, and their schema.

MLflow is imported here, by :mod:`lanflow.tracking.experiments` and by
:mod:`lanflow.publish.registry`. Everything goes through ``MlflowClient`` with an explicit run id;
MLflow's global state ("the active run") is never used.
"""

import contextlib
import glob
import logging
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Set before mlflow is imported, since the import starts telemetry. A variable that the user set
# keeps its value. Compute nodes should not call home, and a progress bar for each of a thousand
# inventories is noise. A request is tried once, for half a minute, because nothing can interrupt
# MLflow's own retries (eight, of two minutes each); lanflow.tracking.retry does the retries.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Always set: the address that MLflow would print holds the password of the tracking URI.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

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

from lanflow.core.errors import StoreError
from lanflow.core.files import create_once, lock_folder
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.retry import store_error, store_request
from lanflow.tracking.store import Store

log = logging.getLogger(__name__)

# Key of lanflow's advisory lock on the schema of a PostgreSQL database.
_LOCK_KEY = int.from_bytes(b"lanflow", "big")

# MLflow logs the errors that it raises, with traceback and SQL.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


MLFLOW_VERSION: str = mlflow.__version__


def connect(store: Store) -> MlflowClient:
    """Open a store; an SQLite store that does not exist is created.

    Raises
    ------
    StoreError
        If the store cannot be opened, with MLflow's reason and without credentials.
    """
    try:
        if store.is_folder:
            _allow_file_store(store)
        with _locked_until_complete(store), defer_signals(), _quiet_migrations():
            client = MlflowClient(tracking_uri=store.uri)
            client.search_experiments(max_results=1)
    except _opening_errors() as e:
        raise _opening_error(store, "cannot be opened", e) from e
    return client


def _opening_errors() -> tuple[type[Exception], ...]:
    """Return what MLflow and the libraries below it raise when a store cannot be opened.

    Errors of requests are `OSError`. A wrong URI can be a `ValueError`, a database without its
    driver an `ImportError`, the answer of something that is no MLflow server a `ParseError`. The
    libraries are imported here, because a store that works does not need all of them.
    """
    from alembic.util.exc import CommandError
    from google.protobuf.json_format import ParseError
    from sqlalchemy.exc import SQLAlchemyError

    of_libraries = (MlflowException, SQLAlchemyError, CommandError, ParseError, sqlite3.Error)
    return (*of_libraries, OSError, ValueError, ImportError)


def _opening_error(store: Store, failed: str, error: Exception) -> StoreError:
    """Make the error to raise from another one, with advice where the database is unusable.

    Parameters
    ----------
    store
        The store.
    failed
        What failed, for the message: "cannot be opened".
    error
        The reason, which the message quotes.
    """
    message = f"MLflow store {store.shown_uri}: {failed}"
    fault = _explain_database(store, error)
    if fault and "out-of-date database schema" in str(error):  # what MLflow advises is not enough
        return StoreError(f"{message}: {fault}")
    return store_error(
        f"{message}: {fault}. The reason" if fault else message, error, uri=store.uri
    )


def _explain_database(store: Store, error: Exception) -> str:
    """Say what is wrong with a database and how to go on; empty if only ``error`` can say that."""
    text, path = str(error), Path(store.sqlite_path)
    if store.sqlite_path and "file is not a database" in text:
        return f"it is not an SQLite database. Name another file, or move it away ({_move(path)})"
    if store.sqlite_path and "disk image is malformed" in text:
        return f"it is damaged. {_describe_repair(path)}"
    try:
        if store.is_database and _is_of_newer_mlflow(store):
            return (
                f"a newer MLflow than this one ({MLFLOW_VERSION}) has made or upgraded it. Upgrade "
                "MLflow here (pip install --upgrade mlflow), or name another store"
            )
        if store.sqlite_path and _has_broken_schema(store, error):
            return (
                "making or upgrading its schema was begun and did not end, and cannot be gone on "
                f"with. {_describe_repair(path)}"
            )
        if "out-of-date database schema" in text:
            return (
                "an older MLflow made it. 'lanflow prepare' with the names of your experiments "
                "brings it up to date, and keeps a copy of an SQLite file"
            )
    except _opening_errors():  # which `error` already tells of
        pass
    return ""


def _is_of_newer_mlflow(store: Store) -> bool:
    """Tell whether a database has a schema version that this MLflow does not know."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    with _engine(store) as engine:
        found = utils._get_schema_version(engine)
    script = ScriptDirectory.from_config(utils._get_alembic_config(db_url=""))
    return found not in (None, *(each.revision for each in script.walk_revisions()))


def _has_broken_schema(store: Store, error: Exception) -> bool:
    """Tell whether creating or upgrading the schema of an SQLite store ended halfway.

    Such a file has an old schema version and either copies of tables that Alembic leaves, or an
    error of the database other than a lock.
    """
    from mlflow.store.db import utils
    from sqlalchemy.exc import DBAPIError

    with _engine(store) as engine:
        if utils._get_schema_version(engine) == utils._get_latest_schema_revision():
            return False
    has_copies = any(name.startswith("_alembic_tmp_") for name in _read_tables(store))
    is_passing = any(word in str(error) for word in ("locked", "disk is full", "readonly"))
    return has_copies or (isinstance(error, DBAPIError) and not is_passing)


def _read_tables(store: Store) -> list[str]:
    """Return the names of the tables in an SQLite file."""
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


def _describe_repair(path: Path) -> str:
    """Say how to get rid of an SQLite file that cannot be used any more."""
    kept = sorted(path.parent.glob(f"{glob.escape(path.name)}.before-*"))
    instead = f"put {kept[-1]} in its place" if kept else "run the command again, which makes anew"
    return (
        f"Move it away ({_move(path)}) and {instead}; 'lanflow sync --all RESULTS' then records "
        "the runs of a folder of results again"
    )


def _move(path: Path) -> str:
    return shlex.join(["mv", str(path), f"{path}.broken"])


def _allow_file_store(store: Store) -> None:
    """Allow MLflow to use a folder as a store, and warn that such stores are outdated."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    log.warning(
        "%s is a folder; MLflow keeps such stores working but no longer develops them. Move it to "
        "SQLite with 'mlflow migrate-filestore'",
        store.shown_uri,
    )


@contextlib.contextmanager
def _locked_until_complete(store: Store) -> Iterator[None]:
    """Hold the schema's lock during the body, if the database's schema is not complete.

    MLflow creates or upgrades the schema in any process that finds it incomplete. Several
    processes that do this at once fail, and can leave an SQLite database broken for good.
    """
    if not (store.sqlite_path or store.uri.startswith("postgresql")):
        yield
        return
    if store.sqlite_path:
        create_once(Path(store.sqlite_path), _build_database)
        _check_database(store)
    if _has_complete_schema(store):
        yield
        return
    with _schema_lock(store):
        yield


def _build_database(path: Path) -> None:
    """Fill a new SQLite file with everything that MLflow makes when it opens an empty one."""
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    with defer_signals(), _quiet_migrations():
        _get_sqlalchemy_store(f"sqlite:///{path}", None).engine.dispose()


def _check_database(store: Store) -> None:
    """Raise now if SQLite cannot open a file; MLflow would retry for 100 seconds.

    Raises
    ------
    StoreError
        If it is the database of another program, into which MLflow would put its own tables.
    """
    tables = _read_tables(store)
    if tables and not {"alembic_version", "experiments"} & set(tables):
        raise StoreError(
            f"MLflow store {store.shown_uri}: this is a database of another program, with the "
            f"table {tables[0]!r}; name another file"
        )


@contextlib.contextmanager
def _engine(store: Store) -> Iterator[Any]:
    """Open SQLAlchemy's engine of a database, and close it afterwards."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(store.uri)
    try:
        yield engine
    finally:
        engine.dispose()


def _has_complete_schema(store: Store) -> bool:
    """Tell whether a database has every table, and the experiment that MLflow makes last."""
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
    """Keep other processes of lanflow from creating or upgrading the schema meanwhile."""
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


@contextlib.contextmanager
def _quiet_migrations() -> Iterator[None]:
    """Hide the hundred lines that MLflow logs while it creates a database."""
    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.WARNING)
    try:
        yield
    finally:
        alembic.setLevel(level)


@store_request("upgrading its schema")
def upgrade_schema(store: Store) -> None:
    """Upgrade a database that an older MLflow made to the schema of this one.

    Only ``lanflow prepare`` and the first job do this. An SQLite file is copied first, because a
    migration cannot be undone.

    Raises
    ------
    StoreError
        If the schema cannot be upgraded.
    """
    from mlflow.store.db import utils

    path = Path(store.sqlite_path)
    if not store.is_database or (store.sqlite_path and not path.exists()):
        return
    failed = "cannot be opened"
    try:
        with _schema_lock(store), _engine(store) as engine:
            found, current = utils._get_schema_version(engine), utils._get_latest_schema_revision()
            if found in (None, current) or _is_of_newer_mlflow(store):
                return  # None: an empty database; connecting fills that one, refuses the other
            failed = "its schema cannot be upgraded"
            log.warning("%s: upgrading its schema from %s to %s", store.shown_uri, found, current)
            kept = path.with_name(f"{path.name}.before-{current}")
            if store.sqlite_path and not kept.exists():  # a copy made by a failed try is better
                fresh = kept.with_name(f".{kept.name}")
                shutil.copy2(path, fresh)
                fresh.replace(kept)
            with _quiet_migrations():
                utils._upgrade_db(engine)
    except _opening_errors() as e:
        raise _opening_error(store, failed, e) from e
