"""The mark of a run that was begun: while it is there, the same work goes on with that run."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanflow import artifacts, interruption
from lanflow.atomic import write_json
from lanflow.errors import StoreError, UserError
from lanflow.patience import patiently
from lanflow.recorded_run import RecordedRun
from lanflow.store import Sending, Store

log = logging.getLogger(__name__)


def run_of_store(store: Store, run_id: str) -> Any:
    """A run of the store, which is asked for a while."""
    with interruption.uninterrupted():
        from lanflow.run_search import find_run
        from lanflow.tracking import connect

    return patiently(lambda: find_run(connect(store), run_id))


def mark_unfinished(path: Path, work: Mapping[str, Any], run: RecordedRun) -> None:
    """Write the mark of a run that began; who finishes it removes it.

    Parameters
    ----------
    path
        In the folder of the results.
    work
        What decides the results, and the store: other work is another run.
    run
        That does it.
    """
    write_json(path, {**work, "run_key": run.key, "mlflow_run_id": run.id})


def put_away_finished(folder: Path) -> None:
    """Keep the mark of a run that finished, hidden, for :func:`take_up_finished`."""
    if (folder / artifacts.UNFINISHED).exists():
        (folder / artifacts.UNFINISHED).replace(folder / artifacts.FINISHED)


def take_up_finished(folder: Path) -> None:
    """Let work whose results were removed go on under the run that finished it before.

    Who calls has seen that the results are gone; a run of other work is not taken.
    """
    kept, path = folder / artifacts.FINISHED, folder / artifacts.UNFINISHED
    if kept.exists() and not path.exists():
        kept.replace(path)


def interrupted_run(
    store: Store, sending: Sending, path: Path, work: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Key and id of the run of this very work, if one was begun here and did not finish."""
    try:
        left = json.loads(path.read_text())
    except (OSError, ValueError):
        return None, None
    if not isinstance(left, dict):
        return None, None
    key, run_id = left.pop("run_key", None), left.pop("mlflow_run_id", None)
    if key is None or left != work:
        return None, None
    if run_id is not None and sending != "later":
        try:
            run_of_store(store, run_id)
        except StoreError as e:
            if sending == "now":
                raise
            log.warning("%s", e)
        except UserError as e:
            log.warning("%s; starting another", e)
            return None, None
    return key, run_id
