"""Races of accumulators whose finishing times have closed forms: Wald's and gamma distributions.

**Racing diffusions without a lower boundary**, ssm-simulators' ``racing_diffusion_3``. Each
accumulator is a Wiener process with drift ``v`` and noise one that starts uniformly on [0, A] and
finishes at the bound ``b`` (Tillman, Van Zandt & Logan 2020, Psychon. Bull. Rev. 27). With the way
``k`` to the bound, its finishing time has Wald's density

    f(t; k) = k / sqrt(2 pi t**3) exp(-(k - v t)**2 / 2t),
    S(t; k) = Phi((k - v t) / sqrt t) - exp(2 v k) Phi((-k - v t) / sqrt t).

The average of f over ``k`` is elementary. That of S is too, but its elementary form divides by v;
here it is taken by Gauss-Legendre quadrature, with the common factor of both terms in front.

If ``A`` is above ``b`` some start behind the bound. The simulator has them finish in its first
step, at a decision time of zero, and looks at the accumulators one after another, so that of
several the first wins. That share has no density; it counts among the probabilities of choices.

**Two Poisson processes**, ssm-simulators' ``poisson_race``. An accumulator with rate ``r`` finishes
at its ``k``-th event (Smith & Van Zandt 2000, Br. J. Math. Stat. Psychol. 53; Townsend & Ashby
1983). Its finishing time has a gamma distribution with shape ``k``, which the simulator takes as it
is, whole or not, and scale ``1 / r``.

The simulators give no answer to what takes longer than ``max_t``; the densities do not end there.
"""

from functools import partial

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.normal import (
    between,
    log,
    mills_ratio,
    normal_density,
    quadrature,
    spread_ways,
    upper_tail,
)
from lanflow.models.exact.race import Race

_NODES, _WEIGHTS = quadrature(32)
# Nobody has gone this many standard deviations further than usual (less than 1e-14 have).
_STDS = 7.5
# Of the shortest way squared: before this share of it the density is below exp(-40).
_FIRST = 1 / 80
# Share of a Poisson process's finishing times that may be before the first of the grid's times.
_EARLY = 1e-9


def racing_diffusion(drifts: Array, highest_start: float, bound: float) -> Race:
    """The race of :func:`racing_diffusion_model` of ssm-simulators.

    Parameters
    ----------
    drifts
        One for each choice.
    highest_start, bound
        Starts are uniform from zero to the first, and end at the second.
    """
    near, far = spread_ways(bound, highest_start)
    behind = max(-near, 0.0) / (far - near)
    at_once = np.asarray(behind * (1 - behind) ** np.arange(len(drifts)), float)
    return Race(
        partial(_wald_parts, drifts=np.asarray(drifts, float), near=near, far=far),
        tuple(range(len(drifts))),
        first=_FIRST * max(near, 1e-5 * far) ** 2,
        at_once=at_once if behind else None,
    )


def _wald_parts(times: Array, *, drifts: Array, near: float, far: float) -> tuple[Array, Array]:
    """Log densities and log survivals at positive times, shape (accumulators, ...)."""
    v = drifts.reshape(-1, *[1] * np.ndim(times))
    least, spread, root = max(near, 0.0), far - near, np.sqrt(times)
    z_low, z_high = (least - v * times) / root, (far - v * times) / root
    ends = normal_density(z_low) - normal_density(z_high)
    density = (v * between(z_low, z_high) + ends / root) / spread
    # Those whose way is longer than the edge are all on it.
    edge = np.clip(v * times + _STDS * root, least, far)
    width = edge - least
    ways = least + width[..., None] * _NODES
    undecided = _survival(ways, v[..., None], times[..., None]) @ _WEIGHTS * width + (far - edge)
    return log(density), log(undecided / spread)


def _survival(way: Array, v: Array, t: Array) -> Array:
    """Probability of not having gone a way until a time."""
    root = np.sqrt(t)
    z, mirrored = (way - v * t) / root, (way + v * t) / root
    density, beyond = normal_density(z), mills_ratio(mirrored)
    late = density * (mills_ratio(np.maximum(-z, 0)) - beyond)
    return np.asarray(np.where(z > 0, upper_tail(-z) - density * beyond, late))


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
    return Race(
        partial(_poisson_parts, rates=rates, counts=counts), (-1, 1), first=max(first, 1e-9)
    )


def _poisson_parts(times: Array, *, rates: Array, counts: Array) -> tuple[Array, Array]:
    """Log densities and log survivals at positive times, shape (accumulators, ...)."""
    from scipy.special import gammaincc, gammaln

    shape = (-1, *[1] * np.ndim(times))
    r, k = rates.reshape(shape), counts.reshape(shape)
    events = r * times
    density = k * np.log(r) + (k - 1) * np.log(times) - events - gammaln(k)
    return np.asarray(density), log(gammaincc(k, events))
