"""What a backend must do for a training, and what a training tells of an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lanflow.core.errors import UserError
from lanflow.networks.types import Architecture
from lanflow.training.config import TrainingConfig

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    Attributes
    ----------
    epoch
        Zero-based.
    train_loss
        Mean over the rows trained on, while training.
    val_loss
        Mean over the validation rows, at the end of the epoch.
    learning_rate
        Rate of the epoch's last update.
    seconds
        Wall time, validation included.
    """

    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float
    seconds: float


class Kernel(Protocol):
    """What differs between backends.

    Weights are ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,), float32.
    """

    name: str
    device: str
    uses_gpu: bool
    weights_suffix: str

    def start(
        self, architecture: Architecture, config: TrainingConfig, weights: Mapping[str, np.ndarray]
    ) -> None:
        """Take initial weights and a fresh optimiser."""

    def train_block(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """One update per batch, in order; the last batch may be smaller. The summed row losses."""

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """The summed row losses without an update."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The evaluation head (rows, outputs): a log-likelihood or a log-probability."""

    def weights(self) -> Weights:
        """A copy of the weights."""

    def optimizer_state(self) -> Weights:
        """A copy of the optimiser's state, one name per array, the same in both backends."""

    def restore(
        self, weights: Mapping[str, np.ndarray], optimizer_state: Mapping[str, np.ndarray]
    ) -> None:
        """Continue from copies taken before."""

    def native_weights(self, weights: Mapping[str, np.ndarray]) -> bytes:
        """Weights in the backend's own file format."""

    def read_native_weights(self, content: bytes) -> Weights:
        """Weights from that format; ``ValueError`` if it holds something else."""

    def versions(self) -> dict[str, str]:
        """Versions of the backend's libraries."""


# The one place that chooses a kernel; the other backend is never imported.


def make_kernel(backend: str, *, device: str, threads: int) -> Kernel:
    """A backend's kernel.

    Parameters
    ----------
    backend
        ``jax`` or ``torch``.
    device
        ``auto``, ``cpu`` or ``gpu``.
    threads
        Of the CPU.

    Raises
    ------
    UserError
        If the backend is not installed, or a GPU was asked for and is not there.
    """
    try:
        if backend == "jax":
            from lanflow.training.backend_jax import JaxKernel

            return JaxKernel(device=device, threads=threads)
        from lanflow.training.backend_torch import TorchKernel

        return TorchKernel(device=device, threads=threads)
    except ImportError as e:
        raise UserError(f"{backend}train needs {e.name}; install lanflow[{backend}]") from e
