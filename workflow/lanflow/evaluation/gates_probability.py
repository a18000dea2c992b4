"""What a network of a probability must be: that of choices, omissions or no-go outcomes."""

import itertools
from typing import Any

import numpy as np

from lanflow.evaluation.reference import Reference, frequency
from lanflow.evaluation.scores import Errors, Network, by_name
from lanflow.models.parameters import Box, corners, draw_parameters
from lanflow.models.simulators import simulate
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
    network: Network,
    reference: Reference,
    box: Box,
    network_type: NetworkTypeName,
    *,
    n_sets: int,
    seed: int,
) -> dict[str, float]:
    """How far probabilities are from simulated frequencies, and two simulations from each other.

    All are root mean squares over parameter vectors. The simulator's time step moves frequencies,
    those of omissions by more than a hundredth, so what the network may miss is the larger of the
    noise and what the reference misses, both measured each time.
    """
    parameters = draw_parameters(reference.model, box, n_sets, seed=seed)
    thetas = [by_name(reference.model["params"], vector) for vector in parameters]
    given = np.exp(network(parameters)[:, 0].astype(float))
    simulated = np.array(
        [
            [
                frequency(*simulate(reference.model, theta, N_TRIALS, seed=first + i), network_type)
                for i in (0, 1)
            ]
            for first, theta in zip(itertools.count(2 * seed, 2), thetas, strict=False)
        ]
    )
    true = np.array([reference.probability(t, network_type, seed=seed) for t in thetas])
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


def _root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.mean(values**2)))


def calibration_error(errors: Errors, given: Any) -> float:
    """Mean over vectors of the difference that their bin of predicted probability has on average.

    Parameters
    ----------
    errors
        True less predicted probability.
    given
        The predicted probabilities.
    """
    bins = np.clip((given * _N_BINS).astype(int), 0, _N_BINS - 1)
    sums = np.bincount(bins, errors.differences, _N_BINS)
    return float(np.abs(sums).sum() / len(given))


def edge_numbers(
    network: Network, model: dict[str, Any], box: Box, *, seed: int
) -> dict[str, float]:
    """Log-probabilities that are none, at random parameters and at the corners of the box."""
    outputs = network(
        np.concatenate(
            [draw_parameters(model, box, _N_EDGE_SETS, seed=seed), corners(box, seed=seed)]
        )
    )[:, 0].astype(float)
    finite = outputs[np.isfinite(outputs)]
    return {
        "corner_not_finite": int(len(outputs) - len(finite)),
        "above_one": float(np.expm1(min(finite.max(initial=-np.inf), 50.0))),
    }
