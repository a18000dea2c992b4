"""One training as a command runs it: from options to a network's folder and its MLflow run.

Options become settings, data and a folder (:mod:`lanflow.training.prepare`). Then the job is
planned, trained, saved and recorded. A training that was killed at any point continues when the
same options are given again.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal, TypedDict

from lanflow.core.files import remove_leftovers
from lanflow.core.locks import locked
from lanflow.networks import folder as network_folder
from lanflow.tracking.recorder import RunRecorder
from lanflow.tracking.unfinished import hide_finished, resume_finished
from lanflow.training.checkpoints import (
    continues_finished,
    put_away_finished,
    take_out_finished,
)
from lanflow.training.fit import TrainingResult, fit
from lanflow.training.prepare import PreparedTraining, TrainingOptions, prepare
from lanflow.training.save import PlannedTraining, save_network
from lanflow.training.track import (
    EpochLog,
    log_outputs,
    track_training,
)


class FinishedTraining(TypedDict):
    """The line of JSON that a training ends with; folders and files are absolute paths."""

    status: Literal["FINISHED"]
    network_folder: str
    onnx: str | None
    history: str
    run_uuid: str
    mlflow_run_id: str | None
    mlflow_experiment_id: str | None
    mlflow_pending: str | None
    best_epoch: int
    best_val_loss: float
    train_loss: float


class PlannedDryRun(TypedDict):
    """The line of JSON that ``--dry-run`` ends with."""

    status: Literal["DRY_RUN"]
    network_folder: str
    n_train_rows: int
    n_val_rows: int
    n_weights: int
    tracked: bool


def train(options: TrainingOptions) -> FinishedTraining | PlannedDryRun:
    """Run one training.

    Parameters
    ----------
    options
        As a person gives them.

    Returns
    -------
    FinishedTraining or PlannedDryRun
        What the command prints: status, paths, ids, best validation loss.

    Raises
    ------
    UserError
        For everything a person can mend; the run, if one was started, is FAILED.
    """
    prepared = prepare(options)
    if options.dry_run:
        return describe_dry_run(prepared)
    with opened(prepared) as training:
        with track_training(training, prepared.tracking) as run:
            result = fit(training.job, on_epoch=EpochLog(run, training.job))
            keep_network(training, result, run)
        return end_training(training, result, run)


@contextlib.contextmanager
def opened(
    prepared: PreparedTraining, planned: PlannedTraining | None = None, *, wait: bool = False
) -> Iterator[PlannedTraining]:
    """Hold the lock of a network's folder, and plan the training that goes on there.

    Parameters
    ----------
    prepared
        What is to be trained.
    planned
        Its plan, where it was made before.
    wait
        Wait for another process that trains it, instead of raising.

    Raises
    ------
    UserError
        If another process trains it, or there is too little memory.
    """
    folder = prepared.place.folder
    with locked(folder / network_folder.LOCK, f"{folder} is being trained", wait=wait):
        training = planned or prepared.plan()
        training.job.require_memory()
        remove_leftovers(folder, network_folder.IN_NETWORK_FOLDER)
        _take_up_finished(training)
        yield training


def _take_up_finished(training: PlannedTraining) -> None:
    """Continue from the end of this very training, and its run, if it finished before."""
    job, folder = training.job, training.folder
    if continues_finished(
        folder,
        fingerprint=job.fingerprint,
        n_epochs=job.config.n_epochs,
        starts_elsewhere=job.start is not None,
    ):
        resume_finished(folder)
        take_out_finished(folder)


def keep_network(
    training: PlannedTraining, result: TrainingResult, run: RunRecorder | None
) -> None:
    """Write the network that was trained, and copy it into its run."""
    paths = save_network(training, result, None if run is None else run.ensure_id())
    if run is not None:
        log_outputs(run, result, paths)


def end_training(
    training: PlannedTraining, result: TrainingResult, run: RunRecorder | None
) -> FinishedTraining:
    """Put away what only an unfinished training needs; the result as the command prints it."""
    put_away_finished(training.folder)
    hide_finished(training.folder)
    return _describe_result(training, result, run)


def describe_dry_run(prepared: PreparedTraining) -> PlannedDryRun:
    """Plan a training, and say what it would be."""
    training = prepared.plan()
    job = training.job
    return {
        "status": "DRY_RUN",
        "network_folder": str(training.folder.absolute()),
        "n_train_rows": len(job.split.train),
        "n_val_rows": len(job.split.val),
        "n_weights": job.architecture.n_weights,
        "tracked": prepared.tracking is not None,
    }


def _describe_result(
    training: PlannedTraining, result: TrainingResult, run: RunRecorder | None
) -> FinishedTraining:
    folder = training.folder.absolute()
    return {
        "status": "FINISHED",
        "network_folder": str(folder),
        "onnx": str(folder / network_folder.ONNX) if training.export_onnx else None,
        "history": str(folder / network_folder.HISTORY),
        "run_uuid": training.place.run_uuid,
        "mlflow_run_id": None if run is None else run.id,
        "mlflow_experiment_id": None if run is None else run.experiment_id,
        "mlflow_pending": None if run is None or run.pending is None else str(run.pending),
        "best_epoch": result.best.epoch,
        "best_val_loss": result.best.val_loss,
        "train_loss": result.history[-1].train_loss,
    }
