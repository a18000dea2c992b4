"""A race of two Poisson processes: ssm-simulators' ``poisson_race``.

An accumulator with rate ``r`` finishes at its ``k``-th event (Smith & Van Zandt 2000, Br. J. Math.
Stat. Psychol. 53; Townsend & Ashby 1983). Its finishing time has a gamma distribution with shape
``k``, which the simulator takes as it is, whole or not, and scale ``1 / r``. The simulator gives no
answer to what takes longer than ``max_t``; the density does not end there.
"""

from functools import partial

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.normal import log
from lanflow.models.exact.race import Race

# Share of the first processes to finish that may do so before the first of the grid's times.
_EARLY = 1e-9


def poisson_race(rates: Array, counts: Array) -> Race:
    """The race of :func:`poisson_race` of ssm-simulators.

    Parameters
    ----------
    rates, counts
        Of the accumulators of the choices -1 and 1: events a second, and how many are needed.
    """
    from scipy.special import gammaincinv

    rates, counts = np.asarray(rates, float), np.asarray(counts, float)
    first = float(np.min(gammaincinv(counts, _EARLY) / rates))
    return Race(partial(_parts, rates=rates, counts=counts), (-1, 1), first=max(first, 1e-9))


def _parts(times: Array, *, rates: Array, counts: Array) -> tuple[Array, Array]:
    """Log densities and log survivals at positive times, shape (accumulators, ...)."""
    from scipy.special import gammaincc, gammaln

    shape = (-1, *[1] * np.ndim(times))
    r, k = rates.reshape(shape), counts.reshape(shape)
    events = r * times
    density = k * np.log(r) + (k - 1) * np.log(times) - events - gammaln(k)
    return np.asarray(density), log(gammaincc(k, events))
