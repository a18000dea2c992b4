"""The MLflow store of a study: its address, its experiments' names, and the environment of jobs.

Nothing here needs MLflow.
"""

import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from lanflow.core.errors import UserError
from lanflow.core.names import check_title

DEFAULT_URI = "sqlite:///mlflow.db"
HIDDEN = "***"  # shown in place of credentials
URI_VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACT_VARIABLE = "MLFLOW_ARTIFACT_LOCATION"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
SEND_MODE_VARIABLE = "LANFLOW_MLFLOW_SEND"
# The folder with a file for each store that jobs of a study have reached; the workflow sets it.
CONTACTS_VARIABLE = "LANFLOW_STORE_CONTACTS"

# When a job starts, the store must be there (now), is tried (try), or is not contacted (later).
SendMode = Literal["now", "try", "later"]
SEND_MODES: tuple[str, ...] = get_args(SendMode)

# The artifact of a data-generation run that lists its training files; ssm-simulators' name.
INVENTORY_NAME = "generated_files_inventory.json"

# Tag of a data-generation run whose training files are artifacts: their folder.
FILES_TAG = "data_artifact_path"
# Tag of the runs of a model that is defined in a file of the user's.
MODELS_FILE_TAG = "models_file_sha256"

_SQLITE = re.compile(r"^(sqlite(?:\+\w+)?):///(?!/)(?P<path>[^?]*)(?P<query>\?.*)?$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
# A password may hold / and @, so more of a URI may be hidden than necessary.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/:@\s]*:\S*|[^/\s]*)@")
# The same where a URI stands in another one, percent-encoded.
_ENCODED_CREDENTIALS = re.compile(r"(?<=%3A%2F%2F)\S+?(?=%40)", re.IGNORECASE)
# Options of a URI or a connection string, percent-encoded once or more or not at all:
# ?password=, &token=, ;PWD=, %3BPWD%3D.
_SECRET_OPTION = re.compile(
    r"""((?:[?&;=]|%(?:25)*(?:3F|26|3B|3D))          # what stands before an option
    [\w.-]*(?:pass|pwd|auth|jwt|token|secret|credential|signature|sig|key)[\w.-]*
    (?:=|%(?:25)*3D))                               # and before its value
    (?:(?!%(?:25)*(?:26|3B))[^&;\s'"])+             # which goes on to the next option""",
    re.IGNORECASE | re.VERBOSE,
)
# MLflow's own word for its managed store, which is no folder; and for catalogues of models alone.
_MANAGED, _CATALOGUE = "databricks", re.compile(r"(databricks-)?uc(:|$)")


@dataclass(frozen=True)
class Store:
    """An MLflow tracking store.

    Attributes
    ----------
    uri
        Tracking URI, in which a path is absolute. It may hold a password: print
        :attr:`shown_uri` instead.
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

        Without one, MLflow would put the artifacts of an SQLite store into ``./mlruns`` of the
        folder in which the first process ran. ``mlartifacts`` beside the database is the same
        folder for every process, and the name that ``mlflow server`` uses.
        """
        if self.artifact_location is None and self.sqlite_path:
            return str(Path(self.sqlite_path).with_name("mlartifacts"))
        return self.artifact_location

    @property
    def is_folder(self) -> bool:
        """True for MLflow's outdated store of files in a folder."""
        is_path = "://" not in self.uri and self.uri != _MANAGED
        return self.uri.startswith("file:") or is_path

    @property
    def is_database(self) -> bool:
        """True if runs are written to a database directly, without a server."""
        return self.uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))

    @property
    def sqlite_path(self) -> str:
        """Path of an SQLite store's file; empty for one in memory and for other stores."""
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
    inventory_fault
        Why its inventory cannot be read; empty where it can.
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
    inventory: Mapping[str, object] | None = None
    inventory_fault: str = ""
    deleted: bool = False


def redact(text: str) -> str:
    """Replace the credentials of every URI in a text by ``***``.

    They are whatever stands before the ``@`` of an address, and the values of options whose names
    speak of passwords, tokens, keys, secrets or signatures; percent-encoded or not.
    """
    text = _ENCODED_CREDENTIALS.sub("***", _CREDENTIALS.sub("***@", text))
    return _SECRET_OPTION.sub(r"\1***", text)


class RedactedRecord(logging.LogRecord):
    """A log record that shows no credentials.

    Commands make all of their records such, those of MLflow and urllib3 too: a request that is
    tried again is logged by urllib3 with its whole address.
    """

    def getMessage(self) -> str:  # noqa: N802, the name that logging calls
        """Return the message without the credentials of URIs in it."""
        return redact(super().getMessage())


def resolve_store(
    *,
    uri: str | None = None,
    artifact_location: str | None = None,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Store:
    """Find the store: from the arguments, else from the environment, else the default.

    Parameters
    ----------
    uri, artifact_location
        From an option or the workflow's configuration.
    environment
        Variables; an empty one counts as not set.
    folder
        Base of relative paths; the working directory when left out.

    Raises
    ------
    UserError
        If one of them holds a blank or a control character, or the URI is that of a catalogue of
        models.
    """
    folder = Path.cwd() if folder is None else folder
    uri = _stripped(uri or environment.get(URI_VARIABLE), URI_VARIABLE) or DEFAULT_URI
    if _CATALOGUE.match(uri):
        raise UserError(
            f"{URI_VARIABLE}: {redact(uri)[:200]!a} is a Unity Catalog, which holds models and no "
            "runs; accepted are databricks, a server (https://host), a database (sqlite:///path, "
            "postgresql://host/name) or a folder"
        )
    location = _stripped(artifact_location or environment.get(ARTIFACT_VARIABLE), ARTIFACT_VARIABLE)
    return Store(
        uri=_absolute_uri(uri, folder),
        artifact_location=None if location is None else _absolute_location(location, folder),
    )


def _stripped(uri: str | None, name: str) -> str | None:
    """Strip blanks and line breaks off a URI; None if nothing is left."""
    uri = (uri or "").strip()
    strange = sorted({character for character in uri if not character.isprintable()})
    if strange or (_SCHEME.match(uri) and " " in uri):
        shown = ", ".join(map(ascii, strange)) or "a blank"
        raise UserError(f"{name}: {redact(uri)[:200]!a} holds {shown}, which no address does")
    return uri or None


def _absolute_uri(uri: str, folder: Path) -> str:
    if match := _SQLITE.match(uri):
        path = match["path"]
        if path in ("", ":memory:"):
            return uri
        return f"{match[1]}:////{str((folder / path).absolute()).lstrip('/')}{match['query'] or ''}"
    is_whole = _SCHEME.match(uri) or uri == _MANAGED
    return uri if is_whole else str((folder / uri).absolute())


def _absolute_location(location: str, folder: Path) -> str:
    return location if _SCHEME.match(location) else str((folder / location).absolute())


def generation_experiment(model: str) -> str:
    """Return the name of a model's data-generation experiment, as ssm-simulators has it."""
    return f"{model}-data-generation"


def training_experiment(
    model: str, *, name: str | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """Return the experiment of a training: the option, the environment, ``{model}-training``.

    Raises
    ------
    UserError
        If the environment's cannot be the name of one.
    """
    given = environment.get(EXPERIMENT_VARIABLE)
    if name or not given:
        return name or f"{model}-training"
    try:
        return check_title(given)
    except ValueError as e:
        raise UserError(f"{EXPERIMENT_VARIABLE}: {e}") from e


def resolve_send_mode(
    given: str | None = None, *, environment: Mapping[str, str] = os.environ
) -> SendMode:
    """Return the send mode: the option, else ``LANFLOW_MLFLOW_SEND``, else ``now``.

    Raises
    ------
    UserError
        If it is none of :data:`SEND_MODES`.
    """
    value = given or environment.get(SEND_MODE_VARIABLE) or "now"
    if value not in SEND_MODES:
        raise UserError(f"{SEND_MODE_VARIABLE}: {value!r} is not one of {', '.join(SEND_MODES)}")
    return cast("SendMode", value)


# The environment of jobs. Every job of the workflow inherits it, on this machine or through a
# scheduler. The store reaches jobs in no other way, so that no URI with a password is part of a
# command line. The first job must reach the store; a later one that does not goes on and keeps its
# run's record.

# The store in this process's environment, once one is exported.
_exported: list[Store] = []

# Names what environment.post-deploy.sh installs into a conda environment.
SOURCE_VARIABLE = "LANFLOW_SOURCE"


def require_commands() -> None:
    """Check that jobs will find lanflow's commands beside Snakemake or on the PATH.

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
    """Put the store, and the folder of this installation's commands, into jobs' environment.

    Parameters
    ----------
    store
        The study's store.
    contacts
        Folder with a file for each store that the study's jobs have reached.
    source
        Requirement that pip installs as lanflow in conda environments made for jobs.

    Raises
    ------
    UserError
        If a workflow uses lanflow as two modules with different stores.
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
