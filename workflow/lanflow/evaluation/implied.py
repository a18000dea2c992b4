"""The density of rt and choice that a likelihood network implies at one parameter vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lanflow.models.density import FLOOR, Array
from lanflow.networks.network import Outputs
from lanflow.networks.runtime import likelihood_rows

FIRST_TIME = 1e-4
_LOG_STEPS, _LINEAR_STEPS = 400, 50


@dataclass(frozen=True)
class ImpliedDensity:
    """The density that a network implies at one parameter vector, on a grid of rts.

    Attributes
    ----------
    rts
        Increasing, seconds, shape (rts,).
    densities
        Of each choice, 1/s, shape (choices, rts).
    """

    rts: Array
    densities: Array

    @cached_property
    def cumulative(self) -> Array:
        """Probability of each choice until each of the rts, shape (choices, rts); trapezoids."""
        steps = (self.densities[:, 1:] + self.densities[:, :-1]) / 2 * np.diff(self.rts)
        return np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)

    @property
    def masses(self) -> Array:
        """Probability of each choice, shape (choices,)."""
        return np.asarray(self.cumulative[:, -1])

    @property
    def mass(self) -> float:
        """Probability of all choices together; one for a density, less what comes too late."""
        return float(self.masses.sum())

    def ranks(self, index: int, rts: Array) -> Array:
        """Share of the rts of a choice that are below given ones, shape (rts,).

        Parameters
        ----------
        index
            The choice's place; of one without any probability there are no ranks, and all are 0.
        rts
            Seconds, shape (rts,).
        """
        cumulative = self.cumulative[index]
        total = cumulative[-1] if cumulative[-1] > 0 else 1.0
        return np.asarray(np.interp(rts, self.rts, cumulative) / total)

    @property
    def drawable(self) -> "ImpliedDensity":
        """The same with what is no number, or too large to draw, at the limits of what is."""
        highest = float(np.exp(-FLOOR))
        return replace(
            self, densities=np.nan_to_num(self.densities, nan=0, posinf=highest).clip(0, highest)
        )


def implied_density(
    network: Outputs, vector: Array, choices: Sequence[float], rts: Array
) -> ImpliedDensity:
    """A likelihood network's density at a parameter vector.

    Parameters
    ----------
    network
        Outputs (rows, 1) of rows of parameters, rt and choice.
    vector
        Shape (parameters,).
    choices
        As the model codes them.
    rts
        Increasing, seconds, shape (rts,).
    """
    rows = np.concatenate([likelihood_rows(vector, rts, np.full(len(rts), c)) for c in choices])
    with np.errstate(over="ignore"):
        densities = np.exp(network(rows)[:, 0].astype(float))
    return ImpliedDensity(rts, densities.reshape(len(choices), len(rts)))


def rt_grid(shift: float, until: float) -> Array:
    """Rts from 0: even up to ``shift``, the non-decision time, and even in logarithms around it.

    Before it a network is smooth where its model has an edge: with even steps alone, a tenth of a
    probability was counted that is not there.

    Parameters
    ----------
    shift
        Seconds.
    until
        Seconds after ``shift`` at which the grid ends.
    """
    times = np.geomspace(FIRST_TIME, until, _LOG_STEPS)
    if shift <= 0:
        return np.concatenate([np.zeros(1), shift + times])
    before = np.maximum(shift - np.geomspace(FIRST_TIME, shift, _LINEAR_STEPS), 0)
    early = np.union1d(np.linspace(0, shift, _LINEAR_STEPS), before)
    return np.concatenate([early, shift + times])


def drawable_log_density(network: Outputs, vector: Array, rts: Array, choices: Array) -> Array:
    """A likelihood network's log-density at trials, shape (rts,), fit to be drawn.

    What is no number, or too large, is at the limits of what can be drawn; the gates of an
    evaluation tell of it.
    """
    values = network(likelihood_rows(vector, rts, choices))[:, 0].astype(float)
    return np.asarray(np.clip(np.nan_to_num(values, nan=FLOOR), FLOOR, -FLOOR))


def grid_of(theta: Mapping[str, float], max_t: float) -> Array:
    """Rts that resolve the density at a parameter vector, up to its deadline or ``max_t``."""
    shift = theta.get("t", 0.0)
    # At the deadline itself there is no density.
    deadline = theta.get("deadline", np.inf) * (1 - 1e-6)
    return rt_grid(shift, max(min(max_t, deadline - shift), 0.01))
