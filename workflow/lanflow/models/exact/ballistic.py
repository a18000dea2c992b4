"""Ballistic accumulators: a straight line from a random start at a random speed, without noise.

The linear ballistic accumulator (Brown & Heathcote 2008, Cognitive Psychology 57) as ssm-simulators
simulates it: the start is uniform on [0, ``z``], the bound is at ``a``, and the speed is the
*absolute value* of a normal draw with standard deviation :data:`NOISE`. So none goes backwards, and
there is always an answer; the paper's speeds may be negative. A bound that comes closer at the rate
``tan(theta)`` adds it to the speed. Parameters are called ``A`` and ``b`` in ``lba2`` and ``lba3``.

With ``y`` the way from the start to the bound, uniform on [a - z, a], an accumulator has finished
at the time ``t`` if its speed is above ``x = y / t``. With ``g`` and ``G`` the density and the
distribution function of the speed, averages over ``x``, uniform on [(a - z) / t, a / t], give

    f(t) = mean of x g(x) / t,        S(t) = mean of G(x),

both of which are elementary: the integral of ``Phi(u)`` is ``u Phi(u) + phi(u)``. Differences
are taken in that tail of the normal distribution in which nothing cancels. A start above the bound
(``z > a``, which ssm-simulators' own draws of ``lba2`` and ``lba3`` allow, and its simulator gives
a negative rt) has answered before the time zero and has no density behind it.

Two ways to combine reinforcement learning and working memory (ssm-simulators' ``dev_rlwm_lba_*``,
after McDougle & Collins 2021, Psychon. Bull. Rev. 28):

- ``race``: both processes of a choice begin at the same start, and the faster one counts. The
  speed is the greater of two, so that ``G`` is a product; averages over the start are taken by
  quadrature.
- ``pw``: both move the same particle, working memory from the time ``tWM`` on. Given the speed of
  working memory the average over the other speed and the start is the one above, and the average
  over that speed is taken by quadrature.
"""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.normal import (
    log,
    normal_density,
    quadrature,
    spread_ways,
    upper_tail,
)
from lanflow.models.exact.race import Race

# Standard deviation of speeds: ssm-simulators' for models with "lba" in their name.
NOISE = 0.1
# Speeds are looked at so many standard deviations around their mean, where quadrature is needed.
_STDS = 11.0
# The same where the place that counts is known.
_JOINED_STDS = 7.5
_NODES, _WEIGHTS = quadrature(36)
_PART, _PART_WEIGHTS = quadrature(8)

Parts = Callable[[Array], tuple[Array, Array]]


def ballistic_race(speeds: Array, a: float, z: float, theta: float = 0.0) -> Race:
    """The race of :func:`lba_vanilla` and, with an angle, :func:`lba_angle` of ssm-simulators.

    Parameters
    ----------
    speeds
        Means before the absolute value is taken, one for each choice.
    a, z
        Bound, and the highest start.
    theta
        Angle by which the bound comes down.
    """
    slope = float(np.tan(theta))
    near, far = spread_ways(a, z)
    parts = partial(_parts, speeds=np.abs(speeds), near=near, far=far, slope=slope)
    return _race(parts, len(speeds), float(np.max(np.abs(speeds))), near, far, slope)


def faster_of_two_race(learning: Array, memory: Array, a: float, z: float) -> Race:
    """The race of :func:`rlwm_lba_race`: of each choice's two speeds the greater one counts."""
    near, far = spread_ways(a, z)
    speeds = np.abs(np.stack([learning, memory]))
    parts = partial(_faster_parts, speeds=speeds, near=near, far=far)
    return _race(parts, len(learning), float(speeds.max()), near, far)


def joined_later_race(learning: Array, memory: Array, a: float, z: float, joined: float) -> Race:
    """The race of :func:`rlwm_lba_pw_v1`: from the time ``joined`` on both speeds add up."""
    near, far = spread_ways(a, z)
    parts = partial(
        _joined_parts,
        learning=np.abs(learning),
        memory=np.abs(memory),
        near=near,
        far=far,
        joined=joined,
    )
    fastest = float(np.max(np.abs(learning)) + np.max(np.abs(memory)))
    return _race(parts, len(learning), fastest, near, far, breaks=(joined,))


def _race(
    parts: Parts,
    n: int,
    fastest: float,
    near: float,
    far: float,
    slope: float = 0.0,
    breaks: tuple[float, ...] = (),
) -> Race:
    first = max(near, 1e-3 * far) / (fastest + _STDS * NOISE + slope)
    end = far / slope if slope > 0 else np.inf
    return Race(parts, tuple(range(n)), first=first, end=end, breaks=breaks)


def _parts(
    times: Array, *, speeds: Array, near: float, far: float, slope: float
) -> tuple[Array, Array]:
    """Log densities and log survivals at positive times, shape (accumulators, ...)."""
    v = speeds.reshape(-1, *[1] * np.ndim(times))
    low = np.maximum(near / times - slope, 0)
    high = np.maximum(far / times - slope, 0)
    spread = (far - near) / times
    chance, moment, total = averages(low, high, v)
    return log((moment + slope * chance) / spread / times), log(total / spread)


def _faster_parts(times: Array, *, speeds: Array, near: float, far: float) -> tuple[Array, Array]:
    fastest = speeds.max(axis=0).reshape(-1, *[1] * np.ndim(times), 1)
    first, second = (row.reshape(fastest.shape) for row in speeds)
    low, high = (np.maximum(way / times, 0)[..., None] for way in (near, far))
    edge = np.minimum(high, np.maximum(fastest + _STDS * NOISE, low))
    x = low + (edge - low) * _NODES
    below = [_below(x, v) for v in (first, second)]
    density = x * (_folded(x, first) * below[1] + _folded(x, second) * below[0])
    # Behind the edge every speed is below x.
    width, beyond = (edge - low)[..., 0], (high - edge)[..., 0]
    spread = (far - near) / times
    undecided = (below[0] * below[1]) @ _WEIGHTS * width + beyond
    return log(density @ _WEIGHTS * width / spread / times), log(undecided / spread)


def _joined_parts(
    times: Array, *, learning: Array, memory: Array, near: float, far: float, joined: float
) -> tuple[Array, Array]:
    before = times < joined
    densities, survivals = (np.empty((len(learning), *times.shape)) for _ in range(2))
    alone = _parts(times[before], speeds=learning, near=near, far=far, slope=0.0)
    densities[:, before], survivals[:, before] = alone
    densities[:, ~before], survivals[:, ~before] = _joined(
        times[~before][:, None], learning[:, None, None], memory[:, None, None], near, far, joined
    )
    return densities, survivals


def _joined(
    t: Array, v: Array, w: Array, near: float, far: float, joined: float
) -> tuple[Array, Array]:
    """Log densities and log survivals when both speeds count, shape (accumulators, times)."""
    since, spread = t - joined, (far - near) / t[:, 0]
    usual = t * v + since * w
    # The way that is likeliest of those that end at a time, and of those that go on.
    ending, going_on = np.clip(usual, max(near, 0.0), far), np.minimum(usual, far)
    w2, weights = _speeds_that_count(w, ending - usual, near, far, t, since)
    low, high = (np.maximum((way - w2 * since) / t, 0) for way in (near, far))
    chance, moment, _ = averages(low, high, v)
    flow = ((moment + w2 * chance) * weights).sum(axis=-1)
    w2, weights = _speeds_that_count(w, going_on - usual, near, far, t, since)
    low, high = (np.maximum((way - w2 * since) / t, 0) for way in (near, far))
    total = (averages(low, high, v)[2] * weights).sum(axis=-1)
    return log(flow / spread / t[:, 0]), log(total / spread)


def _speeds_that_count(
    w: Array, excess: Array, near: float, far: float, t: Array, since: Array
) -> tuple[Array, Array]:
    """Nodes of the speed of working memory, and weights that hold its density.

    They are around the speed that is likeliest where the way is an excess above the usual one. At
    ``near / since`` there is a kink: those who are faster need no other speed.
    """
    with np.errstate(divide="ignore"):
        kink, limit = max(near, 0.0) / since, max(far, 0.0) / since
    moved = np.clip(excess * since / (t**2 + since**2), -_STDS * NOISE, _STDS * NOISE)
    least = np.minimum(np.maximum(w + moved - _JOINED_STDS * NOISE, 0), limit)
    most = np.clip(w + moved + _JOINED_STDS * NOISE, least, limit)
    cuts = [np.clip(cut, least, most) for cut in (kink, w + moved)]
    ends = [least, np.minimum(*cuts), np.maximum(*cuts), most]
    nodes = [low + (high - low) * _PART for low, high in itertools.pairwise(ends)]
    widths = [(high - low) * _PART_WEIGHTS for low, high in itertools.pairwise(ends)]
    w2 = np.concatenate(nodes, axis=-1)
    return w2, _folded(w2, w) * np.concatenate(widths, axis=-1)


def averages(low: Array, high: Array, mean: Array) -> tuple[Array, Array, Array]:
    """Integrals over [low, high], both at least zero, for a speed of mean at least zero.

    Returns
    -------
    tuple of numpy.ndarray
        Of the density g(x), of x g(x), and of the distribution function G(x).
    """
    z_low, z_high = (low - mean) / NOISE, (high - mean) / NOISE
    u_low, u_high = (low + mean) / NOISE, (high + mean) / NOISE
    q_low, q_high, r_low, r_high = (upper_tail(np.abs(z)) for z in (z_low, z_high, u_low, u_high))
    phi = [normal_density(z) for z in (z_low, z_high, u_low, u_high)]
    below_high = np.where(z_high > 0, 1 - q_high, q_high)
    below_low = np.where(z_low > 0, 1 - q_low, q_low)
    # Each difference in that tail of the normal distribution in which nothing cancels.
    inside = np.where(z_low > 0, q_low - q_high, below_high - q_low)
    mirrored = r_low - r_high
    moment = mean * (inside - mirrored) + NOISE * (phi[0] - phi[1] + phi[2] - phi[3])
    over = z_high * below_high + phi[1] - z_low * below_low - phi[0]
    under = phi[2] - u_low * r_low - phi[3] + u_high * r_high
    return inside + mirrored, np.maximum(moment, 0), NOISE * np.maximum(over - under, 0)


def _folded(x: Array, mean: Array) -> Array:
    """Density of a speed."""
    both = normal_density((x - mean) / NOISE) + normal_density((x + mean) / NOISE)
    return np.asarray(both / NOISE)


def _below(x: Array, mean: Array) -> Array:
    """Probability of a speed below x."""
    return upper_tail((mean - x) / NOISE) - upper_tail((mean + x) / NOISE)
