"""Errors of a network's output against the reference, at random parameters inside the box."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.evaluation.reference import MAX_T, Reference, Theta, TrainedNetwork, time_grid
from lanflow.models.density import FLOOR, Array
from lanflow.models.kde import OMISSION, KernelDensity
from lanflow.models.parameters import Box, draw_parameters
from lanflow.models.simulators import simulate
from lanflow.models.sources import has_shift
from lanflow.networks.types import NetworkTypeName

Network = Callable[[npt.ArrayLike], npt.NDArray[np.float32]]

# Labels are cut off here in training; trials that are less likely under the truth are left out.
LEAST_LOG_DENSITY = float(np.log(1e-7))

# Of the seed: each use has its own stream.
STREAM_SCORES, STREAM_DENSITY, STREAM_EDGES = 1, 2, 3


@dataclass(frozen=True)
class Errors:
    """True less network's output, and where.

    Attributes
    ----------
    unit
        ``nats`` of a log-likelihood, or ``probability``.
    parameters
        Vectors, shape (sets, parameters).
    sets
        Of each difference the vector's index, shape (n,).
    differences
        Shape (n,).
    """

    unit: Literal["nats", "probability"]
    parameters: Array
    sets: npt.NDArray[np.int64]
    differences: Array

    def summary(self) -> dict[str, float | int | str]:
        """Mean and median absolute error, 99th percentile, mean difference."""
        sizes = np.abs(self.differences)
        return {
            "unit": self.unit,
            "n_sets": len(self.parameters),
            "n_rows": len(sizes),
            "mean_abs_error": float(sizes.mean()),
            "median_abs_error": float(np.median(sizes)),
            "p99_abs_error": float(np.percentile(sizes, 99)),
            "mean_difference": float(self.differences.mean()),
        }


def rows_of(vector: Array, rts: npt.ArrayLike, choices: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """A likelihood network's inputs for trials at one parameter vector."""
    trials = np.stack([np.asarray(rts, float), np.asarray(choices, float)], axis=1)
    repeated = np.broadcast_to(vector, (len(trials), len(vector)))
    return np.concatenate([repeated, trials], axis=1).astype(np.float32)


def by_name(names: Sequence[str], vector: Array) -> dict[str, float]:
    """A parameter vector as numbers by name."""
    return dict(zip(names, vector.tolist(), strict=True))


def score_likelihood(
    network: Network, reference: Reference, box: Box, *, n_sets: int, rows: int, seed: int
) -> Errors:
    """Errors in log-likelihood on simulated trials.

    The trials are drawn from the reference density by inverse transform, which simulates the model
    without the error of a time step; with a ``kde`` reference they come from the simulator.

    Parameters
    ----------
    network
        Outputs (rows, 1) of rows of parameters, rt and choice.
    reference
        The truth.
    box
        Where parameters are drawn.
    n_sets, rows
        Parameter vectors, and trials of each.
    seed
        Decides both.
    """
    names = reference.model["params"]
    parameters = draw_parameters(reference.model, box, n_sets, seed=seed)
    features, truths, sets = [], [], []
    for index, vector in enumerate(parameters):
        theta = by_name(names, vector)
        rts, choices, truth = _trials(reference, theta, rows, seed=seed + index)
        kept = truth > LEAST_LOG_DENSITY
        features.append(rows_of(vector, rts[kept], choices[kept]))
        truths.append(truth[kept])
        sets.append(np.full(kept.sum(), index))
    outputs = network(np.concatenate(features))[:, 0].astype(float)
    differences = np.concatenate(truths) - outputs
    return Errors("nats", parameters, np.concatenate(sets), differences)


def _trials(
    reference: Reference, theta: Mapping[str, float], n: int, *, seed: int
) -> tuple[Array, Array, Array]:
    """Trials with an answer, and their true log-likelihood."""
    density = reference.density(theta, seed=2 * seed)
    if reference.source == "kde":
        rts, choices = simulate(reference.model, theta, n, seed=2 * seed + 1)
        kept = rts > 0
        rts, choices = rts[kept], choices[kept]
    else:
        drawn = density.sample(n, random_state=2 * seed + 1)
        rts, choices = drawn["rts"], drawn["choices"]
    rts = rts.astype(np.float32).astype(float)  # as the network sees them
    return rts, choices, density.evaluate(rts, choices)


def score_probability(
    network: Network,
    reference: Reference,
    box: Box,
    network_type: NetworkTypeName,
    *,
    n_sets: int,
    seed: int,
) -> Errors:
    """Errors in probability of a network without trials; its output is a log-probability."""
    names = reference.model["params"]
    parameters = draw_parameters(reference.model, box, n_sets, seed=seed)
    truths = [
        reference.probability(by_name(names, vector), network_type, seed=seed + index)
        for index, vector in enumerate(parameters)
    ]
    outputs = np.exp(network(parameters)[:, 0].astype(float))
    return Errors("probability", parameters, np.arange(n_sets), np.array(truths) - outputs)


# How far a network is off over the whole box, as numbers: likelihoods, masses, probabilities.


# A vector at which hardly any trial is answered in time has no likelihoods to compare.
_LEAST_ANSWERED = 0.01


def integrate(values: Array, grid: Array) -> Array:
    """Integral of values (..., grid) from the first time to each, by trapezoids."""
    steps = (values[..., 1:] + values[..., :-1]) / 2 * np.diff(grid)
    start = np.zeros((*values.shape[:-1], 1))
    return np.concatenate([start, np.cumsum(steps, axis=-1)], axis=-1)


@dataclass(frozen=True)
class LikelihoodErrors:
    """A likelihood network on trials of its model.

    Attributes
    ----------
    thetas
        Parameter vectors, shape (vectors, parameters).
    reference, predicted
        Log-likelihood of each trial, nats, shape (vectors, trials).
    probabilities, true_probabilities
        Of each choice (in time), shape (vectors, choices): integral of the network's density, and
        the model's.
    ranks
        Share of the network's rts of the same choice that are below each trial's, shape (vectors,
        trials); uniform from 0 to 1 for a network that is right.
    against
        What the reference is.
    """

    thetas: Array
    reference: Array
    predicted: Array
    probabilities: Array
    true_probabilities: Array
    ranks: Array
    against: str


def likelihood_errors(
    subject: TrainedNetwork, *, n_vectors: int, n_trials: int, seed: int
) -> LikelihoodErrors:
    """Hold a likelihood network against its model at parameter draws.

    Trials are drawn from the model's density where it is known, else simulated; then the reference
    is a kernel density of other simulated trials, which has errors of its own.

    Parameters
    ----------
    subject
        The network.
    n_vectors, n_trials
        Parameter draws, and trials at each.
    seed
        Decides both.
    """
    parts = []
    for i, theta in enumerate(subject.draws(n_vectors, seed=seed)):
        trials = _drawn_trials(subject, theta, n_trials, seed=seed + i)
        if trials is not None:
            rts, choices, reference, true = trials
            predicted = subject.log_density(theta, rts, choices)
            masses, ranks = _masses_and_ranks(subject, theta, rts, choices)
            parts.append((list(theta.values()), reference, predicted, masses, true, ranks))
    if not parts:
        raise UserError(f"{subject.title}: no trial is answered in time anywhere in the box")
    thetas, reference, predicted, masses, true, ranks = (
        np.array(column, float) for column in zip(*parts, strict=True)
    )
    against = (
        f"the model's own likelihood ({subject.reference_name})"
        if subject.is_exact
        else f"a kernel density of {_N_SIMULATED:,} simulated trials"
    )
    return LikelihoodErrors(
        thetas=thetas,
        reference=reference,
        predicted=predicted,
        probabilities=masses,
        true_probabilities=true,
        ranks=ranks,
        against=against,
    )


_N_SIMULATED = 4000

_Trials = tuple[Array, Array, Array, Array]


def _drawn_trials(
    subject: TrainedNetwork, theta: Theta, n_trials: int, *, seed: int
) -> _Trials | None:
    """rts, choices and log-likelihoods of trials, and the choices' probabilities."""
    density = subject.density(theta)
    if density is None:
        return _simulated_trials(subject, theta, n_trials, seed=seed)
    probabilities = density.mass(min(density.deadline, MAX_T)).ravel()
    if probabilities.sum() < _LEAST_ANSWERED:
        return None
    drawn = density.sample(n_trials, seed)
    # As the network is given them; behind a deadline by rounding there is nothing.
    rts = np.minimum(drawn["rts"], np.nextafter(np.float32(density.deadline), np.float32(0)))
    return rts, drawn["choices"], density.evaluate(rts, drawn["choices"]), probabilities


def _simulated_trials(
    subject: TrainedNetwork, theta: Theta, n_trials: int, *, seed: int
) -> _Trials | None:
    rts, choices = subject.simulate(theta, 2 * n_trials + _N_SIMULATED, seed=seed)
    probabilities = np.array([(choices == choice).mean() for choice in subject.choices])
    answered = np.flatnonzero(choices[: 2 * n_trials] != OMISSION)
    if len(answered) < n_trials:
        return None
    ours, others = answered[:n_trials], np.arange(2 * n_trials, len(rts))
    estimate = KernelDensity(theta["t"] if has_shift(subject.model) else 0.0)
    estimate.fit(
        {
            "rts": rts[others],
            "choices": choices[others],
            "metadata": {"possible_choices": list(subject.choices), "max_t": MAX_T},
        }
    )
    reference = np.maximum(estimate.evaluate(rts[ours], choices[ours]), FLOOR)
    return rts[ours], choices[ours], reference, probabilities


def _masses_and_ranks(
    subject: TrainedNetwork, theta: Theta, rts: Array, choices: Array
) -> tuple[Array, Array]:
    grid = time_grid(theta)
    ranks = np.empty(len(rts))
    masses = []
    for choice in subject.choices:
        cumulative = integrate(np.exp(subject.log_density(theta, grid, choice)), grid)
        masses.append(cumulative[-1])
        rows = choices == choice
        ranks[rows] = np.interp(rts[rows], grid, cumulative) / cumulative[-1]
    return np.array(masses), ranks


@dataclass(frozen=True)
class ProbabilityErrors:
    """A network of probabilities against its model.

    Attributes
    ----------
    thetas
        Parameter vectors, shape (vectors, parameters).
    predicted, true
        Probabilities, shape (vectors, outcomes).
    against
        What ``true`` is.
    """

    thetas: Array
    predicted: Array
    true: Array
    against: str


def probability_errors(
    subject: TrainedNetwork, *, n_vectors: int, n_trials: int, seed: int
) -> ProbabilityErrors:
    """Hold a network of probabilities against its model at parameter draws.

    Parameters
    ----------
    subject
        The network.
    n_vectors
        Parameter draws.
    n_trials
        Simulated at each where the probabilities are not known.
    seed
        Decides draws and trials.
    """
    thetas = subject.draws(n_vectors, seed=seed)
    true = [
        subject.true_probabilities(theta, n_trials, seed=seed + i) for i, theta in enumerate(thetas)
    ]
    against = (
        f"the model's own probability ({subject.reference_name})"
        if subject.is_exact
        else f"the share of {n_trials:,} simulated trials"
    )
    vectors = np.array([list(theta.values()) for theta in thetas])
    return ProbabilityErrors(vectors, subject.probabilities(thetas), np.array(true), against)
