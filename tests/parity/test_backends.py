"""Both backends against each other, and against the textbook's formulas in numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lanflow.networks.types import Architecture
from lanflow.training.backend import Backend
from lanflow.training.backends.choose import make_stack
from lanflow.training.batches import HeldRows
from lanflow.training.job import initial_weights
from lanflow.training.split import RowRanges
from tests.conftest import BACKENDS, make_backend, training_config

N_INPUTS, N_ROWS, BATCH_SIZE = 5, 70, 32
RATES = np.array([0.05, 0.03, 0.02, 0.01, 0.007, 0.003], dtype=np.float32)

# network type, activations, optimiser, weight decay: every value of each at least once.
CASES = [
    ("lan", ("tanh", "tanh"), "adam", 0.0),
    ("lan", ("relu", "sigmoid"), "sgd", 0.1),
    ("lan", ("sigmoid", "relu"), "adam", 0.1),
    ("lan", ("tanh", "tanh"), "muon", 0.0),
    ("cpn", ("relu", "tanh"), "muon", 0.01),
    ("cpn", ("relu", "tanh"), "adam", 0.01),
    ("cpn", ("tanh", "sigmoid"), "sgd", 0.0),
    ("opn", ("sigmoid", "tanh"), "sgd", 0.2),
    ("gonogo", ("tanh", "relu"), "adam", 0.0),
    ("choices", ("tanh", "relu"), "adam", 0.01),
    ("choices in time", ("relu", "tanh"), "sgd", 0.0),
]
# Of a network of more than two choices, where there may be none in time, or not.
CHOICES = {"choices": False, "choices in time": True}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Value, and derivative as a function of the value.
ACTIVATIONS = {
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "relu": (lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(float)),
    "sigmoid": (sigmoid, lambda y: y * (1 - y)),
}


@dataclass
class Textbook:
    """A perceptron, its gradients by hand, Adam (Kingma & Ba 2015), Muon, gradient descent."""

    architecture: Architecture
    optimizer: str
    weight_decay: float
    weights: dict[str, np.ndarray]
    count: int = 0
    mu: dict[str, np.ndarray] = field(default_factory=dict)
    nu: dict[str, np.ndarray] = field(default_factory=dict)

    def outputs(self, x: np.ndarray) -> list[np.ndarray]:
        outputs = [x]
        for i, activation in enumerate((*self.architecture.activations, None)):
            linear = outputs[-1] @ self.weights[f"layers_{i}/kernel"]
            linear = linear + self.weights[f"layers_{i}/bias"]
            outputs.append(linear if activation is None else ACTIVATIONS[activation][0](linear))
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        output = self.outputs(x)[-1]
        if self.architecture.choices:
            return np.log(self.shares(output))
        return output if self.architecture.network_type == "lan" else np.log(sigmoid(output))

    def shares(self, output: np.ndarray) -> np.ndarray:
        odds = np.exp(output)
        return odds / (odds.sum(axis=1, keepdims=True) + self.architecture.can_omit)

    def losses(self, output: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each row, and their derivatives by the output."""
        if self.architecture.network_type == "lan":
            error, delta = output - y, self.architecture.huber_delta
            line = delta * (np.abs(error) - delta / 2)
            losses = np.where(np.abs(error) <= delta, error**2 / 2, line)
            return losses, np.clip(error, -delta, delta)
        if self.architecture.choices:
            share, rest = self.shares(output), 1 - y.sum(axis=1)
            losses = -(y * np.log(share)).sum(axis=1)
            if not self.architecture.can_omit:
                return losses, y.sum(axis=1, keepdims=True) * share - y
            return losses - rest * np.log(1 - share.sum(axis=1)), share - y
        share = sigmoid(output)
        return -y * np.log(share) - (1 - y) * np.log(1 - share), share - y

    def update(self, x: np.ndarray, y: np.ndarray, rate: float) -> float:
        outputs = self.outputs(x)
        losses, slope = self.losses(outputs[-1], y)
        slope = slope / len(x)
        gradients = {}
        for i in reversed(range(len(self.architecture.layer_sizes))):
            gradients[f"layers_{i}/kernel"] = outputs[i].T @ slope
            gradients[f"layers_{i}/bias"] = slope.sum(axis=0)
            if i > 0:
                derivative = ACTIVATIONS[self.architecture.activations[i - 1]][1]
                slope = slope @ self.weights[f"layers_{i}/kernel"].T * derivative(outputs[i])
        self.count += 1
        for name, gradient in gradients.items():
            gradient = gradient + self.weight_decay * self.weights[name]
            if self.optimizer == "muon" and gradient.ndim == 2:
                gradient = self.muon_direction(name, gradient)
            elif self.optimizer != "sgd":
                gradient = self.direction(name, gradient)
            self.weights[name] = self.weights[name] - rate * gradient
        return float(losses.sum())

    def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        self.mu[name] = 0.9 * self.mu.get(name, 0) + 0.1 * gradient
        self.nu[name] = 0.999 * self.nu.get(name, 0) + 0.001 * gradient**2
        mean = self.mu[name] / (1 - 0.9**self.count)
        return mean / (np.sqrt(self.nu[name] / (1 - 0.999**self.count)) + 1e-8)

    def muon_direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """Nesterov's average with singular values near 1, by the polynomial of each of them."""
        self.mu[name] = 0.95 * self.mu.get(name, 0) + 0.05 * gradient
        self.nu[name] = np.zeros_like(gradient)
        ahead = 0.95 * self.mu[name] / (1 - 0.95 ** (self.count + 1))
        ahead += 0.05 * gradient / (1 - 0.95**self.count)
        left, values, right = np.linalg.svd(ahead, full_matrices=False)
        values = values / (np.sqrt((values**2).sum()) + 1e-8)
        for _ in range(5):
            values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
        n_inputs, n_outputs = gradient.shape
        return (left * values) @ right * np.sqrt(max(1, n_outputs / n_inputs))

    def optimizer_state(self) -> dict[str, Any]:
        if self.optimizer == "sgd":
            return {}
        moments = {f"mu/{name}": array for name, array in self.mu.items()}
        moments |= {f"nu/{name}": array for name, array in self.nu.items()}
        return {"count": self.count, **moments}


def assert_close(got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-4, atol=2e-6, err_msg=name)


def rows(network_type: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(N_ROWS, N_INPUTS)).astype(np.float32)
    if network_type in CHOICES:
        shares = rng.dirichlet(np.ones(4), size=N_ROWS).astype(np.float32)
        return features, shares[:, :3] if CHOICES[network_type] else shares
    labels = rng.uniform(0, 1, size=(N_ROWS, 1)).astype(np.float32)
    # A likelihood network's labels reach far enough for both branches of the Huber loss.
    return features, np.log(labels) if network_type == "lan" else labels


def started(backend: Backend, case: tuple[Any, ...]) -> tuple[Backend, Architecture]:
    network_type, activations, optimizer, decay = case
    delta = 0.3 if optimizer == "muon" else 1.0  # they have nothing to do with each other
    architecture = Architecture(network_type, N_INPUTS, (8, 6, 1), activations, huber_delta=delta)
    if network_type in CHOICES:
        can_omit = CHOICES[network_type]
        choices = tuple(range(4 - can_omit))
        sizes = (8, 6, len(choices))
        architecture = Architecture("cpn", N_INPUTS, sizes, activations, choices, can_omit)
    config = training_config(
        NETWORK_TYPE=architecture.network_type,
        OPTIMIZER_=optimizer,
        WEIGHT_DECAY=decay,
        LAYER_SIZES=[[8, 6, 1]],
        ACTIVATIONS=[list(activations)],
    )
    backend.start(architecture, config, initial_weights(architecture, seed=5))
    return backend, architecture


def train_epochs(backend: Backend, network_type: str, first: int = 0, last: int = 2) -> list[float]:
    """Three updates an epoch, the third of six rows."""
    features, labels = rows(network_type)
    return [
        backend.train_block(
            features, labels, batch_size=BATCH_SIZE, learning_rates=RATES[3 * i : 3 * i + 3]
        )
        for i in range(first, last)
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}-{case[2]}")
def test_losses_weights_and_optimiser_states_follow_the_textbook(case: tuple[Any, ...]) -> None:
    network_type, _, optimizer, decay = case
    features, labels = rows(network_type)
    results = []
    for backend_name in BACKENDS:
        backend, architecture = started(make_backend(backend_name), case)
        weights = {k: v.astype(float) for k, v in initial_weights(architecture, seed=5).items()}
        textbook = Textbook(architecture, optimizer, decay, weights)
        np.testing.assert_allclose(
            backend.evaluate_block(features, labels),
            textbook.losses(textbook.outputs(features)[-1], labels)[0].sum(),
            rtol=1e-5,
        )
        expected = []
        for epoch in range(2):
            batches = [slice(i, i + BATCH_SIZE) for i in range(0, N_ROWS, BATCH_SIZE)]
            rates = RATES[3 * epoch :].tolist()
            expected.append(
                sum(
                    textbook.update(features[batch], labels[batch], rate)
                    for batch, rate in zip(batches, rates, strict=False)
                )
            )
        np.testing.assert_allclose(train_epochs(backend, network_type), expected, rtol=2e-5)
        assert_close(backend.weights(), textbook.weights)
        assert_close(backend.optimizer_state(), textbook.optimizer_state())
        np.testing.assert_allclose(
            backend.predict(features), textbook.predict(features), rtol=1e-4, atol=1e-5
        )
        results.append((backend.weights(), backend.optimizer_state()))
    for got, expected_arrays in zip(*results, strict=True):
        assert_close(got, expected_arrays)


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[3]], ids=["adam", "sgd", "muon"])
@pytest.mark.parametrize("giver", BACKENDS)
def test_a_state_taken_from_one_backend_continues_in_the_other(
    case: tuple[Any, ...], giver: str
) -> None:
    taker = next(name for name in BACKENDS if name != giver)
    first, _ = started(make_backend(giver), case)
    train_epochs(first, case[0], 0, 1)
    second, _ = started(make_backend(taker), case)
    second.restore(first.weights(), first.optimizer_state())
    losses = [train_epochs(backend, case[0], 1, 2) for backend in (first, second)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert_close(second.weights(), first.weights())
    assert_close(second.optimizer_state(), first.optimizer_state())


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[3]], ids=["adam", "sgd", "muon"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_is_restored_goes_on_to_the_same_bytes(
    case: tuple[Any, ...], backend: str
) -> None:
    whole, _ = started(make_backend(backend), case)
    train_epochs(whole, case[0])
    first, _ = started(make_backend(backend), case)
    train_epochs(first, case[0], 0, 1)
    second, _ = started(make_backend(backend), case)
    second.restore(first.weights(), first.optimizer_state())
    train_epochs(second, case[0], 1, 2)
    for name, array in whole.weights().items():
        assert array.tobytes() == second.weights()[name].tobytes()
    for name, array in whole.optimizer_state().items():
        assert array.tobytes() == second.optimizer_state()[name].tobytes()


def holding(name: str, case: tuple[Any, ...], held_by: Backend | None = None) -> Backend:
    """A backend that keeps the rows."""
    backend, _ = started(make_backend(name), case)
    places = np.arange(N_ROWS, dtype=np.int32)
    ranges = RowRanges(np.array([0]), np.array([N_ROWS]))
    held = HeldRows(*rows(case[0]), ranges, places, places, None, labels_lower_bound=None)
    backend.hold_rows(held, held_by=held_by)
    return backend


@pytest.mark.parametrize(
    ("name", "case"),
    # JAX compiles each of them twice, for some seconds.
    [*(("torch", case) for case in CASES), *(("jax", CASES[i]) for i in (1, 3, 5, 10))],
    ids=lambda of: of if isinstance(of, str) else f"{of[0]}-{of[2]}",
)
def test_networks_in_one_program_are_those_that_are_trained_alone(
    name: str, case: tuple[Any, ...]
) -> None:
    """Two networks in three places; the second rests in the second epoch."""
    first = holding(name, case)
    together = [first, holding(name, case, held_by=first)]
    alone = [holding(name, case) for _ in together]
    stack = make_stack(together, size=3)
    rates = np.stack([RATES[:3], RATES[3:]])
    for seeds in ([7, 8], [9, None]):
        losses = stack.train_epoch(seeds, batch_size=BATCH_SIZE, learning_rates=rates)
        for backend, seed, own_rates, loss in zip(alone, seeds, rates, losses, strict=True):
            if seed is not None:
                expected = backend.train_epoch(
                    seed, batch_size=BATCH_SIZE, learning_rates=own_rates
                )
                assert loss == pytest.approx(expected, rel=1e-5)
    for got, expected_one in zip(together, alone, strict=True):
        assert_close(got.weights(), expected_one.weights())
        assert_close(got.optimizer_state(), expected_one.optimizer_state())
        assert got.evaluate_held() == pytest.approx(expected_one.evaluate_held(), rel=1e-5)


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_what_a_backend_hands_out_is_a_copy(backend_name: str) -> None:
    backend, _ = started(make_backend(backend_name), CASES[0])
    given = backend.weights()
    train_epochs(backend, "lan", 0, 1)
    state = backend.optimizer_state()
    before = {name: array.copy() for name, array in state.items()}
    backend.restore(given, state)
    train_epochs(backend, "lan", 1, 2)
    assert all(np.array_equal(state[name], before[name]) for name in before)
    fresh, _ = started(make_backend(backend_name), CASES[0])
    assert all(np.array_equal(given[name], array) for name, array in fresh.weights().items())
    given["layers_0/kernel"][:] = 7
    assert not (backend.weights()["layers_0/kernel"] == 7).any()


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_evaluating_and_predicting_change_nothing(backend_name: str) -> None:
    backend, _ = started(make_backend(backend_name), CASES[0])
    features, labels = rows("lan")
    train_epochs(backend, "lan", 0, 1)
    weights, state = backend.weights(), backend.optimizer_state()
    assert backend.evaluate_block(features, labels) == backend.evaluate_block(features, labels)
    backend.predict(features)
    assert all(np.array_equal(backend.weights()[name], weights[name]) for name in weights)
    assert all(np.array_equal(backend.optimizer_state()[name], state[name]) for name in state)
