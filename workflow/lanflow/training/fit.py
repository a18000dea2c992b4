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
from typing import Self

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


# Gets the history of a training's epochs, see :func:`fit`.
OnEpoch = Callable[[Sequence[Epoch]], None]


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


@dataclass
class OngoingTraining:
    """A training between two of its epochs: how far it is, and what the next one needs.

    Attributes
    ----------
    job
        What is trained.
    on_epoch
        As of :func:`fit`.
    fingerprint
        Of the job.
    schedule
        State of the learning rate before the next epoch.
    result
        Of the epochs that are done.
    n_stacked
        Networks that are trained as one program, this one included.
    """

    job: TrainingJob
    on_epoch: OnEpoch
    fingerprint: str
    schedule: ScheduleState
    result: TrainingResult
    n_stacked: int = 1

    @classmethod
    def begin(cls, job: TrainingJob, on_epoch: OnEpoch, *, n_stacked: int = 1) -> Self:
        """Start the backend: afresh, or from the checkpoint that the same training left."""
        with backend_at_work():
            _begin(job)
            weights = job.backend.weights()
        training = cls(
            job=job,
            on_epoch=on_epoch,
            fingerprint=job.fingerprint(),
            schedule=initial_state(job.config),
            result=TrainingResult(best_weights=weights, last_weights=weights),
            n_stacked=n_stacked,
        )
        checkpoint = find_checkpoint(job, training.fingerprint, weights, n_stacked=n_stacked)
        if checkpoint is not None:
            training._continue(checkpoint)
        return training

    def _continue(self, checkpoint: Checkpoint) -> None:
        with backend_at_work():
            self.job.backend.restore(checkpoint.weights, checkpoint.optimizer_state)
        self.schedule = checkpoint.schedule
        self.result = TrainingResult(
            checkpoint.best_weights, checkpoint.weights, checkpoint.history
        )
        self.on_epoch(self.result.history)

    @property
    def n_done(self) -> int:
        """Epochs that are done; the number, from 0, of the next one."""
        return len(self.result.history)

    @property
    def is_over(self) -> bool:
        """``True`` when there is no further epoch."""
        return self.n_done >= self.job.config.n_epochs

    def learning_rates(self) -> np.ndarray:
        """Rates of the next epoch's updates, (batches,) float32."""
        n_steps = math.ceil(len(self.job.split.train) / self.job.batch_size)
        return learning_rates(self.schedule, self.job.config, epoch=self.n_done, n_steps=n_steps)

    def order(self) -> np.random.Generator:
        """The generator that draws the order of rows of the next epoch."""
        # Of a training that goes on from another, the orders go on, too.
        n_before = 0 if self.job.start is None else self.job.start.record.n_epochs
        return stream(self.job.config.seed, STREAM_ORDER, n_before + self.n_done)

    def order_seed(self) -> int:
        """The seed of the next epoch's order, for a device that keeps the rows."""
        return int(self.order().integers(2**31))

    def end_epoch(
        self, *, train_loss: float, val_loss: float, learning_rate: float, seconds: float
    ) -> None:
        """Keep an epoch that the backend has trained: history, best weights, checkpoint.

        Raises
        ------
        TrainingError
            If a loss is not finite; the checkpoint stays that of the epoch before.
        """
        self._require_finite(training=train_loss, validation=val_loss)
        job, result = self.job, self.result
        epoch = Epoch(self.n_done + 1, train_loss, val_loss, learning_rate, seconds)
        self.schedule = next_state(self.schedule, job.config, val_loss=val_loss)
        result.history.append(epoch)
        with backend_at_work():
            result.last_weights = job.backend.weights()
            optimizer_state = job.backend.optimizer_state()
        if result.best is epoch:
            result.best_weights = result.last_weights
        if job.checkpoint_path is not None:
            snapshot = Checkpoint(
                fingerprint=self.fingerprint,
                weights=result.last_weights,
                best_weights=result.best_weights,
                optimizer_state=optimizer_state,
                schedule=self.schedule,
                history=result.history,
                n_stacked=self.n_stacked,
            )
            save_checkpoint(job.checkpoint_path, snapshot)
        self.on_epoch(result.history)

    def _require_finite(self, **losses: float) -> None:
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the {name} loss of epoch {self.n_done + 1} is {loss}; the training has "
                    f"diverged. Lower LEARNING_RATE (it is {self.job.config.learning_rate:g}) or "
                    "check the data"
                )


def fit(job: TrainingJob, *, on_epoch: OnEpoch = lambda _: None) -> TrainingResult:
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
    training = OngoingTraining.begin(job, on_epoch)
    if not training.is_over:  # or rows would be copied to a device for nothing
        _train_epochs(training)
    return training.result


def _train_epochs(training: OngoingTraining) -> None:
    """Train until the last epoch is done."""
    job = training.job
    with backend_at_work():
        rows = None if job.keeps_rows_on_device else job.rows()
        if rows is None:
            job.backend.hold_rows(job.held_rows())
    while not training.is_over:
        start = time.perf_counter()
        rates = training.learning_rates()
        train_loss = _train_epoch(training, rows, rates)
        val_loss = validation_loss(job, rows)
        training.end_epoch(
            train_loss=train_loss,
            val_loss=val_loss,
            learning_rate=float(rates[-1]),
            seconds=time.perf_counter() - start,
        )


def _begin(job: TrainingJob) -> None:
    """Give the backend random weights, or those of the network that the training goes on from."""
    start = job.start
    weights = (
        initial_weights(job.architecture, seed=job.config.seed) if start is None else start.weights
    )
    job.backend.start(job.architecture, job.config, weights)
    if start is not None and start.optimizer_state:
        job.backend.restore(start.weights, start.optimizer_state)


def find_checkpoint(
    job: TrainingJob, fingerprint: str, weights: Weights, *, n_stacked: int = 1
) -> Checkpoint | None:
    """The checkpoint to continue from, if the same job left one, of weights of the same shapes.

    On a GPU, so many networks in one program round sums otherwise than another number of them, so
    that number belongs to what must be the same.
    """
    if job.checkpoint_path is None:
        return None
    checkpoint = load_checkpoint(job.checkpoint_path)
    if checkpoint is None:
        return None
    is_same = checkpoint.fingerprint == fingerprint
    is_same = is_same and checkpoint.n_stacked == n_stacked
    is_same = is_same and have_same_shapes(checkpoint.weights, weights)
    if not is_same or len(checkpoint.history) > job.config.n_epochs:
        log.warning(
            "%s is of another training (settings, data or versions differ); starting afresh",
            job.checkpoint_path,
        )
        return None
    log.info("continuing after epoch %d of the checkpoint", len(checkpoint.history))
    return checkpoint


def _train_epoch(training: OngoingTraining, rows: EpochRows | None, rates: np.ndarray) -> float:
    """Train on every row once; the mean loss of an output, or of all choices.

    ``rows`` is ``None`` where the backend keeps them on its device.
    """
    job = training.job
    if rows is None:
        with backend_at_work():
            total = job.backend.train_epoch(
                training.order_seed(), batch_size=job.batch_size, learning_rates=rates
            )
    else:
        total = _train_blocks(job, rows.epoch(training.order()), rates)
    return total / job.n_train_losses


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


def validation_loss(job: TrainingJob, rows: EpochRows | None) -> float:
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
