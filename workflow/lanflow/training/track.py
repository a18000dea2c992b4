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

from lanflow import __version__
from lanflow.core import interrupts
from lanflow.core.errors import UserError
from lanflow.core.files import write_json
from lanflow.core.names import UNFINISHED
from lanflow.data.manifest import common_folder
from lanflow.data.prepare import PackedData
from lanflow.networks import folder as network_folder
from lanflow.networks.types import NETWORK_TYPES
from lanflow.tracking.record import PENDING_KEY
from lanflow.tracking.recorder import (
    RunRecorder,
    fetch_run,
    find_unfinished,
    record_run,
    write_unfinished,
)
from lanflow.tracking.store import Store, redact, training_experiment
from lanflow.training.backend import Kernel
from lanflow.training.config import TrainingOptions
from lanflow.training.fit import TrainingJob, TrainingResult
from lanflow.training.save import describe_training_data

log = logging.getLogger(__name__)

_OUTPUT_FOLDER = "training_output"
_FINGERPRINT_TAG = "training_fingerprint"


@contextlib.contextmanager
def track_training(
    options: TrainingOptions,
    store: Store,
    job: TrainingJob,
    kernel: Kernel,
    data: PackedData,
    place: network_folder.NetworkPlace,
) -> Iterator[RunRecorder | None]:
    """The run of a training, or None where tracking is off; and the record on disk.

    The record reads FINISHED only when the run does, in the store or waiting to be sent there.
    """
    record_path = place.folder / network_folder.RECORD
    record = _identity(options, job, kernel, place)
    opened: contextlib.AbstractContextManager[RunRecorder | None] = contextlib.nullcontext()
    if options.is_tracked:
        record |= {"mlflow_tracking_uri": store.shown_uri}
        opened = _open_run(options, store, job, kernel, data, place)
    run = None
    try:
        with opened as run:
            write_json(record_path, {**record, **_run_ids(run), "status": "RUNNING"})
            yield run
            interrupts.check()
            finished = {**record, **_run_ids(run), "status": "FINISHED", "finished": _now()}
            if run is not None:
                run.log_json(finished, f"{_OUTPUT_FOLDER}/{network_folder.RECORD}")
    except BaseException as e:
        killed = isinstance(e, KeyboardInterrupt | SystemExit)
        status = "KILLED" if killed else "FAILED"
        reason = redact(f"{type(e).__name__}: {e}")
        left = {**record, **_run_ids(run), "status": status, "reason": reason}
        write_json(record_path, left | _pending(run, place.folder))
        raise
    write_json(record_path, finished | _pending(run, place.folder))


def _run_ids(run: RunRecorder | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {"mlflow_run_id": run.id, "mlflow_experiment_id": run.experiment_id}


def _pending(run: RunRecorder | None, folder: Path) -> dict[str, Any]:
    """Where the record of a run is that is still to be sent."""
    if run is None or run.pending is None:
        return {}
    return {PENDING_KEY: str(run.pending.relative_to(folder.absolute()))}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _identity(
    options: TrainingOptions, job: TrainingJob, kernel: Kernel, place: network_folder.NetworkPlace
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
    data: PackedData,
    place: network_folder.NetworkPlace,
) -> Iterator[RunRecorder]:
    """Start the run, or reopen the one given or interrupted, and record what is trained on what."""
    config = job.config
    experiment = training_experiment(config.model, name=options.mlflow_experiment_name)
    params, tags = _params(job, kernel, options), _tags(options, job, kernel, data, place)
    mark_path = place.folder / UNFINISHED
    mark = {
        "mlflow_tracking_uri": store.shown_uri,
        "mlflow_experiment": experiment,
        "fingerprint": tags[_FINGERPRINT_TAG],
        "n_epochs": config.n_epochs,
    }
    key, run_id = None, options.mlflow_run_id
    if run_id is not None:
        _check_same_training(store, run_id, params, tags)
    else:
        key, run_id = find_unfinished(store, options.mlflow_send, mark_path, mark)
    with record_run(
        store,
        place.folder,
        experiment=experiment,
        name=options.mlflow_run_name or f"{config.model}-{place.name}",
        tags=tags,
        send_mode=options.mlflow_send,
        key=key,
        run_id=run_id,
    ) as run:
        run.log_params(params)
        run.log_json(describe_training_data(data, job), network_folder.LINEAGE)
        run.log_data_set(
            name=f"{config.model}-{config.network_type}",
            digest=job.data_set.digest,
            profile={
                "n_rows": len(job.split.train) + len(job.split.val),
                "n_parameter_sets": job.split.n_train_sets + job.split.n_val_sets,
                "n_files": tags["n_training_files_used"],
            },
            source={
                "manifest_digest": data.manifest.digest,
                "experiment": data.manifest.experiment and data.manifest.experiment.model_dump(),
                "folders": common_folder(data.manifest),
            },
        )
        run.begin()
        write_unfinished(mark_path, mark, run)
        yield run


def _tags(
    options: TrainingOptions,
    job: TrainingJob,
    kernel: Kernel,
    data: PackedData,
    place: network_folder.NetworkPlace,
) -> dict[str, Any]:
    """Identity and lineage."""
    tags = {
        "phase": "train",
        "run_uuid": place.run_uuid,
        "config_sha256": _identity(options, job, kernel, place)["config_sha256"],
        "data_digest": job.data_set.digest,
        _FINGERPRINT_TAG: job.fingerprint(kernel),
        "training_data_folder": common_folder(data.manifest),
        "n_training_files_used": len({*job.split.train_files, *job.split.val_files}),
    }
    if data.manifest.experiment is not None:
        tags["data_generation_experiment_id"] = data.manifest.experiment.id
    return tags


def _check_same_training(
    store: Store, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any]
) -> None:
    """Refuse to go on with a run that recorded another training; it is left as it is."""
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


def log_outputs(run: RunRecorder, result: TrainingResult, paths: Sequence[Path]) -> None:
    """Copy a finished network's files into the run's artifacts, and its best epoch to metrics."""
    run.log_files(paths, _OUTPUT_FOLDER)
    best = result.best
    run.log_metrics({"best_val_loss": best.val_loss, "best_epoch": best.epoch}, step=best.epoch)
