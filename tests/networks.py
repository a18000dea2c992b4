"""Well-made networks to evaluate, and networks spoilt on purpose.

``tests/fixtures/well_made`` holds two that pass their gates, as its README.md says.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lanflow.models.simulators import find_model
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import NETWORK_TYPES, Architecture, NetworkTypeName
from lanflow.training.backend import Weights
from lanflow.training.job import initial_weights
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


def made_up(
    network_type: NetworkTypeName, n_inputs: int, *, seed: int = 0
) -> tuple[Architecture, Weights]:
    """One hidden layer of eight units, whose weights a seed decides."""
    rng = np.random.default_rng(seed)
    sizes = [(n_inputs, 8), (8, 1)]
    weights = {
        f"layers_{i}/kernel": rng.normal(size=size).astype(np.float32)
        for i, size in enumerate(sizes)
    }
    weights |= {
        f"layers_{i}/bias": rng.normal(size=size[1]).astype(np.float32)
        for i, size in enumerate(sizes)
    }
    return Architecture(network_type, n_inputs, (8, 1), ("tanh",)), weights


def card_of(
    architecture: Architecture, *, model: str, bounds: dict[str, Any], **keys: Any
) -> dict[str, Any]:
    """The card of a network, as ``tests/unit/training/test_save.py`` tests that it is written."""
    kind = NETWORK_TYPES[architecture.network_type]
    return {
        "model": model,
        "network_type": kind.name,
        "backend": "jax",
        "inputs": [*bounds, *(["rt", "choice"] if kind.has_trial else [])],
        "parameters": list(bounds),
        "bounds": {name: list(pair) for name, pair in bounds.items()},
        "output": kind.output,
        "output_shape": [1, 1],
        "units": {"rt": "seconds"} if kind.has_trial else {},
        "layer_sizes": list(architecture.layer_sizes),
        "activations": [*architecture.activations, "linear"],
        "n_weights": architecture.n_weights,
        "best_epoch": 1,
        "best_val_loss": 0.1,
        "n_epochs": 2,
        "loss": kind.loss,
        "seed": 1,
        "data_digest": DIGEST,
        "label_source": None,
        "n_parameter_sets": 40,
        "n_rows": 1000,
        "run_uuid": "0" * 32,
        "mlflow_run_id": None,
        "lanflow_version": "0.1.0",
        **keys,
    }


def write_network(
    folder: Path,
    network: tuple[Architecture, Weights] | None = None,
    *,
    model: str = "ddm",
    network_type: NetworkTypeName = "lan",
    onnx_content: bytes | None = None,
    weights_seed: int = 0,
    bounds: dict[str, Any] | None = None,
    **card: Any,
) -> Path:
    """A network's folder as a training leaves it.

    Without a ``network`` its weights are made up and only in the ONNX file; ``onnx_content`` takes
    the place of the weights' own, ``card`` and ``bounds`` that of the card's keys.
    """
    bounds = dict(find_model(model).bounds) if bounds is None else bounds
    n_inputs = len(bounds) + 2 * NETWORK_TYPES[network_type].has_trial
    architecture, weights = network or made_up(network_type, n_inputs, seed=weights_seed)
    described = card_of(architecture, model=model, bounds=bounds, **card)
    config = training_config(
        MODEL=model,
        NETWORK_TYPE=architecture.network_type,
        LAYER_SIZES=[list(architecture.layer_sizes)],
        ACTIVATIONS=[list(architecture.activations)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    documents = {
        "config.json": config.model_dump(mode="json")
        | {"batch_size": 64, "seed": described["seed"]},
        "run.json": {"mlflow_run_id": described["mlflow_run_id"]},
        "training_data_lineage.json": {
            "data_digest": described["data_digest"],
            "training_data_folder": "/home/somebody/data",
            "data_gen_runs_info": [{"run_id": "r1", "data_output_folder": "/home/somebody/data"}],
            "training_files": ["training_data_0.pickle"],
        },
        "card.json": described,
    }
    for name, content in documents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "history.csv").write_text(
        "epoch,train_loss,val_loss,learning_rate,seconds\n0,1,1,0.1,0.5\n1,1,0.1,0.1,0.5\n"
    )
    content = export_onnx(architecture, weights) if onnx_content is None else onnx_content
    (folder / "model.onnx").write_bytes(content)
    if network is not None:
        backend = make_backend(described["backend"])
        path = folder / f"weights_best.{backend.weights_suffix}"
        path.write_bytes(backend.native_weights(weights))
    return folder
