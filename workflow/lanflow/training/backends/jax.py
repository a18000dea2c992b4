"""The JAX backend: flax's arithmetic, optax's optimisers, one compiled call per block of rows.

Where the device keeps the rows, an epoch is one program: it draws the order and gathers each batch.
What is compiled is in :mod:`lanflow.training.backends.jax_programs`; the classes keep weights and
optimiser state between calls. A stack of several networks is one program too, an epoch of each
mapped over a first axis.
"""

import os
from collections.abc import Sequence
from functools import cache, cached_property, partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lanflow.networks.types import Architecture, BackendName
from lanflow.training.backend import (
    Backend,
    OptimizerState,
    Stack,
    Weights,
    cpu_name,
    no_gpu_error,
)
from lanflow.training.backends.jax_programs import (
    Options,
    Tree,
    compiled,
    compiled_epoch,
    compiled_epochs,
    compiled_gathered_loss,
    make_optimizer,
)
from lanflow.training.batches import HeldRows
from lanflow.training.config import TrainingConfig

# From so many rows of a batch on, the products of cuBLAS are the faster ones: 184 million rows/s
# against 167 at 50,000, but 14.1 against 17.0 at 1,000 (jax 0.11.2, H200, layers of 100).
_LARGE_BATCH = 10_000
# Rows of a device that are validated in one go.
_EVALUATED_BYTES = 2**24


def select_device(wanted: str) -> jax.Device:
    """The device for ``auto``, ``cpu`` or ``gpu``.

    Raises
    ------
    UserError
        If a GPU was asked for and JAX sees none.
    """
    if wanted == "cpu":
        return jax.devices("cpu")[0]
    try:
        return jax.devices("gpu")[0]
    except RuntimeError as e:
        if wanted == "gpu":
            raise no_gpu_error("JAX", install="jax[cuda12]") from e
        return jax.devices("cpu")[0]


class JaxBackend(Backend):
    """Trains with JAX; parameters as of :func:`lanflow.training.backends.choose.make_backend`."""

    name: BackendName = "jax"
    weights_suffix = "jax"
    address_bytes = 500 * 2**20

    def __init__(self, *, device: str = "auto", threads: int = 1) -> None:
        os.environ["NPROC"] = str(threads)  # XLA reads it when its CPU backend starts
        self._device = select_device(device)
        self.uses_gpu = self._device.platform != "cpu"
        self._options = {} if self.uses_gpu else _cpu_options(threads)
        self._precise_options = _gpu_options() if self.uses_gpu else self._options
        self.device = self._device.device_kind if self.uses_gpu else cpu_name(threads)

    def start(self, architecture: Architecture, config: TrainingConfig, weights: Weights) -> None:
        """Take initial weights and a fresh optimiser."""
        self.optimizer = make_optimizer(config.optimizer, config.weight_decay)
        self._weights = self._put_all(weights)
        self._forget_state()
        self.architecture = architecture
        train, evaluate, predict = compiled(
            tuple(self._options.items()), tuple(self._precise_options.items())
        )
        self._train = partial(train, optimizer=self.optimizer, architecture=self.architecture)
        self._evaluate = partial(evaluate, architecture=architecture)
        self._predict = partial(predict, architecture=architecture)

    def bytes_for_rows(self) -> int:
        """A third of what JAX takes of a GPU: rows lie there twice while they are put together."""
        if not self.uses_gpu:
            return 0
        statistics = self._device.memory_stats() or {}
        return int(statistics.get("bytes_limit", 0)) // 3

    def hold_rows(self, rows: HeldRows, *, held_by: Any = None) -> None:
        """Copy rows to the device, unless another backend did."""
        if held_by is None:
            blocks = [self.place(*block) for block in rows.blocks()]
            self.held = tuple(jnp.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        else:
            self.held = held_by.held
        parts = None if rows.parts is None else self.put(rows.parts)
        self.trained = self.put(rows.train), parts
        n_rows = max(_EVALUATED_BYTES // (4 * sum(a.shape[1] for a in self.held)), 1)
        self._val_rows = [
            self.put(rows.val[first : first + n_rows]) for first in range(0, len(rows.val), n_rows)
        ]

    def drop_rows(self) -> None:
        """Forget the rows held."""
        for name in ("held", "trained", "_val_rows"):
            vars(self).pop(name, None)

    def train_epoch(self, seed: int, *, batch_size: int, learning_rates: np.ndarray) -> float:
        """Update once per batch of the rows held: one call of one program."""
        train = compiled_epoch(self.epoch_options(batch_size))
        self._weights, self._state, losses = train(
            self._weights,
            self._state,
            self.held,
            self.trained,
            self.put(jax.random.key(seed)),
            self.put(learning_rates),
            batch_size=batch_size,
            optimizer=self.optimizer,
            architecture=self.architecture,
        )
        return float(np.asarray(losses, dtype=np.float64).sum())

    def epoch_options(self, batch_size: int) -> Options:
        """XLA's options for an epoch of rows that the device keeps."""
        is_large = self.uses_gpu and batch_size >= _LARGE_BATCH
        return tuple((self._precise_options if is_large else self._options).items())

    @property
    def state(self) -> tuple[Tree, Any]:
        """The weights and the optimiser's state on the device, for a stack to train."""
        return self._weights, self._state

    @state.setter
    def state(self, trained: tuple[Tree, Any]) -> None:
        self._weights, self._state = trained

    def evaluate_held(self) -> float:
        """Sum the losses of the rows held to validate on, without an update."""
        evaluate = compiled_gathered_loss(tuple(self._precise_options.items()))
        losses = [
            evaluate(self._weights, self.held, rows, architecture=self.architecture)
            for rows in self._val_rows
        ]
        return float(sum(np.float64(loss) for loss in losses))

    def place(self, features: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Rows on their way to a GPU; the CPU takes them as they are."""
        if not self.uses_gpu:
            return features, labels
        x, y = (self.put(array) for array in (features, labels))
        return x, y

    def put(self, arrays: Any) -> Any:
        """An array on the device, or a tree of them."""
        return jax.device_put(arrays, self._device)

    def _put_all(self, arrays: Weights) -> Tree:
        return {name: self.put(jnp.array(array)) for name, array in arrays.items()}

    @cached_property
    def _state(self) -> Any:
        """The optimiser's; made by the first to need it, which a prediction does not."""
        # On the same device as the weights, or the second call would be compiled anew.
        return self.put(self.optimizer.init(self._weights))

    def _forget_state(self) -> None:
        """Begin with a fresh one."""
        vars(self).pop("_state", None)

    def train_block(
        self,
        features: Any,
        labels: Any,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """Update once per batch: all whole batches in one call, a smaller last one in another."""
        n_whole = len(features) // batch_size
        middle = n_whole * batch_size
        parts = [
            (features[:middle], labels[:middle], learning_rates[:n_whole]),
            (features[middle:], labels[middle:], learning_rates[n_whole:]),
        ]
        losses = []
        for x, y, rates in parts:
            if len(rates) == 0:
                continue
            x, y = (a.reshape(len(rates), -1, a.shape[1]) for a in (x, y))
            x, y, rates = (self.put(a) for a in (x, y, rates))
            self._weights, self._state, loss = self._train(self._weights, self._state, x, y, rates)
            losses.append(loss)
        return float(sum(np.asarray(loss, dtype=np.float64).sum() for loss in losses))

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""
        x, y = (self.put(a) for a in (features, labels))
        return float(self._evaluate(self._weights, x, y))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities of rows."""
        x = self.put(np.asarray(features, dtype=np.float32))
        return np.asarray(self._predict(self._weights, x))

    def weights(self) -> Weights:
        """A copy of the weights."""
        return {name: np.array(array) for name, array in self._weights.items()}

    def optimizer_state(self) -> OptimizerState:
        """A copy of the optimiser's state; of adam's only, since sgd has none."""
        adam = self._adam()
        if adam is None:
            return {}
        state = {"count": np.array(adam.count)}
        for moment in ("mu", "nu"):
            for name, array in getattr(adam, moment).items():
                state[f"{moment}/{name}"] = np.array(array)
        return state

    def _adam(self) -> Any:
        """Optax's state of adam inside the chain, None for sgd."""
        for part in self._state:
            if isinstance(part, optax.ScaleByAdamState):
                return part
        return None

    def restore(self, weights: Weights, optimizer_state: OptimizerState) -> None:
        """Continue from copies taken before."""
        self._weights = self._put_all(weights)
        if not optimizer_state:
            self._forget_state()
            return
        restored = optax.ScaleByAdamState(
            count=self.put(jnp.array(optimizer_state["count"], jnp.int32)),
            mu=self._put_all({name: optimizer_state[f"mu/{name}"] for name in weights}),
            nu=self._put_all({name: optimizer_state[f"nu/{name}"] for name in weights}),
        )
        self._state = tuple(
            restored if isinstance(part, optax.ScaleByAdamState) else part for part in self._state
        )

    def native_weights(self, weights: Weights) -> bytes:
        """Flax's serialised ``{"params": {"layers_0": {"kernel", "bias"}, ...}}``."""
        tree: dict[str, Weights] = {}
        for name, array in weights.items():
            layer, kind = name.split("/")
            tree.setdefault(layer, {})[kind] = array
        return bytes(flax.serialization.to_bytes({"params": tree}))

    def read_native_weights(self, content: bytes) -> Weights:
        """Weights from what :meth:`native_weights` gives."""
        try:
            tree = flax.serialization.msgpack_restore(content)["params"]
            return {
                f"{layer}/{kind}": np.asarray(array, np.float32)
                for layer, arrays in tree.items()
                for kind, array in arrays.items()
            }
        except Exception as e:  # msgpack raises a dozen kinds
            raise ValueError(f"not flax's weights of a perceptron ({e})") from e

    def versions(self) -> dict[str, str]:
        """Versions of the backend's libraries."""
        return {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__}


class JaxStack(Stack):
    """Trains with JAX; parameters as of :func:`lanflow.training.backends.choose.make_stack`."""

    def __init__(self, backends: Sequence[JaxBackend], *, size: int) -> None:
        self._backends = backends
        # Places that no network takes hold the first one once more; what it learns there is lost.
        self._places = [*backends, *[backends[0]] * (size - len(backends))]
        # An epoch of each begins with its own split, an order and learning rates.
        self._trained = jax.tree.map(
            lambda *arrays: jnp.stack(arrays), *(backend.trained for backend in self._places)
        )

    def train_epoch(
        self, seeds: Sequence[int | None], *, batch_size: int, learning_rates: np.ndarray
    ) -> list[float]:
        """Update each network once per batch of its rows: one call of one program."""
        first, n_unused = self._backends[0], len(self._places) - len(self._backends)
        train = compiled_epochs(first.epoch_options(batch_size))
        keys = [jax.random.key(seed or 0) for seed in [*seeds, *[None] * n_unused]]
        trained, losses = train(
            [backend.state for backend in self._places],
            first.held,
            self._trained,
            first.put(jnp.stack(keys)),
            first.put(np.pad(learning_rates, [(0, n_unused), (0, 0)])),
            batch_size=batch_size,
            optimizer=first.optimizer,
            architecture=first.architecture,
        )
        for backend, seed, state in zip(self._backends, seeds, trained, strict=False):
            if seed is not None:
                backend.state = state
        sums = np.asarray(losses, dtype=np.float64).sum(axis=1)
        return [float(loss) for loss in sums[: len(seeds)]]


@cache
def _cpu_options(threads: int) -> dict[str, str]:
    """XLA's options for a number of CPU threads.

    XLA's library for fused products (YNNPACK) leaves a second thread nearly idle with layers of a
    hundred units: 744,000 rows/s on two threads, 683,000 on one. Without it there are 1,020,000 on
    two and 585,000 on one (jax 0.10.2, layers of 100, 100, 100, batches of 1,000).
    """
    return {} if threads == 1 else known_options({"xla_cpu_experimental_ynn_fusion_type": ""})


@cache
def _gpu_options() -> dict[str, str]:
    """XLA's options for products in full float32 on a GPU.

    By default XLA writes and times many CUDA kernels for each product: 5.8 s to compile the
    validation of a network of 100, 100, 100, which then does 390 million rows/s. With the kernels
    of cuBLAS it takes 0.3 s and does 397 million (jax 0.11.2, H200, blocks of 150,000 rows).
    """
    return known_options({"xla_gpu_enable_triton_gemm": "False"})


def known_options(options: dict[str, str]) -> dict[str, str]:
    """The options, or none of them if this version of XLA does not know them all."""
    try:
        with jax.default_device(jax.devices("cpu")[0]):
            jax.jit(jnp.negative, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
