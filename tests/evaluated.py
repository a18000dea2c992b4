"""Networks with an evaluation, for the tests of what is done with them."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from lanflow.evaluation.record import Evaluation, parse_evaluation, read_own_evaluation
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network
from lanflow.networks.types import NetworkTypeName
from tests import networks

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
        "evaluation_version": 2,
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


def write_network(
    folder: Path, network_type: NetworkTypeName = "lan", *, seed: int = 0, **keys: Any
) -> Path:
    """A network's folder without a training, with an evaluation; ``keys`` as in its writer."""
    keys = {"backend": "torch", "best_val_loss": 0.25, "n_parameter_sets": 30, "n_rows": 600} | keys
    networks.write_network(
        folder,
        network_type=network_type,
        weights_seed=seed,
        seed=seed,
        run_uuid=f"{seed:032x}",
        **keys,
    )
    write_evaluation(folder)
    return folder


def judged(folder: Path) -> tuple[Network, Evaluation]:
    """A network's folder read back, with its evaluation."""
    network = Network.from_folder(folder)
    return network, read_own_evaluation(network)
