"""The functions that JAX compiles: pure functions of weights, optimiser state and rows.

An epoch of several networks is that of one, mapped over a first axis of weights and states.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lanflow.networks.types import Architecture
from lanflow.training.backend import (
    ADAM_BETAS,
    ADAM_EPSILON,
    MUON_BETA,
    MUON_EPSILON,
    MUON_POLYNOMIAL,
    MUON_ROUNDS,
)

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
Tree = dict[str, jax.Array]
# XLA's options by name, in a form that the cache of compiled functions can look up.
Options = tuple[tuple[str, str], ...]


@cache
def make_optimizer(name: str, weight_decay: float) -> optax.GradientTransformation:
    """Adam, Muon, gradient descent: weight decay is added to every gradient, as Torch does.

    The same settings give the same object, or every training of a process would be compiled anew.
    """
    decay = optax.add_decayed_weights(weight_decay)
    if name == "adam":
        return optax.chain(decay, optax.scale_by_adam(*ADAM_BETAS, eps=ADAM_EPSILON))
    if name == "muon":
        return optax.chain(decay, _muon())
    return optax.chain(decay, optax.identity())


def _muon() -> optax.GradientTransformation:
    """Muon for matrices and Adam for biases, with the state of Adam; ``nu`` of a matrix stays 0."""
    adam = optax.scale_by_adam(*ADAM_BETAS, eps=ADAM_EPSILON)

    def update(slopes: Tree, state: Any, weights: Any = None) -> tuple[Tree, Any]:
        biases = {name: slope for name, slope in slopes.items() if slope.ndim == 1}
        of_biases = state._replace(
            mu={name: state.mu[name] for name in biases},
            nu={name: state.nu[name] for name in biases},
        )
        steps, new = adam.update(biases, of_biases, weights)
        mu, nu = {**state.mu, **new.mu}, {**state.nu, **new.nu}
        for name in slopes.keys() - biases.keys():
            mu[name] = MUON_BETA * state.mu[name] + (1 - MUON_BETA) * slopes[name]
            ahead = MUON_BETA * mu[name] / (1 - MUON_BETA ** (new.count + 1))
            ahead += (1 - MUON_BETA) * slopes[name] / (1 - MUON_BETA**new.count)
            steps[name] = _orthogonal(ahead)
        return steps, new._replace(mu=mu, nu=nu)

    return optax.GradientTransformation(adam.init, update)


def _orthogonal(matrix: jax.Array) -> jax.Array:
    """Give a matrix (inputs, outputs) singular values of about 1, or more where it widens."""
    n_inputs, n_outputs = matrix.shape
    x = matrix.T if n_inputs > n_outputs else matrix
    x /= jnp.linalg.norm(x) + MUON_EPSILON
    a, b, c = MUON_POLYNOMIAL
    for _ in range(MUON_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if n_inputs > n_outputs else x) * max(1, n_outputs / n_inputs) ** 0.5


def _forward(weights: Tree, x: jax.Array, activations: tuple[str, ...]) -> jax.Array:
    for i, activation in enumerate(activations):
        x = x @ weights[f"layers_{i}/kernel"] + weights[f"layers_{i}/bias"]
        x = _ACTIVATIONS[activation](x)
    last = len(activations)
    return x @ weights[f"layers_{last}/kernel"] + weights[f"layers_{last}/bias"]


def _precise_forward(weights: Tree, x: jax.Array, activations: tuple[str, ...]) -> jax.Array:
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
    return optax.huber_loss(output, labels, delta=architecture.huber_delta)


def _with_omission(logits: jax.Array) -> jax.Array:
    """The logits of choices and that of none in time, which is 0."""
    return jnp.pad(logits, [(0, 0), (0, 1)])


def _summed_loss(
    weights: Tree, x: jax.Array, y: jax.Array, *, architecture: Architecture
) -> jax.Array:
    output = _precise_forward(weights, x, architecture.activations)
    return _row_losses(output, y, architecture).sum()


def _head(weights: Tree, x: jax.Array, *, architecture: Architecture) -> jax.Array:
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
    weights: Tree,
    state: optax.OptState,
    x: jax.Array,
    y: jax.Array,
    rates: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[Tree, optax.OptState, jax.Array]:
    """Update once per batch of ``x`` (batches, rows, inputs).

    Returns the weights, the optimiser's state, and the summed row losses of each batch.
    """
    step = partial(_update, optimizer=optimizer, architecture=architecture)
    (weights, state), losses = jax.lax.scan(step, (weights, state), (x, y, rates))
    return weights, state, losses


def _update(
    carried: tuple[Tree, optax.OptState],
    batch: tuple[jax.Array, jax.Array, jax.Array],
    *,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[tuple[Tree, optax.OptState], jax.Array]:
    """Weights and state after one batch of rows, and its summed loss before."""

    def mean_loss(weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
        return _row_losses(_forward(weights, x, architecture.activations), y, architecture).mean()

    weights, state = carried
    x, y, rate = batch
    loss, gradients = jax.value_and_grad(mean_loss)(weights, x, y)
    updates, state = optimizer.update(gradients, state, weights)
    weights = jax.tree.map(lambda w, u: w - rate * u, weights, updates)
    return (weights, state), loss * (len(y) * architecture.n_losses)


def _train_epoch(
    weights: Tree,
    state: optax.OptState,
    held: tuple[jax.Array, jax.Array],
    trained: tuple[jax.Array, jax.Array | None],
    key: jax.Array,
    rates: jax.Array,
    *,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    architecture: Architecture,
) -> tuple[Tree, optax.OptState, jax.Array]:
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
    weights: Tree,
    held: tuple[jax.Array, jax.Array],
    rows: jax.Array,
    *,
    architecture: Architecture,
) -> jax.Array:
    return _summed_loss(weights, *_gather(held, rows), architecture=architecture)


def _train_epochs(
    networks: Sequence[tuple[Tree, optax.OptState]],
    held: tuple[jax.Array, jax.Array],
    trained: tuple[jax.Array, jax.Array | None],
    keys: jax.Array,
    rates: jax.Array,
    **fixed: Any,
) -> tuple[list[tuple[Tree, optax.OptState]], jax.Array]:
    """An epoch of several networks, each in an order and with learning rates of its own.

    Parameters
    ----------
    networks
        Weights and optimiser state of each.
    held
        As of :func:`_train_epoch`; all learn from these rows.
    trained, keys, rates
        As of :func:`_train_epoch`, with a first axis of networks.

    Returns
    -------
    tuple
        Weights and state of each network, and the summed row losses (networks, batches).
    """
    weights, states = jax.tree.map(lambda *arrays: jnp.stack(arrays), *networks)
    epoch = jax.vmap(partial(_train_epoch, **fixed), in_axes=(0, 0, None, 0, 0, 0))
    weights, states, losses = epoch(weights, states, held, trained, keys, rates)
    return [
        jax.tree.map(lambda a, i=i: a[i], (weights, states)) for i in range(len(networks))
    ], losses


@cache
def compiled(options: Options, precise_options: Options) -> tuple[Any, Any, Any]:
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
def compiled_epoch(options: Options) -> Any:
    """An epoch of rows that the device keeps, as JAX compiles it with these options of XLA's."""
    return _compiled_training(_train_epoch, options, donated=("weights", "state"))


@cache
def compiled_gathered_loss(options: Options) -> Any:
    """The loss of rows that the device keeps, as JAX compiles it with these options of XLA's."""
    return jax.jit(_gathered_loss, compiler_options=dict(options), static_argnames="architecture")


@cache
def compiled_epochs(options: Options) -> Any:
    """An epoch of several networks, as JAX compiles it with these options of XLA's."""
    return _compiled_training(_train_epochs, options)


def _compiled_training(
    function: Callable[..., Any], options: Options, donated: Sequence[str] = ()
) -> Any:
    return jax.jit(
        function,
        compiler_options=dict(options),
        static_argnames=("batch_size", "optimizer", "architecture"),
        donate_argnames=tuple(donated),
    )
