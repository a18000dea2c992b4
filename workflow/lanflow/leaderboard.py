"""All networks of a study in one table, as CSV and as a page of the report."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lanflow.audit import describe_audit
from lanflow.evaluation_record import Evaluation

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


def page(title: str, body: str) -> str:
    """A self-contained HTML page; ``body`` must be escaped already."""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }}
table {{ border-collapse: collapse; margin: 0.5rem 0 1.5rem; }}
th, td {{ padding: 0.3rem 0.8rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }}
th {{ border-bottom: 2px solid #888; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
code {{ font-size: 0.9em; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; }}
</style></head><body><h1>{escape(title)}</h1>
{body}
</body></html>
"""


def html_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, codes: Sequence[str] = ()
) -> str:
    """Rows as an HTML table: numbers to the right, columns in ``codes`` in a fixed width."""
    out = ["<table><thead><tr>", *(f"<th>{escape(name)}</th>" for name in head), "</tr></thead>"]
    for row in rows:
        out.append("<tr>")
        for name, value in zip(head, row, strict=True):
            text = escape(_show(value))
            if name in codes:
                text = f"<code>{text}</code>"
            out.append(
                f'<td class="number">{text}</td>' if _is_number(value) else f"<td>{text}</td>"
            )
        out.append("</tr>")
    return "".join([*out, "</table>"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def leaderboard_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The leaderboard as a page of the report."""
    heads = {
        "model": "model",
        "network_type": "type",
        "network": "network",
        "backend": "backend",
        "origin": "from",
        "verdict": "gates",
        "mean_abs_error": "mean abs. error",
        "median_abs_error": "median",
        "p99_abs_error": "99th pct.",
        "mean_difference": "mean diff.",
        "best_val_loss": "val. loss",
        "best_epoch": "epoch",
        "n_epochs": "of",
        "seconds": "seconds",
        "rows_per_second": "rows/s",
        "n_weights": "weights",
        "n_parameter_sets": "param. sets",
        "n_rows": "rows",
        "mlflow_run_id": "MLflow run",
        "onnx": "file",
    }
    cells = [
        [
            (row[key] or "")[:8] if key == "mlflow_run_id" else "" if row[key] is None else row[key]
            for key in heads
        ]
        for row in rows
    ]
    table = html_table(list(heads.values()), cells, codes=["MLflow run", "file"])
    return page("Leaderboard", table)


def data_summary_page(
    manifest: Mapping[str, Any],
    data_set: Mapping[str, Any],
    audit: Mapping[str, Any] | None = None,
) -> str:
    """What a data set holds and where it came from, as a page of the report.

    Parameters
    ----------
    manifest
        As written by ``lanflow manifest``.
    data_set
        The content of ``data_set.json``.
    audit
        The content of ``audit.json``.
    """
    experiment = manifest["experiment"]
    origin = "a folder, without lineage"
    if experiment:
        origin = f"MLflow experiment {experiment['name']} (id {experiment['id']})"
    facts = [
        ("digest", manifest["digest"]),
        ("origin", origin),
        ("files", len(manifest["files"])),
        ("size", f"{sum(f['size_bytes'] for f in manifest['files']) / 2**20:,.1f} MiB"),
        ("distinct parameter sets", data_set["n_sets"]),
        *((f"{kind} rows", shape[0]) for kind, shape in data_set["shapes"].items()),
    ]
    bounds = manifest["bounds"]
    parameters = [
        (i + 1, name, *bounds.get(name, ("not recorded", "not recorded")))
        for i, name in enumerate(manifest["parameters"])
    ]
    runs = [
        (run["run_id"], run["run_name"], run["status"], run["n_files"], run["data_output_folder"])
        for run in manifest["runs"]
    ]
    files = [
        (file["name"], file["size_bytes"], file["sha256"], file["run_id"] or "")
        for file in manifest["files"]
    ]
    body = [
        html_table(["what", "value"], [(what, _show(value)) for what, value in facts]),
        "<h2>Parameters, in the order of the network's inputs</h2>",
        html_table(["", "parameter", "lower", "upper"], parameters, codes=["parameter"]),
        *(_audit_section(audit) if audit else []),
        "<h2>Generation runs</h2>",
        html_table(["run", "name", "status", "files", "folder"], runs, codes=["run", "folder"])
        if runs
        else "<p>None: the data was taken from a folder.</p>",
        "<h2>Files</h2>",
        html_table(["file", "bytes", "sha256", "run"], files, codes=["file", "sha256", "run"]),
    ]
    if left_out := manifest.get("left_out"):
        entries = [
            (entry["run_id"], entry["run_name"], entry["reason"], ", ".join(entry["files"]))
            for entry in left_out
        ]
        heads = ["run", "name", "reason", "files (all if none)"]
        body += ["<h2>Left out</h2>", html_table(heads, entries, codes=["run"])]
    return page(f"Training data of {manifest['model']}", "\n".join(body))


def _audit_section(audit: Mapping[str, Any]) -> list[str]:
    warnings = [f"<p><strong>Warning:</strong> {escape(text)}.</p>" for text in audit["warnings"]]
    return [
        "<h2>Audit</h2>",
        *warnings,
        html_table(["what", "value"], describe_audit(audit)),
    ]
