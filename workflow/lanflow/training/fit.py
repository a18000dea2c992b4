"""The loop of epochs, the same for both backends: schedule, checkpoints, best and last weights.

:func:`fit` trains a :class:`lanflow.training.job.TrainingJob` from the start, or from the
checkpoint that the same job left, and both ways end at the same bytes.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lanflow.core.errors import UserError
from lanflow.training.backend import Weights, backend_at_work
from lanflow.training.batches import EpochRows, ahead, rows_in_order
from lanflow.training.checkpoints import (
    Checkpoint,
    Epoch,
    have_same_shapes,
    load_checkpoint,
    save_checkpoint,
)
from lanflow.training.job import TrainingJob, initial_weights
from lanflow.training.schedules import ScheduleState, initial_state, learning_rates, next_state
from lanflow.training.split import STREAM_ORDER, stream

log = logging.getLogger(__name__)


class TrainingError(UserError):
    """A loss is not finite; the training stops and its MLflow run reads FAILED."""


@dataclass
class TrainingResult:
    """Result of a training: weights of the best and of the last epoch, and the history."""

    best_weights: Weights
    last_weights: Weights
    history: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest validation loss."""
        return min(self.history, key=lambda epoch: epoch.val_loss)


def fit(
    job: TrainingJob, *, on_epoch: Callable[[Sequence[Epoch]], None] = lambda _: None
) -> TrainingResult:
    """Train from the start, or from the checkpoint of the same job.

    Parameters
    ----------
    job
        What to train.
    on_epoch
        Called with the history so far: once after resuming, then after each epoch, when its
        checkpoint is safe. The tracking logs epochs here.

    Returns
    -------
    TrainingResult
        With the history of all epochs, those before an interruption included.

    Raises
    ------
    TrainingError
        If a loss is not finite.
    """
    config, backend = job.config, job.backend
    fingerprint = job.fingerprint()
    schedule = initial_state(config)
    with backend_at_work():
        _begin(job)
        weights = backend.weights()
        rows = None if job.keeps_rows_on_device else job.rows()
        if rows is None:
            backend.hold_rows(job.held_rows())
    result = TrainingResult(best_weights=weights, last_weights=weights)
    checkpoint = _find_checkpoint(job, fingerprint, weights)
    if checkpoint is not None:
        with backend_at_work():
            backend.restore(checkpoint.weights, checkpoint.optimizer_state)
        schedule = checkpoint.schedule
        result = TrainingResult(checkpoint.best_weights, checkpoint.weights, checkpoint.history)
        on_epoch(result.history)
    for number in range(len(result.history), config.n_epochs):
        epoch = _run_epoch(job, rows, schedule, number)
        schedule = next_state(schedule, config, val_loss=epoch.val_loss)
        result.history.append(epoch)
        with backend_at_work():
            result.last_weights = backend.weights()
            optimizer_state = backend.optimizer_state()
        if result.best is epoch:
            result.best_weights = result.last_weights
        if job.checkpoint_path is not None:
            snapshot = Checkpoint(
                fingerprint=fingerprint,
                weights=result.last_weights,
                best_weights=result.best_weights,
                optimizer_state=optimizer_state,
                schedule=schedule,
                history=result.history,
            )
            save_checkpoint(job.checkpoint_path, snapshot)
        on_epoch(result.history)
    return result


def _begin(job: TrainingJob) -> None:
    """Give the backend random weights, or those of the network that the training goes on from."""
    start = job.start
    weights = (
        initial_weights(job.architecture, seed=job.config.seed) if start is None else start.weights
    )
    job.backend.start(job.architecture, job.config, weights)
    if start is not None and start.optimizer_state:
        job.backend.restore(start.weights, start.optimizer_state)


def _find_checkpoint(job: TrainingJob, fingerprint: str, weights: Weights) -> Checkpoint | None:
    """The checkpoint to continue from, if the same job left one, of weights of the same shapes."""
    if job.checkpoint_path is None:
        return None
    checkpoint = load_checkpoint(job.checkpoint_path)
    if checkpoint is None:
        return None
    is_same = checkpoint.fingerprint == fingerprint
    is_same = is_same and have_same_shapes(checkpoint.weights, weights)
    if not is_same or len(checkpoint.history) > job.config.n_epochs:
        log.warning(
            "%s is of another training (settings, data or versions differ); starting afresh",
            job.checkpoint_path,
        )
        return None
    log.info("continuing after epoch %d of the checkpoint", len(checkpoint.history))
    return checkpoint


def _run_epoch(
    job: TrainingJob, rows: EpochRows | None, schedule: ScheduleState, number: int
) -> Epoch:
    """Train on every row once, then validate; ``number`` counts epochs from 0.

    ``rows`` is ``None`` where the backend keeps them on its device.
    """
    start = time.perf_counter()
    n_steps = math.ceil(len(job.split.train) / job.batch_size)
    rates = learning_rates(schedule, job.config, epoch=number, n_steps=n_steps)
    train_loss = _train_epoch(job, rows, rates, number)
    val_loss = _validation_loss(job, rows)
    for name, loss in (("training", train_loss), ("validation", val_loss)):
        if not math.isfinite(loss):
            raise TrainingError(
                f"the {name} loss of epoch {number + 1} is {loss}; the training has diverged. "
                f"Lower LEARNING_RATE (it is {job.config.learning_rate:g}) or check the data"
            )
    return Epoch(number + 1, train_loss, val_loss, float(rates[-1]), time.perf_counter() - start)


def _train_epoch(job: TrainingJob, rows: EpochRows | None, rates: np.ndarray, number: int) -> float:
    """Train on every row once; the mean loss of an output, or of all choices."""
    # Of a training that goes on from another, the orders go on, too.
    n_before = 0 if job.start is None else job.start.record.n_epochs
    rng = stream(job.config.seed, STREAM_ORDER, n_before + number)
    if rows is None:
        with backend_at_work():
            total = job.backend.train_epoch(
                int(rng.integers(2**31)), batch_size=job.batch_size, learning_rates=rates
            )
    else:
        total = _train_blocks(job, rows.epoch(rng), rates)
    return total / (len(job.split.train) * job.architecture.n_losses)


def _train_blocks(
    job: TrainingJob, blocks: Iterator[tuple[np.ndarray, np.ndarray]], rates: np.ndarray
) -> float:
    """Train on the blocks of an epoch; the summed losses of their rows."""
    backend, total, step = job.backend, 0.0, 0
    placed = itertools.starmap(backend.place, blocks)
    for block, block_labels in ahead(placed) if backend.uses_gpu else placed:
        n_batches = math.ceil(len(block) / job.batch_size)
        with backend_at_work():
            total += backend.train_block(
                block,
                block_labels,
                batch_size=job.batch_size,
                learning_rates=rates[step : step + n_batches],
            )
        step += n_batches
    return total


def _validation_loss(job: TrainingJob, rows: EpochRows | None) -> float:
    """The mean loss of an output, or of all choices, over the validation rows."""
    n_losses = len(job.split.val) * job.architecture.n_losses
    if rows is None:
        with backend_at_work():
            return job.backend.evaluate_held() / n_losses
    features, labels = job.arrays()
    total = 0.0
    for block, block_labels in rows_in_order(
        features, labels, job.split.val, labels_lower_bound=job.config.labels_lower_bound
    ):
        with backend_at_work():
            total += job.backend.evaluate_block(block, block_labels)
    return float(total / n_losses)
