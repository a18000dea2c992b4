"""Networks that tests know all about: right ones, right ones with a fault, untrained ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.evaluation.reference import MAX_T, TrainedNetwork
from lanflow.models.parameters import box_of
from lanflow.models.simulators import model_config
from lanflow.models.sources import label_source, make_density
from lanflow.networks import folder as network_folder
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import NETWORK_TYPES, Architecture, NetworkTypeName
from lanflow.training.fit import initial_weights


@dataclass(frozen=True)
class ExactLikelihood:
    """What a likelihood network should be, as a function of rows; and what can be wrong with it.

    Attributes
    ----------
    model
        Of ssm-simulators.
    too_high
        Added to the log-likelihood, nats.
    too_late
        Seconds by which the network's rts come later than the model's.
    """

    model: dict[str, Any]
    too_high: float = 0.0
    too_late: float = 0.0
    n_outputs: int = 1

    @property
    def n_inputs(self) -> int:
        return len(self.model["params"]) + 2

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), 1), np.float32)
        vectors, which = np.unique(rows[:, :-2], axis=0, return_inverse=True)
        source = label_source("auto", self.model)
        assert source in ("analytic", "solver")
        for i, vector in enumerate(vectors):
            theta = dict(zip(self.model["params"], map(float, vector), strict=True))
            density = make_density(source, self.model, theta, MAX_T)  # type: ignore[arg-type]
            of_vector = which.ravel() == i
            rts, choices = rows[of_vector, -2] - self.too_late, rows[of_vector, -1]
            out[of_vector, 0] = density.evaluate(rts, choices) + self.too_high
        return out


@dataclass(frozen=True)
class DdmChoice:
    """Probability that an unbiased drift between boundaries ends above: log P(choice 1)."""

    too_high: float = 0.0
    n_inputs: int = 4
    n_outputs: int = 1

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        v, a, z = rows[:, :3].astype(float).T
        v = np.where(np.abs(v) < 1e-6, 1e-6, v)
        below = np.exp(-4 * v * a * z)
        probability = np.expm1(-4 * v * a * z) / np.expm1(-4 * v * a)
        assert np.isfinite(below).all()
        return np.log(np.clip(probability + self.too_high, 1e-9, 1))[:, None].astype(np.float32)


def exact(model_name: str = "ddm", **faults: float) -> TrainedNetwork:
    """A likelihood network that is right, but for the faults given."""
    model = model_config(model_name)
    network: Any = ExactLikelihood(model, **faults)
    return TrainedNetwork(network, NETWORK_TYPES["lan"], model, box_of(model))


def exact_choice(**faults: float) -> TrainedNetwork:
    """A cpn of ddm that is right, but for the faults given."""
    model = model_config("ddm")
    network: Any = DdmChoice(**faults)
    return TrainedNetwork(network, NETWORK_TYPES["cpn"], model, box_of(model))


def write_untrained(
    folder: Path, model_name: str = "ddm", network_type: NetworkTypeName = "lan", **card: Any
) -> Path:
    """A network's folder with an ONNX file of random weights and a card."""
    model = model_config(model_name)
    n_inputs = len(model["params"]) + 2 * NETWORK_TYPES[network_type].has_trial
    architecture = Architecture(network_type, n_inputs, (8, 1), ("tanh",))
    folder.mkdir(parents=True, exist_ok=True)
    content = export_onnx(architecture, initial_weights(architecture, seed=1))
    (folder / network_folder.ONNX).write_bytes(content)
    parameters = list(model["params"])
    described = {
        "model": model_name,
        "network_type": network_type,
        "backend": "jax",
        "inputs": parameters + ["rt", "choice"] * NETWORK_TYPES[network_type].has_trial,
        "parameters": parameters,
        "bounds": {name: list(pair) for name, pair in box_of(model).items()},
        **card,
    }
    (folder / network_folder.CARD).write_text(json.dumps(described))
    return folder
