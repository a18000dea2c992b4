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
:data:`_ROUNDING` cancels are nothing: that is far from where the high process is, at that time. So
``v b`` may be up to :data:`MOST_DRIFT` at the beginning, and :data:`MOST_HEIGHT` on a bump (of
``conflict_gamma``), with more places the larger it is. The time of a step is short against that in
which drift and boundary pass through the width that the places have by then, the square root of
the time: without that, what is decided early behind a bump was off by percents.

A bump of little shape leaps up at the beginning, far from the straight line between what the
boundary was and is; the tangent stands in for it (:meth:`lanflow.models.solver.Course.began`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.normal import between_boundaries, log
from lanflow.models.solver import POLE, RESIDUE, Course, Process

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
# Sums of waves in which more than this is cancelled are rounding.
_ROUNDING = 1e-13
# Until which clock it is solved; what is decided later is below exp(-30) of the whole.
_SOLVED_TAU = 25.0
# The solution is taken from where it is at most this much, in logarithms, below its peak.
_BELOW_PEAK = 9.0
# It is taken where both solutions are this near; the logarithm of nothing.
_NEAR, _NEVER = 1.0, -1e4
# Early times of the density, down to this share of the first.
_N_EARLY, _EARLIEST = 24, 1e-2
_SIGNS = np.array([-1.0, 1.0])


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
        return (1 + _SIGNS * y_high[..., None]) / 2

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
            out += [(p * (b - k * low[side]) + along * 2 * b * (1 - first)).max() for k in _SIGNS]
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


@cache
def _sines(n: int) -> tuple[Array, Array, Array, Array]:
    """Places between ``n`` intervals, sines at them, wave numbers, slopes (outwards) at the ends.

    The transform of values is ``2 / n`` times the (symmetric) sines.
    """
    m = np.arange(1, n)
    k = m * np.pi / 2
    return 2 * m / n - 1, np.sin(np.pi * np.outer(m, m) / n), k, np.stack([k, -((-1.0) ** m) * k])


def _factors(v: Array, b: Array, dt: Array, dtau: Array) -> Callable[[Array, Array | float], Array]:
    """Density with drift and motion relative to what obeys the equation of heat, in logarithms.

    Of a drift ``v``, in straight pieces of a boundary that is ``b`` where they meet, ``dt`` seconds
    and ``dtau`` of the clock long. Taken at places when a share of each piece's clock has passed;
    shape (pieces, *drifts, places).
    """
    shrunk = b[:-1] / b[1:]

    def factor(y: Array, at: Array | float) -> Array:
        grown = 1 / (1 - (1 - shrunk) * at)
        rows = b[:-1] * grown, dt * at * grown * shrunk, grown * (1 - shrunk) / dtau, np.log(grown)
        place, t, bend, more = (row.reshape(-1, *(1,) * (v.ndim + 1)) for row in rows)
        drift = v[..., None]
        return np.asarray(drift * place * y - drift**2 * t / 2 - bend * y**2 / 2 + more / 2)

    return factor


def _gone(rates: Array, dtau: Array) -> Array:
    """Integral of ``exp(-rate * tau)`` over a step."""
    z = np.where(np.abs(rates * dtau) < 1e-12, 1e-12, rates * dtau)
    return np.asarray(-np.expm1(-z) / z * dtau)


class _High:
    """The high process's steps, each from the middle of a low one's to the middle of the next.

    Of a density when a step begins, ``waves`` obey the equation of heat. From them come the density
    when the step ends (``moved``) and what leaves at the boundary of the own side (``leaving``):
    at the low process's time, before and after it (``now``, ``until_now``, ``from_now``).
    """

    def __init__(self, levels: TwoLevels, times: Array, n: int) -> None:
        course = levels.course
        tau = course.at(times)[1]
        knots_tau = np.concatenate([tau[:1], (tau[1:] + tau[:-1]) / 2, tau[-1:]])
        knots = np.interp(knots_tau, course.tau, course.t)
        knots[[0, -1]] = times[[0, -1]]
        b = course.at(knots)[0]
        dtau = np.diff(knots_tau)
        factor = _factors(np.array(levels.v_high), b, np.diff(knots), dtau)
        at = (tau - knots_tau[:-1]) / dtau
        y, sines, k, slopes = _sines(n)
        self._enter = np.exp(-factor(y, 0.0))[..., None]
        self._leave = np.exp(factor(y, 1.0))[..., None]
        self._heat = sines @ (np.exp(-(k**2) / 2 * dtau[:, None])[..., None] * sines) * (2 / n)
        ends = [factor(_SIGNS, share) for share in (0.0, at, 1.0)]

        def out(begin: int, length: Array, amounts: Array) -> tuple[Array, Array]:
            waves = slopes / 2 * np.exp(-(k**2) / 2 * (length * dtau)[:, None])[:, None, :]
            return np.exp(ends[begin])[..., None], waves * amounts @ sines * (2 / n)

        def spent(begin: int, share: Array) -> Array:
            width = np.maximum(share * dtau, 1e-300)[:, None, None]
            fall = (ends[begin + 1] - ends[begin])[..., None] / width
            return _gone(k**2 / 2 - np.where(share[:, None, None] > 0, fall, 0), width)

        self.now = out(1, at, np.ones(1))
        self.until_now = out(0, 0 * at, spent(0, at))
        self.from_now = out(1, at, spent(1, 1 - at))

    def waves(self, i: int, q: Array) -> Array:
        """A density without drift and motion, shape (high, low of two sides)."""
        return np.asarray(self._enter[i] * q.reshape(len(q), -1))

    def moved(self, i: int, waves: Array) -> Array:
        """The density at the end of a step, shape (high, 2, low)."""
        later = _cut(self._heat[i] @ waves, np.abs(waves).max(axis=0))
        return np.asarray(self._leave[i] * later).reshape(len(later), 2, -1)

    def leaving(self, i: int, when: tuple[Array, Array], waves: Array) -> Array:
        """Density of leavers at the boundary of each side, shape (2, low)."""
        size, slopes = when[0][i], when[1][i]
        both = waves.reshape(len(waves), 2, -1)
        most = np.abs(slopes).max() * np.abs(both).max(axis=0)
        return np.asarray(size * _cut(np.einsum("sh,hsl->sl", slopes, both), most))


def _cut(sums: Array, most: Array) -> Array:
    """Sums of numbers up to ``most``, or nothing where that is less than rounding may leave."""
    return np.where(np.abs(sums) > _ROUNDING * most, sums, 0.0)


class _Low:
    """A low process's steps in space of ``n`` intervals, of rows of densities, each for two sides.

    Parameters
    ----------
    drift, noise
        Of the rows, shape (rows, 2).
    leak
        Pull to zero.
    """

    def __init__(
        self, levels: TwoLevels, times: Array, n: int, drift: Array, noise: Array, leak: float
    ) -> None:
        b, tau, _, way = levels.course.at(times)
        self.dtau, self.h = np.diff(tau), 2 / n
        self._pull = (np.diff(np.log(b)) + leak * np.diff(times)) / self.dtau
        self._b = np.diff(way) / self.dtau
        self._is_still = bool(np.ptp(self._pull) < 1e-9 and np.ptp(self._b) < 1e-9 * self._b[0])
        self._drift, self._spread = drift[..., None], (noise**2 / 2)[..., None] / self.h
        self._middles = (np.arange(n) + 0.5) * self.h - 1
        self._first = self._currents(0)

    def _currents(self, i: int) -> tuple[Array, Array]:
        """Crossings of the middle of an interval: of the density below it, and of that above."""
        speed = self._b[i] * self._drift - self._pull[i] * self._middles
        peclet = np.clip(speed / self._spread, -500, 500)
        peclet = np.where(np.abs(peclet) < 1e-8, 1e-8, peclet)
        down = self._spread * peclet / np.expm1(peclet)
        return down + self._spread * peclet, down

    def step(self, i: int, q: Array, entering: Array | float = 0.0) -> tuple[Array, Array]:
        """The density a step later, and what has met the boundaries, shape (rows, 2, 2).

        What enters does so evenly within the step.
        """
        from scipy.linalg.lapack import zgtsv

        up, down = self._first if self._is_still else self._currents(i)
        size = self.dtau[i] / self.h
        centre = size * (up[..., 1:] + down[..., :-1]) - POLE
        above, below = (np.zeros(q.shape, complex) for _ in range(2))
        np.multiply(down[..., 1:-1], -size, out=above[..., :-1])
        np.multiply(up[..., 1:-1], -size, out=below[..., 1:])
        right = (q - entering / POLE).ravel()
        rows = below.ravel()[1:], centre.ravel(), above.ravel()[:-1], right
        part = zgtsv(*rows, *(1,) * 4)[3].reshape(q.shape)
        met = 2 * (RESIDUE / -POLE * part[..., [0, -1]]).real * self.dtau[i]
        met[..., 0] *= down[..., 0]
        met[..., 1] *= up[..., -1]
        return 2 * (RESIDUE * part).real, met


def _solved(levels: TwoLevels, times: Array, n_high: int, n_low: int) -> Array:
    """Densities of the choices per second at the times of steps, shape (4, times)."""
    high, (y_high, y_low) = _High(levels, times, n_high), (_sines(n)[0] for n in (n_high, n_low))
    beta = levels.share(y_high)
    drift, noise = (one[0] + one[1] * beta for one in (levels.drift, levels.noise))
    low = _Low(levels, times, n_low, levels.v_low * drift, noise, levels.leak)
    after = _Low(levels, times, n_low, levels.v_low + np.zeros((2, 2)), np.ones((2, 2)), 0.0)
    b = levels.course.at(times)[0]
    both = levels.begin(float(times[0]), y_high, y_low)
    alone, then = np.zeros((n_high - 1, 2, 2)), np.zeros((2, 2, n_low - 1))
    entering = np.zeros((2, n_low - 1))
    out, left = np.empty((len(times), 2, 2)), np.empty((len(times) - 1, 2, 2))
    for i in range(len(times)):
        waves = high.waves(i, both)
        entering = entering + high.leaving(i, high.until_now, waves)
        if i > 0:
            weights = np.array([1.0, 1 / np.sqrt(b[i - 1] * b[i])])[:, None, None]
            then, met = after.step(i - 1, then, weights * entering)
            left[i - 1] = _read_off(met, np.sqrt(b[i - 1] * b[i])) if levels.misses else met[0]
        entering = high.leaving(i, high.from_now, waves)
        waves_alone = high.waves(i, alone)
        out[i] = high.leaving(i, high.now, waves_alone) / b[i] ** 2
        if i < len(times) - 1:
            both, met = low.step(i, high.moved(i, waves))
            alone = high.moved(i, waves_alone) + met
    # Leavers of a step are a density in its middle; the ratio to the base is a smooth one.
    middles = (times[1:] + times[:-1]) / 2
    logs = log(left / np.diff(times)[:, None, None]).reshape(-1, 4).T
    ratios = np.nan_to_num(logs - levels.log_base(middles), neginf=_NEVER)
    at = [np.interp(np.log(times), np.log(middles), ratio) for ratio in ratios]
    return out.reshape(-1, 4).T + np.exp(np.stack(at) + levels.log_base(times))


def _read_off(leaving: Array, b: float) -> Array:
    """Leavers by the choice that is read off; the second of ``leaving`` has the weight 1 / b.

    Of all of it half are of either choice, and the share ``b_later / b`` is where it was.
    """
    whole, kept = leaving[0].mean(axis=1, keepdims=True), b * leaving[1] / 2
    return np.asarray(whole + kept - kept[:, ::-1])


class Solution:
    """The density of decision time and choice of :class:`TwoLevels`."""

    def __init__(self, levels: TwoLevels) -> None:
        self._levels = levels
        self._steps = levels.step_times
        n_high, n_low = levels.intervals
        fine = log(_solved(levels, self._steps, n_high, n_low)[:, ::2])
        coarse = log(_solved(levels, self._steps[::2], n_high, n_low // 2))
        with np.errstate(invalid="ignore"):
            known = np.abs(fine - coarse) < _NEAR
        self._logs = np.full(fine.shape, -np.inf)
        self._logs[known] = (4 * fine[known] - coarse[known]) / 3
        self._ratios = [self._ratio(row) for row in range(4)]

    def grid(self) -> Array:
        """Increasing decision times between which the density is smooth."""
        early = self._steps[0] * np.geomspace(_EARLIEST, 1, _N_EARLY)[:-1]
        end = self._levels.course.t[-1]
        late = np.linspace(self._steps[-1], end, 12)
        return np.unique(np.concatenate([early, self._steps, late]))

    def _ratio(self, row: int) -> Callable[[Array, Array], Array]:
        """Logarithm of the ratio to the base, at times and readings of the clock."""
        from scipy.interpolate import CubicSpline

        times, logs = self._steps[::2], self._logs[row]
        known = np.isfinite(logs)
        if known.any():
            known &= np.arange(len(logs)) >= np.argmax(logs > logs[known].max() - _BELOW_PEAK)
        if known.sum() < 4:
            return lambda times, _: np.full_like(times, -np.inf)
        at = np.log(times[known])
        ratio = logs[known] - self._levels.log_base(times[known])[row]
        spline = CubicSpline(at, ratio)
        tau = self._levels.course.at(times[known][-2:])[1]
        fall = (ratio[-1] - ratio[-2]) / (tau[1] - tau[0])
        first = times[known][0]
        rise = float(spline(at[0], 1)) / first

        def value(times: Array, clock: Array) -> Array:
            inside = spline(np.clip(np.log(times), at[0], at[-1]))
            early, late = np.minimum(times - first, 0), np.maximum(clock - tau[1], 0)
            return np.asarray(inside + rise * early + fall * late)

        return value

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density of decision time and one of the choices."""
        return np.asarray(self.log_densities(times)[choice])

    def log_densities(self, times: Array) -> Array:
        """Logarithms of the joint densities of decision time and each choice, (4, ...)."""
        times = np.asarray(times, float)
        out = np.full((4, *times.shape), -np.inf)
        inside = (times > 0) & (times <= self._levels.course.t[-1])
        t = times[inside]
        clock = self._levels.course.at(t)[1]
        ratios = np.stack([ratio(t, clock) for ratio in self._ratios])
        out[:, inside] = self._levels.log_base(t) + ratios
        return out
