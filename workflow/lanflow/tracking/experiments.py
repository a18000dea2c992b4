"""Experiments of an MLflow store, and the places of their artifacts."""

import contextlib
import errno
import logging
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.core.errors import StoreError, UserError
from lanflow.core.files import explain_os_error
from lanflow.tracking.client import MlflowClient, MlflowException, connect
from lanflow.tracking.retry import requesting, store_request, with_retries
from lanflow.tracking.store import HIDDEN, URI_VARIABLE, Store, redact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """An MLflow experiment."""

    id: str
    name: str
    artifact_location: str


@store_request("opening the experiment")
def ensure_experiment(client: MlflowClient, store: Store, name: str) -> Experiment:
    """Get an experiment by name, or create it with the store's artifact location.

    This is the only place that creates experiments. An experiment keeps the artifact location it
    was created with; if the store asks for another, a warning says which one is used.

    Raises
    ------
    UserError
        If the experiment was deleted in MLflow.
    """
    found = client.get_experiment_by_name(name)
    _require_artifact_place(
        store, store.new_artifact_location if found is None else found.artifact_location
    )
    if found is None:
        try:
            client.create_experiment(name, artifact_location=store.new_artifact_location)
        except MlflowException as e:
            # Another job of the same study may have created it a moment before.
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)
    _refuse_deleted(store, found)
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


def _refuse_deleted(store: Store, experiment: Any) -> None:
    """Raise if an experiment is deleted in MLflow, with the command that restores it."""
    if experiment.lifecycle_stage == "active":
        return
    command = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    raise UserError(
        f"experiment {experiment.name!r} is deleted in {store.shown_uri}; restore it with "
        f"'{URI_VARIABLE}={shlex.quote(store.shown_uri)} {command}'"
        f"{' (and the credentials in place of ***)' if HIDDEN in store.shown_uri else ''} or use "
        "another name"
    )


@store_request("looking for the experiment")
def find_experiment(client: MlflowClient, store: Store, id_or_name: str) -> Experiment:
    """Get an existing experiment by id or by name.

    Raises
    ------
    UserError
        If there is none, listing those that exist, or if it was deleted.
    """
    found = client.get_experiment_by_name(id_or_name)
    if found is None and id_or_name.isdigit():
        with contextlib.suppress(MlflowException):
            found = client.get_experiment(id_or_name)
    if found is None:
        existing = [f"{e.name} (id {e.experiment_id})" for e in client.search_experiments()]
        raise UserError(
            f"experiment {id_or_name!r} is not in {store.shown_uri}; it has: "
            f"{', '.join(sorted(existing)) or 'none'}"
        )
    _refuse_deleted(store, found)
    return Experiment(found.experiment_id, found.name, found.artifact_location)


def prepare_experiments(store: Store, names: Sequence[str]) -> list[Experiment]:
    """Create or open the store and its experiments, with retries, before any job uses them."""

    def request() -> list[Experiment]:
        client = connect(store)
        return [ensure_experiment(client, store, name) for name in names]

    return with_retries(request)


def remove_partial_uploads(artifact_uri: str) -> None:
    """Remove what a killed process left of uploads to a local folder; nobody may be uploading.

    MLflow writes to a hidden file first, and lists it among the artifacts. A server, and stores of
    objects, keep no such files.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(artifact_uri, is_tracking_or_registry_uri=False):
        for left in Path(local_file_uri_to_path(artifact_uri)).rglob(".artifact.uploading.*"):
            with contextlib.suppress(OSError):  # of another user
                left.unlink()


def _require_artifact_place(store: Store, location: str | None) -> None:
    """Refuse an artifact location that no run could write to, before any run is made.

    A folder is made and looked at. Of other locations, MLflow must know the scheme.

    Raises
    ------
    StoreError
        Naming the location and the reason.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if location is None:
        return
    try:
        repository = get_artifact_repository(location, tracking_uri=store.uri)
        folder = getattr(repository, "artifact_dir", None)
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
    except (OSError, MlflowException) as e:
        reason = explain_os_error(e) if isinstance(e, OSError) else e
        raise StoreError(
            f"MLflow store {store.shown_uri}: nothing can be written to the artifact location "
            f"{redact(location)} ({reason}); set MLFLOW_ARTIFACT_LOCATION to one that can, and use "
            "another experiment name if this one exists with it"
        ) from e


def probe_artifacts(store: Store, location: str) -> None:
    """Write a file to an artifact location and delete it again.

    Raises
    ------
    StoreError
        If this machine cannot do that.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    name = f".lanflow-{os.getpid()}-{os.urandom(4).hex()}"
    with (
        tempfile.TemporaryDirectory() as folder,
        requesting(f"writing to the artifact location {redact(location)}", store.uri),
    ):
        path = Path(folder, "probe.txt")
        path.write_text("Written and removed by lanflow's check of the store.\n")
        repository = get_artifact_repository(location, tracking_uri=store.uri)
        repository.log_artifact(str(path), name)
        repository.delete_artifacts(name)
