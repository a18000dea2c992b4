"""One training, whatever the backend: epochs, schedule, checkpoints, best and last weights."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.interrupts import defer_signals
from lanflow.data.dataset import DataSet
from lanflow.networks.types import NETWORK_TYPES, Architecture
from lanflow.training import schedules
from lanflow.training.backend import Epoch, Kernel, Weights
from lanflow.training.batches import EpochRows, RowMemory, rows_in_order
from lanflow.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from lanflow.training.config import DEFAULT_MEMORY_MB, TrainingConfig
from lanflow.training.split import STREAM_ORDER, Split, stream

log = logging.getLogger(__name__)

_STREAM_WEIGHTS = 0


class TrainingError(UserError):
    """A training that cannot go on; its run is FAILED."""


@dataclass
class TrainingResult:
    """What a training gives: weights of the best and of the last epoch, and the history."""

    best_weights: Weights
    last_weights: Weights
    history: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest validation loss."""
        return min(self.history, key=lambda epoch: epoch.val_loss)


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on what: everything that decides a training's result.

    Attributes
    ----------
    batch_size
        Rows per update on the device in use.
    checkpoint_path
        Written after every epoch, removed by nobody here; ``None`` keeps none.
    memory_mb
        What rows may take; more of them are shuffled in groups, see
        :mod:`lanflow.training.batches`.
    """

    config: TrainingConfig
    architecture: Architecture
    data_set: DataSet
    split: Split
    batch_size: int
    checkpoint_path: Path | None = None
    memory_mb: int = DEFAULT_MEMORY_MB

    def rows(self) -> EpochRows:
        """The rows to train on, as they are given out."""
        return EpochRows(
            *self.arrays(),
            self.split.train,
            file_starts=self.split.file_starts,
            shuffle=self.config.shuffle,
            memory=self.memory,
            labels_lower_bound=self.config.labels_lower_bound,
        )

    @property
    def memory(self) -> RowMemory:
        """How many rows are held at a time."""
        _, n_inputs, n_outputs = self.data_set.shapes[self.config.network_type]
        row_bytes = 4 * (n_inputs + n_outputs)
        return RowMemory.of(self.memory_mb, row_bytes=row_bytes, batch_size=self.batch_size)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the data set."""
        kind, data_set = self.config.network_type, self.data_set
        return data_set.array(kind, "features"), data_set.array(kind, "labels")

    def fingerprint(self, kernel: Kernel) -> str:
        """Digest of all that must be the same for a checkpoint to be continued."""
        parts = {
            "config": json.loads(self.config.canonical_json()),
            "data": self.data_set.digest,
            "batch_size": self.batch_size,
            "kernel": kernel.name,
            "device": kernel.device,
            "versions": kernel.versions(),
        }
        del parts["config"]["n_epochs"]
        if not self.memory.holds(len(self.split.train)):
            parts["memory_mb"] = self.memory_mb
        if self.config.lr_scheduler == "warmup_cosine":
            parts["n_epochs"] = self.config.n_epochs
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def initial_weights(architecture: Architecture, *, seed: int) -> Weights:
    """Seeded weights: LeCun's truncated normal and zero biases, as flax's ``Dense`` starts.

    The normal is cut at two standard deviations and widened by 1/0.8796 to keep the variance
    1/inputs (``flax.linen.initializers.lecun_normal``).
    """
    rng = stream(seed, _STREAM_WEIGHTS)
    weights: Weights = {}
    n_inputs = architecture.input_dim
    for i, n_outputs in enumerate(architecture.layer_sizes):
        draws = rng.standard_normal((n_inputs, n_outputs))
        while (outside := np.abs(draws) > 2).any():
            draws[outside] = rng.standard_normal(int(outside.sum()))
        scale = math.sqrt(1 / n_inputs) / 0.87962566103423978
        weights[f"layers_{i}/kernel"] = (draws * scale).astype(np.float32)
        weights[f"layers_{i}/bias"] = np.zeros(n_outputs, dtype=np.float32)
        n_inputs = n_outputs
    return weights


def build_architecture(config: TrainingConfig, data_set: DataSet) -> Architecture:
    """The network's shape for this data.

    Raises
    ------
    UserError
        If the data has no arrays for the network type, or another number of outputs.
    """
    data_set.array(config.network_type, "features")
    _, n_inputs, n_outputs = data_set.shapes[config.network_type]
    if config.layer_sizes[-1] != n_outputs:
        labels_key = NETWORK_TYPES[config.network_type].labels_key
        raise UserError(
            f"LAYER_SIZES: the last layer of network {config.network_id} has "
            f"{config.layer_sizes[-1]} unit(s), but {labels_key} has {n_outputs} column(s)"
        )
    return Architecture(
        network_type=config.network_type,
        input_dim=n_inputs,
        layer_sizes=config.layer_sizes,
        activations=config.activations,
    )


def fit(
    job: TrainingJob,
    kernel: Kernel,
    *,
    on_epoch: Callable[[Sequence[Epoch]], None] = lambda _: None,
) -> TrainingResult:
    """Train from the start, or from the checkpoint of the same training.

    Parameters
    ----------
    job
        What is trained on what.
    kernel
        The backend.
    on_epoch
        Called with the history so far: once after resuming, then after each epoch, when its
        checkpoint is safe. The tracking arrives here.

    Returns
    -------
    TrainingResult
        History of all epochs, those before an interruption included.

    Raises
    ------
    TrainingError
        If a loss is not finite.
    """
    config = job.config
    rows = job.rows()
    fingerprint = job.fingerprint(kernel)
    state = schedules.initial_state(config)
    with defer_signals():
        kernel.start(job.architecture, config, initial_weights(job.architecture, seed=config.seed))
        weights = kernel.weights()
    result = TrainingResult(best_weights=weights, last_weights=weights)
    checkpoint = _resume(job, fingerprint)
    if checkpoint is not None:
        with defer_signals():
            kernel.restore(checkpoint.weights, checkpoint.optimizer_state)
        state = schedules.ScheduleState(**checkpoint.schedule)
        result = TrainingResult(
            best_weights=checkpoint.best_weights,
            last_weights=checkpoint.weights,
            history=[Epoch(**epoch) for epoch in checkpoint.history],
        )
        on_epoch(result.history)
    for number in range(len(result.history), config.n_epochs):
        epoch = _run_epoch(job, kernel, rows, state, number)
        state = schedules.next_state(state, config, val_loss=epoch.val_loss)
        result.history.append(epoch)
        with defer_signals():
            result.last_weights = kernel.weights()
            optimizer_state = kernel.optimizer_state()
        if result.best is epoch:
            result.best_weights = result.last_weights
        if job.checkpoint_path is not None:
            snapshot = Checkpoint(
                fingerprint=fingerprint,
                weights=result.last_weights,
                best_weights=result.best_weights,
                optimizer_state=optimizer_state,
                schedule=asdict(state),
                history=[asdict(entry) for entry in result.history],
            )
            save_checkpoint(job.checkpoint_path, snapshot)
        on_epoch(result.history)
    return result


def _resume(job: TrainingJob, fingerprint: str) -> Checkpoint | None:
    """The checkpoint to continue from, if it is of this very training."""
    if job.checkpoint_path is None:
        return None
    checkpoint = load_checkpoint(job.checkpoint_path)
    if checkpoint is None:
        return None
    if checkpoint.fingerprint != fingerprint or len(checkpoint.history) > job.config.n_epochs:
        log.warning(
            "%s is of another training (settings, data or versions differ); starting afresh",
            job.checkpoint_path,
        )
        return None
    log.info("continuing after epoch %d of the checkpoint", len(checkpoint.history))
    return checkpoint


def _run_epoch(
    job: TrainingJob,
    kernel: Kernel,
    rows: EpochRows,
    state: schedules.ScheduleState,
    number: int,
) -> Epoch:
    config, n_rows = job.config, len(job.split.train)
    start = time.perf_counter()
    n_steps = math.ceil(n_rows / job.batch_size)
    rates = schedules.learning_rates(state, config, epoch=number, n_steps=n_steps)
    total, step = 0.0, 0
    for block, block_labels in rows.epoch(stream(config.seed, STREAM_ORDER, number)):
        n_block = math.ceil(len(block) / job.batch_size)
        with defer_signals():
            total += kernel.train_block(
                block,
                block_labels,
                batch_size=job.batch_size,
                learning_rates=rates[step : step + n_block],
            )
        step += n_block
    train_loss = total / (n_rows * job.config.layer_sizes[-1])
    val_loss = _validation_loss(job, kernel)
    for name, loss in (("training", train_loss), ("validation", val_loss)):
        if not math.isfinite(loss):
            raise TrainingError(
                f"the {name} loss of epoch {number} is {loss}; the training has diverged. Lower "
                f"LEARNING_RATE (it is {config.learning_rate:g}) or check the data"
            )
    return Epoch(number, train_loss, val_loss, float(rates[-1]), time.perf_counter() - start)


def _validation_loss(job: TrainingJob, kernel: Kernel) -> float:
    features, labels = job.arrays()
    total = 0.0
    for block, block_labels in rows_in_order(
        features, labels, job.split.val, labels_lower_bound=job.config.labels_lower_bound
    ):
        with defer_signals():
            total += kernel.evaluate_block(block, block_labels)
    return float(total / (len(job.split.val) * labels.shape[1]))
