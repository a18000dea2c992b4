"""The equation of two levels solved on its grid, step by step, and the density that follows.

:mod:`lanflow.models.exact.two.levels` derives it: a step of the clock moves the high process, then
the low one, each in the other's place; two solutions, the one of half as many intervals and steps,
are extrapolated.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.normal import log
from lanflow.models.exact.two.levels import SIGNS, TwoLevels
from lanflow.models.solver import POLE, RESIDUE

# Sums of waves in which more than this is cancelled are rounding.
_ROUNDING = 1e-13
# The solution is taken from where it is at most this much, in logarithms, below its peak.
_BELOW_PEAK = 9.0
# It is taken where both solutions are this near; the logarithm of nothing.
_NEAR, _NEVER = 1.0, -1e4
# Early times of the density, down to this share of the first.
_N_EARLY, _EARLIEST = 24, 1e-2


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
        ends = [factor(SIGNS, share) for share in (0.0, at, 1.0)]

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
