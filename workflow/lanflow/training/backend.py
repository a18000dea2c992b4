"""The seam between a training and its backend: what JAX and Torch must each do.

The loop over epochs, learning rates and checkpoints are the same for both (see
:mod:`lanflow.training.fit`). A backend holds the weights and the optimiser on its device. It gets
rows in blocks of whole batches, in the order to train on them; a GPU gets all rows once if they
fit, and draws the orders itself.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np

from lanflow.core.errors import UserError, explain_import_error
from lanflow.core.interrupts import defer_signals
from lanflow.core.processes import require_memory
from lanflow.networks.types import Architecture, BackendName
from lanflow.training.batches import HeldRows
from lanflow.training.config import TrainingConfig

# ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,), float32.
Weights = dict[str, np.ndarray]
# ``count``, ``mu/{weight}`` and ``nu/{weight}`` for adam; empty for sgd.
OptimizerState = dict[str, np.ndarray]

# Torch's defaults, and those of Kingma & Ba (2015), whose alpha is the learning rate.
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8
# Address space that importing a backend takes, measured (torch 2.13, jax 0.10).
_LOADING_BYTES = {"torch": 600 * 2**20, "jax": 1000 * 2**20}

# Messages of Torch and XLA, in errors of their own, when memory runs out.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|RESOURCE_EXHAUSTED", re.I)

# Where the Huber loss turns from a square into a line.
HUBER_DELTA = 1.0


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


def make_stack(backends: Sequence[Backend], *, size: int) -> Stack:
    """Put networks together that are trained as one program.

    Parameters
    ----------
    backends
        Of one kind and device, each started, all with the same rows held, as many to train on, and
        with settings that differ in nothing but seed, learning rate and its schedule.
    size
        Places of the stack, at least as many. Sums are rounded as their number decides.
    """
    if backends[0].name == "jax":
        from lanflow.training.backends.jax import JaxStack

        return JaxStack(cast("Any", backends), size=size)
    from lanflow.training.backends.torch_stack import TorchStack

    return TorchStack(cast("Any", backends), size=size)


def make_backend(name: BackendName, *, device: str, threads: int) -> Backend:
    """Choose a backend and its device; the other backend is never imported.

    Parameters
    ----------
    name
        ``jax`` or ``torch``.
    device
        ``auto``, ``cpu`` or ``gpu``; ``auto`` is a GPU if the backend sees one.
    threads
        Threads of the CPU.

    Raises
    ------
    UserError
        If the backend is not installed, or a GPU was asked for and is not there.
    """
    if name not in sys.modules:
        require_memory(
            f"loading {name}",
            0,
            advice="raise it, or lift it (ulimit -v unlimited)",
            mapped_bytes=_LOADING_BYTES[name],
        )
    try:
        with defer_signals():
            kind = load_jax() if name == "jax" else load_torch()
            return kind(device=device, threads=threads)
    except ImportError as e:
        raise UserError(explain_import_error(e, f"{name}train", extra=name)) from e


def load_jax() -> Callable[..., Backend]:
    """Import JAX, and return its backend."""
    from lanflow.training.backends.jax import JaxBackend

    return JaxBackend


def load_torch() -> Callable[..., Backend]:
    """Import Torch, and return its backend."""
    _bound_spinning()
    from lanflow.training.backends.torch import TorchBackend

    return TorchBackend


def _bound_spinning() -> None:
    """Let Torch's threads sleep soon where they wait for each other.

    GNU's OpenMP reads it when Torch is loaded. Threads that wait spin, for some milliseconds if
    nothing is said, and take the core that the other thread needs where others compute, too. Two
    threads on two cores under a load of 6 to 9 (layers of 100, 100, 100, batches of 1,000; medians
    of three runs in turn): 16,000 rows/s with at most 1,000 spins, 6,200 with 10,000, 2,400 with
    100,000, and 1,500 with the default of 300,000 (one run; two did not end). On cores of one's
    own, 1,000 cost nothing seen, but none at all half of the rate.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


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
