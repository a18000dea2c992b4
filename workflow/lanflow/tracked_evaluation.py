"""An evaluation in MLflow: on the run of the training that made the network."""

import json
import logging
from pathlib import Path

from lanflow import artifacts
from lanflow.artifacts import read_history
from lanflow.errors import UserError
from lanflow.evaluation_record import Evaluation
from lanflow.store import Store
from lanflow.stored_network import StoredNetwork

log = logging.getLogger(__name__)

VERDICT_TAG = "evaluation_verdict"
SCORES, COST = "evaluation", "cost"  # what stands before the dot of a metric


def metrics_of(record: Evaluation) -> dict[str, float]:
    """Numbers of an evaluation as metrics: ``evaluation.mean_abs_error``, ``density.mass``."""
    metrics = {f"{gate.name}.passed": float(gate.verdict == "passed") for gate in record.gates}
    for gate in record.gates:
        metrics |= {
            f"{gate.name}.{key}": float(value)
            for key, value in gate.numbers.items()
            if value is not None
        }
    if record.scores is not None:
        metrics |= {
            f"{SCORES}.{key}": float(value)
            for key, value in record.scores.model_dump().items()
            if isinstance(value, int | float)
        }
    return metrics


def cost_of(folder: StoredNetwork) -> dict[str, float]:
    """What the training cost, and of how much data, as metrics."""
    history = read_history(folder.folder / artifacts.HISTORY)
    seconds = sum(epoch["seconds"] for epoch in history)
    n_rows = folder.card["n_rows"]
    costs = {
        "seconds": round(seconds, 2),
        "rows_per_second": round(n_rows * len(history) / max(seconds, 1e-9)),
        "n_rows": n_rows,
        "n_parameter_sets": folder.card["n_parameter_sets"],
    }
    return {f"{COST}.{key}": float(value) for key, value in costs.items()}


def track_evaluation(
    folder: StoredNetwork, record: Evaluation, path: Path, store: Store
) -> str | None:
    """Log an evaluation to its training's run; the run's id, or None where it was not tracked.

    The record on disk is the truth: a store that does not answer, or is another than the
    training's, is a warning.
    """
    run_id = folder.card.get("mlflow_run_id")
    if run_id is None:
        return None
    tracked_in = json.loads((folder.folder / artifacts.RECORD).read_text())["mlflow_tracking_uri"]
    if tracked_in != store.shown_uri:
        log.warning(
            "the training was tracked in %s, not in %s: its evaluation is in %s alone",
            tracked_in,
            store.shown_uri,
            path,
        )
        return None
    from lanflow import tracking
    from lanflow.tracked_run import TrackedRun

    try:
        client = tracking.connect(store)
        found = tracking.find_run(client, run_id)
        run = TrackedRun(client, run_id, found.info.experiment_id)
        metrics = metrics_of(record) | cost_of(folder)
        run.log_metrics(metrics, step=folder.card["best_epoch"])
        run.set_tags({VERDICT_TAG: record.verdict})
        run.log_files([path])
    except UserError as e:  # StoreError too
        log.warning("%s; the evaluation is in %s alone", e, path)
        return None
    return str(run_id)
