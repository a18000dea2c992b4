"""The environment that every job of the workflow inherits, on this machine or through a scheduler.

The store goes to jobs this way and no other, so no URI, and no password in one, is ever part of a
command line. The first job that works with a store must reach it; a later one that finds it silent
goes on and keeps its run's record for later.
"""

import os
import sys
from pathlib import Path

from lanflow.store import (
    ARTIFACT_VARIABLE,
    CONTACTS_VARIABLE,
    SENDING_VARIABLE,
    URI_VARIABLE,
    Store,
)


def export_environment(store: Store, *, contacts: Path) -> None:
    """Tell jobs the store, and let them find the commands of this very installation.

    Parameters
    ----------
    store
        Of the study.
    contacts
        Folder that says which stores its jobs have reached.
    """
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
