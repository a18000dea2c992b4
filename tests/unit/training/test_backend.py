import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

from lanflow.networks.types import Architecture
from lanflow.training.backend import Backend
from lanflow.training.job import initial_weights
from tests.conftest import BACKENDS, make_backend, training_config


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_backend_has_all_that_a_training_asks_for(backend_name: str) -> None:
    backend = make_backend(backend_name)
    for name in inspect.get_annotations(Backend):
        assert getattr(backend, name) is not None
    for name, method in inspect.getmembers(Backend, inspect.isfunction):
        if not name.startswith("_"):
            wanted = inspect.signature(method).parameters
            assert (
                inspect.signature(getattr(type(backend), name)).parameters.keys() == wanted.keys()
            )
    assert backend.name == backend_name


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_weights_and_states_are_float32_arrays_under_shared_names(backend_name: str) -> None:
    architecture = Architecture("lan", 6, (16, 1), ("tanh",))
    backend = make_backend(backend_name)
    backend.start(architecture, training_config(), initial_weights(architecture, seed=1))
    rows = np.ones((4, 6), dtype=np.float32), np.ones((4, 1), dtype=np.float32)
    backend.train_block(*rows, batch_size=4, learning_rates=np.full(1, 0.01, dtype=np.float32))
    shapes = {
        "layers_0/kernel": (6, 16),
        "layers_0/bias": (16,),
        "layers_1/kernel": (16, 1),
        "layers_1/bias": (1,),
    }
    weights, state = backend.weights(), backend.optimizer_state()
    assert {name: array.shape for name, array in weights.items()} == shapes
    assert state.pop("count") == 1
    assert {name: array.shape for name, array in state.items()} == {
        f"{moment}/{name}": shape for moment in ("mu", "nu") for name, shape in shapes.items()
    }
    assert {array.dtype for array in (*weights.values(), *state.values())} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),  # which a bound of ours would overrule
    ],
)
def test_torchs_threads_spin_no_longer_than_is_said_before_it_is_loaded(
    given: dict[str, str], bound: str
) -> None:
    program = (
        "import os, sys\n"
        "from lanflow.training.backends.choose import make_backend\n"
        "assert 'torch' not in sys.modules\n"
        "make_backend('torch', device='cpu', threads=1)\n"
        "print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bound
