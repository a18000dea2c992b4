"""Before the first job of a study: the store is made ready, or nothing starts."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lanflow.errors import UserError
from lanflow.store import Store, redact


def prepare_store(store: Store, experiments: Sequence[str], record_path: Path) -> None:
    """Run ``lanflow prepare``, unless its record says that it was done for this store.

    Not a rule: whatever waited for such a job would either run again with it, or be passed over
    (Snakemake issue 4166). A store that was ready once may be silent now; jobs know what to do.

    Raises
    ------
    UserError
        If the store would fail a job. The command has said why.
    """
    if _is_prepared(store, experiments, record_path):
        return
    program = str(Path(sys.executable).with_name("lanflow"))
    command = [program, "prepare", *experiments, "--output", str(record_path)]
    sys.stderr.write(f"making the MLflow store ready: {store.shown_uri}\n")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode != 0:
        raise UserError(f"the MLflow store is not ready ({store.shown_uri}), so no job was started")


def _is_prepared(store: Store, experiments: Sequence[str], record_path: Path) -> bool:
    try:
        record = json.loads(record_path.read_text())
        known = {experiment["name"] for experiment in record["experiments"]}
        of_store = record["tracking_uri"], record["artifact_location"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    asked = store.shown_uri, redact(store.artifact_location or "") or None
    return of_store == asked and known.issuperset(experiments)
