"""An evaluation in MLflow: on the run of the training that made the network."""

import logging
from pathlib import Path

from lanflow.core.errors import StoreError, UserError
from lanflow.evaluation.record import Evaluation
from lanflow.networks import folder as network_folder
from lanflow.networks.card import RunFile, read_run_file
from lanflow.networks.folder import read_history
from lanflow.networks.network import Network
from lanflow.tracking.record import (
    RecordFolder,
    RunRecord,
    new_key,
    now_ms,
    sync_command,
)
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import Store, resolve_send_mode, training_experiment

log = logging.getLogger(__name__)

VERDICT_TAG = "evaluation_verdict"
SCORES, COST = "evaluation", "cost"  # what stands before the dot of a metric


def metrics_of(record: Evaluation) -> dict[str, float]:
    """Numbers of an evaluation as metrics: ``evaluation.mean_abs_error``, ``density.mass``."""
    metrics = {
        f"{gate.name}.passed": float(gate.verdict == "passed")
        for gate in record.gates
        if gate.verdict != "skipped"  # which is neither
    }
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


def cost_of(network: Network) -> dict[str, float]:
    """The cost of the training and the size of its data, as metrics."""
    history = read_history(network.own_folder / network_folder.HISTORY)
    seconds = sum(epoch["seconds"] for epoch in history)
    n_rows = network.own_card.n_rows
    costs = {
        "seconds": round(seconds, 2),
        "rows_per_second": round(n_rows * len(history) / max(seconds, 1e-9)),
        "n_rows": n_rows,
        "n_parameter_sets": network.own_card.n_parameter_sets,
    }
    return {f"{COST}.{key}": float(value) for key, value in costs.items()}


def track_evaluation(network: Network, record: Evaluation, path: Path, store: Store) -> str | None:
    """Log an evaluation to its training's run; the run's id, or None where it has none (yet).

    What the store does not take is recorded beside the network, as an addition to the run, and
    sent with ``lanflow sync``. A store that is another than the training's is a warning.
    """
    training = _read_run_file(network)
    if training.mlflow_pending is not None:
        waiting = RecordFolder.of_pending(network.own_folder, training.mlflow_pending)
        _add_to(waiting, network, record, path, keep_files=True)
        log.warning("the training's run is not in MLflow yet; its evaluation will be sent with it")
        return None
    run_id = training.mlflow_run_id
    if run_id is None:
        return None
    if sent := RecordFolder.of_sent(network.own_folder):
        _add_to(sent, network, record, path)
    tracked_in = training.mlflow_tracking_uri
    if tracked_in != store.shown_uri:
        log.warning(
            "the training was tracked in %s, not in %s: its evaluation is in %s alone",
            tracked_in,
            store.shown_uri,
            path,
        )
        return None
    if resolve_send_mode() != "later":
        try:
            with_retries(lambda: _send(run_id, network, record, path, store))
            return run_id
        except StoreError as e:
            log.warning("%s", e)
        except UserError as e:  # the run is gone
            log.warning("%s; the evaluation is in %s alone", e, path)
            return None
    _keep(run_id, network, record, path, store)
    return run_id


def _read_run_file(network: Network) -> RunFile:
    """Read the record of the training; a network that another tool trained has none."""
    path = network.own_folder / network_folder.RECORD
    return read_run_file(path) if path.exists() else RunFile()


def _send(run_id: str, network: Network, record: Evaluation, path: Path, store: Store) -> None:
    from lanflow.tracking.client import connect
    from lanflow.tracking.delivery import MlflowRun
    from lanflow.tracking.runs import find_run

    client = connect(store)
    run = MlflowRun(client, find_run(client, run_id).id)
    run.log_metrics(metrics_of(record) | cost_of(network), step=network.own_card.best_epoch)
    run.set_tags({VERDICT_TAG: record.verdict})
    run.log_files([path])


def _add_to(
    place: RecordFolder,
    network: Network,
    record: Evaluation,
    path: Path,
    *,
    keep_files: bool = False,
) -> None:
    """Let the record of the training's run have the evaluation, too."""
    if not place.lock():
        raise UserError(f"{place.path}: the run is being sent; evaluate again after it")
    try:
        run = place.read()
        _fill(run, place, network, record, path)
        if keep_files:
            place.copy_artifacts(run)
        else:
            place.save(run)
    finally:
        place.unlock()


def _keep(run_id: str, network: Network, record: Evaluation, path: Path, store: Store) -> None:
    """Let an evaluation wait beside the network for the store that has the training's run."""
    waiting = RecordFolder.of_run(network.own_folder, new_key())
    run = RunRecord(
        key=waiting.path.name,
        tracking_uri=store.shown_uri,
        experiment=training_experiment(network.model_name),
        run_id=run_id,
        is_addition=True,
        status="FINISHED",
        start_time=now_ms(),
    )
    _fill(run, waiting, network, record, path)
    waiting.copy_artifacts(run)
    command = sync_command([waiting.path], run.tracking_uri)
    log.warning("the evaluation is not in MLflow yet; send it with: %s", command)


def _fill(
    run: RunRecord, place: RecordFolder, network: Network, record: Evaluation, path: Path
) -> None:
    """Add metrics, verdict and file of an evaluation to the record of a run."""
    step, now = network.own_card.best_epoch, now_ms()
    metrics = metrics_of(record) | cost_of(network)
    kept = [point for point in run.metrics if point[0] not in metrics]  # of an evaluation before
    run.metrics = [*kept, *((name, value, now, step) for name, value in metrics.items())]
    run.tags[VERDICT_TAG] = record.verdict
    others = [artifact for artifact in run.artifacts if artifact.name != path.name]
    run.artifacts = [*others, place.make_artifact(path, path.name)]
