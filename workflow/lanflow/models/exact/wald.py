"""Racing diffusions without a lower boundary: ssm-simulators' ``racing_diffusion_3``.

Each accumulator is a Wiener process with drift ``v`` and noise one that starts uniformly on [0, A]
and finishes at the bound ``b`` (Tillman, Van Zandt & Logan 2020, Psychon. Bull. Rev. 27). With the
way ``k`` to the bound, its finishing time has Wald's density

    f(t; k) = k / sqrt(2 pi t**3) exp(-(k - v t)**2 / 2t),
    S(t; k) = Phi((k - v t) / sqrt t) - exp(2 v k) Phi((-k - v t) / sqrt t).

The average of f over ``k`` is elementary. That of S is too, but its elementary form divides by v;
here it is taken by Gauss-Legendre quadrature, with the common factor of both terms in front.

If ``A`` is above ``b`` some start behind the bound. The simulator has them finish in its first
step, at a decision time of zero, and looks at the accumulators one after another, so that of
several the first wins. That share has no density; it counts among the probabilities of choices.
The simulator gives no answer to what takes longer than ``max_t``; the density does not end there.
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
        partial(_parts, drifts=np.asarray(drifts, float), near=near, far=far),
        tuple(range(len(drifts))),
        first=_FIRST * max(near, 1e-5 * far) ** 2,
        at_once=at_once if behind else None,
    )


def _parts(times: Array, *, drifts: Array, near: float, far: float) -> tuple[Array, Array]:
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
