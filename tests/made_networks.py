"""Networks that tests know all about: right ones, and right ones with a fault."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanflow.evaluation.reference import MAX_T, Reference, choose_reference
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds
from lanflow.models.simulators import find_model
from lanflow.models.sources import best_source, make_density
from lanflow.networks.network import Network
from lanflow.networks.types import NETWORK_TYPES, NetworkTypeName


@dataclass(frozen=True, eq=False)
class MadeNetwork(Network):
    """A network whose outputs are a function of the test's own."""

    outputs: Callable[[np.ndarray], np.ndarray] = lambda rows: rows[:, :1]

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        """The bounds given, be they of the model or not."""
        return self.trained_bounds or self.model.bounds

    @property
    def n_outputs(self) -> int:
        return 1

    @property
    def takes_choice(self) -> bool:  # type: ignore[override]
        return False

    def __call__(self, features: object) -> np.ndarray:
        return self.outputs(np.asarray(features, np.float32))


@dataclass(frozen=True)
class ExactLikelihood:
    """What a likelihood network should be, as a function of rows; and what can be wrong with it.

    Attributes
    ----------
    model
        The cognitive model.
    too_high
        Added to the log-likelihood, nats.
    too_late
        Seconds by which the network's rts come later than the model's.
    """

    model: Model
    too_high: float = 0.0
    too_late: float = 0.0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), 1), np.float32)
        vectors, which = np.unique(rows[:, :-2], axis=0, return_inverse=True)
        source = best_source(self.model)
        assert source != "kde"
        for i, vector in enumerate(vectors):
            theta = dict(zip(self.model.parameters, map(float, vector), strict=True))
            density = make_density(source, self.model, theta, MAX_T)
            of_vector = which.ravel() == i
            rts, choices = rows[of_vector, -2] - self.too_late, rows[of_vector, -1]
            out[of_vector, 0] = density.evaluate(rts, choices) + self.too_high
        return out


@dataclass(frozen=True)
class DdmChoice:
    """Probability that an unbiased drift between boundaries ends above: log P(choice 1)."""

    too_high: float = 0.0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        v, a, z = rows[:, :3].astype(float).T
        v = np.where(np.abs(v) < 1e-6, 1e-6, v)
        below = np.exp(-4 * v * a * z)
        probability = np.expm1(-4 * v * a * z) / np.expm1(-4 * v * a)
        assert np.isfinite(below).all()
        return np.log(np.clip(probability + self.too_high, 1e-9, 1))[:, None].astype(np.float32)


def made(
    model: str,
    network_type: NetworkTypeName,
    outputs: Callable[[np.ndarray], np.ndarray],
    bounds: Bounds | None = None,
) -> MadeNetwork:
    """A network of a model with outputs of the test's own."""
    kind = NETWORK_TYPES[network_type]
    return MadeNetwork(b"", model, kind, bounds or Bounds({}), Path("made.onnx"), outputs=outputs)


def exact(model: str = "ddm", **faults: float) -> MadeNetwork:
    """A likelihood network that is right, but for the faults given."""
    return made(model, "lan", ExactLikelihood(find_model(model), **faults))


def exact_choice(**faults: float) -> MadeNetwork:
    """A cpn of ddm that is right, but for the faults given."""
    return made("ddm", "cpn", DdmChoice(**faults))


def reference_of(network: Network) -> Reference:
    """The truth about a network's model."""
    return choose_reference(network.model)
