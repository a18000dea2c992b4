"""One training as it is planned: what learns from which rows, where, and in how much memory.

A :class:`TrainingJob` holds all that decides a training's result.
"""

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.names import DEFAULT_MEMORY_MB
from lanflow.core.processes import require_memory
from lanflow.data.dataset import DataSet
from lanflow.networks.types import NETWORK_TYPES, Architecture
from lanflow.training.backend import Backend, Weights
from lanflow.training.batches import (
    COPIED_BYTES,
    ORDER_BYTES,
    VALIDATION_BYTES,
    EpochRows,
    HeldRows,
    RowMemory,
)
from lanflow.training.checkpoints import Start
from lanflow.training.config import TrainingConfig
from lanflow.training.split import STREAM_WEIGHTS, Split, split_rows, stream

log = logging.getLogger(__name__)

# Measured for 9 million weights (torch 2.13, jax 0.10): 47 and 52 bytes for each, which are copies
# of the weights and of adam's moments while a checkpoint is written.
_BYTES_PER_WEIGHT = 48
# A training of next to no weights takes this: MLflow, onnx and figures are loaded on the way.
_LEAST_BYTES = 250 * 2**20

# Standard deviation of a standard normal that is cut at two.
_CUT_NORMAL_STD = 0.87962566103423978


@dataclass(frozen=True)
class TrainingJob:
    """One training: which network learns from which rows, on which backend.

    Attributes
    ----------
    config
        The settings.
    architecture
        The network's shape.
    data_set
        The packed data.
    split
        Rows to train and to validate on.
    backend
        Trains, on its device.
    batch_size
        Rows per update.
    checkpoint_path
        Written after every epoch, and not removed here; ``None`` keeps no checkpoint.
    memory_mb
        Megabytes that rows may take; more rows pass through a shuffle buffer, see
        :mod:`lanflow.training.batches`.
    start
        The weights to begin from; ``None`` draws random ones.
    """

    config: TrainingConfig
    architecture: Architecture
    data_set: DataSet
    split: Split
    backend: Backend
    batch_size: int
    checkpoint_path: Path | None = None
    memory_mb: int = DEFAULT_MEMORY_MB
    start: Start | None = None

    def rows(self) -> EpochRows:
        """The rows to train on."""
        return EpochRows(
            *self.arrays(),
            self.split.train,
            file_starts=self.split.file_starts,
            shuffle=self.config.shuffle,
            memory=self.memory,
            labels_lower_bound=self.config.labels_lower_bound,
        )

    @property
    def keeps_rows_on_device(self) -> bool:
        """``True`` where the device holds all rows through the training.

        The size of the rows and of the device's whole memory decide it, not what is free there:
        the order of rows depends on it, and a checkpoint goes on in the order it began with.
        """
        n_rows = len(self.split.train) + len(self.split.val)
        n_bytes = n_rows * (self.row_bytes + ORDER_BYTES)
        return n_bytes <= self.backend.bytes_for_rows() and n_rows < 2**31

    def held_rows(self, others: Sequence["TrainingJob"] = ()) -> HeldRows:
        """The rows for a device that keeps them, and with them those of other trainings."""
        return HeldRows.of(
            *self.arrays(),
            self.split,
            others=[job.split for job in others],
            shuffle=self.config.shuffle,
            labels_lower_bound=self.config.labels_lower_bound,
        )

    @property
    def n_train_losses(self) -> int:
        """Losses that an epoch sums up: of each row that of every output, or of all choices."""
        return len(self.split.train) * self.architecture.n_losses

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's features and labels."""
        _, n_inputs, n_outputs = self.data_set.shapes[self.config.network_type]
        return 4 * (n_inputs + n_outputs)

    @property
    def memory(self) -> RowMemory:
        """Division of the row memory of this job."""
        return RowMemory.of(self.memory_mb, row_bytes=self.row_bytes, batch_size=self.batch_size)

    def require_memory(self) -> None:
        """Refuse a training that cannot fit in memory, before it begins.

        Raises
        ------
        UserError
            With the estimate, the limit, and what to change.
        """
        n_rows, n_inputs, n_outputs = self.data_set.shapes[self.config.network_type]
        mapped_bytes = 4 * n_rows * (n_inputs + n_outputs + 1)
        require_memory(
            f"training a network of {self.architecture.n_weights:,} weights on "
            f"{self.batch_size:,} rows at a time, with {self.memory_mb:,} MB for rows,",
            _LEAST_BYTES
            + _BYTES_PER_WEIGHT * self.architecture.n_weights
            + self._rows_bytes()
            + self._activations_bytes(),
            advice="use smaller LAYER_SIZES, a smaller CPU_BATCH_SIZE or GPU_BATCH_SIZE, less "
            "memory for rows (--memory-mb, study key memory_mb), or more memory",
            mapped_bytes=mapped_bytes + self.backend.address_bytes,
        )

    def _rows_bytes(self) -> int:
        """Rows that are held at a time, their order, and up to three blocks."""
        n_train, memory = len(self.split.train), self.memory
        if self.keeps_rows_on_device:
            return n_train * ORDER_BYTES + COPIED_BYTES
        n_held = n_train if memory.holds(n_train) else memory.buffer_rows + memory.block_rows
        n_in_blocks = 3 * min(memory.block_rows, n_train)
        return n_held * (self.row_bytes + ORDER_BYTES) + n_in_blocks * self.row_bytes

    def _activations_bytes(self) -> int:
        """Outputs of layers: all of them while a batch is trained on, two while validating."""
        if self.backend.uses_gpu:
            return 0
        sizes = [self.architecture.input_dim, *self.architecture.layer_sizes]
        pair = max(n_in + n_out for n_in, n_out in itertools.pairwise(sizes))
        n_validated = min(len(self.split.val), VALIDATION_BYTES // (4 * (sizes[0] + sizes[-1])))
        return 4 * max(2 * self.batch_size * sum(sizes), n_validated * pair)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (rows, inputs) and labels (rows, outputs) of the data set."""
        network_type, data_set = self.config.network_type, self.data_set
        return data_set.array(network_type, "features"), data_set.array(network_type, "labels")

    def fingerprint(self) -> str:
        """Digest of all that must be the same for a checkpoint to be continued."""
        parts = {
            "config": json.loads(self.config.canonical_json()),
            "data": self.data_set.digest,
            "batch_size": self.batch_size,
            "kernel": self.backend.name,  # an old name; another would end all checkpoints
            "device": self.backend.device,
            "versions": self.backend.versions(),
        }
        # A finished training continues with more epochs, unless the schedule depends on how many.
        del parts["config"]["n_epochs"]
        if self.config.lr_scheduler in ("cosine", "warmup_cosine"):
            parts["n_epochs"] = self.config.n_epochs
        if self.keeps_rows_on_device:
            parts["order"] = "drawn on the device"
        # The memory decides the order of rows only where they pass through the shuffle buffer.
        elif not self.memory.holds(len(self.split.train)):
            parts["memory_mb"] = self.memory_mb
        if self.start is not None:
            parts["started_from"] = self.start.record.weights_sha256
            parts["has_optimizer_state"] = self.start.record.has_optimizer_state
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def plan_job(
    config: TrainingConfig,
    data_set: DataSet,
    backend: Backend,
    *,
    choices: Sequence[int] | None = None,
    checkpoint_path: Path | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
    start: Start | None = None,
) -> TrainingJob:
    """Split the data and shape the network as a configuration says.

    ``choices`` are the model's, where they are known.

    Raises
    ------
    UserError
        If the data does not fit the network.
    """
    architecture = build_architecture(config, data_set, choices)
    split = split_rows(
        data_set,
        config.network_type,
        n_files=config.n_training_files,
        train_share=config.train_val_split,
        seed=config.seed,
    )
    batch_size = config.gpu_batch_size if backend.uses_gpu else config.cpu_batch_size
    log.info(
        "%s %s on %s: %s rows of %d parameter sets to train on, %s rows of %d to validate on",
        config.model,
        config.network_type,
        backend.device,
        f"{len(split.train):,}",
        split.n_train_sets,
        f"{len(split.val):,}",
        split.n_val_sets,
    )
    return TrainingJob(
        config=config,
        architecture=architecture,
        data_set=data_set,
        split=split,
        backend=backend,
        batch_size=min(batch_size, len(split.train)),
        checkpoint_path=checkpoint_path,
        memory_mb=memory_mb,
        start=start,
    )


def build_architecture(
    config: TrainingConfig, data_set: DataSet, choices: Sequence[int] | None = None
) -> Architecture:
    """The network's shape for this data.

    A choice-probability network of more than two choices has a logit for each of them; what is
    exported has one output, which LAYER_SIZES may say too.

    Raises
    ------
    UserError
        If the data has no arrays for the network type, or another number of outputs.
    """
    data_set.array(config.network_type, "features")
    _, n_inputs, n_outputs = data_set.shapes[config.network_type]
    has_choices = config.network_type == "cpn" and n_outputs > 1
    sizes = config.layer_sizes
    if has_choices and sizes[-1] == 1:
        sizes = (*sizes[:-1], n_outputs)
    if sizes[-1] != n_outputs:
        labels_key = NETWORK_TYPES[config.network_type].labels_key
        raise UserError(
            f"LAYER_SIZES: the last layer of network {config.network_id} has "
            f"{sizes[-1]} unit(s), but {labels_key} has {n_outputs} column(s)"
        )
    return Architecture(
        network_type=config.network_type,
        input_dim=n_inputs,
        layer_sizes=sizes,
        activations=config.activations,
        choices=_codes(data_set, choices, n_outputs) if has_choices else (),
        can_omit=has_choices and "deadline" in data_set.parameters,
        huber_delta=config.huber_delta,
    )


def _codes(data_set: DataSet, choices: Sequence[int] | None, n_outputs: int) -> tuple[int, ...]:
    """Codes of the choices whose probabilities are labels; ssm-simulators counts from 0."""
    codes = tuple(range(n_outputs)) if choices is None else tuple(choices)
    if len(codes) != n_outputs:
        raise UserError(
            f"{data_set.folder}: cpn_labels has {n_outputs} column(s), but model "
            f"{data_set.model!r} has the choices {', '.join(map(str, codes))}"
        )
    return codes


def initial_weights(architecture: Architecture, *, seed: int) -> Weights:
    """Seeded weights: LeCun's truncated normal and zero biases, as flax's ``Dense`` starts.

    The normal is cut at two standard deviations and widened by 1/0.8796 to keep the variance
    1/inputs (``flax.linen.initializers.lecun_normal``).
    """
    rng = stream(seed, STREAM_WEIGHTS)
    weights: Weights = {}
    n_inputs = architecture.input_dim
    for i, n_outputs in enumerate(architecture.layer_sizes):
        draws = rng.standard_normal((n_inputs, n_outputs))
        while (outside := np.abs(draws) > 2).any():
            draws[outside] = rng.standard_normal(int(outside.sum()))
        scale = math.sqrt(1 / n_inputs) / _CUT_NORMAL_STD
        weights[f"layers_{i}/kernel"] = (draws * scale).astype(np.float32)
        weights[f"layers_{i}/bias"] = np.zeros(n_outputs, dtype=np.float32)
        n_inputs = n_outputs
    return weights
