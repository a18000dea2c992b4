"""A training's record: on disk, and in MLflow where tracking is on."""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lanflow import __version__, artifacts
from lanflow.atomic import write_json
from lanflow.data_source import LocatedData
from lanflow.errors import StoreError, UserError
from lanflow.kernel import Epoch, Kernel
from lanflow.manifest import common_folder
from lanflow.network_folder import describe_training_data
from lanflow.networks import NETWORK_TYPES
from lanflow.progress import format_seconds
from lanflow.store import Store, redact, training_experiment
from lanflow.training import TrainingJob, TrainingResult
from lanflow.training_options import TrainingOptions

log = logging.getLogger(__name__)

_OUTPUT_FOLDER = "training_output"
_FINGERPRINT_TAG = "training_fingerprint"


class EpochFeed:
    """Tells of each epoch: a line for a person, metrics for MLflow.

    A store that does not answer while training gets the epochs later: see :meth:`log`.
    """

    def __init__(self, run: Any, job: TrainingJob) -> None:
        self._run, self._job = run, job
        self._n_told = 0
        last = None if run is None else run.last_step("val_loss")
        self._n_logged = 0 if last is None else last + 1

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Tell of the epochs of a history that are new."""
        try:
            self.log(history)
        except StoreError as e:
            log.warning("%s; training goes on, the epochs will be logged later", e)
        for epoch in history[self._n_told :]:
            self._tell(epoch)
        self._n_told = len(history)

    def log(self, history: Sequence[Epoch]) -> None:
        """Log the epochs that MLflow does not have yet.

        Raises
        ------
        StoreError
            If the store does not take them.
        """
        if self._run is None:
            return
        for epoch in history[self._n_logged :]:
            metrics = {
                "train_loss": epoch.train_loss,
                "val_loss": epoch.val_loss,
                "learning_rate": epoch.learning_rate,
            }
            self._run.log_metrics(metrics, step=epoch.epoch)
            self._n_logged = epoch.epoch + 1

    def _tell(self, epoch: Epoch) -> None:
        n_epochs = self._job.config.n_epochs
        log.info(
            "epoch %d/%d  train_loss %.5g  val_loss %.5g  learning_rate %.2g  %s rows/s  %s left",
            epoch.epoch + 1,
            n_epochs,
            epoch.train_loss,
            epoch.val_loss,
            epoch.learning_rate,
            f"{len(self._job.split.train) / epoch.seconds:,.0f}",
            format_seconds(epoch.seconds * (n_epochs - epoch.epoch - 1)),
        )


@contextlib.contextmanager
def track_training(
    options: TrainingOptions,
    store: Store,
    job: TrainingJob,
    kernel: Kernel,
    data: LocatedData,
    place: artifacts.NetworkPlace,
) -> Iterator[Any]:
    """The MLflow run of a training, or None where tracking is off; and the record on disk.

    The record reads FINISHED only when the run does.
    """
    record_path = place.folder / artifacts.RECORD
    record = _identity(options, job, kernel, place)
    opened: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if options.is_tracked:
        opened = _open_run(options, store, job, kernel, data, place)
    try:
        with opened as run:
            if run is not None:
                record |= {
                    "mlflow_run_id": run.id,
                    "mlflow_experiment_id": run.experiment_id,
                    "mlflow_tracking_uri": store.shown_uri,
                }
            write_json(record_path, {**record, "status": "RUNNING"})
            yield run
            finished = {**record, "status": "FINISHED", "finished": _now()}
            if run is not None:
                run.log_json(finished, f"{_OUTPUT_FOLDER}/{artifacts.RECORD}")
    except BaseException as e:
        killed = isinstance(e, KeyboardInterrupt | SystemExit)
        status = "KILLED" if killed else "FAILED"
        reason = redact(f"{type(e).__name__}: {e}")
        write_json(record_path, {**record, "status": status, "reason": reason})
        raise
    write_json(record_path, finished)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _identity(
    options: TrainingOptions, job: TrainingJob, kernel: Kernel, place: artifacts.NetworkPlace
) -> dict[str, Any]:
    config_sha256 = hashlib.sha256(job.config.canonical_json().encode()).hexdigest()
    return {
        "model": job.config.model,
        "network_type": job.config.network_type,
        "backend": options.backend,
        "device": kernel.device,
        "run_uuid": place.run_uuid,
        "config_sha256": config_sha256,
        "data_digest": job.data_set.digest,
        "versions": {"lanflow": __version__, "numpy": np.__version__, **kernel.versions()},
    }


@contextlib.contextmanager
def _open_run(
    options: TrainingOptions,
    store: Store,
    job: TrainingJob,
    kernel: Kernel,
    data: LocatedData,
    place: artifacts.NetworkPlace,
) -> Iterator[Any]:
    """Start the run, or reopen the one given or interrupted, and record what is trained on what."""
    from lanflow import tracking
    from lanflow.tracked_run import tracked_run

    client = tracking.connect(store)
    experiment = tracking.ensure_experiment(
        client, store, training_experiment(job.config.model, name=options.mlflow_experiment_name)
    )
    manifest, config = data.manifest, job.config
    identity = _identity(options, job, kernel, place)
    params = _params(job, kernel, options)
    generation = manifest["experiment"] or {}
    tags = {
        "phase": "train",
        "run_uuid": place.run_uuid,
        "config_sha256": identity["config_sha256"],
        "data_digest": job.data_set.digest,
        _FINGERPRINT_TAG: job.fingerprint(kernel),
        "training_data_folder": common_folder(manifest),
        "n_training_files_used": len({*job.split.train_files, *job.split.val_files}),
    }
    if generation:
        tags["data_generation_experiment_id"] = generation["id"]
    mark_path = place.folder / artifacts.UNFINISHED
    mark = {
        "mlflow_tracking_uri": store.shown_uri,
        "mlflow_experiment_id": experiment.id,
        "fingerprint": tags[_FINGERPRINT_TAG],
        "n_epochs": config.n_epochs,
    }
    run_id = options.mlflow_run_id
    if run_id is not None:
        _check_same_training(client, run_id, params, tags)
    else:
        run_id = _interrupted_run(client, mark_path, mark)
    name = options.mlflow_run_name or f"{config.model}-{place.name}"
    with tracked_run(client, experiment, name=name, tags=tags, run_id=run_id) as run:
        write_json(mark_path, {**mark, "mlflow_run_id": run.id})
        run.log_params(params)
        run.log_json(describe_training_data(data, job), artifacts.LINEAGE)
        run.log_data_set(
            name=f"{config.model}-{config.network_type}",
            digest=job.data_set.digest,
            profile={
                "n_rows": len(job.split.train) + len(job.split.val),
                "n_parameter_sets": job.split.n_train_sets + job.split.n_val_sets,
                "n_files": tags["n_training_files_used"],
            },
            source={
                "manifest_digest": manifest["digest"],
                "experiment": manifest["experiment"],
                "folders": common_folder(manifest),
            },
        )
        yield run


def _check_same_training(
    client: Any, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any]
) -> None:
    """Refuse to go on with a run that recorded another training; it is left as it is."""
    from lanflow import tracking
    from lanflow.tracked_run import changed_params

    found = tracking.find_run(client, run_id)
    changed = changed_params(found, params)
    if changed:
        raise UserError(f"run {run_id} was recorded with other settings: {', '.join(changed)}")
    fingerprint = found.data.tags.get(_FINGERPRINT_TAG)
    if found.data.metrics and fingerprint != tags[_FINGERPRINT_TAG]:
        raise UserError(
            f"run {run_id} holds epochs of another training (its data or the versions of its "
            "libraries differ); leave out --mlflow-run-id to log to a run of its own"
        )


def _interrupted_run(client: Any, mark_path: Path, mark: Mapping[str, Any]) -> str | None:
    """The run of this very training, if one was started here and did not come to its end."""
    from lanflow import tracking

    try:
        left = json.loads(mark_path.read_text())
    except (OSError, ValueError):
        return None
    run_id = left.pop("mlflow_run_id", None) if isinstance(left, dict) else None
    if run_id is None or left != mark:
        return None
    try:
        tracking.find_run(client, run_id)
    except StoreError:
        raise
    except UserError as e:
        log.warning("%s; starting another", e)
        return None
    return str(run_id)


def recorded_run_uuid(run_id: str, store: Store) -> str | None:
    """The run uuid of a training that was tracked before: where its checkpoint is.

    Raises
    ------
    UserError
        If the run is not in the store.
    """
    from lanflow import tracking

    tags = tracking.find_run(tracking.connect(store), run_id).data.tags
    return tags.get("run_uuid") if tags.get("phase") == "train" else None


def _params(job: TrainingJob, kernel: Kernel, options: TrainingOptions) -> dict[str, Any]:
    """The effective configuration, with the names of the ecosystem's current schema."""
    data_set = job.data_set
    bounds = json.dumps({k: list(v) for k, v in data_set.bounds.items()}, sort_keys=True)
    return {
        **job.config.model_dump(mode="json"),
        "batch_size": job.batch_size,
        "backend": options.backend,
        "device": kernel.device,
        "input_dim": job.architecture.input_dim,
        "n_weights": job.architecture.n_weights,
        "loss": NETWORK_TYPES[job.config.network_type].loss,
        "param_space": json.dumps(list(data_set.parameters)),
        "param_bounds_json": bounds,
        "param_bounds_sha256": hashlib.sha256(bounds.encode()).hexdigest(),
    }


def log_outputs(run: Any, result: TrainingResult, paths: Sequence[Path]) -> None:
    """Copy a finished network's files into the run's artifacts, and its best epoch to metrics."""
    run.log_files(paths, _OUTPUT_FOLDER)
    best = result.best
    run.log_metrics({"best_val_loss": best.val_loss, "best_epoch": best.epoch}, step=best.epoch)
