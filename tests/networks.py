"""Well-made networks to evaluate, and networks spoilt on purpose.

``tests/fixtures/well_made`` holds two that pass their gates, as its README.md says.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lanflow.models.simulators import model_config
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import NETWORK_TYPES, Architecture, NetworkTypeName
from lanflow.training.backend import Weights
from lanflow.training.fit import initial_weights
from tests.conftest import REPOSITORY, make_backend, training_config

FIXTURES = REPOSITORY / "tests" / "fixtures" / "well_made"
PARAMETERS = ["v", "a", "z", "t"]
DIGEST = "d" * 64


def well_made(network_type: NetworkTypeName) -> tuple[Architecture, Weights]:
    """Shape and weights of a network that passes."""
    graph = onnx.load(FIXTURES / f"ddm_{network_type}.onnx").graph
    weights = {
        array.name.replace(".", "/"): np.array(numpy_helper.to_array(array))
        for array in graph.initializer
    }
    n_layers = len(weights) // 2
    sizes = tuple(len(weights[f"layers_{i}/bias"]) for i in range(n_layers))
    n_inputs = len(weights["layers_0/kernel"])
    return Architecture(network_type, n_inputs, sizes, ("tanh",) * (n_layers - 1)), weights


def untrained(network_type: NetworkTypeName) -> tuple[Architecture, Weights]:
    """The same shape before training."""
    architecture, _ = well_made(network_type)
    return architecture, initial_weights(architecture, seed=3)


def shuffled(network_type: NetworkTypeName) -> tuple[Architecture, Weights]:
    """The same numbers in another order within each layer."""
    architecture, weights = well_made(network_type)
    rng = np.random.default_rng(1)
    mixed = {name: rng.permutation(array.ravel()) for name, array in weights.items()}
    return architecture, {name: mixed[name].reshape(weights[name].shape) for name in weights}


def shifted(seconds: float) -> tuple[Architecture, Weights]:
    """A likelihood network as it would be if every rt of its data were later by ``seconds``."""
    architecture, weights = well_made("lan")
    kernel = weights["layers_0/kernel"]
    bias = weights["layers_0/bias"] - seconds * kernel[len(PARAMETERS)]
    return architecture, {**weights, "layers_0/bias": bias.astype(np.float32)}


def raw_logits() -> bytes:
    """A choice-probability network whose logits were exported as they are."""
    architecture, weights = well_made("cpn")
    as_lan = Architecture(
        "lan", architecture.input_dim, architecture.layer_sizes, architecture.activations
    )
    return export_onnx(as_lan, weights)


def dynamic_axis() -> bytes:
    """A network whose first dimension is a name."""
    model = onnx.load_from_string(export_onnx(*well_made("lan")))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return bytes(model.SerializeToString())


def write_network(
    folder: Path,
    network: tuple[Architecture, Weights],
    *,
    onnx_content: bytes | None = None,
    backend: str = "jax",
    **card: Any,
) -> Path:
    """A network's folder as a training leaves it; ``onnx_content`` in place of the weights' own."""
    architecture, weights = network
    folder.mkdir(parents=True, exist_ok=True)
    trained_by = make_backend(backend)
    kind = NETWORK_TYPES[architecture.network_type]
    config = training_config(
        NETWORK_TYPE=architecture.network_type,
        LAYER_SIZES=[list(architecture.layer_sizes)],
        ACTIVATIONS=[list(architecture.activations)],
    )
    bounds = np.transpose(model_config("ddm")["param_bounds"]).tolist()
    documents = {
        "config.json": config.model_dump(mode="json") | {"batch_size": 64},
        "run.json": {"mlflow_run_id": card.get("mlflow_run_id")},
        "card.json": {
            "model": "ddm",
            "network_type": architecture.network_type,
            "backend": backend,
            "inputs": PARAMETERS + ["rt", "choice"] * kind.has_trial,
            "parameters": PARAMETERS,
            "bounds": dict(zip(PARAMETERS, bounds, strict=True)),
            "n_weights": architecture.n_weights,
            "best_epoch": 1,
            "best_val_loss": 0.1,
            "n_epochs": 2,
            "n_parameter_sets": 40,
            "n_rows": 1000,
            "seed": 1,
            "data_digest": DIGEST,
            "mlflow_run_id": None,
            **card,
        },
    }
    for name, content in documents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "history.csv").write_text(
        "epoch,train_loss,val_loss,learning_rate,seconds\n0,1,1,0.1,0.5\n1,1,0.1,0.1,0.5\n"
    )
    content = export_onnx(architecture, weights) if onnx_content is None else onnx_content
    (folder / "model.onnx").write_bytes(content)
    path = folder / f"weights_best.{trained_by.weights_suffix}"
    path.write_bytes(trained_by.native_weights(weights))
    return folder
