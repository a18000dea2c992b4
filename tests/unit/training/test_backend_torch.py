import io
import os
import subprocess
import sys

import numpy as np
import torch

from lanflow.networks.types import Architecture
from lanflow.training.backend_torch import TorchBackend
from lanflow.training.fit import initial_weights
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
        "from lanflow.training.backend_torch import select_device\n"
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


def test_a_prediction_does_not_wait_for_torchs_compiler() -> None:
    program = (
        "import sys\n"
        "from tests.unit.training.test_backend_torch import *\n"
        "backend = TorchBackend(device='cpu')\n"
        "config = training_config(NETWORK_TYPE='cpn')\n"
        "backend.start(ARCHITECTURE, config, initial_weights(ARCHITECTURE, seed=1))\n"
        "backend.predict(np.zeros((2, 4)))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
