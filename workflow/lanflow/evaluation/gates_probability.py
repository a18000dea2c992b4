"""Gates of a network of probabilities: of choices, omissions or no-go outcomes."""

import itertools

import numpy as np

from lanflow.core.progress import with_progress
from lanflow.evaluation.reference import Reference, frequencies
from lanflow.evaluation.scores import Scores
from lanflow.models.density import Array
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds, Theta
from lanflow.models.simulators import draw_parameters, simulate
from lanflow.networks.network import Outputs
from lanflow.networks.types import NetworkTypeName

# Trials of one simulation.
N_TRIALS = 2000

# No farther from simulations than two simulations are from each other; 0.71 for what is exact.
FREQUENCY_LIMITS = {"distance_ratio": 1.0}

# Of the probability. No network of this kind has published figures; the limits ask for errors that
# 2,500 trials (a binomial standard error of 0.01) would not show.
PROBABILITY_LIMITS = {"mean_abs_error": 0.01, "p99_abs_error": 0.05, "calibration_error": 0.01}

# Outputs at the corners that are no number, and the highest probability less one.
EDGE_LIMITS = {"corner_not_finite": 0, "above_one": 1e-5}

_N_EDGE_SETS = 200
_N_BINS = 10


def frequency_numbers(
    network: Outputs,
    reference: Reference,
    bounds: Bounds,
    network_type: NetworkTypeName,
    *,
    n_sets: int,
    seed: int,
) -> dict[str, float]:
    """Measure the distance of probabilities from simulated frequencies, and of two simulations.

    All are root mean squares over parameter vectors. The simulator's time step moves frequencies,
    those of omissions by more than a hundredth, so what the network may miss is the larger of the
    noise and what the reference misses, both measured each time.
    """
    parameters = draw_parameters(reference.model, bounds, n_sets, seed=seed)
    thetas = [bounds.named(vector) for vector in parameters]
    given = np.exp(network(parameters)[:, 0].astype(float))
    simulated = np.array(
        [
            [
                _simulated_frequency(reference.model, theta, network_type, seed=first + i)
                for i in (0, 1)
            ]
            for first, theta in zip(
                itertools.count(2 * seed, 2),
                with_progress(thetas, f"{reference.model.name}: simulating", "parameter set"),
                strict=False,
            )
        ]
    )
    true = np.array([reference.probabilities(t, network_type, seed=seed)[0] for t in thetas])
    distance = _root_mean_square(given[:, None] - simulated)
    reference_distance = _root_mean_square(true[:, None] - simulated)
    noise = _root_mean_square(simulated[:, 0] - simulated[:, 1])
    # Where all outcomes are certain there is no noise; one trial in all is the least there can be.
    noise = max(noise, 1 / N_TRIALS)
    return {
        "distance": distance,
        "noise": noise,
        "reference_distance": reference_distance,
        "distance_ratio": distance / max(noise, 2**0.5 * reference_distance),
    }


def _simulated_frequency(
    model: Model, theta: Theta, network_type: NetworkTypeName, *, seed: int
) -> float:
    rts, choices = simulate(model, theta, N_TRIALS, seed=seed)
    return float(frequencies(rts, choices, model, network_type)[0])


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def calibration_error(scores: Scores) -> float:
    """Mean over vectors of the difference that their bin of predicted probability has on average.

    Parameters
    ----------
    scores
        Of a network of probabilities.
    """
    bins = np.clip((scores.network * _N_BINS).astype(int), 0, _N_BINS - 1)
    sums = np.bincount(bins, scores.differences, _N_BINS)
    return float(np.abs(sums).sum() / len(scores.network))


def edge_numbers(network: Outputs, model: Model, bounds: Bounds, *, seed: int) -> dict[str, float]:
    """Log-probabilities that are none, at random parameters and at the corners of the bounds."""
    inside = draw_parameters(model, bounds, _N_EDGE_SETS, seed=seed)
    vectors = np.concatenate([inside, bounds.corners(seed=seed)])
    outputs = network(vectors)[:, 0].astype(float)
    finite = outputs[np.isfinite(outputs)]
    return {
        "corner_not_finite": int(len(outputs) - len(finite)),
        "above_one": float(np.expm1(min(finite.max(initial=-np.inf), 50.0))),
    }
