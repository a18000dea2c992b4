"""All networks of a study in one table."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation
from lanflow.evaluation.track import COST, SCORES, VERDICT_TAG
from lanflow.tracking.store import Store, redact, training_experiment

SCORE_COLUMNS = ["mean_abs_error", "median_abs_error", "p99_abs_error", "mean_difference"]

COLUMNS = [
    "model",
    "network_type",
    "network",
    "backend",
    "origin",
    "verdict",
    *SCORE_COLUMNS,
    "best_val_loss",
    "best_epoch",
    "n_epochs",
    "seconds",
    "rows_per_second",
    "n_weights",
    "n_parameter_sets",
    "n_rows",
    "seed",
    "data_digest",
    "mlflow_run_id",
    "onnx",
]


def build_leaderboard(
    cards: Sequence[Mapping[str, Any]],
    histories: Sequence[Sequence[Mapping[str, float]]],
    folders: Sequence[str],
    evaluations: Sequence[Evaluation],
    earlier: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """One row for each network; of the same model, type and data, the least error first.

    Parameters
    ----------
    cards, histories, evaluations
        Of each network.
    folders
        Each network's folder, named ``{network}_{backend}``.
    earlier
        Rows of networks that earlier runs made of the same data.
    """
    rows = [dict(row) for row in earlier]
    for card, history, folder, evaluation in zip(
        cards, histories, folders, evaluations, strict=True
    ):
        scores = {} if evaluation.scores is None else evaluation.scores.model_dump()
        seconds = sum(epoch["seconds"] for epoch in history)
        name = folder.rstrip("/").rsplit("/", 1)[-1]
        rows.append(
            {
                **{key: card[key] for key in COLUMNS if key in card},
                **{key: scores.get(key) for key in SCORE_COLUMNS},
                "origin": "study",
                "verdict": evaluation.verdict,
                "network": name.removesuffix(f"_{card['backend']}"),
                "best_epoch": card["best_epoch"] + 1,
                "seconds": round(seconds, 2),
                "rows_per_second": round(card["n_rows"] * len(history) / max(seconds, 1e-9)),
                "onnx": f"{folder}/model.onnx",
            }
        )
    return [{column: row[column] for column in COLUMNS} for row in sorted(rows, key=_place)]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Networks of the same data together, those without a score last among them."""
    error = row["mean_abs_error"]
    return (
        *(row["model"], row["network_type"], row["data_digest"]),
        *(math.inf if error is None else error, row["best_val_loss"], row["onnx"]),
    )


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary a person sees at the end: networks, losses, errors, verdicts, paths."""
    head = ("model", "type", "network", "backend", "val_loss", "error", "gates", "path")
    lines = [head] + [
        (
            row["model"],
            row["network_type"],
            row["network"],
            row["backend"],
            f"{row['best_val_loss']:.5g}",
            "" if row["mean_abs_error"] is None else f"{row['mean_abs_error']:.3g}",
            row["verdict"] or "not run",
            row["onnx"],
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


# Networks that earlier trainings of the same data left in MLflow, as rows of the leaderboard.


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
    from lanflow.tracking.client import connect
    from lanflow.tracking.runs import search_trainings

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
