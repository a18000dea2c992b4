import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from lanflow.networks.types import Activation, Architecture, NetworkTypeName
from lanflow.training.backends.torch import TorchBackend
from lanflow.training.job import initial_weights
from tests.conftest import training_config

ARCHITECTURE = Architecture("cpn", 4, (8, 7, 6, 1), ("tanh", "relu", "sigmoid"))


class PlainPerceptron(torch.nn.Module):
    """A perceptron as anyone writes it in Torch; its parameters are called as LANfactory's."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8),
            torch.nn.Tanh(),
            torch.nn.Linear(8, 7),
            torch.nn.ReLU(),
            torch.nn.Linear(7, 6),
            torch.nn.Sigmoid(),
            torch.nn.Linear(6, 1),
        )


def test_torch_reads_the_state_dict_and_gives_the_same_outputs() -> None:
    weights = initial_weights(ARCHITECTURE, seed=1)
    backend = TorchBackend(device="cpu")
    keys = {"LAYER_SIZES": [[8, 7, 6, 1]], "ACTIVATIONS": [["tanh", "relu", "sigmoid"]]}
    backend.start(ARCHITECTURE, training_config(NETWORK_TYPE="cpn", **keys), weights)
    network = PlainPerceptron()
    state = torch.load(io.BytesIO(backend.native_weights(weights)), weights_only=True)
    network.load_state_dict(state)  # strict: no name missing, none too many
    features = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    with torch.no_grad():
        log_probability = torch.nn.functional.logsigmoid(network.layers(torch.from_numpy(features)))
    np.testing.assert_allclose(log_probability, backend.predict(features), rtol=1e-6)


def test_the_same_weights_give_the_same_bytes() -> None:
    backend = TorchBackend(device="cpu")
    weights = initial_weights(ARCHITECTURE, seed=1)
    assert backend.native_weights(weights) == backend.native_weights(dict(weights))


def test_without_a_gpu_auto_is_the_cpu_and_gpu_is_refused() -> None:
    program = (
        "from lanflow.training.backends.torch import select_device\n"
        "print(select_device('auto').type, select_device('cpu').type)\n"
        "select_device('gpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["cpu", "cpu"]
    assert "UserError: --device gpu: Torch sees no GPU here" in done.stderr


def test_the_number_of_threads_is_set_and_part_of_the_device() -> None:
    backend = TorchBackend(device="cpu", threads=2)
    assert torch.get_num_threads() == 2
    assert (backend.device, backend.uses_gpu) == ("cpu, 2 thread(s)", False)
    TorchBackend(device="cpu", threads=1)
    assert torch.get_num_threads() == 1


def test_versions_are_those_of_its_libraries() -> None:
    assert TorchBackend(device="cpu").versions() == {"torch": torch.__version__}


# Loss: type of network, units of its last layer, codes of the choices.
ARCHITECTURES: dict[str, tuple[NetworkTypeName, tuple[int, ...], tuple[int, ...]]] = {
    "huber": ("lan", (1,), ()),
    "bcelogit": ("opn", (1,), ()),
    "crossentropy": ("cpn", (3,), (0, 1, 2)),
    "crossentropy of choices in time": ("cpn", (3,), (0, 1, 2)),
}
N_ROWS, BATCH_SIZE = 70, 32
RATES = np.array([0.05, 0.03, 0.02], dtype=np.float32)


def train_plainly(
    architecture: Architecture,
    optimizer: torch.optim.Optimizer,
    weights: list[torch.Tensor],
    features: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    """Three updates as anyone writes them in Torch; the last batch is smaller."""
    activations = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    batches = zip(features.split(BATCH_SIZE), labels.split(BATCH_SIZE), RATES.tolist(), strict=True)
    for x, y, rate in batches:
        for i, (kernel, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
            x = torch.addmm(bias, x, kernel)
            if i < len(architecture.activations):
                x = activations[architecture.activations[i]](x)
        optimizer.zero_grad()
        plain_loss(architecture, x, y).backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()


def plain_loss(architecture: Architecture, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if architecture.network_type == "lan":
        return functional.huber_loss(x, y)
    if not architecture.choices:
        return functional.binary_cross_entropy_with_logits(x, y)
    if architecture.can_omit:
        x = torch.cat([x, torch.zeros(len(x), 1)], dim=1)
        y = torch.cat([y, (1 - y.sum(dim=1, keepdim=True)).clamp(min=0)], dim=1)
    return -(y * functional.log_softmax(x, dim=1)).sum(dim=1).mean()


def drawn_labels(loss: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    if loss.startswith("crossentropy"):
        shares = rng.dirichlet(np.ones(4), size=N_ROWS).astype(np.float32)[:, :3]
        return shares if loss.endswith("time") else shares / shares.sum(axis=1, keepdims=True)
    labels = rng.uniform(0, 1, size=(N_ROWS, 1)).astype(np.float32)
    # Those of a likelihood network reach far enough for both branches of the Huber loss.
    return np.log(labels) if loss == "huber" else labels


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("loss", ARCHITECTURES)
def test_updates_give_the_bits_of_autograd_and_of_torchs_optimisers(
    loss: str, activation: Activation, optimizer: str, decay: float
) -> None:
    network_type, last, choices = ARCHITECTURES[loss]
    sizes, activations = (20, 9, *last), (activation, activation)
    can_omit = loss.endswith("time")
    architecture = Architecture(network_type, 5, sizes, activations, choices, can_omit)
    start = initial_weights(architecture, seed=1)
    features = np.random.default_rng(2).normal(size=(N_ROWS, 5)).astype(np.float32)
    labels = drawn_labels(loss)

    config = training_config(OPTIMIZER_=optimizer, WEIGHT_DECAY=decay)
    backend = TorchBackend(device="cpu")
    backend.start(architecture, config, start)
    backend.train_block(features, labels, batch_size=BATCH_SIZE, learning_rates=RATES)

    weights = [torch.tensor(array, requires_grad=True) for array in start.values()]
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    plain = kind(weights, lr=1, weight_decay=decay, fused=True)
    train_plainly(architecture, plain, weights, torch.tensor(features), torch.tensor(labels))
    for (name, got), expected in zip(backend.weights().items(), weights, strict=True):
        np.testing.assert_array_equal(got, expected.detach().numpy(), err_msg=name)
        assert not np.array_equal(got, start[name])


def test_more_rows_than_are_evaluated_at_a_time_give_the_loss_of_all() -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(5000, 4)).astype(np.float32)
    labels = rng.uniform(size=(5000, 1)).astype(np.float32)
    backend = TorchBackend(device="cpu")
    backend.start(ARCHITECTURE, training_config(), initial_weights(ARCHITECTURE, seed=1))
    logits = backend.predict(features)
    expected = -(labels * logits + (1 - labels) * np.log1p(-np.exp(logits))).sum()
    np.testing.assert_allclose(backend.evaluate_block(features, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(backend.predict(features[4990:]), logits[4990:], rtol=1e-6)


def test_a_training_does_not_wait_for_torchs_compiler() -> None:
    program = (
        "import sys\n"
        "from tests.unit.training.test_backend_torch import *\n"
        "backend = TorchBackend(device='cpu')\n"
        "config = training_config(NETWORK_TYPE='cpn')\n"
        "backend.start(ARCHITECTURE, config, initial_weights(ARCHITECTURE, seed=1))\n"
        "rows = np.zeros((2, 4), np.float32), np.zeros((2, 1), np.float32)\n"
        "backend.train_block(*rows, batch_size=2, learning_rates=np.ones(1, np.float32))\n"
        "backend.predict(rows[0])\n"
        "print(sys.modules.keys() & {'torch._dynamo', 'sympy'})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
