"""A race: independent accumulators, and the first to reach its bound decides.

The density of the choice ``i`` at the time ``t`` is ``f_i(t)`` times the product of ``S_j(t)`` over
the others: ``f`` the density of an accumulator's own finishing time, ``S`` its chance of not having
finished. The kinds of accumulators have a chapter each: :mod:`~lanflow.models.exact.ballistic`,
:mod:`~lanflow.models.exact.closed_races` and :mod:`~lanflow.models.exact.reflected`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lanflow.models.density import Array

# The times of a race are so many: evenly in the quantiles of a normal distribution, and evenly in
# their logarithm.
_N_QUANTILES, _N_LOGS = 240, 50
# On so many times, evenly in their logarithm, the quantiles are looked up.
_N_LOOKS = 120
_MOST_STDS = 7.0
# No decision is looked for before it, seconds.
_EARLIEST = 1e-12
# Until how many times the longest decision densities are followed, for probabilities of choices
# without a limit of time.
_BEYOND = 1e4


@dataclass(frozen=True)
class Race:
    """Independent accumulators, one for each choice.

    Attributes
    ----------
    parts
        Gives, at times of any shape, the logarithms of the accumulators' densities and of their
        survival functions, each of shape (accumulators, ...). Times are positive.
    choices
        Of the accumulators, as data code them.
    first
        A time before which practically nothing is decided, seconds.
    end
        Time at which the last has finished, seconds; infinite if there is none.
    breaks
        Times at which the density jumps, seconds.
    at_once
        Probability of each choice at the time zero; none if left out.
    """

    parts: Callable[[Array], tuple[Array, Array]]
    choices: tuple[int, ...]
    first: float
    end: float = np.inf
    breaks: tuple[float, ...] = ()
    at_once: Array | None = None

    def log_densities(self, times: Array) -> Array:
        """Logarithms of the joint densities of decision time and each choice.

        Parameters
        ----------
        times
            Decision times in seconds, any shape. The density of a time that is not positive, or
            behind the end, is zero.

        Returns
        -------
        numpy.ndarray
            Shape (choices, ...).
        """
        times = np.asarray(times, float)
        out = np.full((len(self.choices), *times.shape), -np.inf)
        inside = (times > 0) & (times < self.end)
        densities, survivals = self.parts(times[inside])
        with np.errstate(invalid="ignore"):
            for row in range(len(self.choices)):
                others = np.delete(survivals, row, axis=0).sum(axis=0)
                out[row, inside] = densities[row] + others
        return np.nan_to_num(out, nan=-np.inf, posinf=np.inf, neginf=-np.inf)

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density of decision time and one of the choices."""
        return np.asarray(self.log_densities(times)[self.choices.index(choice)])

    def grid(self, until: float, *, is_open: bool = True) -> Array:
        """Increasing times between which the densities are smooth.

        Parameters
        ----------
        until
            How long a decision may take, seconds.
        is_open
            Go on behind it, more and more coarsely, until hardly anybody is undecided.
        """
        last = min(until * _BEYOND if is_open else until, self.end)
        first = min(max(self.first, _EARLIEST), last / 10)
        looks = np.geomspace(first, last * (1 - 1e-12), _N_LOOKS)
        undecided = np.exp(self.parts(looks)[1].sum(axis=0))
        places = _normal_quantiles(undecided / max(undecided[0], np.finfo(float).tiny))
        rising = np.concatenate([[True], np.diff(np.maximum.accumulate(places)) > 0])
        wanted = np.linspace(-_MOST_STDS, _MOST_STDS, _N_QUANTILES)
        wanted = wanted[(wanted > places[0]) & (wanted < places.max())]
        quantiles = np.exp(np.interp(wanted, places[rising], np.log(looks[rising])))
        even = np.geomspace(first, last, _N_LOGS)
        breaks = [time for time in (*self.breaks, until) if first < time < last]
        return np.unique(np.concatenate([[0.0], quantiles, even, breaks]))


def _normal_quantiles(undecided: Array) -> Array:
    """Quantiles of a normal distribution below which the decided share is."""
    from scipy.special import ndtri

    return np.asarray(-ndtri(np.clip(undecided, 1e-15, 1 - 1e-15)))
