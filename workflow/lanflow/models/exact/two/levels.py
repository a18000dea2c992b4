"""A high decision that drives a low one: ssm-simulators' ``ddm_mic2_*`` and ``tradeoff_*``.

The high process is a Wiener process with drift between ``+-b(t)``. Its decision takes one of two
low processes, which runs from the time zero between the same boundaries. Until the high decision
its drift, and in some models its noise, follow the *place* of the high process: with ``beta`` the
share of the way from the boundary of the other choice to that of the own one,

    dX = (v (d0 + d1 beta) - leak X) dt + (s0 + s1 beta) dW,

and afterwards ``dX = v dt + dW``. The answer comes with the later of the two decisions. The choice
is ``2 * high + low``, of what was crossed, 0 or 1.

Since the low process follows a place and not a time, no product of densities in one dimension is
the answer: for each high choice the density of both places obeys a Fokker-Planck equation in two
dimensions, ``y = X / b(t)`` in [-1, 1] for each. Its mass ends

- at a low boundary: the high process goes on alone (``alone``, a density for each low choice);
- at the high boundary of the own choice: the low process goes on with its full drift
  (``after``), and the mass that enters at all times shares one grid;
- at the other high boundary, where it is the other low process's concern.

One step of the clock ``tau = int 1 / b**2`` moves the high process, then the low one, each in the
middle of the other (Strang 1968). The high process moves in sines, exactly: with constant drift and
noise one, in a boundary that is straight within the step, an elementary factor (see
:mod:`~lanflow.models.exact.reflected`) takes drift and motion away and leaves the equation of heat.
The low process takes Scharfetter and Gummel's differences (1969), exact for a steady current and
stable where noise is small, and Radau's step (:mod:`lanflow.models.solver`). All is done again in
twice the steps and half the places of the low process, and logarithms are extrapolated.

Interpolated is the ratio to ``exp(-D**2 / 2t) / t``, ``D`` the length of the shortest way to both
decisions, in which the noise of each place is the measure. Before the solution begins to be
accurate the ratio is a straight line in time, behind its end one in the clock.

The elementary factor spans ``exp(v b)`` to ``exp(-v b)``, and ``exp(-b b' / 2)`` at a boundary that
falls. What rounding leaves of waves that cancel would grow by it, so that sums in which all but
a part in ``1e13`` cancels are nothing: that is far from where the high process is, at that time. So
``v b`` may be up to :data:`MOST_DRIFT` at the beginning, and :data:`MOST_HEIGHT` on a bump (of
``conflict_gamma``), with more places the larger it is. The time of a step is short against that in
which drift and boundary pass through the width that the places have by then, the square root of
the time: without that, what is decided early behind a bump was off by percents.

A bump of little shape leaps up at the beginning, far from the straight line between what the
boundary was and is; the tangent stands in for it (:meth:`Course.began`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.course import Course, Process
from lanflow.models.exact.normal import between_boundaries

# Drift times half the distance of boundaries, at most: of the high process, when it begins, and
# where boundaries are the furthest apart. A bump's shape, at least: below, it would be a step.
MOST_DRIFT, MOST_HEIGHT, LEAST_SHAPE = 18.0, 45.0, 1.1
# Intervals between the boundaries, and how much of the clock a step of the finer solution takes.
N_HIGH = 48
N_LOW = 64
STEP = 0.1
# Steps grow by this share of the clock behind one, where the slowest waves are all there is, and
# are short against the time in which drift and leak lead from one boundary to another.
_GROWTH = 0.2
_PER_WAY = 0.3
# And against the time in which drift and boundary pass through the places that there are.
_PASSING = 0.5
# The places start as Gaussians when they are this many standard deviations from a boundary, or
# this share of it wide; so many intervals are a standard deviation at least.
_START_STDS, _WIDEST_START = 5.0, 0.1
_HIGH_INTERVALS, _LOW_INTERVALS = 1.2, 1.9
# Intervals are so many times the drift, in units of half the distance, at least; and a boundary
# that falls adds so much of its exponent to that of the waves that are left out at the start.
_HIGH_PER_DRIFT, _LOW_PER_DRIFT = 6.0, 10.0
_PER_FALL = 1.5
_MOST_INTERVALS = 256
# Until which clock it is solved; what is decided later is below exp(-30) of the whole.
_SOLVED_TAU = 25.0
# Of the lower and the upper choice.
SIGNS = np.array([-1.0, 1.0])


@dataclass(frozen=True)
class TwoLevels:
    """A high process and the two low ones that it chooses between.

    Attributes
    ----------
    boundary
        Half the distance of the boundaries at an array of times, of all processes.
    v_high, z_high
        Drift and start (share of the way from the lower to the upper boundary) of the high one.
    v_low, z_low
        The same of the low processes of the lower and the upper choice, shape (2,).
    drift, noise, leak
        ``d0, d1``; ``s0, s1``; and the pull to zero: of a low process until the high decision.
    until
        How long they are followed, seconds.
    misses
        True if the low choice is read off with the boundary at the *high* decision, as one of the
        simulators does. While the boundary comes down from ``b`` to ``b_later`` between the
        decisions, it is the wrong one with the probability ``(1 - b_later / b) / 2``.
    refinement
        How many times finer than usual the grid is in time; in space it is the square root of it.
    """

    boundary: Callable[[Array], Array]
    v_high: float
    z_high: float
    v_low: Array
    z_low: Array
    drift: tuple[float, float]
    noise: tuple[float, float]
    leak: float
    until: float
    misses: bool = False
    refinement: int = 1

    @cached_property
    def course(self) -> Course:
        """The boundary; its integrals of the drift are those of a drift of one."""
        return Process(self.boundary, np.ones_like, 0.5, 0.0, self.until).course

    @cached_property
    def _slope(self) -> Array:
        """Slope of the boundary at the times of its course, per second."""
        return np.gradient(self.course.b, self.course.t)

    @property
    def first_places(self) -> tuple[float, Array]:
        """Starts as places at the time zero."""
        b = self.course.b[0]
        return (2 * self.z_high - 1) * b, (2 * self.z_low - 1) * b

    @property
    def first_time(self) -> float:
        """Time until which the places are Gaussians, all between the boundaries, seconds."""
        t, b = self.course.t, self.course.b
        high, low = self.first_places
        stds = np.sqrt(t)
        free = stds <= _WIDEST_START * b
        moved = [(high, self.v_high), *zip(low, self.v_low * sum(self.drift), strict=True)]
        for start, v in moved:
            free &= b - np.abs(start + v * t) >= _START_STDS * stds
        first_hit = int(np.argmin(free)) if not free.all() else len(free)
        return float(t[max(first_hit - 1, 1)])

    @property
    def intervals(self) -> tuple[int, int]:
        """Intervals between the boundaries, of the high and of the low process, both even."""
        t, course = self.first_time, self.course
        std = np.sqrt(t) / float(np.interp(t, self.course.t, self.course.b))
        fall = max(-float(np.interp(t, course.t, course.b * self._slope)), 0.0)
        narrow = std / np.sqrt(1 + fall * std**2)
        at_wall = np.sqrt(_HIGH_INTERVALS**2 + _PER_FALL * fall / np.pi**2)
        widest = float(course.b[course.tau <= 1].max())
        steep = abs(self.v_high) * widest, float(np.abs(self.v_low).max()) * widest
        n_high = max(N_HIGH, 2 * at_wall / narrow, _HIGH_PER_DRIFT * steep[0])
        n_low = 2 * _LOW_INTERVALS / (std * max(sum(self.noise) / 2, 0.5))
        n_low = max(N_LOW, n_low, _LOW_PER_DRIFT * steep[1])
        finer = np.sqrt(self.refinement) / 2
        n_high, n_low = (2 * int(np.ceil(min(n, _MOST_INTERVALS) * finer)) for n in (n_high, n_low))
        return n_high, n_low + n_low % 4

    @property
    def step_times(self) -> Array:
        """Times of the steps: short against every scale of time that there is at that moment."""
        t, b, tau = self.course.t, self.course.b, self.course.tau
        first = self.first_time
        fastest = max(abs(self.v_high), float(np.abs(self.v_low).max()))
        motion = np.abs(self._slope)
        young = np.minimum(tau + np.interp(first, t, tau), 1.0)
        old = 1 + _GROWTH * np.maximum(tau - 1, 0)
        pulled = _PER_WAY * (fastest * b + self.leak * b**2)
        scale = np.maximum(1 / young, pulled) / (b**2 * old)
        width = np.minimum(np.sqrt(np.maximum(t, first)), b)
        passing = _PASSING * (fastest / old + motion) / width
        rate = np.maximum.reduce([scale, motion / b, passing])
        parts = (rate[1:] + rate[:-1]) / 2 * np.diff(t)
        steps = np.concatenate([[0.0], np.cumsum(parts)]) * self.refinement / STEP
        ends = np.interp([first, np.interp(_SOLVED_TAU, tau, t)], t, steps)
        n_steps = 2 * max(int(np.ceil((ends[1] - ends[0]) / 2)), 4)  # even, for the coarser one
        times = np.interp(np.linspace(ends[0], ends[1], n_steps + 1), steps, t)
        return np.asarray(np.concatenate([[first], times[1:]]))

    def share(self, y_high: Array) -> Array:
        """``beta`` of the lower and the upper choice, shape (..., 2)."""
        return (1 + SIGNS * y_high[..., None]) / 2

    @cached_property
    def shortest_way(self) -> Array:
        """Length of the shortest way to both decisions, for each choice, shape (4,).

        A way along the low axis is as long as the noise is small. The longest of all lower bounds,
        ``p * low + int (1 - (p s)**2)**0.5 dh`` for a slope ``p`` up to one, is the shortest way.
        """
        high, low = self.first_places
        b = float(self.course.b[0])
        p, shares = np.linspace(0, 1, 400), (np.arange(64) + 0.5) / 64
        out = []
        for side, first in enumerate(self.share(np.array(high / b))):
            noise = self.noise[0] + self.noise[1] * (first + (1 - first) * shares)
            along = np.sqrt(np.maximum(1 - np.outer(p, noise) ** 2, 0)).mean(axis=1)
            out += [(p * (b - k * low[side]) + along * 2 * b * (1 - first)).max() for k in SIGNS]
        return np.array(out)

    def log_base(self, times: Array) -> Array:
        """Logarithm of the known part of the densities of the choices, shape (4, times)."""
        longer = self.shortest_way[:, None] * self.course.at(times)[0] / self.course.b[0]
        return np.asarray(-(longer**2) / (2 * times) - np.log(times))

    def begin(self, t: float, y_high: Array, y_low: Array) -> Array:
        """Density of both places shortly after the start, shape (high, 2, low).

        Given the high process's place, its way is a bridge from the start, and that of the low one
        a Gaussian whose mean and variance are averages over the bridge.
        """
        (high, low), b_first = self.first_places, self.course.b[0]
        b = float(np.interp(t, self.course.t, self.course.b))
        bounds = self.course.began(t), b
        damped = np.exp(-self.leak * t)
        first, now = self.share(np.array([high / b_first])), self.share(y_high)
        share = self.drift[0] + self.drift[1] * (first + now) / 2
        mean = low * damped + self.v_low * share * t * np.sqrt(damped)
        s_first, s = (self.noise[0] + self.noise[1] * beta for beta in (first, now))
        off = (self.noise[1] / (2 * b)) ** 2 * t / 6
        variance = ((s_first**2 + s_first * s + s**2) / 3 + off) * t * damped
        variance = variance + (self.v_low * self.drift[1] / (2 * b)) ** 2 * t**3 / 12
        ahead = high + self.v_high * t
        places = between_boundaries(b * y_high, high, ahead, t, bounds)
        moved = mean[..., None], variance[..., None]
        below = between_boundaries(b * y_low, low[:, None], *moved, bounds)
        return np.asarray(b**2 * places[:, None, None] * below)
