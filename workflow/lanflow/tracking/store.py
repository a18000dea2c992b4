"""Where runs are tracked: which store, which artifacts, which experiment. No MLflow needed."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from lanflow.core.errors import UserError

DEFAULT_URI = "sqlite:///mlflow.db"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACT_VARIABLE = "MLFLOW_ARTIFACT_LOCATION"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
SEND_MODE_VARIABLE = "LANFLOW_MLFLOW_SEND"
# A folder that says which stores jobs of a study have reached; the workflow sets it.
CONTACTS_VARIABLE = "LANFLOW_STORE_CONTACTS"

# What a job does about a store that does not answer: it must, it is tried, it is left alone.
SendMode = Literal["now", "try", "later"]
SEND_MODES: tuple[str, ...] = get_args(SendMode)

# ssm-simulators' artifact that lists the training files of a data-generation run.
INVENTORY_NAME = "generated_files_inventory.json"

# Tag of a data-generation run whose training files are its artifacts: the folder of them.
FILES_TAG = "data_artifact_path"

_SQLITE = re.compile(r"^(sqlite(?:\+\w+)?):///(?!/)(?P<path>[^?]*)(?P<query>\?.*)?$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
# A password may hold / and @; in doubt too much of a URI is hidden.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/:@\s]*:\S*|[^/\s]*)@")
_PASSWORD_OPTION = re.compile(r"(?<=[?&]password=)[^&\s]+")


@dataclass(frozen=True)
class Store:
    """An MLflow tracking store.

    Attributes
    ----------
    uri
        Tracking URI; a file in it is absolute. May hold a password: never print it, print
        :attr:`shown_uri`.
    artifact_location
        Root of the artifacts of experiments created here; ``None`` leaves it to MLflow.
    """

    uri: str
    artifact_location: str | None = None

    @property
    def shown_uri(self) -> str:
        """The URI without credentials, for logs, records and messages."""
        return redact(self.uri)

    @property
    def new_artifact_location(self) -> str | None:
        """Artifact location of an experiment created here.

        Without one, MLflow would put the artifacts of an SQLite store into ``./mlruns`` of
        whichever folder the first process ran in; ``mlartifacts`` beside the database is the same
        from everywhere, and the name that ``mlflow server`` uses.
        """
        if self.artifact_location is None and self.sqlite_path:
            return str(Path(self.sqlite_path).with_name("mlartifacts"))
        return self.artifact_location

    @property
    def is_folder(self) -> bool:
        """Whether this is MLflow's old store of files in a folder."""
        return self.uri.startswith("file:") or "://" not in self.uri

    @property
    def is_database(self) -> bool:
        """Whether runs are written to a database directly, without a server between."""
        return self.uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))

    @property
    def sqlite_path(self) -> str:
        """File of an SQLite store; empty for one in memory and for other stores."""
        if not self.uri.startswith(("sqlite:", "sqlite+")):
            return ""
        path = self.uri.partition(":///")[2].partition("?")[0]
        return "" if path == ":memory:" else path


@dataclass(frozen=True)
class FoundRun:
    """A run as the store holds it.

    Attributes
    ----------
    metrics
        The last value of each metric.
    inventory
        The files of a data-generation run; None where it logged none or was not asked for.
    deleted
        Whether the run is deleted in MLflow, which keeps it hidden.
    """

    id: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    experiment_id: str = ""
    artifact_uri: str = ""
    inventory: Mapping[str, Any] | None = None
    deleted: bool = False


def redact(text: str) -> str:
    """Text with the credentials of every URI in it replaced by ``***``."""
    return _PASSWORD_OPTION.sub("***", _CREDENTIALS.sub("***@", text))


def resolve_store(
    *,
    uri: str | None = None,
    artifact_location: str | None = None,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Store:
    """Find the store: what is given, then the environment, then the default.

    Parameters
    ----------
    uri, artifact_location
        From an option or the workflow's configuration; they win.
    environment
        Variables; an empty one counts as not set.
    folder
        What relative paths are resolved against; the working directory when left out.
    """
    folder = Path.cwd() if folder is None else folder
    uri = uri or environment.get(URI_VARIABLE) or DEFAULT_URI
    location = artifact_location or environment.get(ARTIFACT_VARIABLE) or None
    return Store(
        uri=_absolute_uri(uri, folder),
        artifact_location=None if location is None else _absolute_location(location, folder),
    )


def _absolute_uri(uri: str, folder: Path) -> str:
    if match := _SQLITE.match(uri):
        path = match["path"]
        if path in ("", ":memory:"):
            return uri
        return f"{match[1]}:////{str((folder / path).absolute()).lstrip('/')}{match['query'] or ''}"
    return uri if _SCHEME.match(uri) else str((folder / uri).absolute())


def _absolute_location(location: str, folder: Path) -> str:
    return location if _SCHEME.match(location) else str((folder / location).absolute())


def generation_experiment(model: str) -> str:
    """Name of a model's data-generation experiment, as in the ecosystem."""
    return f"{model}-data-generation"


def training_experiment(
    model: str, *, name: str | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """Name of the experiment a training is logged to: option, environment, ``{model}-training``."""
    return name or environment.get(EXPERIMENT_VARIABLE) or f"{model}-training"


def resolve_send_mode(
    given: str | None = None, *, environment: Mapping[str, str] = os.environ
) -> SendMode:
    """When a run is sent to the store: option, LANFLOW_MLFLOW_SEND, ``now``.

    Raises
    ------
    UserError
        If it is none of :data:`SEND_MODES`.
    """
    value = given or environment.get(SEND_MODE_VARIABLE) or "now"
    if value not in SEND_MODES:
        raise UserError(f"{SEND_MODE_VARIABLE}: {value!r} is not one of {', '.join(SEND_MODES)}")
    return cast("SendMode", value)


# The environment that every job of the workflow inherits, on this machine or through a scheduler.
#
# The store goes to jobs this way and no other, so no URI, and no password in one, is ever part of a
# command line. The first job that works with a store must reach it; a later one that finds it
# silent goes on and keeps its run's record for later.


# The store of this process's jobs, once one is exported.
_exported: list[Store] = []

# What environment.post-deploy.sh installs into a conda environment.
SOURCE_VARIABLE = "LANFLOW_SOURCE"


def require_commands() -> None:
    """Make sure that jobs find lanflow's commands beside Snakemake, or on the PATH.

    Raises
    ------
    UserError
        If lanflow is not installed.
    """
    beside = str(Path(sys.executable).parent)
    if shutil.which("lanflow", path=os.pathsep.join([beside, os.environ.get("PATH", "")])) is None:
        raise UserError(
            "the command 'lanflow' is neither beside Snakemake nor on the PATH; install lanflow "
            "into Snakemake's environment, or let Snakemake make one for the jobs: "
            "--software-deployment-method conda"
        )


def export_environment(store: Store, *, contacts: Path, source: str | None = None) -> None:
    """Tell jobs the store, and let them find the commands of this very installation.

    Parameters
    ----------
    store
        Of the study.
    contacts
        Folder that says which stores its jobs have reached.
    source
        What pip installs for the lanflow of the workflow, in conda environments made for its jobs.

    Raises
    ------
    UserError
        If a workflow uses lanflow twice as a module, with two stores.
    """
    if _exported and _exported[-1] != store:
        raise UserError(
            f"two modules of lanflow track their runs in {_exported[-1].shown_uri} and in "
            f"{store.shown_uri}, but all jobs of a workflow have one store; name the same one "
            "under 'tracking' in both"
        )
    _exported.append(store)
    if source is not None:
        os.environ[SOURCE_VARIABLE] = source
    os.environ[URI_VARIABLE] = store.uri
    os.environ[CONTACTS_VARIABLE] = str(contacts.absolute())
    if store.artifact_location:
        os.environ[ARTIFACT_VARIABLE] = store.artifact_location
    if not os.environ.get(SEND_MODE_VARIABLE):
        os.environ[SEND_MODE_VARIABLE] = "try"
    commands = str(Path(sys.executable).parent)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if commands not in folders:
        os.environ["PATH"] = os.pathsep.join([commands, *folders])
