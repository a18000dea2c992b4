"""The JAX backend: flax's arithmetic, optax's optimisers, one compiled call per block of rows.

Where the device keeps the rows, an epoch is one program: it draws the order and gathers each batch.
Everything that is compiled is a pure function of weights, optimiser state and rows; the class
keeps weights and state between calls.
"""

import os
from functools import cache, partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lanflow.networks.types import Architecture, BackendName
from lanflow.training.backend import (
    ADAM_BETAS,
    ADAM_EPSILON,
    HUBER_DELTA,
    Backend,
    OptimizerState,
    Weights,
    cpu_name,
    no_gpu_error,
)
from lanflow.training.batches import HeldRows
from lanflow.training.config import TrainingConfig

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
_Tree = dict[str, jax.Array]
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
    """Trains with JAX; parameters as of :func:`lanflow.training.backend.make_backend`."""

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
        self._optimizer = _optimizer(config.optimizer, config.weight_decay)
        self._weights = self._put(weights)
        self._state = self._fresh_state()
        self._architecture = architecture
        train, evaluate, predict = _compiled(
            tuple(self._options.items()), tuple(self._precise_options.items())
        )
        self._train = partial(train, optimizer=self._optimizer, architecture=architecture)
        self._evaluate = partial(evaluate, architecture=architecture)
        self._predict = partial(predict, architecture=architecture)

    def bytes_for_rows(self) -> int:
        """A third of what JAX takes of a GPU: rows lie there twice while they are put together."""
        if not self.uses_gpu:
            return 0
        statistics = self._device.memory_stats() or {}
        return int(statistics.get("bytes_limit", 0)) // 3

    def hold_rows(self, rows: HeldRows) -> None:
        """Copy rows to the device."""
        blocks = [self.place(*block) for block in rows.blocks()]
        self._held = tuple(jnp.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        self._train_rows = jax.device_put(rows.train, self._device)
        self._parts = None if rows.parts is None else jax.device_put(rows.parts, self._device)
        n_rows = max(_EVALUATED_BYTES // (4 * sum(a.shape[1] for a in self._held)), 1)
        self._val_rows = [
            jax.device_put(rows.val[first : first + n_rows], self._device)
            for first in range(0, len(rows.val), n_rows)
        ]

    def train_epoch(self, seed: int, *, batch_size: int, learning_rates: np.ndarray) -> float:
        """Update once per batch of the rows held: one call of one program."""
        options = self._options
        if self.uses_gpu and batch_size >= _LARGE_BATCH:
            options = self._precise_options
        train = _compiled_epoch(tuple(options.items()))
        self._weights, self._state, losses = train(
            self._weights,
            self._state,
            self._held,
            (self._train_rows, self._parts),
            jax.device_put(jax.random.key(seed), self._device),
            jax.device_put(learning_rates, self._device),
            batch_size=batch_size,
            optimizer=self._optimizer,
            architecture=self._architecture,
        )
        return float(np.asarray(losses, dtype=np.float64).sum())

    def evaluate_held(self) -> float:
        """Sum the losses of the rows held to validate on, without an update."""
        evaluate = _compiled_gathered_loss(tuple(self._precise_options.items()))
        losses = [
            evaluate(self._weights, self._held, rows, architecture=self._architecture)
            for rows in self._val_rows
        ]
        return float(sum(np.float64(loss) for loss in losses))

    def place(self, features: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Rows on their way to a GPU; the CPU takes them as they are."""
        if not self.uses_gpu:
            return features, labels
        x, y = (jax.device_put(array, self._device) for array in (features, labels))
        return x, y

    def _put(self, arrays: Weights) -> _Tree:
        return {k: jax.device_put(jnp.array(v), self._device) for k, v in arrays.items()}

    def _fresh_state(self) -> Any:
        # On the same device as the weights, or the second call would be compiled anew.
        return jax.device_put(self._optimizer.init(self._weights), self._device)

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
            x, y, rates = (jax.device_put(a, self._device) for a in (x, y, rates))
            self._weights, self._state, loss = self._train(self._weights, self._state, x, y, rates)
            losses.append(loss)
        return float(sum(np.asarray(loss, dtype=np.float64).sum() for loss in losses))

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""
        x, y = (jax.device_put(a, self._device) for a in (features, labels))
        return float(self._evaluate(self._weights, x, y))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities of rows."""
        x = jax.device_put(np.asarray(features, dtype=np.float32), self._device)
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
        self._weights = self._put(weights)
        if not optimizer_state:
            self._state = self._fresh_state()
            return
        restored = optax.ScaleByAdamState(
            count=jax.device_put(jnp.array(optimizer_state["count"], jnp.int32), self._device),
            mu=self._put({name: optimizer_state[f"mu/{name}"] for name in weights}),
            nu=self._put({name: optimizer_state[f"nu/{name}"] for name in weights}),
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


@cache
def _optimizer(name: str, weight_decay: float) -> optax.GradientTransformation:
    """Adam and gradient descent as Torch has them: weight decay is added to every gradient.

    The same settings give the same object, or every training of a process would be compiled anew.
    """
    decay = optax.add_decayed_weights(weight_decay)
    if name == "adam":
        return optax.chain(decay, optax.scale_by_adam(*ADAM_BETAS, eps=ADAM_EPSILON))
    return optax.chain(decay, optax.identity())


def _forward(weights: _Tree, x: jax.Array, activations: tuple[str, ...]) -> jax.Array:
    for i, activation in enumerate(activations):
        x = x @ weights[f"layers_{i}/kernel"] + weights[f"layers_{i}/bias"]
        x = _ACTIVATIONS[activation](x)
    last = len(activations)
    return x @ weights[f"layers_{last}/kernel"] + weights[f"layers_{last}/bias"]


def _precise_forward(weights: _Tree, x: jax.Array, activations: tuple[str, ...]) -> jax.Array:
    """Multiply matrices in full float32.

    On a GPU, JAX otherwise rounds the factors to 10 bits, which is enough for a gradient only.
    """
    with jax.default_matmul_precision("highest"):
        return _forward(weights, x, activations)


def _row_losses(output: jax.Array, labels: jax.Array, architecture: Architecture) -> jax.Array:
    """Losses of each row: of each output, or of all choices together."""
    match architecture.loss:
        case "bcelogit":
            return optax.sigmoid_binary_cross_entropy(output, labels)
        case "crossentropy":
            if architecture.can_omit:
                rest = jnp.maximum(1 - labels.sum(axis=1, keepdims=True), 0)
                output, labels = _with_omission(output), jnp.concatenate([labels, rest], axis=1)
            return -(labels * jax.nn.log_softmax(output)).sum(axis=1)
    return optax.huber_loss(output, labels, delta=HUBER_DELTA)


def _with_omission(logits: jax.Array) -> jax.Array:
    """The logits of choices and that of none in time, which is 0."""
    return jnp.pad(logits, [(0, 0), (0, 1)])


def _summed_loss(
    weights: _Tree, x: jax.Array, y: jax.Array, *, architecture: Architecture
) -> jax.Array:
    output = _precise_forward(weights, x, architecture.activations)
    return _row_losses(output, y, architecture).sum()


def _head(weights: _Tree, x: jax.Array, *, architecture: Architecture) -> jax.Array:
    output = _precise_forward(weights, x, architecture.activations)
    match architecture.loss:
        case "bcelogit":
            return jax.nn.log_sigmoid(output)
        case "crossentropy":
            n_choices = output.shape[1]
            logits = _with_omission(output) if architecture.can_omit else output
            return jax.nn.log_softmax(logits)[:, :n_choices]
    return output


def _train_batches(
    weights: _Tree,
    state: optax.OptState,
    x: jax.Array,
    y: jax.Array,
    rates: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[_Tree, optax.OptState, jax.Array]:
    """Update once per batch of ``x`` (batches, rows, inputs).

    Returns the weights, the optimiser's state, and the summed row losses of each batch.
    """
    step = partial(_update, optimizer=optimizer, architecture=architecture)
    (weights, state), losses = jax.lax.scan(step, (weights, state), (x, y, rates))
    return weights, state, losses


def _update(
    carried: tuple[_Tree, optax.OptState],
    batch: tuple[jax.Array, jax.Array, jax.Array],
    *,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[tuple[_Tree, optax.OptState], jax.Array]:
    """Weights and state after one batch of rows, and its summed loss before."""

    def mean_loss(weights: _Tree, x: jax.Array, y: jax.Array) -> jax.Array:
        return _row_losses(_forward(weights, x, architecture.activations), y, architecture).mean()

    weights, state = carried
    x, y, rate = batch
    loss, gradients = jax.value_and_grad(mean_loss)(weights, x, y)
    updates, state = optimizer.update(gradients, state, weights)
    weights = jax.tree.map(lambda w, u: w - rate * u, weights, updates)
    return (weights, state), loss * (len(y) * architecture.n_losses)


def _train_epoch(
    weights: _Tree,
    state: optax.OptState,
    held: tuple[jax.Array, jax.Array],
    trained: tuple[jax.Array, jax.Array | None],
    key: jax.Array,
    rates: jax.Array,
    *,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[_Tree, optax.OptState, jax.Array]:
    """Update once per batch of rows that are gathered in an order drawn here.

    Parameters
    ----------
    held
        Features and labels of all rows.
    trained
        Numbers of the rows to train on, and the parts of them that are visited one by one, if any.
    key, rates
        What draws the order; the learning rate of each batch.

    Returns
    -------
    tuple
        The weights, the optimiser's state, and the summed row losses of each batch.
    """
    rows, parts = trained
    order = jax.random.permutation(key, len(rows))
    if parts is not None:
        order = order[jnp.argsort(parts[order], stable=True)]
    order = rows[order]

    def step(carried: Any, batch: Any) -> Any:
        chosen, rate = batch
        x, y = _gather(held, chosen)
        return _update(carried, (x, y, rate), optimizer=optimizer, architecture=architecture)

    n_whole = len(rows) // batch_size
    batches = order[: n_whole * batch_size].reshape(n_whole, batch_size)
    carried, losses = jax.lax.scan(step, (weights, state), (batches, rates[:n_whole]))
    if n_whole < len(rates):
        carried, loss = step(carried, (order[n_whole * batch_size :], rates[n_whole]))
        losses = jnp.append(losses, loss)
    return *carried, losses


def _gather(held: tuple[jax.Array, jax.Array], rows: jax.Array) -> list[jax.Array]:
    return [array.at[rows].get(mode="promise_in_bounds") for array in held]


def _gathered_loss(
    weights: _Tree,
    held: tuple[jax.Array, jax.Array],
    rows: jax.Array,
    *,
    architecture: Architecture,
) -> jax.Array:
    return _summed_loss(weights, *_gather(held, rows), architecture=architecture)


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


@cache
def _compiled(
    options: tuple[tuple[str, str], ...], precise_options: tuple[tuple[str, str], ...]
) -> tuple[Any, Any, Any]:
    """The three functions as JAX compiles them: once for all trainings of a process.

    Parameters
    ----------
    options
        XLA's options for training.
    precise_options
        Those for evaluation and prediction, which multiply in full float32.

    Returns
    -------
    tuple
        Training, evaluation and prediction.
    """
    compile_with = partial(jax.jit, compiler_options=dict(precise_options))
    train = jax.jit(
        _train_batches,
        compiler_options=dict(options),
        static_argnames=("optimizer", "architecture"),
        donate_argnames=("weights",),
    )
    evaluate, predict = (
        compile_with(f, static_argnames="architecture") for f in (_summed_loss, _head)
    )
    return train, evaluate, predict


@cache
def _compiled_epoch(options: tuple[tuple[str, str], ...]) -> Any:
    """An epoch of rows that the device keeps, as JAX compiles it with these options of XLA's."""
    return jax.jit(
        _train_epoch,
        compiler_options=dict(options),
        static_argnames=("batch_size", "optimizer", "architecture"),
        donate_argnames=("weights", "state"),
    )


@cache
def _compiled_gathered_loss(options: tuple[tuple[str, str], ...]) -> Any:
    """The loss of rows that the device keeps, as JAX compiles it with these options of XLA's."""
    return jax.jit(_gathered_loss, compiler_options=dict(options), static_argnames="architecture")
