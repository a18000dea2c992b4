import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanflow.networks.types import Activation, Architecture
from lanflow.training.backends.jax import JaxBackend, known_options
from lanflow.training.job import initial_weights
from tests.conftest import training_config

ARCHITECTURE = Architecture("cpn", 4, (8, 7, 6, 1), ("tanh", "relu", "sigmoid"))
ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
}


class PlainPerceptron(nn.Module):
    """A perceptron as anyone writes it in flax; its parameters are called as LANfactory's."""

    sizes: Sequence[int]
    activations: Sequence[Activation]

    def setup(self) -> None:
        self.layers = [nn.Dense(size) for size in self.sizes]

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer, activation in zip(self.layers[:-1], self.activations, strict=True):
            x = ACTIVATIONS[activation](layer(x))
        return self.layers[-1](x)


def test_flax_reads_the_weights_and_gives_the_same_outputs() -> None:
    weights = initial_weights(ARCHITECTURE, seed=1)
    backend = JaxBackend(device="cpu")
    keys = {"LAYER_SIZES": [[8, 7, 6, 1]], "ACTIVATIONS": [["tanh", "relu", "sigmoid"]]}
    backend.start(ARCHITECTURE, training_config(NETWORK_TYPE="cpn", **keys), weights)
    network = PlainPerceptron(ARCHITECTURE.layer_sizes, ARCHITECTURE.activations)
    features = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    empty = network.init(jax.random.PRNGKey(0), features)
    read = flax.serialization.from_bytes(empty, backend.native_weights(weights))
    assert sorted(read["params"]) == ["layers_0", "layers_1", "layers_2", "layers_3"]
    assert sorted(read["params"]["layers_0"]) == ["bias", "kernel"]
    log_probability = nn.log_sigmoid(network.apply(read, features))
    np.testing.assert_allclose(log_probability, backend.predict(features), rtol=1e-6)


def test_the_same_weights_give_the_same_bytes() -> None:
    backend = JaxBackend(device="cpu")
    weights = initial_weights(ARCHITECTURE, seed=1)
    assert backend.native_weights(weights) == backend.native_weights(dict(weights))


def test_without_a_gpu_auto_is_the_cpu_and_gpu_is_refused() -> None:
    program = (
        "from lanflow.training.backends.jax import select_device\n"
        "print(select_device('auto').platform, select_device('cpu').platform)\n"
        "select_device('gpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["cpu", "cpu"]
    assert "UserError: --device gpu: JAX sees no GPU here" in done.stderr


def test_the_number_of_threads_is_part_of_the_device() -> None:
    backend = JaxBackend(device="cpu", threads=2)
    assert (backend.device, backend.uses_gpu) == ("cpu, 2 thread(s)", False)


def test_versions_are_those_of_its_libraries() -> None:
    versions = JaxBackend(device="cpu").versions()
    assert sorted(versions) == ["flax", "jax", "optax"]
    assert versions["jax"] == jax.__version__


def test_a_second_training_of_the_same_shape_is_not_compiled_again() -> None:
    config = training_config(NETWORK_TYPE="cpn")  # of the optimiser alone
    features = np.zeros((8, 4), dtype=np.float32)
    labels = np.zeros((8, 1), dtype=np.float32)
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **keys: compiled.append(event)
    )
    for _ in range(2):
        compiled.clear()
        backend = JaxBackend(device="cpu")
        backend.start(ARCHITECTURE, config, initial_weights(ARCHITECTURE, seed=1))
        for _ in range(2):
            backend.train_block(
                features, labels, batch_size=4, learning_rates=np.ones(2, dtype=np.float32)
            )
    assert not [event for event in compiled if "backend_compile" in event]


def test_options_that_xla_does_not_know_are_left_out() -> None:
    known = {"xla_cpu_experimental_ynn_fusion_type": ""}
    assert known_options(known) == known
    assert known_options({**known, "xla_cpu_no_such_thing": ""}) == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_are_compiled_for_without_the_products_that_use_one(threads: int) -> None:
    architecture = Architecture("cpn", 6, (100, 100, 1), ("tanh", "tanh"))
    backend = JaxBackend(device="cpu", threads=threads)
    config = training_config(NETWORK_TYPE="cpn")  # of the optimiser alone
    weights = initial_weights(architecture, seed=1)
    backend.start(architecture, config, weights)
    features, labels = np.zeros((1000, 6), np.float32), np.zeros((1000, 1), np.float32)
    evaluate = backend._evaluate
    compiled = evaluate.func.lower(weights, features, labels, **evaluate.keywords).compile()
    assert ("ynn_fusion" in compiled.as_text()) == (threads == 1)
