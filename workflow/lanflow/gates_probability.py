"""What a network of a probability must be: that of choices, omissions or no-go outcomes."""

from typing import Any

import numpy as np

from lanflow.box import Box, corners, draw_parameters
from lanflow.networks import NetworkTypeName
from lanflow.scoring import Errors, Network, by_name
from lanflow.simulators import simulate
from lanflow.true_density import frequency

# Trials of one simulation.
N_TRIALS = 2000

# Distance of probabilities from simulated frequencies, as a multiple of that between two
# simulations, both root mean squares (0.71 for the simulator's own probabilities).
FREQUENCY_LIMITS = {"distance_ratio": 1.5}

# Of the probability. No network of this kind has published figures; the limits ask for errors that
# 2,500 trials (a binomial standard error of 0.01) would not show.
PROBABILITY_LIMITS = {"mean_abs_error": 0.01, "p99_abs_error": 0.05, "calibration_error": 0.01}

# Outputs at the corners that are no number, and the highest probability less one.
EDGE_LIMITS = {"corner_not_finite": 0, "above_one": 1e-5}

_N_EDGE_SETS = 200
_N_BINS = 10


def frequency_numbers(
    network: Network,
    model: dict[str, Any],
    box: Box,
    network_type: NetworkTypeName,
    *,
    n_sets: int,
    seed: int,
) -> dict[str, float]:
    """How far probabilities are from simulated frequencies, and two simulations from each other."""
    parameters = draw_parameters(model, box, n_sets, seed=seed)
    given = np.exp(network(parameters)[:, 0].astype(float))
    simulated = np.array(
        [
            [
                frequency(
                    *simulate(model, theta, N_TRIALS, seed=2 * (seed + index) + i), network_type
                )
                for i in (0, 1)
            ]
            for index, theta in enumerate(by_name(model["params"], v) for v in parameters)
        ]
    )
    distances = given[:, None] - simulated
    noise = _root_mean_square(simulated[:, 0] - simulated[:, 1])
    # Where all outcomes are certain there is no noise; one trial in all is the least there can be.
    noise = max(noise, 1 / N_TRIALS)
    return {
        "distance": _root_mean_square(distances),
        "noise": noise,
        "distance_ratio": _root_mean_square(distances) / noise,
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
