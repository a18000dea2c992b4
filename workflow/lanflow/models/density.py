"""A joint density of rt and choice: labels, masses, and rows by inverse transform.

The labels of a row are the density's own values. What is tabulated here, on a grid of times, is the
distribution function: it gives the probabilities that are the labels of cpn, opn and gonogo, and
its inverse gives rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# log(1e-29), the label of what cannot happen, as ssm-simulators has it.
FLOOR = -66.77497
CHOICES = (-1, 1)

# Gauss-Legendre nodes and weights on [0, 1].
_NODES, _WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(3))
_NODES = _NODES + 0.5


@dataclass(frozen=True)
class Density:
    """The density of (rt, choice) at one parameter vector, an estimator in ssm-simulators' terms.

    Attributes
    ----------
    log_density
        Of decision times and one of the choices.
    times
        Decision times, increasing, between which the density is smooth. What comes after the last
        is undecided.
    t
        Non-decision time, seconds.
    max_t
        How long a decision may take, and the last rt of the rows that are uniform in rt.
    deadline
        No rt is at or behind it: the density is zero there.
    choices
        As data code them, ascending.
    log_densities
        Of decision times, for all choices at once, shape (choices, ...); where that is cheaper
        than one by one.
    at_once
        Probability of each choice at the decision time zero, where the density has none: particles
        that start behind their boundary.
    """

    log_density: Callable[[Array, int], Array]
    times: Array
    t: float
    max_t: float
    deadline: float = np.inf
    choices: tuple[int, ...] = CHOICES
    log_densities: Callable[[Array], Array] | None = None
    at_once: Array | None = None

    @cached_property
    def cumulative(self) -> Array:
        """Probability of each choice until each of the times, shape (choices, times)."""
        widths = np.diff(self.times)
        inner = self.times[:-1, None] + widths[:, None] * _NODES
        shares = np.exp(self._all_log_densities(inner)) @ _WEIGHTS * widths
        shares = np.concatenate([self._first_masses[:, None], shares], axis=1)
        return np.asarray(np.cumsum(shares, axis=1))

    def _all_log_densities(self, times: Array) -> Array:
        if self.log_densities is not None:
            return self.log_densities(times)
        return np.stack([self.log_density(times, choice) for choice in self.choices])

    @property
    def _first_masses(self) -> Array:
        return np.zeros(len(self.choices)) if self.at_once is None else self.at_once

    def mass(self, rts: npt.ArrayLike) -> Array:
        """Probability of each choice before an rt, shape (choices, rts), whatever the deadline."""
        decision = np.asarray(rts, float) - self.t
        return np.stack([np.interp(decision, self.times, row, left=0.0) for row in self.cumulative])

    @cached_property
    def choice_probabilities(self) -> Array:
        """Probability of each choice with no limit of time.

        The undecided go where those decide who decide last.
        """
        decided = self.cumulative[:, -1] / max(self.cumulative[:, -1].sum(), 1.0)
        last = self.times[-1:] * (1 - 1e-9)
        logs = self._all_log_densities(last)[:, 0]
        if decided.sum() == 0 and not np.isfinite(logs).any():
            return np.full(len(decided), 1 / len(decided))
        if not np.isfinite(logs).any():
            return np.asarray(decided / decided.sum())
        rates = np.exp(logs - logs.max())
        return np.asarray(decided + max(1 - decided.sum(), 0.0) * rates / rates.sum())

    def evaluate(self, rts: npt.ArrayLike, choices: npt.ArrayLike) -> Array:
        """Log density at (rt, choice), taken at the rts as the file holds them, in float32."""
        rts = np.asarray(rts, np.float32).astype(float).ravel()
        choices = np.asarray(choices).ravel()
        out = np.full(len(rts), FLOOR)
        for choice in self.choices:
            rows = (choices == choice) & (rts < self.deadline)
            out[rows] = np.maximum(self.log_density(rts[rows] - self.t, choice), FLOOR)
        return out

    def sample(self, n_samples: int, random_state: int | None = None) -> dict[str, Array]:
        """Draw rts and choices among those decided before the last of the times and the deadline.

        No decision takes longer than ``max_t``. If nothing is decided, rts are uniform up to it.
        """
        # Other draws than those the training strategy makes from the same seed.
        rng = np.random.default_rng(None if random_state is None else [random_state, 1])
        last = min(self.times[-1], self.max_t) + self.t
        masses = np.maximum(self.mass(min(self.deadline, last)) - self._first_masses, 0)
        ends = np.cumsum(masses)
        u = rng.uniform(0, ends[-1], n_samples)
        if ends[-1] < np.exp(FLOOR):
            return {
                "rts": rng.uniform(0, self.max_t, n_samples),
                "choices": rng.choice(np.array(self.choices, float), n_samples),
            }
        which = np.minimum(np.searchsorted(ends, u, side="right"), len(self.choices) - 1)
        decision = np.empty(n_samples)
        before = np.concatenate([[0.0], ends[:-1]]) - self._first_masses
        for index, row in enumerate(self.cumulative):
            drawn = which == index
            decision[drawn] = _inverse(u[drawn] - before[index], row, self.times)
        return {"rts": decision + self.t, "choices": np.array(self.choices, float)[which]}

    def fit(self, simulations: dict[str, Any]) -> None:
        """Nothing to do: no simulation is needed."""

    def get_metadata(self) -> dict[str, Any]:
        """The metadata that ssm-simulators' training strategy asks for."""
        return {
            "max_t": self.max_t,
            "possible_choices": list(self.choices),
            "n_choices": len(self.choices),
        }


def _inverse(u: Array, cumulative: Array, times: Array) -> Array:
    """Times at which a distribution function has the values ``u``."""
    rising = np.concatenate([[True], np.diff(cumulative) > 0])
    return np.asarray(np.interp(u, cumulative[rising], times[rising]))


def labels(density: Density, *, n_samples: int) -> dict[str, Array]:
    """Labels of the networks that are not of rts, under ssm-simulators' names.

    Parameters
    ----------
    density
        Of a parameter vector.
    n_samples
        What the histograms count to, as if so many trials had been simulated.

    Returns
    -------
    dict
        ``cpn_labels`` and ``cpn_no_omission_labels``, shape (1, 1), with more than two choices (1,
        choices); ``opn_labels`` and ``gonogo_labels``, shape (1, 1); ``binned_128`` and
        ``binned_256``. With a deadline, a choice counts if it came before; otherwise nothing is
        omitted, however late.
    """
    no_deadline = np.isinf(density.deadline)
    made = density.choice_probabilities if no_deadline else density.mass(density.deadline).ravel()
    answered = made.sum()
    shares = made / answered if answered > 0 else np.full(len(made), 1 / len(made))
    taken = slice(-1, None) if len(made) == 2 else slice(None)
    values = {
        "cpn_labels": made[taken],
        "cpn_no_omission_labels": shares[taken],
        "opn_labels": np.zeros(1) if no_deadline else 1 - made.sum(keepdims=True),
        "gonogo_labels": 1 - made[-1:],
    }
    out = {name: np.clip(value[None], 0, 1) for name, value in values.items()}
    for n_bins in (128, 256):
        edges = np.minimum(np.linspace(0, density.max_t, n_bins + 1), density.deadline)
        out[f"binned_{n_bins}"] = n_samples * np.diff(density.mass(edges), axis=1).T[None]
    return out
