"""The environment that every job of the workflow inherits, on this machine or through a scheduler.

The store goes to jobs this way and no other, so no URI, and no password in one, is ever part of a
command line. The first job that works with a store must reach it; a later one that finds it silent
goes on and keeps its run's record for later.
"""

import os
import shutil
import sys
from pathlib import Path

from lanflow.errors import UserError
from lanflow.store import (
    ARTIFACT_VARIABLE,
    CONTACTS_VARIABLE,
    SENDING_VARIABLE,
    URI_VARIABLE,
    Store,
)

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
    if not os.environ.get(SENDING_VARIABLE):
        os.environ[SENDING_VARIABLE] = "try"
    commands = str(Path(sys.executable).parent)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if commands not in folders:
        os.environ["PATH"] = os.pathsep.join([commands, *folders])
