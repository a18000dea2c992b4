"""All networks of a study in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = [
    "model",
    "network_type",
    "network",
    "backend",
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
) -> list[dict[str, Any]]:
    """One row for each network; best validation loss first within a model and network type.

    Parameters
    ----------
    cards, histories
        Of each network.
    folders
        Each network's folder, named ``{network}_{backend}``.
    """
    rows = []
    for card, history, folder in zip(cards, histories, folders, strict=True):
        seconds = sum(epoch["seconds"] for epoch in history)
        name = folder.rstrip("/").rsplit("/", 1)[-1]
        rows.append(
            {
                **{key: card[key] for key in COLUMNS if key in card},
                "network": name.removesuffix(f"_{card['backend']}"),
                "best_epoch": card["best_epoch"] + 1,
                "seconds": round(seconds, 2),
                "rows_per_second": round(card["n_rows"] * len(history) / max(seconds, 1e-9)),
                "onnx": f"{folder}/model.onnx",
            }
        )
    order = sorted(
        rows, key=lambda row: (row["model"], row["network_type"], row["best_val_loss"], row["onnx"])
    )
    return [{column: row[column] for column in COLUMNS} for row in order]


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary a person sees at the end: networks, losses, paths."""
    head = ("model", "type", "network", "backend", "val_loss", "path")
    lines = [head] + [
        (
            row["model"],
            row["network_type"],
            row["network"],
            row["backend"],
            f"{row['best_val_loss']:.5g}",
            row["onnx"],
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
