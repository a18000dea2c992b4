"""Gates of a likelihood network: it is a density, the model's density, and sane at the edges."""

from collections.abc import Callable, Sequence

import numpy as np

from lanflow.core.progress import with_progress
from lanflow.evaluation.implied import (
    FIRST_TIME,
    ImpliedDensity,
    grid_of,
    implied_density,
    rt_grid,
)
from lanflow.evaluation.reference import MAX_T, Reference
from lanflow.models.density import Array, Density
from lanflow.models.kde import OMISSION
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds, Theta
from lanflow.models.simulators import draw_parameters, possible_corners, simulate
from lanflow.networks.network import Outputs

# Probability of each choice until given rts, shape (choices, rts).
Cumulative = Callable[[Array], Array]

# Trials of one simulation. Two of them are apart by the simulator's own sampling noise.
N_TRIALS = 2000

# The implied density may miss a mass of one by so much, on average over parameter vectors and at
# most; it may be no farther from simulations than two simulations are from each other (0.71 for
# what is exact).
DENSITY_LIMITS = {"mean_mass_error": 0.02, "max_mass_error": 0.1, "distance_ratio": 1.0}

# Mean probability before time zero; outputs at the corners of the bounds that are no number; the
# largest mass at a corner, and the largest before -0.05 s there. The density at a corner may be a
# peak of a thousandth of a second, which a network smears over some hundredths, so mass there is
# known to a factor only.
EDGE_LIMITS = {
    "negative_rt_mass": 0.001,
    "corner_not_finite": 0,
    "max_corner_mass": 5.0,
    "max_corner_early_mass": 0.01,
}

_BEFORE_ZERO = np.concatenate([-np.geomspace(1, FIRST_TIME, 200), np.zeros(1)])
_EARLY = np.linspace(-1, -0.05, 96)
_N_EDGE_SETS = 50


def density_numbers(
    network: Outputs, reference: Reference, bounds: Bounds, *, n_sets: int, seed: int
) -> dict[str, float]:
    """Measure the distance of the implied density from simulations, and of two simulations.

    The distance is Kolmogorov's: the largest difference of the two probabilities of answering with
    a choice until an rt, over rts and choices. With each parameter vector the noise is measured as
    the distance between two simulations of :data:`N_TRIALS` trials. The simulator's time step moves
    its density a little, so with an exact or solved reference the network may miss the larger of
    the noise and what the reference misses.

    Returns
    -------
    dict
        ``mean_mass_error`` and ``max_mass_error`` (of the mass, with the simulated share of trials
        without an answer, from one), ``mean_distance``, ``mean_noise``, ``distance_ratio``, and
        with an exact or solved reference ``reference_distance``.
    """
    model = reference.model
    rows = []
    vectors = draw_parameters(model, bounds, n_sets, seed=seed)
    doing = f"{model.name}: simulating"
    for index, vector in enumerate(with_progress(list(vectors), doing, "parameter set")):
        theta = bounds.named(vector)
        trials = [simulate(model, theta, N_TRIALS, seed=2 * (seed + index) + i) for i in (0, 1)]
        trials = [_in_time(rts, choices, theta) for rts, choices in trials]
        until = min(MAX_T, max(theta.get("deadline", np.inf) - theta.get("t", 0.0), 0.01))
        implied = implied_density(
            network, vector, model.choices, rt_grid(theta.get("t", 0.0), until)
        )
        answered = np.mean([len(rts) / N_TRIALS for rts, _ in trials])
        probabilities = _interpolated(implied)
        pair = [distance(probabilities, rts, choices, model.choices) for rts, choices in trials]
        row = [
            abs(implied.mass + 1 - answered - 1),
            np.mean(pair),
            _noise(trials, model.choices),
        ]
        if reference.is_exact:
            row.append(_reference_distance(reference, theta, trials))
        rows.append(row)
    table = np.array(rows)
    numbers = {
        "mean_mass_error": table[:, 0].mean(),
        "max_mass_error": table[:, 0].max(),
        "mean_distance": table[:, 1].mean(),
        "mean_noise": table[:, 2].mean(),
    }
    yardstick = numbers["mean_noise"]
    if table.shape[1] == 4:
        numbers["reference_distance"] = table[:, 3].mean()
        yardstick = max(yardstick, 2**0.5 * numbers["reference_distance"])
    numbers["distance_ratio"] = numbers["mean_distance"] / yardstick
    return {key: float(value) for key, value in numbers.items()}


def mass_numbers(
    network: Outputs, model: Model, bounds: Bounds, *, n_sets: int, seed: int
) -> dict[str, float]:
    """Measure how far the mass of the implied density is from one, without simulations.

    Returns
    -------
    dict
        ``mean_mass_error`` and ``max_mass_error``, over parameter vectors; of a model with a
        deadline of what is above one, since an answer may be missing.
    """
    errors = []
    for vector in draw_parameters(model, bounds, n_sets, seed=seed):
        grid = grid_of(bounds.named(vector), MAX_T)
        error = implied_density(network, vector, model.choices, grid).mass - 1
        errors.append(max(error, 0.0) if model.has_deadline else abs(error))
    return {"mean_mass_error": float(np.mean(errors)), "max_mass_error": float(np.max(errors))}


def _in_time(rts: Array, choices: Array, theta: Theta) -> tuple[Array, Array]:
    """Trials with an answer; those still undecided at the end of the simulation have none."""
    answered = (rts != OMISSION) & (rts < MAX_T + theta.get("t", 0.0))
    return rts[answered], choices[answered]


def _interpolated(implied: ImpliedDensity) -> Cumulative:
    rows = implied.cumulative
    return lambda rts: np.stack([np.interp(rts, implied.rts, row) for row in rows])


def distance(
    probabilities: Cumulative, rts: Array, choices: Array, possible: Sequence[float]
) -> float:
    """Kolmogorov's distance of a distribution of (rt, choice) from trials.

    Parameters
    ----------
    probabilities
        Of each choice until given rts, shape (choices, rts).
    rts, choices
        Trials with an answer, out of :data:`N_TRIALS`.
    possible
        The choices, in the order of ``probabilities``.
    """
    largest = 0.0
    for index, choice in enumerate(possible):
        made = np.sort(rts[choices == choice])
        if len(made) == 0:
            made = np.array([MAX_T])
            steps = np.zeros(2)
        else:
            steps = np.arange(len(made) + 1) / N_TRIALS
        expected = probabilities(made)[index]
        gaps = np.abs(np.concatenate([expected - steps[1:], expected - steps[:-1]]))
        largest = max(largest, float(gaps.max()))
    return largest


def _noise(trials: Sequence[tuple[Array, Array]], possible: Sequence[float]) -> float:
    """The distance of one simulation from another."""
    (rts, choices), other = trials

    def empirical(at: Array) -> Array:
        made = (np.sort(rts[choices == choice]) for choice in possible)
        return np.stack([np.searchsorted(times, at, side="right") / N_TRIALS for times in made])

    return distance(empirical, *other, possible)


def _reference_distance(
    reference: Reference, theta: Theta, trials: Sequence[tuple[Array, Array]]
) -> float:
    density = reference.density(theta, seed=0)
    assert isinstance(density, Density)
    possible = reference.model.choices
    return float(np.mean([distance(density.mass, *trial, possible) for trial in trials]))


def edge_numbers(network: Outputs, model: Model, bounds: Bounds, *, seed: int) -> dict[str, float]:
    """A network's density where there should be none, and at the corners of its bounds."""
    inside = draw_parameters(model, bounds, _N_EDGE_SETS, seed=seed)
    outside = possible_corners(model, bounds, seed=seed)
    before = [
        implied_density(network, vector, model.choices, _BEFORE_ZERO).mass for vector in inside
    ]
    masses, not_finite, early = [], 0, []
    for vector in outside:
        shift = bounds.named(vector).get("t", 0.0)
        implied = implied_density(network, vector, model.choices, rt_grid(shift, MAX_T))
        not_finite += int((~np.isfinite(implied.densities)).sum())
        masses.append(implied.mass)
        early.append(implied_density(network, vector, model.choices, _EARLY).mass)
    return {
        "negative_rt_mass": float(np.mean(before)),
        "corner_not_finite": not_finite,
        "max_corner_mass": float(np.max(masses)),
        "max_corner_early_mass": float(np.max(early)),
    }
