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
        Of decision times and one of the choices -1 and 1.
    times
        Decision times, increasing, between which the density is smooth. What comes after the last
        is undecided.
    t
        Non-decision time, seconds.
    max_t
        The last rt of the rows that are uniform in rt.
    deadline
        No rt is at or behind it: the density is zero there.
    """

    log_density: Callable[[Array, int], Array]
    times: Array
    t: float
    max_t: float
    deadline: float = np.inf

    @cached_property
    def cumulative(self) -> Array:
        """Probability of each choice until each of the times, shape (2, times)."""
        widths = np.diff(self.times)
        inner = self.times[:-1, None] + widths[:, None] * _NODES
        shares = [np.exp(self.log_density(inner, choice)) @ _WEIGHTS * widths for choice in CHOICES]
        return np.concatenate([np.zeros((2, 1)), np.cumsum(shares, axis=1)], axis=1)

    def mass(self, rts: npt.ArrayLike) -> Array:
        """Probability of each choice before an rt, shape (2, rts), whatever the deadline."""
        decision = np.asarray(rts, float) - self.t
        return np.stack([np.interp(decision, self.times, row) for row in self.cumulative])

    @cached_property
    def choice_probabilities(self) -> Array:
        """Probability of the choices -1 and 1 with no limit of time.

        The undecided go where those decide who decide last.
        """
        decided = self.cumulative[:, -1] / max(self.cumulative[:, -1].sum(), 1.0)
        last = self.times[-1:] * (1 - 1e-9)
        logs = np.array([self.log_density(last, choice)[0] for choice in CHOICES])
        if not np.isfinite(logs).any():
            return np.asarray(decided / decided.sum())
        rates = np.exp(logs - logs.max())
        return np.asarray(decided + max(1 - decided.sum(), 0.0) * rates / rates.sum())

    def evaluate(self, rts: npt.ArrayLike, choices: npt.ArrayLike) -> Array:
        """Log density at (rt, choice), taken at the rts as the file holds them, in float32."""
        rts = np.asarray(rts, np.float32).astype(float).ravel()
        choices = np.asarray(choices).ravel()
        out = np.full(len(rts), FLOOR)
        for choice in CHOICES:
            rows = (choices == choice) & (rts < self.deadline)
            out[rows] = np.maximum(self.log_density(rts[rows] - self.t, choice), FLOOR)
        return out

    def sample(self, n_samples: int, random_state: int | None = None) -> dict[str, Array]:
        """Draw rts and choices among those decided before the last of the times and the deadline.

        If nothing is, rts are uniform up to ``max_t``.
        """
        # Other draws than those the training strategy makes from the same seed.
        rng = np.random.default_rng(None if random_state is None else [random_state, 1])
        lower, upper = self.cumulative
        n_lower, n_upper = self.mass(min(self.deadline, self.times[-1] + self.t))
        u = rng.uniform(0, n_lower + n_upper, n_samples)
        if n_lower + n_upper < np.exp(FLOOR):
            return {
                "rts": rng.uniform(0, self.max_t, n_samples),
                "choices": rng.choice(np.array(CHOICES, float), n_samples),
            }
        choices = np.where(u < n_lower, -1.0, 1.0)
        decision = np.where(
            choices < 0, _inverse(u, lower, self.times), _inverse(u - n_lower, upper, self.times)
        )
        return {"rts": decision + self.t, "choices": choices}

    def fit(self, simulations: dict[str, Any]) -> None:
        """Nothing to do: no simulation is needed."""

    def get_metadata(self) -> dict[str, Any]:
        """The metadata that ssm-simulators' training strategy asks for."""
        return {"max_t": self.max_t, "possible_choices": list(CHOICES), "n_choices": 2}


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
        ``cpn_labels``, ``opn_labels``, ``gonogo_labels`` and ``cpn_no_omission_labels``, shape
        (1, 1), ``binned_128`` and ``binned_256``. With a deadline, a choice counts if it came
        before; otherwise nothing is omitted, however late.
    """
    no_deadline = np.isinf(density.deadline)
    lower, upper = (
        density.choice_probabilities if no_deadline else density.mass(density.deadline).ravel()
    )
    answered = lower + upper
    values = {
        "cpn_labels": upper,
        "cpn_no_omission_labels": upper / answered if answered > 0 else 0.5,
        "opn_labels": 0.0 if no_deadline else 1 - answered,
        "gonogo_labels": 1 - upper,
    }
    out = {name: np.clip(np.array([[value]]), 0, 1) for name, value in values.items()}
    for n_bins in (128, 256):
        edges = np.minimum(np.linspace(0, density.max_t, n_bins + 1), density.deadline)
        out[f"binned_{n_bins}"] = n_samples * np.diff(density.mass(edges), axis=1).T[None]
    return out
