"""What would fail on a node an hour later, found out before the first job."""

import hashlib
import json
import logging
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import write_json
from lanflow.tracking.store import CONTACTS_VARIABLE, SendMode, Store, redact

log = logging.getLogger(__name__)

# File systems that other machines write to as well (names as in /proc/mounts); FUSE's are behind
# "fuse.". SQLite's locks need what none of them promises.
_NETWORK_FILE_SYSTEMS = {
    *("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "cvmfs", "fhgfs", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3"),
    *("smbfs", "sshfs", "virtiofs", "wekafs"),
}
_MOUNTS = Path("/proc/mounts")
_SCHEME = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)$")


def prepare(store: Store, experiments: Sequence[str]) -> dict[str, Any]:
    """Create or upgrade the store and its experiments, and check what jobs will need of it.

    Parameters
    ----------
    store, experiments
        What jobs will use.

    Returns
    -------
    dict
        What was prepared, and warnings; without credentials.

    Raises
    ------
    UserError
        If the store or an artifact location would fail a job.
    """
    from lanflow.tracking.client import prepare_store, upgrade_schema

    warnings = sqlite_warnings(store, read_mounts())
    for warning in warnings:
        log.warning("warning: %s", warning)
    upgrade_schema(store)
    record = prepare_store(store, experiments)
    check_artifacts(store, experiments)
    location = redact(store.artifact_location or "") or None
    return {**record, "artifact_location": location, "warnings": warnings}


def check_first_contact(store: Store, experiment: str, send_mode: SendMode) -> None:
    """Make sure, before hours of work, that its store takes what it will be sent.

    A job of a study goes on without its store (``try``). The first of them must reach it, though,
    or a wrong address would be noticed only when all is done. Which experiments were reached is
    written into the folder that ``LANFLOW_STORE_CONTACTS`` names.

    Raises
    ------
    UserError
        If the store was not reached from any job so far, and is not from here.
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
    """Write to the artifact location of each experiment."""
    from lanflow.tracking.client import connect, find_experiment, probe_artifacts

    client = connect(store)
    places = {}
    for name in experiments:
        experiment = find_experiment(client, store, name)
        check_location(experiment.name, experiment.artifact_location)
        # One of a database or server is enough: they differ in the last folder only.
        places[experiment.artifact_location.rstrip("/").rpartition("/")[0]] = experiment
    for experiment in places.values():
        probe_artifacts(store, experiment.artifact_location)


def check_location(experiment: str, location: str) -> None:
    """Refuse an artifact location that each process would look for in another folder.

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
    """The mounted file systems, as Linux lists them; nothing elsewhere."""
    return _MOUNTS.read_text() if _MOUNTS.exists() else ""


def sqlite_warnings(store: Store, mounts: str) -> list[str]:
    """Warn of an SQLite store that lies on a network file system.

    Parameters
    ----------
    store
        Any.
    mounts
        As :func:`read_mounts` gives them.
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
    """Type of the file system that a path is on; empty if ``mounts`` do not tell."""
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split()
        # Blanks in a mount point are written as octal numbers.
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        # A later line hides an earlier one of the same point.
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    return kind
