"""The likelihood of one particle between moving boundaries, from the density of its place.

``dX = (drift(t) - leak * X) dt + dW`` between ``+-boundary(t)``, choices -1 and 1: in
ssm-simulators ``weibull``, ``ornstein``, ``gamma_drift``, ``shrink_spot``, ``conflict_*`` and their
variants with an angle or a deadline.

The Fokker-Planck equation is solved in ``y = X / boundary(t)``, so that the domain stands still at
[-1, 1] and no grid point is ever lost to a boundary. Space has central differences in conservation
form; time has steps of Radau's method, which leaves no waves behind that would cover a tail, with
coefficients averaged over the step. It is solved twice, on a grid and on one of half as many points
in space and time, and extrapolated.

The drift towards a boundary decides how the density bends there: ``q'' = 2 drift q'``. It is that
of the particle and of the boundary, which may have a kink. Where it jumps by ``d``, what arrives
goes on like ``1 + 2 d sqrt(2 t / pi)``, ``t`` after the jump. So a step ends at each jump, those
near it are short, and what is interpolated is smooth in ``sqrt(t)``. Steps are short near steep
curves, too (:mod:`lanflow.models.exact.course`). Averages over steps of ``h`` are small jumps, too.
On a half line, with Radau's ``R(z)`` for ``exp(-z)``, a drift that grows by ``d`` a step gives what
arrives at its end as ``1 + e``,

    e = d sqrt(h) sqrt(2) / pi int (1 / z - 1 / 2 - R / (1 - R)) / z**1.5 dz = -d sqrt(h / 12),

by which it is corrected. (With ``exp(-z)`` itself, ``-1.60 * 0.208 d sqrt(h)``.)

What is interpolated is not the density but its ratio to that of straight boundaries and constant
drift with the same averages until then, which is known exactly (:mod:`lanflow.models.analytic`). It
has the singularity at short times and the exponential tail of the density, so that the ratio is
smooth, and one for the ddm and for angle.
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np

from lanflow.models.analytic import Array, log_unit_density
from lanflow.models.exact.course import Process, running_integral

# Steps in space of the finer grid, and how much of a scale of time one of its steps may take.
N_SPACE = 200
STEP = 0.06
# The particle starts as a Gaussian when it is this many standard deviations from a boundary.
_START_STDS = 5.0
# The boundaries' signs.
SIDES = np.array([-1.0, 1.0])[:, None]
# The grid is finer where speed times boundary is above this, so that the density is steep at a
# boundary, or the start is nearer to one than this share of their distance; and at most so often.
_STEEP, _NEAR = 12.0, 0.15
_FINEST = 8.0
# The logarithm of what arrives is not corrected by more.
_MOST_LAG = 0.5
# A step's scale, of the time in which a packet of particles passes a boundary: its inverse is taken
# for so much.
_PASSING = 0.5
# A step takes (1 - z / 3) / (1 + 2 z / 3 + z**2 / 6) for exp(-z), which is of third order and goes
# to zero for the fastest waves (Radau IIA). It is 2 Re(residue / (z - pole)): one system to solve.
POLE = -2 + 2**0.5 * 1j
RESIDUE = (6 - 2 * POLE) / (2 * 2**0.5 * 1j)
# Clock of the driftless particle until which it is solved (less than exp(-30) is left).
_SOLVED_TAU = 25.0
# The solution is taken from where the base is at most this much, in logarithms, below its peak.
_BELOW_PEAK = 9.0


def log_base(process: Process, times: Array, choice: int) -> Array:
    """Log density with straight boundaries and constant drift of the same averages until then."""
    course = process.course
    b, tau, way, _ = course.at(times)
    a, y = course.b[0], 2 * process.start - 1
    closing = (a - b) / times
    share = process.start if choice == -1 else 1 - process.start
    return np.asarray(
        -0.5 * np.log(a)
        - 1.5 * np.log(b)
        + (way / times) * (choice * b - y * a)
        - way**2 / (2 * times)
        + closing * (b - a * y**2) / 2
        + log_unit_density(tau, share)
    )


def first_time(process: Process) -> float:
    """Time until which a Gaussian is still all between the boundaries, seconds."""
    course = process.course
    place = (2 * process.start - 1) * course.b[0] + course.way
    free = course.b - np.abs(place) >= _START_STDS * np.sqrt(course.t)
    first_hit = int(np.argmin(free)) if not free.all() else len(free)
    return float(course.t[max(first_hit - 1, 1)])


def step_times(process: Process, step: float) -> Array:
    """Times of the steps: short against every scale of time that there is at that moment.

    Parameters
    ----------
    process
        The particle.
    step
        Share of a scale of time that a step may take.
    """
    course = process.course
    t, b, tau = course.t, course.b, course.tau
    t0 = first_time(process)
    motion = np.abs(np.gradient(np.log(b), t))
    width = np.minimum(np.sqrt(np.maximum(t, t[1])), b)
    rate = np.maximum.reduce(
        [
            1 / (b**2 * np.minimum(tau + np.interp(t0, t, tau), 1.0)),
            np.abs(course.drift) / b,
            motion,
            1 / (0.3 + 0.5 * t),
            _PASSING * course.speed / width,
            course.rates_near_changes(),
        ]
    )
    steps = running_integral(rate, t) / step
    last = max(float(np.interp(_SOLVED_TAU, tau, t)), t0)
    ends = np.unique(
        [t0, *course.jumps[1][(course.jumps[1] > t0) & (course.jumps[1] < last)], last]
    )
    pieces = [_even_steps(first, last, steps, t) for first, last in itertools.pairwise(ends)]
    return np.concatenate([ends[:1], *pieces])


def _even_steps(first: float, last: float, steps: Array, t: Array) -> Array:
    """Ends of an even number of steps, for the coarser solution, between two times."""
    begin, end = np.interp([first, last], t, steps)
    n_steps = max(2 * int(np.ceil((end - begin) / 2)), 2)
    times = np.interp(np.linspace(begin, end, n_steps + 1)[1:], steps, t)
    times[-1] = last
    return times


def _fineness(process: Process) -> float:
    """By how much the grid has to be finer than usual."""
    course = process.course
    solved = (course.t >= first_time(process)) & (course.tau <= _SOLVED_TAU)
    steepness = np.max((course.speed * course.b)[solved], initial=0.0)
    share = min(process.start, 1 - process.start)
    return float(np.clip(max(steepness / _STEEP, _NEAR / share), 1, _FINEST))


def solve(process: Process, times: Array, n_space: int) -> Array:
    """Densities of the choices -1 and 1 at ``times``, shape (2, times).

    Parameters
    ----------
    process
        The particle, a Gaussian at the first of the times.
    times
        Of the steps.
    n_space
        Steps in space.
    """
    from scipy.linalg.lapack import zgtsv

    h = 2 / n_space
    y = np.linspace(-1, 1, n_space + 1)[1:-1]
    b, tau, way, relative_way = process.course.at(times)
    diffusion = np.diff(tau) / (2 * h**2)
    push = np.diff(relative_way) / (2 * h)
    pull = (np.diff(np.log(b)) + process.leak * np.diff(times)) / (2 * h)
    damped = float(np.exp(-process.leak * times[0]))
    mean = (2 * process.start - 1) * process.course.b[0] * damped + way[0] * np.sqrt(damped)
    q = b[0] * packet(process, y * b[0], times[0], b[0], mean, times[0] * damped)
    left, right = (y - h / 2)[1:], (y + h / 2)[:-1]
    below, above, centre = (np.empty(n_space - k, complex) for k in (2, 2, 1))
    out = np.empty((2, len(times)))
    out[:, 0] = slopes(q, h)
    for i in range(len(times) - 1):
        below[:] = pull[i] * left - (push[i] + diffusion[i])
        above[:] = (push[i] - diffusion[i]) - pull[i] * right
        centre[:] = 2 * diffusion[i] - pull[i] * h - POLE
        part = zgtsv(below, centre, above, q.astype(complex), 1, 1, 1, 1)[3]
        q = 2 * (RESIDUE * part).real
        out[:, i + 1] = slopes(q, h)
    out[:, 1:] *= np.exp(lags(process, times))
    return out / (2 * b**2)


def lags(
    process: Process, times: Array, *, push: Array | float = 0.0, pull: Array | float = 0.0
) -> Array:
    """Corrections of the slopes at the ends of steps, logarithms of factors, shape (2, steps).

    Parameters
    ----------
    process
        The particle.
    times
        Of the steps.
    push, pull
        Drift and leak besides those of the process, at the times.
    """
    course = process.course
    b, tau, *_ = course.at(times)
    jumped = np.isin(course.t, course.jumps[1])
    drift, slope = (
        np.interp(
            times, course.t, row - np.cumsum(np.where(jumped, np.diff(row, prepend=0.0), 0.0))
        )
        for row in (course.drift, course.slope)
    )
    outward = SIDES * b * (drift + push) - b * slope - (process.leak + pull) * b**2
    lag = np.diff(outward, axis=1) * np.sqrt(np.diff(tau) / 12)
    return np.asarray(np.clip(lag, -_MOST_LAG, _MOST_LAG))


def packet(process: Process, x: Array, t: float, b: float, mean: float, variance: float) -> Array:
    """Density of places shortly after the start: a Gaussian, less what has met a boundary.

    Parameters
    ----------
    process
        The particle.
    x
        Places.
    t, b
        Time since the start, seconds, and the boundary then.
    mean, variance
        Of a particle without boundaries.
    """
    a, start = process.course.began(t), (2 * process.start - 1) * process.course.b[0]
    free = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    # Of the bridges from the start to x, those that stay on this side of a straight boundary.
    upper = -np.expm1(-2 * (a - start) * (b - x) / t)
    lower = -np.expm1(-2 * (a + start) * (b + x) / t)
    return np.asarray(free * upper * lower)


def slopes(q: Array, h: float) -> tuple[float, float]:
    """Slopes inwards of the density at the boundaries, where it is zero, to fourth order."""
    lower = (48 * q[0] - 36 * q[1] + 16 * q[2] - 3 * q[3]) / (12 * h)
    upper = (48 * q[-1] - 36 * q[-2] + 16 * q[-3] - 3 * q[-4]) / (12 * h)
    return lower, upper


class Solution:
    """The density of decision time and choice of a :class:`Process`.

    Parameters
    ----------
    process
        The particle.
    n_space, step
        Of the finer grid; see :data:`N_SPACE` and :data:`STEP`.
    solve
        Densities of both choices by process, times and number of steps in space.
    """

    def __init__(
        self,
        process: Process,
        *,
        n_space: int = N_SPACE,
        step: float = STEP,
        solve: Callable[[Process, Array, int], Array] = solve,
    ) -> None:
        self._process = process
        steps = step_times(process, step)
        n_space = 2 * int(np.ceil(n_space / 2 * _fineness(process)))
        fine = solve(process, steps, n_space)[:, ::2]
        coarse = solve(process, steps[::2], n_space // 2)
        self._densities = (4 * fine - coarse) / 3
        self._steps = steps[::2]
        self._ratios = {choice: self._ratio(choice) for choice in (-1, 1)}

    @property
    def times(self) -> Array:
        """Decision times between which the density is smooth."""
        start = self._steps[0] * np.geomspace(1e-2, 1, 16)[:-1]
        return np.concatenate([start, self._steps])

    def _ratio(self, choice: int) -> Callable[[Array], Array]:
        """Logarithm of the ratio to the base, at times; constant outside of what is solved."""
        density = self._densities[(choice + 1) // 2]
        base = log_base(self._process, self._steps, choice)
        solved = np.arange(len(base)) >= np.argmax(base > base.max() - _BELOW_PEAK)
        solved &= density > 0
        if solved.sum() < 2:
            return np.zeros_like
        at, values = self._steps[solved], np.log(density[solved]) - base[solved]
        return _smooth(at, values, self._process.course.jumps[1])

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density; ``-inf`` where it is zero or behind the end."""
        out = np.full(np.shape(times), -np.inf)
        inside = (times > 0) & (times <= self._process.course.t[-1])
        t = np.asarray(times, float)[inside]
        out[inside] = log_base(self._process, t, choice) + self._ratios[choice](t)
        return out


def _smooth(at: Array, values: Array, jumps: Array) -> Callable[[Array], Array]:
    """Splines through values at times, one from each jump to the next; constant outside.

    They are smooth in the logarithm of the time, and in the root of the time since a jump.
    """
    from scipy.interpolate import CubicSpline

    jumps = np.intersect1d(jumps, at[1:-1])
    cuts = [0, *np.searchsorted(at, jumps), len(at) - 1]
    scales: list[Callable[[Array], Array]] = [np.log]
    scales += [functools.partial(_root_since, jump) for jump in jumps]
    splines = [
        CubicSpline(scale(at[first : last + 1]), values[first : last + 1])
        for scale, (first, last) in zip(scales, itertools.pairwise(cuts), strict=True)
    ]

    def smooth(times: Array) -> Array:
        times = np.clip(times, at[0], at[-1])
        out, after = np.empty_like(times), np.searchsorted(jumps, times, side="right")
        for index, (scale, spline) in enumerate(zip(scales, splines, strict=True)):
            out[after == index] = spline(scale(times[after == index]))
        return out

    return smooth


def _root_since(jump: float, times: Array) -> Array:
    return np.sqrt(times - jump)
