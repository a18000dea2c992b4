"""All networks of a study in one table, with those that earlier runs made of the same data."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from lanflow.core.errors import UserError
from lanflow.core.settings import Settings, parse_settings
from lanflow.core.tables import csv_table, plain_table, printable, read_csv_table
from lanflow.evaluation.record import SCORE_KEYS, Evaluation
from lanflow.evaluation.track import COST, SCORES, VERDICT_TAG
from lanflow.networks.network import Network
from lanflow.tracking.store import FoundRun, Store, redact, training_experiment

log = logging.getLogger(__name__)

# An empty cell of a CSV file is None.
_EMPTY = BeforeValidator(lambda value: None if value == "" else value)
OptionalText = Annotated[str | None, _EMPTY]
OptionalInt = Annotated[int | None, _EMPTY]
OptionalFloat = Annotated[float | None, _EMPTY]


class Row(Settings):
    """One network; the fields are the columns of ``leaderboard.csv``, where None is empty."""

    model: str
    network_type: str
    network: str
    family: OptionalText = None  # the network's name without its seed
    backend: str
    origin: str  # "study" or "earlier run"
    verdict: OptionalText = None
    mean_abs_error: OptionalFloat = None
    median_abs_error: OptionalFloat = None
    p99_abs_error: OptionalFloat = None
    mean_difference: OptionalFloat = None
    best_val_loss: float
    best_epoch: int  # counted from 1
    n_epochs: int
    seconds: OptionalFloat = None
    rows_per_second: OptionalInt = None
    n_weights: int
    n_parameter_sets: OptionalInt = None
    n_rows: OptionalInt = None
    seed: int
    data_digest: str
    mlflow_run_id: OptionalText = None
    onnx: str


COLUMNS = tuple(Row.model_fields)

# No number of a network is larger; MLflow stores an infinite one as the largest that there is.
_MOST = 1e300

# Columns of the report's table, and their headings; the file has all columns.
PAGE_HEADINGS = {
    "model": "model",
    "network_type": "type",
    "network": "network",
    "backend": "backend",
    "origin": "from",
    "verdict": "gates",
    "mean_abs_error": "mean |error|",
    "p99_abs_error": "99th percentile",
    "best_val_loss": "validation loss",
    "best_epoch": "best epoch",
    "seconds": "training (s)",
    "rows_per_second": "rows/s",
    "n_weights": "weights",
    "n_parameter_sets": "parameter sets",
    "n_rows": "rows",
    "mlflow_run_id": "MLflow run",
    "onnx": "file",
}


class _Shown(NamedTuple):
    heading: str
    number_format: str = ""
    if_none: str = ""


# Columns of the summary in the terminal.
_SUMMARY = {
    "model": _Shown("model"),
    "network_type": _Shown("type"),
    "network": _Shown("network"),
    "backend": _Shown("backend"),
    "best_val_loss": _Shown("val_loss", number_format=".5g"),
    "mean_abs_error": _Shown("error", number_format=".3g"),
    "verdict": _Shown("gates", if_none="not run"),
    "onnx": _Shown("path"),
}


def build_leaderboard(
    networks: Sequence[Network],
    evaluations: Sequence[Evaluation],
    histories: Sequence[Sequence[Mapping[str, float]]],
    earlier: Sequence[Row] = (),
) -> list[Row]:
    """One row for each network; of the same model, type and data, the least error first.

    Parameters
    ----------
    networks
        Of the study; the folder of each is named ``{network}_{backend}``.
    evaluations, histories
        Of each network; a history has a mapping for each epoch.
    earlier
        Rows of networks that earlier runs made of the same data.
    """
    made = zip(networks, evaluations, histories, strict=True)
    return sorted([*earlier, *(_study_row(*each) for each in made)], key=_place)


def _study_row(
    network: Network, evaluation: Evaluation, history: Sequence[Mapping[str, float]]
) -> Row:
    card, scores = network.own_card, evaluation.scores
    seconds = sum(epoch["seconds"] for epoch in history)
    name = network.own_folder.name.removesuffix(f"_{card.backend}")
    return Row(
        model=network.model_name,
        network_type=network.network_type.name,
        network=name,
        family=name.removesuffix(f"-seed{card.seed}"),
        backend=card.backend,
        origin="study",
        verdict=evaluation.verdict,
        best_val_loss=card.best_val_loss,
        best_epoch=card.best_epoch,
        n_epochs=card.n_epochs,
        seconds=round(seconds, 2),
        rows_per_second=round(card.n_rows * len(history) / max(seconds, 1e-9)),
        n_weights=card.n_weights,
        n_parameter_sets=card.n_parameter_sets,
        n_rows=card.n_rows,
        seed=card.seed,
        data_digest=card.data_digest,
        mlflow_run_id=card.mlflow_run_id,
        onnx=str(network.path),
        **({} if scores is None else {key: getattr(scores, key) for key in SCORE_KEYS}),
    )


def _place(row: Row) -> tuple[str | float, ...]:
    """Networks of the same data together, those without a score last among them."""
    error = math.inf if row.mean_abs_error is None else row.mean_abs_error
    data = (row.model, row.network_type, row.data_digest)
    return (*data, error, row.best_val_loss, row.onnx)


def leaderboard_csv(rows: Sequence[Row]) -> str:
    """The content of ``leaderboard.csv``."""
    return csv_table(COLUMNS, [row.model_dump() for row in rows])


def read_leaderboard(path: Path) -> list[Row]:
    """Read a ``leaderboard.csv``.

    Raises
    ------
    UserError
        Naming the file and the column, if it is not a leaderboard.
    """
    return [parse_settings(Row, row, str(path)) for row in read_csv_table(path.read_text())]


def format_leaderboard(rows: Sequence[Row]) -> str:
    """The summary a person sees at the end: networks, losses, errors, verdicts, paths."""
    head = [shown.heading for shown in _SUMMARY.values()]
    return plain_table([head, *([_cell(row, column) for column in _SUMMARY] for row in rows)])


def _cell(row: Row, column: str) -> str:
    value, shown = getattr(row, column), _SUMMARY[column]
    return shown.if_none if value is None else format(value, shown.number_format)


def find_earlier_networks(store: Store, networks: Sequence[Network]) -> list[Row]:
    """Rows for finished trainings of the same data that are not among the study's.

    Parameters
    ----------
    store
        Where trainings are tracked; if it does not answer, a warning is logged and there are no
        rows.
    networks
        Of the study.

    Returns
    -------
    list of Row
        What the runs recorded; None for the rest.
    """
    from lanflow.tracking.client import connect
    from lanflow.tracking.runs import search_trainings

    known = {network.own_card.mlflow_run_id for network in networks}
    wanted = sorted({(network.model_name, network.own_card.data_digest) for network in networks})
    try:
        client = connect(store)
        found = [
            run
            for model, digest in wanted
            for run in search_trainings(client, training_experiment(model), digest)
        ]
    except UserError as e:
        log.warning("%s; the leaderboard holds the networks of this study alone", e)
        return []
    return list(_earlier_rows(run for run in found if run.id not in known and _is_whole(run)))


def _is_whole(run: FoundRun) -> bool:
    """Tell whether a run recorded what a row cannot be without."""
    needed = {"model", "network_type", "backend", "n_epochs", "n_weights", "seed"}
    return run.params.keys() >= needed and run.metrics.keys() >= {"best_val_loss", "best_epoch"}


def _earlier_rows(runs: Iterator[FoundRun]) -> Iterator[Row]:
    """Rows of runs; one that recorded something impossible, as another tool may, is left out."""
    for run in runs:
        try:
            yield parse_settings(Row, _recorded(run), f"run {run.id}")
        except UserError as e:
            log.warning("left out of the leaderboard: %s", e)


def _recorded(run: FoundRun) -> dict[str, Any]:
    """Read what a run recorded of its network; a metric that is not finite counts as none."""
    params, metrics = run.params, {k: v for k, v in run.metrics.items() if abs(v) < _MOST}
    best_epoch = metrics.get("best_epoch")
    texts = {
        "model": params["model"],
        "network_type": params["network_type"],
        "network": run.name,
        "backend": params["backend"],
        "verdict": run.tags.get(VERDICT_TAG, ""),
        "data_digest": run.tags["data_digest"],
        "onnx": redact(f"{run.artifact_uri}/training_output/model.onnx"),
    }
    return {
        **{column: printable(text) for column, text in texts.items()},
        "origin": "earlier run",
        "best_val_loss": metrics.get("best_val_loss"),
        "best_epoch": None if best_epoch is None else round(best_epoch),
        "n_epochs": params["n_epochs"],
        "seconds": metrics.get(f"{COST}.seconds"),
        "rows_per_second": _whole(metrics.get(f"{COST}.rows_per_second")),
        "n_weights": params["n_weights"],
        "n_parameter_sets": _whole(metrics.get(f"{COST}.n_parameter_sets")),
        "n_rows": _whole(metrics.get(f"{COST}.n_rows")),
        "seed": params["seed"],
        "mlflow_run_id": run.id,
        **{key: metrics.get(f"{SCORES}.{key}") for key in SCORE_KEYS},
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
