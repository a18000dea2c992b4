"""Records of a training: ``run.json`` in the network's folder, and its MLflow run.

The record reads FINISHED only when the run does, in the store or waiting on disk to be sent there.
Without tracking there is the record alone.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanflow import __version__
from lanflow.core import interrupts
from lanflow.core.errors import UserError
from lanflow.core.files import explain_os_error, write_json
from lanflow.core.names import is_name
from lanflow.core.progress import Progress, epoch_line, in_notebook
from lanflow.data.lineage import common_folder
from lanflow.networks import folder as network_folder
from lanflow.networks.card import RunFile, read_run_file
from lanflow.networks.types import BackendName
from lanflow.tracking.record import PENDING_KEY
from lanflow.tracking.recorder import RunRecorder, fetch_run
from lanflow.tracking.store import MODELS_FILE_TAG, SendMode, Store, redact
from lanflow.tracking.unfinished import record_work
from lanflow.training.checkpoints import Epoch
from lanflow.training.config import TrainingConfig
from lanflow.training.fit import TrainingResult
from lanflow.training.job import TrainingJob
from lanflow.training.save import PlannedTraining

log = logging.getLogger(__name__)

_OUTPUT_FOLDER = "training_output"
_FINGERPRINT_TAG = "training_fingerprint"


@dataclass(frozen=True)
class Tracking:
    """The MLflow run that a training is recorded as.

    Attributes
    ----------
    store
        Where the run goes.
    experiment
        Name of its experiment.
    run_name
        Name of a new run.
    run_id
        A run to continue, if a person named one.
    send_mode
        When the store is asked to take the run.
    """

    store: Store
    experiment: str
    run_name: str
    run_id: str | None
    send_mode: SendMode


@contextlib.contextmanager
def track_training(
    training: PlannedTraining, tracking: Tracking | None
) -> Iterator[RunRecorder | None]:
    """Record a training while it runs: as RUNNING, then as FINISHED, FAILED or KILLED.

    Yields
    ------
    RunRecorder or None
        The run, or None without tracking.
    """
    path = training.folder / network_folder.RECORD
    file = _run_file(training)
    opened: contextlib.AbstractContextManager[RunRecorder | None] = contextlib.nullcontext()
    if tracking is not None:
        file = file.model_copy(update={"mlflow_tracking_uri": tracking.store.shown_uri})
        opened = _open_run(training, tracking)
    run = None
    try:
        with opened as run:
            write_json(path, _with(file, run, status="RUNNING").to_json())
            yield run
            interrupts.check()
            finished = _with(file, run, status="FINISHED", finished=_now())
            if run is not None:
                run.log_json(finished.to_json(), f"{_OUTPUT_FOLDER}/{network_folder.RECORD}")
    except BaseException as e:
        killed = isinstance(e, KeyboardInterrupt | SystemExit)
        status = "KILLED" if killed else "FAILED"
        stopped = _with(file, run, status=status, reason=redact(f"{type(e).__name__}: {e}"))
        if tracking is None or run is not None:  # else the store refused, and nothing was begun
            _write_stopped(path, _with_pending(stopped, run, training.folder))
        raise
    write_json(path, _with_pending(finished, run, training.folder).to_json())


def _write_stopped(path: Path, file: RunFile) -> None:
    """Record the end of a training that failed, maybe because nothing can be written here."""
    try:
        write_json(path, file.to_json())
    except OSError as e:
        log.warning("%s", explain_os_error(e))
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # it says RUNNING


def _run_file(training: PlannedTraining) -> RunFile:
    """The content of ``run.json`` before a training starts."""
    job = training.job
    file = RunFile(
        model=job.config.model,
        network_type=job.config.network_type,
        backend=job.backend.name,
        device=job.backend.device,
        run_uuid=training.place.run_uuid,
        config_sha256=_config_sha256(job.config),
        data_digest=job.data_set.digest,
        versions={"lanflow": __version__, "numpy": np.__version__, **job.backend.versions()},
    )
    if job.start is None:
        return file
    return file.model_copy(update={"started_from": job.start.record})


def _config_sha256(config: TrainingConfig) -> str:
    return hashlib.sha256(config.canonical_json().encode()).hexdigest()


def _with(file: RunFile, run: RunRecorder | None, **known: str) -> RunFile:
    """Add the run's ids, if there is a run, and what is known now."""
    ids: dict[str, str | None] = {}
    if run is not None:
        ids = {"mlflow_run_id": run.id, "mlflow_experiment_id": run.experiment_id}
    return file.model_copy(update={**ids, **known})


def _with_pending(file: RunFile, run: RunRecorder | None, folder: Path) -> RunFile:
    """Add the folder of the record that the store has not taken yet, if there is one."""
    if run is None or run.pending is None:
        return file
    return file.model_copy(update={PENDING_KEY: str(run.pending.relative_to(folder.absolute()))})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _open_run(training: PlannedTraining, tracking: Tracking) -> Iterator[RunRecorder]:
    """Start a run, or continue the one named or interrupted, and record what is trained on what."""
    params, tags = _params(training.job), _tags(training)
    work = {
        "mlflow_tracking_uri": tracking.store.shown_uri,
        "mlflow_experiment": tracking.experiment,
        "fingerprint": tags[_FINGERPRINT_TAG],
        "n_epochs": training.job.config.n_epochs,
    }
    if tracking.run_id is not None:
        _check_same_training(tracking.store, tracking.run_id, params, tags)
    with record_work(
        tracking.store,
        training.folder,
        work,
        experiment=tracking.experiment,
        name=tracking.run_name,
        tags=tags,
        send_mode=tracking.send_mode,
        run_id=tracking.run_id,
    ) as run:
        run.log_params(params)
        run.log_json(training.lineage(), network_folder.LINEAGE)
        _log_data_set(run, training)
        run.begin()
        yield run


def _log_data_set(run: RunRecorder, training: PlannedTraining) -> None:
    job, manifest = training.job, training.manifest
    run.log_data_set(
        name=f"{job.config.model}-{job.config.network_type}",
        digest=job.data_set.digest,
        profile={
            "n_rows": len(job.split.train) + len(job.split.val),
            "n_parameter_sets": job.split.n_train_sets + job.split.n_val_sets,
            "n_files": _n_files(job),
        },
        source={
            "manifest_digest": manifest.digest,
            "experiment": manifest.experiment and manifest.experiment.model_dump(),
            "folders": common_folder(manifest),
        },
    )


def _tags(training: PlannedTraining) -> dict[str, object]:
    """Identity and lineage."""
    job, manifest = training.job, training.manifest
    tags: dict[str, object] = {
        "phase": "train",
        "run_uuid": training.place.run_uuid,
        "config_sha256": _config_sha256(job.config),
        "data_digest": job.data_set.digest,
        _FINGERPRINT_TAG: job.fingerprint(),
        "training_data_folder": common_folder(manifest),
        "n_training_files_used": _n_files(job),
    }
    if job.start is not None:
        record = job.start.record
        tags["started_from_network"] = record.network
        tags["started_from_sha256"] = record.onnx_sha256 or record.weights_sha256
        tags["started_from_run_id"] = record.mlflow_run_id or "none"
    if training.models_file is not None:
        tags[MODELS_FILE_TAG] = training.models_file.sha256
    if manifest.experiment is not None:
        tags["data_generation_experiment_id"] = manifest.experiment.id
    return tags


def _n_files(job: TrainingJob) -> int:
    """Number of files that the rows come from."""
    return len({*job.split.train_files, *job.split.val_files})


def _params(job: TrainingJob) -> dict[str, object]:
    """The settings as used, under the names that the tools around LANfactory look for."""
    data_set = job.data_set
    bounds = json.dumps(data_set.bounds.to_json(), sort_keys=True)
    return {
        **job.config.model_dump(mode="json"),
        "batch_size": job.batch_size,
        "backend": job.backend.name,
        "device": job.backend.device,
        "input_dim": job.architecture.input_dim,
        "n_weights": job.architecture.n_weights,
        "loss": job.architecture.loss,
        "param_space": json.dumps(list(data_set.parameters)),
        "param_bounds_json": bounds,
        "param_bounds_sha256": hashlib.sha256(bounds.encode()).hexdigest(),
    }


def _check_same_training(
    store: Store, run_id: str, params: Mapping[str, object], tags: Mapping[str, object]
) -> None:
    """Refuse to continue a run that recorded another training; the run stays as it is."""
    from lanflow.tracking.runs import changed_params

    found = fetch_run(store, run_id)
    changed = changed_params(found, params)
    if changed:
        raise UserError(f"run {run_id} was recorded with other settings: {', '.join(changed)}")
    fingerprint = found.tags.get(_FINGERPRINT_TAG)
    if found.metrics and fingerprint != tags[_FINGERPRINT_TAG]:
        raise UserError(
            f"run {run_id} holds epochs of another training (its data or the versions of its "
            "libraries differ); leave out --mlflow-run-id to log to a run of its own"
        )


def recorded_run_uuid(run_id: str, store: Store) -> str | None:
    """The run uuid of a training that was tracked before: where its checkpoint is.

    Raises
    ------
    UserError
        If the run is not in the store.
    """
    tags = fetch_run(store, run_id).tags
    return tags.get("run_uuid") if tags.get("phase") == "train" else None


def interrupted_run_uuid(folder: Path, config: TrainingConfig, backend: BackendName) -> str | None:
    """The run uuid in a network's folder, if a training of these settings was begun there."""
    try:
        file = read_run_file(folder / network_folder.RECORD)
    except UserError:
        return None
    if (file.config_sha256, file.backend) != (_config_sha256(config), backend):
        return None
    return file.run_uuid if is_name(file.run_uuid) else None


class EpochLog(contextlib.AbstractContextManager["EpochLog"]):
    """Logs each epoch: one line for a person, metrics for the MLflow run; in a notebook a bar.

    Parameters
    ----------
    run
        ``None`` without tracking.
    job
        What is trained.
    """

    def __init__(self, run: RunRecorder | None, job: TrainingJob) -> None:
        self._run, self._job = run, job
        self._n_logged = 0
        self._bar: Progress | None = None
        if in_notebook():
            doing = f"{job.config.model} {job.config.network_type}: training"
            self._bar = Progress(job.config.n_epochs, doing, "epoch")

    def __exit__(self, *failure: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Log the epochs of a history that are new; :func:`lanflow.training.fit.fit` calls it."""
        new = history[self._n_logged :]
        if self._run is not None:
            self._run.log_history((_metrics(epoch), epoch.epoch) for epoch in new)
        for epoch in new:
            self._log_line(epoch)
        if self._bar is not None:
            self._bar.advance(len(new))
        self._n_logged = len(history)

    def _log_line(self, epoch: Epoch) -> None:
        n_epochs = self._job.config.n_epochs
        losses = f"train_loss {epoch.train_loss:.5g}  val_loss {epoch.val_loss:.5g}"
        line = epoch_line(
            epoch.epoch,
            n_epochs,
            f"{losses}  learning_rate {epoch.learning_rate:.2g}",
            rows_per_second=len(self._job.split.train) / epoch.seconds,
            seconds_left=epoch.seconds * (n_epochs - epoch.epoch),
        )
        log.info("%s", line)


def _metrics(epoch: Epoch) -> dict[str, float]:
    return {
        "train_loss": epoch.train_loss,
        "val_loss": epoch.val_loss,
        "learning_rate": epoch.learning_rate,
    }


def log_outputs(run: RunRecorder, result: TrainingResult, paths: Sequence[Path]) -> None:
    """Copy a finished network's files into the run's artifacts, and its best epoch to metrics."""
    run.log_files(paths, _OUTPUT_FOLDER)
    best = result.best
    run.log_metrics({"best_val_loss": best.val_loss, "best_epoch": best.epoch}, step=best.epoch)
