"""Particles between bent boundaries, that start together or one after another at a given rate.

Particles with the drift ``v`` and noise one start at the share ``z`` of the distance of the
boundaries ``+-b(t)``: all at the beginning, or at the rate ``f(t)``. The density ``p`` of the
places ``X`` of all that have started and not arrived obeys the Fokker-Planck equation with a
source. During a step the boundary is taken for a straight line, ``b' = k``. With ``y = X / b`` and

    b p = sqrt(b) exp(v b y - k b y**2 / 2) u,      d tau = dt / b**2,

drift and motion are gone, and the walls stand still at -1 and 1 (as in
:mod:`lanflow.models.analytic`):

    u_tau = u_yy / 2 - v**2 b**2 / 2 u + source at 2 z - 1.

From one step to the next ``u`` is multiplied by ``exp((new k - old k) b y**2 / 2)``. The error of
the straight lines is of second order in the steps, and extrapolated away with a solution of half as
many: it is far less than that of :mod:`lanflow.models.solver`, which has to follow any drift.

Space has the compact differences of fourth order; a source is spread over four points, so that
cubics have the same mean. Time has the solver's steps, of Radau's method: ``2 Re(residue / (z -
pole))`` of what was there, and with another residue of what comes in at each of the two times of a
step, a third of it and its end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lanflow.models.density import Array
from lanflow.models.exact.course import Course, Process
from lanflow.models.exact.normal import log
from lanflow.models.solver import POLE, RESIDUE, SIDES
from lanflow.models.solver import step_times as steps_of

# Parts of a step, whose pole is complex.
Waves = npt.NDArray[np.complex128]

# Steps in space.
N_SPACE = 64
# Radau's times in a step, and the residues of what comes in at them: those of
# (c0 + c1 z) / (1 + 2 z / 3 + z**2 / 6) with c = (3 / 4, 0) and c = (1 / 4, 1 / 6).
_STAGES = (1 / 3, 1.0)
_SOURCES = tuple(
    6 * (c0 + c1 * POLE) / (2 * 2**0.5 * 1j) for c0, c1 in ((3 / 4, 0), (1 / 4, 1 / 6))
)
# Sources begin at this share of the time until which a Gaussian would be all inside.
_EARLIER = 0.25
# A ratio is taken from where the solution is at most this much, in logarithms, below its peak.
_BELOW_PEAK = 12.0
# Slope at a wall behind which u continues with the opposite sign, of sixth order.
_SLOPE = np.array([45.0, -9.0, 1.0]) / 30


def step_times(process: Process, step: float, *, is_fed: bool) -> Array:
    """Times of the steps: an odd number, as many as :mod:`lanflow.models.solver` has.

    Parameters
    ----------
    process
        A particle with the fastest drift and the start nearest to a boundary that there is.
    step
        Share of a scale of time that a step may take.
    is_fed
        Begin earlier: all particles come from a source.
    """
    times = steps_of(process, step)
    if not is_fed:
        return times
    n = 2 * int(np.ceil(-np.log(_EARLIER) / step / 2))
    return np.concatenate([times[0] * np.geomspace(_EARLIER, 1, n + 1)[:-1], times])


@dataclass(frozen=True)
class Bent:
    """Kinds of particles between the same boundaries.

    Attributes
    ----------
    course
        The boundaries.
    drifts, starts
        Of each kind; a start is a share of the distance, from the lower boundary.
    n_space
        Steps in space.
    """

    course: Course
    drifts: Array
    starts: Array
    n_space: int = N_SPACE

    def log_arrivals(self, steps: Array, rates: Callable[[Array], Array] | None = None) -> Array:
        """Log densities of the arrivals at every second step.

        Parameters
        ----------
        steps
            Times of the steps, an odd number.
        rates
            How many of each kind start at times, shape (kinds, ...), per second; if left out, all
            start at the beginning.

        Returns
        -------
        numpy.ndarray
            Shape (kinds, 2, times): at the lower and the upper boundary.
        """
        fine, coarse = self._arrivals(steps, rates)[..., ::2], self._arrivals(steps[::2], rates)
        return log((4 * fine - coarse) / 3)

    def _arrivals(self, times: Array, rates: Callable[[Array], Array] | None) -> Array:
        """Densities of the arrivals at the ends of steps."""
        b, slope, _ = self._walls(times)
        bands = self._operator(times)
        if rates is None:
            u = _solved(self._begin(times[0]), np.zeros(len(times) - 1, complex), *bands)
        else:
            nothing = np.zeros((len(self.drifts), self.n_space))
            u = _solved(nothing, self._sources(times, rates), *bands)
        # The last of the places of each kind is the upper wall.
        ends = np.stack([u[..., :3] @ _SLOPE, u[..., -2:-5:-1] @ _SLOPE])
        tilt = self.drifts[:, None, None] * SIDES * b - slope * b / 2
        ends = np.moveaxis(ends, (0, 1, 2), (1, 2, 0)) * self.n_space / 4
        return np.asarray(ends * np.exp(tilt) / b**1.5)

    @property
    def _y(self) -> Array:
        """Places, of which the last is the upper wall."""
        return np.linspace(-1, 1, self.n_space + 1)[1:]

    @cached_property
    def _bending(self) -> tuple[Array, Array]:
        """Slope of the boundary, and the integral of ``b b''``, at the times of the course."""
        t, b = self.course.t, self.course.b
        slope = np.gradient(b, t)
        squares = np.diff(b) ** 2 / np.diff(t)
        return slope, b * slope - np.concatenate([[0.0], np.cumsum(squares)])

    def _walls(self, times: Array) -> tuple[Array, Array, Array]:
        """The boundary at times, its slope, and the integral of ``b b''``."""
        b = self.course.at(times)[0]
        slope, bend = (np.interp(times, self.course.t, row) for row in self._bending)
        return b, slope, bend

    def _begin(self, time: float) -> Array:
        """``u`` of those that started at the beginning, as if on straight lines until then."""
        (b,), (slope,), _ = self._walls(np.array([time]))
        first, v = self.course.began(time), self.drifts[:, None]
        start = (2 * self.starts[:, None] - 1) * self.course.b[0] / first
        chord, tau, y = (b - first) / time, time / (first * b), self._y
        total = np.exp(-((y - start) ** 2) / (2 * tau))
        for wall in (-1, 1):
            total -= np.exp(-((2 * wall - y - start) ** 2) / (2 * tau))
        size = _size(first, chord, start, v) * np.exp(-(v**2) * time / 2)
        bend = np.exp((slope - chord) * b * y**2 / 2)
        return np.asarray(size * bend * total / np.sqrt(2 * np.pi * tau))

    def _operator(self, times: Array) -> tuple[Waves, Waves, Waves]:
        """Bands of each step's matrix, shape (steps, places of all kinds); the wall is alone."""
        n, m = len(times) - 1, len(self.drifts) * self.n_space
        _, tau, *_ = self.course.at(times)
        diffusion = np.diff(tau)[:, None, None] * self.n_space**2 / 8
        bend = np.diff(self._walls(times)[2])[:, None, None] * self._y**2 / 2
        own = np.diff(times)[:, None, None] * self.drifts[:, None] ** 2 / 2 - bend - POLE
        centre: Waves = np.asarray(2 * diffusion + own * (10 / 12), complex).reshape(n, m)
        below: Waves = np.asarray(own / 12 - diffusion, complex)
        above: Waves = np.roll(below, -1, axis=-1)
        below[..., -2:] = above[..., -2:] = 0
        return below.reshape(n, m)[:, :-1], centre, above.reshape(n, m)[:, :-1]

    def _sources(self, times: Array, rates: Callable[[Array], Array]) -> Waves:
        """Right side of what comes in at each step, shape (steps, kinds, places)."""
        widths, start = np.diff(times), 2 * self.starts[:, None] - 1
        come = np.zeros((len(self.drifts), len(widths)), complex)
        for residue, stage in zip(_SOURCES, _STAGES, strict=True):
            at = times[:-1] + widths * stage
            b, slope, _ = self._walls(at)
            come += residue * widths * rates(at) * _size(b, slope, start, self.drifts[:, None])
        places = np.stack([_spread(z, self.n_space) for z in self.starts])
        sources: Waves = np.asarray(come.T[..., None] * places / 12, complex)
        return sources.reshape(len(widths), -1)


def _size(b: float | Array, slope: float | Array, start: Array, v: Array) -> Array:
    """``u`` of one particle at its start."""
    return np.asarray(np.exp(slope * b * start**2 / 2 - v * b * start) / np.sqrt(b))


def _solved(begin: Array, sources: Waves, below: Waves, centre: Waves, above: Waves) -> Array:
    """``u`` at the ends of steps, shape (steps + 1, kinds, places)."""
    from scipy.linalg.lapack import zgtsv

    out = np.empty((len(centre) + 1, *begin.shape))
    out[0], out[..., -1] = begin, 0
    u = out.reshape(len(out), -1)
    walls = slice(begin.shape[-1] - 1, None, begin.shape[-1])
    for i, source in enumerate(sources):
        right = RESIDUE / 12 * u[i] + source
        mean = 10 * right
        mean[1:] += right[:-1]
        mean[:-1] += right[1:]
        mean[walls] = 0
        u[i + 1] = 2 * zgtsv(below[i], centre[i], above[i], mean, 1, 1, 1, 1)[3].real
    return out


def _spread(z: float, n_space: int) -> Array:
    """Density at the places that stands for one of a point: cubics have the same mean."""
    place = z * n_space
    first = int(np.clip(np.floor(place) - 1, 1, n_space - 4))
    nodes = np.arange(first, first + 4)
    out = np.zeros(n_space)
    for k in nodes:
        others = nodes[nodes != k]
        out[k - 1] = np.prod((place - others) / (k - others)) * n_space / 2
    return out


def ratio_to(guess: Array, logs: Array, times: Array) -> Callable[[Array], Array]:
    """Logarithm of the ratio of a solution to a first guess, at times.

    Parameters
    ----------
    guess, logs
        Log densities, shape (times,).
    times
        Increasing, seconds.

    Returns
    -------
    callable
        Constant outside of what is solved.
    """
    from scipy.interpolate import CubicSpline

    solved = np.arange(len(times)) >= np.argmax(logs > logs.max() - _BELOW_PEAK)
    solved &= np.isfinite(logs)
    if solved.sum() < 2:
        return np.zeros_like
    at = np.log(times[solved])
    spline = CubicSpline(at, logs[solved] - guess[solved])
    return lambda times: np.asarray(spline(np.clip(np.log(times), at[0], at[-1])))
