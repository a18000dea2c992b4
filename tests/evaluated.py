"""Networks with an evaluation, for the tests of what is done with them."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.evaluation.record import parse_evaluation
from lanflow.networks import folder as network_folder
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import NETWORK_TYPES, Architecture

_GATE = {"reason": "", "is_essential": True, "numbers": {}, "limits": {}}
PASSED_GATE = {**_GATE, "name": "structure", "verdict": "passed"}
FAILED_GATE = {
    **_GATE,
    "name": "density",
    "verdict": "failed",
    "reason": "mass_error is 0.21, above 0.02",
    "numbers": {"mass_error": 0.21},
    "limits": {"mass_error": 0.02},
}
SKIPPED_GATE = {
    **_GATE,
    "name": "hssm",
    "verdict": "skipped",
    "reason": "HSSM is not installed here",
    "is_essential": False,
}


def write_evaluation(
    folder: Path, *, gates: list[dict[str, Any]] | None = None, error: float = 0.02, **keys: Any
) -> None:
    """The record that ``lanflow evaluate`` would leave in a network's folder.

    ``keys`` replace those of the record; a network passes if none of its gates failed.
    """
    card = json.loads((folder / network_folder.CARD).read_text())
    gates = copy.deepcopy([PASSED_GATE, SKIPPED_GATE] if gates is None else gates)
    is_lan = card["network_type"] == "lan"
    content = {
        "evaluation_version": 1,
        **{key: card[key] for key in ("model", "network_type", "backend", "data_digest")},
        "onnx_sha256": hashlib.sha256((folder / network_folder.ONNX).read_bytes()).hexdigest(),
        "verdict": "failed" if FAILED_GATE in gates else "passed",
        "gates": gates,
        "scores": {
            "unit": "nats" if is_lan else "probability",
            "n_sets": 100,
            "n_rows": 20000,
            "mean_abs_error": error,
            "median_abs_error": error / 2,
            "p99_abs_error": None,
            "mean_difference": 0.001,
        },
        "reference": {"source": "analytic", "description": "the exact likelihood"},
        "settings": {"n_sets": 100, "rows": 200, "n_simulated_sets": 8},
        "seed": 1,
        "versions": {"lanflow": "0.1.0"},
        **keys,
    }
    parse_evaluation(content, "evaluation.json")
    (folder / network_folder.EVALUATION).write_text(json.dumps(content))


def export_weights(network_type: str, n_inputs: int, *, seed: int) -> bytes:
    """An ONNX file with one hidden layer of eight units, whose weights a seed decides."""
    kind = NETWORK_TYPES[network_type].name
    rng = np.random.default_rng(seed)
    sizes = [(n_inputs, 8), (8, 1)]
    weights = {f"layers_{i}/kernel": rng.normal(size=size) for i, size in enumerate(sizes)}
    weights |= {f"layers_{i}/bias": rng.normal(size=size[1]) for i, size in enumerate(sizes)}
    return export_onnx(Architecture(kind, n_inputs, (8, 1), ("tanh",)), weights)


def write_network(
    folder: Path,
    network_type: str = "lan",
    *,
    model: str = "ddm",
    seed: int = 0,
    mlflow_run_id: str | None = None,
    bounds: dict[str, list[float]] | None = None,
) -> Path:
    """A network's folder without a training: weights that a seed decides.

    Its files are those that a training writes; ``tests/unit/training/test_save.py`` tests these.
    """
    folder.mkdir(parents=True)
    if bounds is None:
        bounds = {"v": [-3.0, 3.0], "a": [0.3, 2.5], "z": [0.1, 0.9], "t": [0.0, 2.0]}
        if model.endswith("_deadline"):
            bounds["deadline"] = [0.001, 10.0]
    kind = NETWORK_TYPES[network_type]
    inputs = [*bounds, *(["rt", "choice"] if kind.has_trial else [])]
    (folder / network_folder.ONNX).write_bytes(export_weights(network_type, len(inputs), seed=seed))
    card = {
        "model": model,
        "network_type": network_type,
        "backend": "torch",
        "inputs": inputs,
        "parameters": list(bounds),
        "bounds": bounds,
        "output": kind.output,
        "output_shape": [1, 1],
        "units": {"rt": "seconds"} if kind.has_trial else {},
        "layer_sizes": [8, 1],
        "activations": ["tanh", "linear"],
        "n_weights": (len(inputs) + 1) * 8 + 9,
        "best_epoch": 1,
        "best_val_loss": 0.25,
        "n_epochs": 2,
        "loss": kind.loss,
        "seed": seed,
        "data_digest": "d" * 64,
        "n_parameter_sets": 30,
        "n_rows": 600,
        "run_uuid": f"{seed:032x}",
        "mlflow_run_id": mlflow_run_id,
        "lanflow_version": "0.1.0",
    }
    lineage = {
        "data_digest": "d" * 64,
        "training_data_folder": "/home/somebody/data",
        "data_gen_runs_info": [{"run_id": "r1", "data_output_folder": "/home/somebody/data"}],
        "training_files": ["training_data_0.pickle"],
    }
    documents = {
        network_folder.CARD: card,
        network_folder.LINEAGE: lineage,
        network_folder.CONFIG: {"seed": seed},
    }
    for name, content in documents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / network_folder.HISTORY).write_text("epoch,train_loss\n0,0.5\n")
    write_evaluation(folder)
    return folder
