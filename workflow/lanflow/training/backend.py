"""The seam between a training and its backend: what JAX and Torch must each do.

The loop over epochs, learning rates and checkpoints are the same for both (see
:mod:`lanflow.training.fit`). A backend holds the weights and the optimiser on its device. It gets
rows in blocks of whole batches, in the order to train on them; a GPU gets all rows once if they
fit, and draws the orders itself.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.interrupts import defer_signals
from lanflow.networks.types import Architecture, BackendName
from lanflow.training.batches import HeldRows
from lanflow.training.config import TrainingConfig

# ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,), float32.
Weights = dict[str, np.ndarray]
# ``count``, ``mu/{weight}`` and ``nu/{weight}`` for adam and muon; empty for sgd.
OptimizerState = dict[str, np.ndarray]

# Torch's defaults, and those of Kingma & Ba (2015), whose alpha is the learning rate.
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8

# Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) moves each matrix of weights
# by its averaged slope with all singular values made nearly 1, which five rounds of a polynomial do
# (a x + b x x' x + c (x x')**2 x). Matrices have Nesterov's average with this factor, divided by
# what is missing of the first steps, as optax has it; biases have Adam.
MUON_BETA, MUON_ROUNDS, MUON_EPSILON = 0.95, 5, 1e-8
MUON_POLYNOMIAL = (3.4445, -4.7750, 2.0315)

# Messages of Torch and XLA, in errors of their own, when memory runs out.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|RESOURCE_EXHAUSTED", re.I)


class Backend(Protocol):
    """Trains one network on one device.

    Attributes
    ----------
    name
        ``jax`` or ``torch``.
    device
        Name of the GPU, or the number of CPU threads: sums are split by it, so it decides the last
        bits of the weights.
    uses_gpu
        Whether the device is a GPU.
    weights_suffix
        Ending of a file in the backend's own format.
    address_bytes
        Address space that its first steps take beside the arrays, for threads and compilers.
    """

    name: BackendName
    device: str
    uses_gpu: bool
    weights_suffix: str
    address_bytes: int

    def start(self, architecture: Architecture, config: TrainingConfig, weights: Weights) -> None:
        """Take initial weights and a fresh optimiser."""

    def bytes_for_rows(self) -> int:
        """Bytes of rows, and of their order, that the device may keep; 0 where it shall keep none.

        A number of the device, the same whenever it is asked for.
        """

    def hold_rows(self, rows: HeldRows, *, held_by: "Backend | None" = None) -> None:
        """Copy rows to the device, for :meth:`train_epoch` and :meth:`evaluate_held`.

        ``held_by`` is a backend of the same kind and device that holds these rows already.
        """

    def drop_rows(self) -> None:
        """Forget the rows held, so that the device has room for those of another training."""

    def train_epoch(self, seed: int, *, batch_size: int, learning_rates: np.ndarray) -> float:
        """Update the weights as :meth:`train_block` does, by the rows held, in an order of a seed.

        The seed is at least 0 and below 2**31.
        """

    def evaluate_held(self) -> float:
        """Sum the losses of the rows held to validate on, without an update."""

    def place(self, features: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Rows as :meth:`train_block` takes them, on their way to the device; from any thread."""

    def train_block(
        self,
        features: Any,
        labels: Any,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """Update the weights once per batch, in order.

        Parameters
        ----------
        features, labels
            (rows, inputs) and (rows, outputs) float32, as :meth:`place` gives them.
        batch_size
            Rows of a batch; the last batch may be smaller.
        learning_rates
            One for each batch, float32.

        Returns
        -------
        float
            Loss of every row before the update of its batch, summed.
        """

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities (rows, outputs) of rows (rows, inputs)."""

    def weights(self) -> Weights:
        """A copy of the weights."""

    def optimizer_state(self) -> OptimizerState:
        """A copy of the optimiser's state, which the other backend can continue from too."""

    def restore(self, weights: Weights, optimizer_state: OptimizerState) -> None:
        """Continue from copies taken before; an empty state is a fresh optimiser."""

    def native_weights(self, weights: Weights) -> bytes:
        """Weights in the backend's own file format."""

    def read_native_weights(self, content: bytes) -> Weights:
        """Weights from that format; ``ValueError`` if it holds something else."""

    def versions(self) -> dict[str, str]:
        """Versions of the backend's libraries."""


class Stack(Protocol):
    """Trains several networks of one shape on one device, as one program."""

    def train_epoch(
        self, seeds: Sequence[int | None], *, batch_size: int, learning_rates: np.ndarray
    ) -> list[float]:
        """Update each network as its backend's :meth:`Backend.train_epoch` would, but for rounding.

        Parameters
        ----------
        seeds
            One for each network; one with ``None`` rests, and stays as it is.
        batch_size
            As of a backend.
        learning_rates
            (networks, batches) float32.

        Returns
        -------
        list of float
            The summed losses of each network; of one that rests they mean nothing.
        """


def cpu_name(threads: int) -> str:
    """The device of a training on so many threads, as records and checkpoints name it."""
    return f"cpu, {threads} thread(s)"


def no_gpu_error(library: str, *, install: str) -> UserError:
    """The error for ``--device gpu`` where the library sees none."""
    return UserError(
        f"--device gpu: {library} sees no GPU here (install {install}, or use --device cpu)"
    )


@contextlib.contextmanager
def backend_at_work() -> Iterator[None]:
    """Defer signals while a backend works.

    Raises
    ------
    MemoryError
        If it finds no memory on its device, which each library says in its own way.
    """
    with defer_signals():
        try:
            yield
        except RuntimeError as e:
            if _OUT_OF_MEMORY.search(str(e)):
                raise MemoryError(str(e)) from e
            raise
