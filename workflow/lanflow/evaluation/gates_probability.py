"""Gates of a network of probabilities: of choices, omissions or no-go outcomes."""

import itertools
from dataclasses import dataclass

import numpy as np

from lanflow.core.progress import with_progress
from lanflow.evaluation.reference import Reference, frequencies
from lanflow.evaluation.scores import Scores
from lanflow.models.density import Array
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds, Theta
from lanflow.models.simulators import draw_parameters, possible_corners, simulate
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
# Of networks that give all choices' probabilities: float32 rounds each of them and their sum.
SUM_LIMIT = {"sum_error": 1e-4}
# An error that is so many times smaller shows whose probability an output is.
_MUCH_BETTER = 0.25

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

    All are root mean squares over parameter vectors and outcomes. The simulator's time step moves
    frequencies, those of omissions by more than a hundredth, so what the network may miss is the
    larger of the noise and what the reference misses, both measured each time.
    """
    parameters = draw_parameters(reference.model, bounds, n_sets, seed=seed)
    thetas = [bounds.named(vector) for vector in parameters]
    given = np.exp(network(parameters).astype(float))
    n_outcomes = given.shape[1]
    simulated = np.array(
        [
            [
                _simulated_frequencies(
                    reference.model, theta, network_type, n_outcomes=n_outcomes, seed=first + i
                )
                for i in (0, 1)
            ]
            for first, theta in zip(
                itertools.count(2 * seed, 2),
                with_progress(thetas, f"{reference.model.name}: simulating", "parameter set"),
                strict=False,
            )
        ]
    )
    true = np.array(
        [
            reference.probabilities(theta, network_type, n_outputs=n_outcomes, seed=seed)
            for theta in thetas
        ]
    )
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


def _simulated_frequencies(
    model: Model, theta: Theta, network_type: NetworkTypeName, *, n_outcomes: int, seed: int
) -> Array:
    rts, choices = simulate(model, theta, N_TRIALS, seed=seed)
    return frequencies(rts, choices, model, network_type, n_outputs=n_outcomes)


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
    """Log-probabilities that are none, at random parameters and at the corners of the bounds.

    Of a network that gives all choices' probabilities, also how far their sum is from one, or above
    one where there may be no choice in time.
    """
    inside = draw_parameters(model, bounds, _N_EDGE_SETS, seed=seed)
    vectors = np.concatenate([inside, possible_corners(model, bounds, seed=seed)])
    outputs = network(vectors).astype(float)
    finite = outputs[np.isfinite(outputs)]
    numbers = {
        "corner_not_finite": int(outputs.size - len(finite)),
        "above_one": float(np.expm1(min(finite.max(initial=-np.inf), 50.0))),
    }
    if outputs.shape[1] > 1:
        with np.errstate(over="ignore"):
            sums = np.exp(outputs).sum(axis=1) - 1
        numbers["sum_error"] = float((sums if model.has_deadline else np.abs(sums)).max())
    return numbers


@dataclass(frozen=True)
class OtherChoice:
    """The choice that a network gives the probability of, instead of the highest.

    Attributes
    ----------
    choice
        As the model codes it.
    mean_abs_error
        Of the network, if it is taken for that choice's.
    """

    choice: int
    mean_abs_error: float


def find_other_choice(scores: Scores, reference: Reference, *, seed: int) -> OtherChoice | None:
    """Look whether a cpn of one output gives the probability of a choice that is not the highest.

    Parameters
    ----------
    scores
        Of the network, as if it were that of the highest.
    reference
        The truth.
    seed
        Of simulations, where the reference needs them.

    Returns
    -------
    OtherChoice or None
        The choice that fits best, if it fits several times as well as the highest.
    """
    model = reference.model
    named = [dict(zip(model.parameters, map(float, v), strict=True)) for v in scores.parameters]
    true = np.array(
        [
            reference.probabilities(theta, "cpn", n_outputs=len(model.choices), seed=seed + i)
            for i, theta in enumerate(named)
        ]
    )
    errors = np.abs(scores.network[:, None] - true).mean(axis=0)
    best = int(np.argmin(errors))
    if best == len(model.choices) - 1 or not errors[best] < _MUCH_BETTER * errors[-1]:
        return None
    return OtherChoice(int(model.choices[best]), float(errors[best]))
