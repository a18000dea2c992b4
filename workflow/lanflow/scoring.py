"""Errors of a network's output against the reference, at random parameters inside the box."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lanflow.box import Box, draw_parameters
from lanflow.density import Array
from lanflow.networks import NetworkTypeName
from lanflow.simulators import simulate
from lanflow.true_density import Reference

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
