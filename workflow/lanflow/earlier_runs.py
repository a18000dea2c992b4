"""Networks that earlier trainings of the same data left in MLflow, as rows of the leaderboard."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lanflow.errors import UserError
from lanflow.leaderboard import SCORE_COLUMNS
from lanflow.store import Store, redact, training_experiment
from lanflow.tracked_evaluation import COST, SCORES, VERDICT_TAG

log = logging.getLogger(__name__)


def find_earlier_networks(
    store: Store, networks: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows for finished trainings of the same data that are not among the study's.

    Parameters
    ----------
    store
        Where trainings are tracked; one that does not answer is a warning, and there are no rows.
    networks
        Cards of the study.

    Returns
    -------
    list of dict
        With the leaderboard's columns, as far as the run recorded them.
    """
    from lanflow.run_search import search_trainings
    from lanflow.tracking import connect

    known = {card["mlflow_run_id"] for card in networks}
    asked = sorted({(card["model"], card["data_digest"]) for card in networks})
    try:
        client = connect(store)
        found = [
            run
            for model, digest in asked
            for run in search_trainings(client, training_experiment(model), digest)
        ]
    except UserError as e:
        log.warning("%s; the leaderboard holds the networks of this study alone", e)
        return []
    return [_row(run) for run in found if run.id not in known and _is_whole(run)]


def _is_whole(run: Any) -> bool:
    needed = {"model", "network_type", "backend", "n_epochs", "n_weights", "seed"}
    return run.params.keys() >= needed and "best_val_loss" in run.metrics


def _row(run: Any) -> dict[str, Any]:
    params, metrics = run.params, run.metrics
    return {
        **{key: params[key] for key in ("model", "network_type", "backend")},
        "network": run.name,
        "origin": "earlier run",
        "verdict": run.tags.get(VERDICT_TAG),
        **{key: metrics.get(f"{SCORES}.{key}") for key in SCORE_COLUMNS},
        "best_val_loss": metrics["best_val_loss"],
        "best_epoch": int(metrics["best_epoch"]) + 1,
        "n_epochs": int(params["n_epochs"]),
        "seconds": metrics.get(f"{COST}.seconds"),
        "rows_per_second": _whole(metrics.get(f"{COST}.rows_per_second")),
        "n_weights": int(params["n_weights"]),
        "n_parameter_sets": _whole(metrics.get(f"{COST}.n_parameter_sets")),
        "n_rows": _whole(metrics.get(f"{COST}.n_rows")),
        "seed": int(params["seed"]),
        "data_digest": run.tags["data_digest"],
        "mlflow_run_id": run.id,
        "onnx": redact(f"{run.artifact_uri}/training_output/model.onnx"),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
