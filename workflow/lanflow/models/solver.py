"""The likelihood of one particle between moving boundaries, from the density of its place.

``dX = (drift(t) - leak * X) dt + dW`` between ``+-boundary(t)``, choices -1 and 1: in
ssm-simulators ``weibull``, ``ornstein``, ``gamma_drift``, ``shrink_spot``, ``conflict_*`` and their
variants with an angle or a deadline.

The Fokker-Planck equation is solved in ``y = X / boundary(t)``, so that the domain stands still at
[-1, 1] and no grid point is ever lost to a boundary. Space has central differences in conservation
form; time has steps of Radau's method, which leaves no waves behind that would cover a tail, with
coefficients integrated over the step, so that a jump of the drift inside one does no harm. It is
solved twice, on a grid and on one of half as many points in space and time, and extrapolated.

What is interpolated is not the density but its ratio to that of straight boundaries and constant
drift with the same averages until then, which is known exactly (:mod:`lanflow.models.analytic`). It
has the singularity at short times and the exponential tail of the density, so that the ratio is
smooth, and one for the ddm and for angle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lanflow.models.analytic import Array, log_unit_density

# Steps in space of the finer grid, and how much of a scale of time one of its steps may take.
N_SPACE = 200
STEP = 0.06
# Points on which boundary and drift are looked at.
_N_LOOKS = 4001
# The particle starts as a Gaussian when it is this many standard deviations from a boundary.
_START_STDS = 5.0
# Boundaries closer than this share of their first distance have met.
_CLOSED = 1e-3
# A step takes (1 - z / 3) / (1 + 2 z / 3 + z**2 / 6) for exp(-z), which is of third order and goes
# to zero for the fastest waves (Radau IIA). It is 2 Re(residue / (z - pole)): one system to solve.
POLE = -2 + 2**0.5 * 1j
RESIDUE = (6 - 2 * POLE) / (2 * 2**0.5 * 1j)
# Clock of the driftless particle: until when it is solved (less than exp(-30) is left), and until
# when there is a density at all (less than exp(-70)).
_SOLVED_TAU, _LAST_TAU = 25.0, 60.0
# The solution is taken from where the base is at most this much, in logarithms, below its peak.
_BELOW_PEAK = 9.0


@dataclass(frozen=True)
class Process:
    """A diffusing particle.

    Attributes
    ----------
    boundary, drift
        At an array of times since the start, seconds.
    start
        Share of the way from the lower to the upper boundary.
    leak
        Pull to zero.
    until
        How long it is followed, seconds.
    """

    boundary: Callable[[Array], Array]
    drift: Callable[[Array], Array]
    start: float
    leak: float
    until: float

    @cached_property
    def course(self) -> "Course":
        """Boundary and drift, looked at on times that are dense at the start and at the end."""
        grid = np.linspace(0, 1, _N_LOOKS)
        until = self.until
        for _ in range(2):  # the second time within the interval in which the boundaries meet
            t = until * grid
            met = np.flatnonzero(self._boundary(t) <= _CLOSED * self._boundary(t[:1]))
            until = t[met[0]] if len(met) else until
        t = until * (1 - (1 - grid**3) ** 3)
        b = np.maximum(self._boundary(t), _CLOSED / 2 * self._boundary(t[:1]))
        widths, ends = np.diff(t), b[1:] * b[:-1]
        # Exact where the boundary is straight, as it is between two times.
        tau = _running(widths / ends)
        last = min(int(np.searchsorted(tau, _LAST_TAU)) + 1, len(t))
        drift = np.broadcast_to(np.asarray(self.drift(t), float), t.shape)
        mean = (drift[1:] + drift[:-1]) / 2
        rows = t, b, tau, _running(mean * widths), _running(mean * widths / np.sqrt(ends)), drift
        return Course(*(row[:last] for row in rows))

    def _boundary(self, t: Array) -> Array:
        return np.broadcast_to(np.asarray(self.boundary(t), float), t.shape)


@dataclass(frozen=True)
class Course:
    """Boundary ``b``, clock ``tau = int 1 / b**2``, and integrals of the drift, on a fine grid."""

    t: Array
    b: Array
    tau: Array
    way: Array
    relative_way: Array
    drift: Array

    def at(self, times: Array) -> tuple[Array, Array, Array, Array]:
        """``b``, ``tau``, ``way``, ``relative_way`` at times."""
        b, way = (np.interp(times, self.t, row) for row in (self.b, self.way))
        before = np.clip(np.searchsorted(self.t, times) - 1, 0, len(self.t) - 2)
        passed = (times - self.t[before]) / (self.b[before] * b)
        drift = (self.drift[before] + self.drift[before + 1]) / 2
        relative_way = self.relative_way[before] + drift * passed * np.sqrt(self.b[before] * b)
        return b, self.tau[before] + passed, way, relative_way

    def began(self, time: float) -> float:
        """Beginning of a straight boundary that stands in for this one until a time.

        The tangent, if it begins further out: where all that has come close to the boundary has
        done so lately. A boundary that leaps away at the beginning is never near.
        """
        b, slope = (
            float(np.interp(time, self.t, row)) for row in (self.b, np.gradient(self.b, self.t))
        )
        return max(float(self.b[0]), b - slope * time)


def _running(parts: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(parts)])


def _integral(values: Array, t: Array) -> Array:
    return _running((values[1:] + values[:-1]) / 2 * np.diff(t))


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


def step_times(process: Process, step: float, *more_rates: Array) -> Array:
    """Times of the steps: short against every scale of time that there is at that moment.

    Parameters
    ----------
    process
        The particle.
    step
        Share of a scale of time that a step may take.
    more_rates
        Inverses of other scales, per second, at the times of the process's course.
    """
    course = process.course
    t, b, tau = course.t, course.b, course.tau
    t0 = first_time(process)
    motion = np.abs(np.gradient(np.log(b), t))
    rate = np.maximum.reduce(
        [
            1 / (b**2 * np.minimum(tau + np.interp(t0, t, tau), 1.0)),
            np.abs(course.drift) / b,
            motion,
            1 / (0.3 + 0.5 * t),
            *more_rates,
        ]
    )
    steps = _integral(rate, t) / step
    first, last = np.interp([t0, np.interp(_SOLVED_TAU, tau, t)], t, steps)
    n_steps = 2 * int(np.ceil((last - first) / 2))  # even, for the coarser solution
    times = np.interp(np.linspace(first, last, n_steps + 1), steps, t)
    times[0] = t0
    return times


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
    q = b[0] * _start(process, y * b[0], times[0], b[0], way[0])
    left, right = (y - h / 2)[1:], (y + h / 2)[:-1]
    below, above, centre = (np.empty(n_space - k, complex) for k in (2, 2, 1))
    out = np.empty((2, len(times)))
    out[:, 0] = _slopes(q, h)
    for i in range(len(times) - 1):
        below[:] = pull[i] * left - (push[i] + diffusion[i])
        above[:] = (push[i] - diffusion[i]) - pull[i] * right
        centre[:] = 2 * diffusion[i] - pull[i] * h - POLE
        part = zgtsv(below, centre, above, q.astype(complex), 1, 1, 1, 1)[3]
        q = 2 * (RESIDUE * part).real
        out[:, i + 1] = _slopes(q, h)
    return out / (2 * b**2)


def _start(process: Process, x: Array, t: float, b: float, way: float) -> Array:
    """Density of the place shortly after the start: a Gaussian, less what has met a boundary."""
    damped = np.exp(-process.leak * t)
    a, start = process.course.began(t), (2 * process.start - 1) * process.course.b[0]
    mean, variance = start * damped + way * np.sqrt(damped), t * damped
    free = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    # Of the bridges from the start to x, those that stay on this side of a straight boundary.
    upper = -np.expm1(-2 * (a - start) * (b - x) / t)
    lower = -np.expm1(-2 * (a + start) * (b + x) / t)
    return np.asarray(free * upper * lower)


def _slopes(q: Array, h: float) -> tuple[float, float]:
    """Slopes of the density at the boundaries, where it is zero, to fourth order."""
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
    """

    def __init__(self, process: Process, *, n_space: int = N_SPACE, step: float = STEP) -> None:
        self._process = process
        steps = step_times(process, step)
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
        from scipy.interpolate import CubicSpline

        density = self._densities[(choice + 1) // 2]
        base = log_base(self._process, self._steps, choice)
        solved = np.arange(len(base)) >= np.argmax(base > base.max() - _BELOW_PEAK)
        solved &= density > 0
        if solved.sum() < 2:
            return np.zeros_like
        at = np.log(self._steps[solved])
        spline = CubicSpline(at, np.log(density[solved]) - base[solved])
        return lambda times: spline(np.clip(np.log(times), at[0], at[-1]))

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density; ``-inf`` where it is zero or behind the end."""
        out = np.full(np.shape(times), -np.inf)
        inside = (times > 0) & (times <= self._process.course.t[-1])
        t = np.asarray(times, float)[inside]
        out[inside] = log_base(self._process, t, choice) + self._ratios[choice](t)
        return out
