"""Checks of the store before the first job: what would fail on a node an hour later, fails now."""

import hashlib
import json
import logging
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from lanflow.core.errors import UserError
from lanflow.core.files import write_json
from lanflow.core.settings import Settings
from lanflow.tracking.store import CONTACTS_VARIABLE, SendMode, Store, redact

log = logging.getLogger(__name__)

# File systems that several machines write to, with their names in /proc/mounts; those of FUSE have
# the prefix "fuse.". None of them promises the locks that SQLite needs.
_NETWORK_FILE_SYSTEMS = {
    *("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "cvmfs", "fhgfs", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3"),
    *("smbfs", "sshfs", "virtiofs", "wekafs"),
}
_MOUNTS = Path("/proc/mounts")
_SCHEME = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)$")


class PreparedExperiment(Settings):
    """An experiment of a prepared store."""

    id: str
    name: str
    artifact_location: str


class PreparedStore(Settings):
    """The record that ``lanflow prepare`` writes; it holds no credentials.

    Attributes
    ----------
    artifact_location
        The location that was asked for; None leaves it to MLflow.
    """

    tracking_uri: str
    mlflow_version: str
    experiments: list[PreparedExperiment]
    artifact_location: str | None
    warnings: list[str]


def prepare(store: Store, experiments: Sequence[str]) -> PreparedStore:
    """Create or upgrade the store and its experiments, and check what jobs will need of it.

    Parameters
    ----------
    store, experiments
        The store, and the names of the experiments, that jobs will use.

    Raises
    ------
    UserError
        If the store or an artifact location would fail a job.
    """
    from lanflow.tracking.client import MLFLOW_VERSION, upgrade_schema
    from lanflow.tracking.experiments import prepare_experiments

    warnings = sqlite_warnings(store, read_mounts())
    for warning in warnings:
        log.warning("%s", warning)
    upgrade_schema(store)
    prepared = prepare_experiments(store, experiments)
    check_artifacts(store, experiments)
    return PreparedStore(
        tracking_uri=store.shown_uri,
        mlflow_version=MLFLOW_VERSION,
        experiments=[
            PreparedExperiment(
                id=experiment.id,
                name=experiment.name,
                artifact_location=redact(experiment.artifact_location),
            )
            for experiment in prepared
        ],
        artifact_location=redact(store.artifact_location or "") or None,
        warnings=warnings,
    )


def check_first_contact(store: Store, experiment: str, send_mode: SendMode) -> None:
    """Check that the store can be reached, unless a job of the study has reached it before.

    A job of a study goes on without its store (send mode ``try``). The first of them must reach
    it, though, since a wrong address would otherwise be noticed only at the end. Each experiment
    that was reached has a file in the folder that ``LANFLOW_STORE_CONTACTS`` names.

    Raises
    ------
    UserError
        If no job has reached the store so far, and this one does not either.
    """
    folder = os.environ.get(CONTACTS_VARIABLE)
    if send_mode != "try" or not folder:
        return
    identity = json.dumps([store.uri, store.artifact_location, experiment])
    path = Path(folder, f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json")
    if path.exists():
        return
    node = socket.gethostname()
    try:
        prepare(store, [experiment])
    except UserError as e:
        raise UserError(f"from node {node}: {e}") from e
    write_json(path, {"tracking_uri": store.shown_uri, "experiment": experiment, "node": node})


def check_artifacts(store: Store, experiments: Sequence[str]) -> None:
    """Check the artifact location of each experiment, and write to each different one."""
    from lanflow.tracking.client import connect
    from lanflow.tracking.experiments import find_experiment, probe_artifacts

    client = connect(store)
    places = {}
    for name in experiments:
        experiment = find_experiment(client, store, name)
        check_location(experiment.name, experiment.artifact_location)
        # Experiments of one store differ in the last folder only: one of them is enough.
        places[experiment.artifact_location.rstrip("/").rpartition("/")[0]] = experiment
    for experiment in places.values():
        probe_artifacts(store, experiment.artifact_location)


def check_location(experiment: str, location: str) -> None:
    """Refuse a relative artifact location, which each process would resolve differently.

    Raises
    ------
    UserError
        If it is a relative path.
    """
    parsed = _SCHEME.match(location)
    path = location if parsed is None else parsed["rest"]
    if (parsed is None or parsed["scheme"] == "file") and not path.startswith("/"):
        raise UserError(
            f"experiment {experiment!r}: its artifact location {redact(location)} is a relative "
            "path, which every job would look for in its own folder; start the server with "
            "--artifacts-destination or an absolute --default-artifact-root, or set "
            "MLFLOW_ARTIFACT_LOCATION to an absolute path, and use another experiment name (MLflow "
            "cannot move an experiment's artifacts)"
        )


def read_mounts() -> str:
    """Return the mounted file systems as Linux lists them; empty on other systems."""
    return _MOUNTS.read_text() if _MOUNTS.exists() else ""


def sqlite_warnings(store: Store, mounts: str) -> list[str]:
    """Warn of an SQLite store that lies on a network file system.

    Parameters
    ----------
    store
        Any store.
    mounts
        Mounted file systems, as :func:`read_mounts` returns them.
    """
    if not store.sqlite_path:
        return []
    kind = file_system_of(Path(store.sqlite_path), mounts)
    if kind.removeprefix("fuse.") not in _NETWORK_FILE_SYSTEMS:
        return []
    return [
        f"{store.shown_uri} is on a network file system ({kind}), where SQLite's locks cannot be "
        "relied on: jobs that write at the same time may wait, fail or damage it. Track on an "
        "MLflow server instead (README, 'Your MLflow server'), or run one job at a time (--jobs 1)"
    ]


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that a path is on; empty if ``mounts`` lack it."""
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split()
        # Linux writes blanks in a mount point as octal numbers.
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        # A later mount hides an earlier one at the same point.
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    return kind
