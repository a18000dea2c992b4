"""Two decisions of a trial, one after the other or side by side: ``ddm_seq2*`` and ``ddm_par2*``.

A particle decides the high dimension, and one of two others the low one: the first of them if the
high choice was the lower boundary, the second if it was the upper. Each has a drift of its own and
noise one, and all have the same boundaries ``+-b(t)``. Choices are 0 and 1 (high: lower; low: lower
and upper), and 2 and 3 (high: upper). As ssm-simulators simulates them:

- in sequence (``ddm_flexbound_seq2``) the low particle starts when the high one has arrived, at its
  share ``z`` of the distance of the boundaries *at that time*; the boundaries go on as they were,
  from the beginning of the trial. With ``f`` the density of the high decision and ``g(t; s)`` that
  of a low one that started at ``s``, the density of ``t`` is the integral of ``f(s) g(t; s)``;
- side by side (``ddm_flexbound_par2``) all start together, and the later decision ends the trial:
  ``f G + F g``, ``F`` and ``G`` the probabilities of each choice until ``t``.

Between straight boundaries ``g`` is elementary (:mod:`lanflow.models.analytic`): it depends on
``b(s)``, ``b(t)``, ``t - s`` and the clock ``int 1 / b**2`` between them. Between others that is a
first guess, as for ``f``, and the ratio to it comes from the density of the particle's place
(:mod:`lanflow.models.exact.two.bent`).

The integral over ``s`` is the sum over evenly spaced ``log(s / (t - s))``. The integrand has
singularities like ``exp(-1 / s)`` at both ends, so that the sum converges faster than any power of
:data:`_SPACING` (Trefethen & Weideman 2014, SIAM Rev. 56). The logarithm of the density is
tabulated on :data:`_PER_FOLD` clocks for each factor e, and interpolated by a cubic spline, with
errors of 1e-6: a logarithm that falls like ``w**2 / 2t`` has a fourth derivative of that size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lanflow.models.analytic import log_unit_density
from lanflow.models.density import Array
from lanflow.models.exact.course import Course, Process
from lanflow.models.exact.normal import log, quadrature
from lanflow.models.exact.two.bent import N_SPACE, Bent, ratio_to, step_times
from lanflow.models.solver import STEP

CHOICES = (0, 1, 2, 3)
# Of one particle: the lower and the upper boundary.
_SIDES = (-1, 1)
# Spacing of the sum over times of the high decision, in log(s / (t - s)).
_SPACING = 0.4
# Clocks of the table for each factor e.
_PER_FOLD = 20
# No decision is looked for that is this many nats off, but for the drift.
_NATS = 120.0
# Drift times half the distance of boundaries above which a solution's grid is as much finer: behind
# a bump of 28, a hundredth of all was lost without.
_USUAL_DRIFT = 10.0
# Clock at which less than exp(-70) of driftless particles are left.
_LAST_TAU = 60.0
_NODES, _WEIGHTS = quadrature(5)


@dataclass(frozen=True)
class Particle:
    """One decision: its drift, and its start as a share of the way from the lower boundary."""

    v: float
    z: float

    @property
    def way(self) -> float:
        """Shortest way to a boundary, in units of half their distance."""
        return 2 * min(self.z, 1 - self.z)


@dataclass(frozen=True)
class TwoStages:
    """A high decision and the low ones that go with its choices.

    Attributes
    ----------
    high
        The particle of the high dimension.
    low
        That of the low dimension for each choice of the high one.
    boundary
        At an array of times since the beginning, seconds.
    is_straight
        The boundary is a straight line.
    is_sequence
        The low particle waits for the high one.
    until
        How long a decision may take, seconds.
    refinement
        How many times finer than usual the solver's grid and the table are.
    """

    high: Particle
    low: tuple[Particle, Particle]
    boundary: Callable[[Array], Array]
    is_straight: bool
    is_sequence: bool
    until: float
    refinement: int = 1

    def process(self, one: Particle) -> Process:
        """One of the particles, if it starts at the beginning."""
        return Process(
            self.boundary, lambda t: np.full_like(t, one.v), one.z, leak=0.0, until=self.until
        )

    @cached_property
    def _course(self) -> Course:
        """The boundary, and a drift of one."""
        return self.process(Particle(1.0, 0.5)).course

    @cached_property
    def _first_tau(self) -> float:
        """Clock before which no choice of both is likely."""
        high, low = self.high.way, min(one.way for one in self.low)
        squared = (high + low) ** 2 if self.is_sequence else high**2 + low**2
        # A boundary that rises slows the clock, but not those who go straight to where it is.
        b = self._course.b
        slowed = 1.0 if self.is_straight else (b[0] / b.max()) ** 2
        return float(squared * slowed / (1.5 * _NATS))

    @cached_property
    def _table(self) -> tuple[Array, list[Callable[[Array], Array]]]:
        """Times, and of each choice the log density at logarithms of the clock."""
        times = self._times
        logs = self._in_sequence(times) if self.is_sequence else self._side_by_side(times)
        taus = self._course.at(times)[1]
        return times, [_curve(np.log(taus), row) for row in logs]

    @cached_property
    def _times(self) -> Array:
        """Times of the table: evenly in the logarithm of the clock, and the steps of a solution."""
        course = self._course
        last = min(course.tau[-1], _LAST_TAU)
        first = min(self._first_tau, last / 2)
        n = int(np.ceil(np.log(last / first) * _PER_FOLD * self.refinement)) + 1
        times = np.interp(np.geomspace(first, last, n), course.tau, course.t)
        if self.is_sequence and not self.is_straight:
            steps = self._fed_steps[::2]
            outside = (times < steps[0] * 0.99) | (times > steps[-1] * 1.01)
            times = np.concatenate([times[outside], steps])
        return np.unique(times)

    @cached_property
    def _ratios(self) -> dict[Particle, list[Callable[[Array], Array]]]:
        """Logs of the ratios to the first guess, of those that start at the beginning."""
        ones = list(dict.fromkeys((self.high,) if self.is_sequence else (self.high, *self.low)))
        steps = self._steps(*ones, is_fed=False)
        logs = self._bent(*ones).log_arrivals(steps)
        found = {}
        for one, row in zip(ones, logs, strict=True):
            guess = self._after(one, np.zeros(()), steps[::2])
            pairs = zip(guess, row, strict=True)
            found[one] = [ratio_to(known, solved, steps[::2]) for known, solved in pairs]
        return found

    @cached_property
    def _fineness(self) -> float:
        """Factor by which the grids are finer than the usual ones, in time and in space."""
        widest = self._course.b[self._course.tau <= 1].max()
        fastest = max(abs(one.v) for one in (self.high, *self.low))
        return float(self.refinement * max(fastest * widest / _USUAL_DRIFT, 1.0))

    def _bent(self, *ones: Particle) -> Bent:
        drifts, starts = np.array([one.v for one in ones]), np.array([one.z for one in ones])
        return Bent(self._course, drifts, starts, n_space=round(self._fineness * N_SPACE))

    def _steps(self, *ones: Particle, is_fed: bool) -> Array:
        """Of a solution, fit for the fastest particle and the one nearest to a boundary."""
        hardest = Particle(max(abs(one.v) for one in ones), min(one.way for one in ones) / 2)
        return step_times(self.process(hardest), STEP / self._fineness, is_fed=is_fed)

    def alone(self, one: Particle, times: Array) -> Array:
        """Log densities of a particle's lower and upper choice, shape (2, ...)."""
        logs = self._after(one, np.zeros(()), times)
        if not self.is_straight:
            logs += np.stack([ratio(times) for ratio in self._ratios[one]])
        return logs

    def _after(self, one: Particle, since: Array, times: Array) -> Array:
        """The same for one that starts at ``since``, as if on a straight line from then on.

        But the clock is that of the boundaries, except in ``exp(-way**2 / 2t)``, from which
        earliest decisions are: they go straight to where the boundary is.
        """
        (b0, tau0, *_), (b, tau, *_) = self._course.at(since), self._course.at(times)
        took, y = times - since, 2 * one.z - 1
        bend = (b0 - b) / (2 * took) * (b - b0 * y**2)
        common = bend - 0.5 * np.log(b0) - 1.5 * np.log(b) - one.v**2 * took / 2
        passed = np.maximum(tau - tau0, 1e-300)
        sooner = 0.0 if self.is_straight else 2 / passed - 2 * b0 * b / took
        found = [
            common
            + one.v * (side * b - y * b0)
            + log_unit_density(passed, share)
            + share**2 * sooner
            for side, share in zip(_SIDES, (one.z, 1 - one.z), strict=True)
        ]
        return np.stack(found)

    def _side_by_side(self, times: Array) -> Array:
        """Log densities of the later of two decisions, shape (choices, times)."""
        logs = []
        high, high_until = self._with_chances(self.high, times)
        for row, one in enumerate(self.low):
            low, until = self._with_chances(one, times)
            logs.append(np.logaddexp(high[row] + until, high_until[row] + low))
        return np.concatenate(logs)

    def _with_chances(self, one: Particle, times: Array) -> tuple[Array, Array]:
        """Log densities of a particle's choices, and logs of the probabilities until then."""
        widths = np.diff(times)
        inner = times[:-1, None] + widths[:, None] * _NODES
        logs = self.alone(one, inner) + log(_WEIGHTS)
        masses = np.logaddexp.reduce(logs, axis=-1) + np.log(widths)
        densities = self.alone(one, times)
        # Before the first of the times a density falls like exp(-way**2 / 2t).
        ways = 2 * np.array([one.z, 1 - one.z]) * self._course.b[0]
        first = densities[:, 0] + np.log(2 * (times[0] / ways) ** 2)
        masses = np.concatenate([first[:, None], masses], axis=1)
        return densities, np.logaddexp.accumulate(masses, axis=1)

    def _in_sequence(self, times: Array) -> Array:
        """Log densities of the sum of two decisions, shape (choices, times)."""
        logs = self._first_guess(times)
        if self.is_straight:
            return logs
        steps = self._fed_steps
        solved = self._bent(*self.low).log_arrivals(
            steps, lambda t: np.exp(self.alone(self.high, t))
        )
        at = np.searchsorted(times, steps[::2])
        for known, row in zip(logs, solved.reshape(len(CHOICES), -1), strict=True):
            known += ratio_to(known[at], row, steps[::2])(times)
        return logs

    @cached_property
    def _fed_steps(self) -> Array:
        return self._steps(self.high, *self.low, is_fed=True)

    def _first_guess(self, times: Array) -> Array:
        """The same, exact for straight boundaries."""
        since, log_weights = self._high_times(times)
        high = self.alone(self.high, since) + log_weights
        logs = [
            np.logaddexp.reduce(high[row] + self._after(one, since, times[:, None]), axis=-1)
            for row, one in enumerate(self.low)
        ]
        return np.concatenate(logs)

    def _high_times(self, times: Array) -> tuple[Array, Array]:
        """Times of the high decision for each time of the low one, and logs of their weights."""
        course = self._course
        narrowest = np.interp(times, course.t, np.minimum.accumulate(course.b))
        low = min(one.way for one in self.low)
        before, after = (way**2 * narrowest**2 / (2 * _NATS) for way in (self.high.way, low))
        first, last = np.log(before / times), np.log(times / after)
        n = max(int(np.ceil((last - first).max() / _SPACING * self.refinement)), 1) + 1
        x = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, n)
        share = 1 / (1 + np.exp(-x))
        weights = times[:, None] * share * (1 - share) * (last - first)[:, None] / (n - 1)
        return times[:, None] * share, log(weights)

    def log_densities(self, times: Array) -> Array:
        """Logarithms of the joint densities of decision time and each choice.

        Parameters
        ----------
        times
            Decision times in seconds, any shape.

        Returns
        -------
        numpy.ndarray
            Shape (choices, ...).
        """
        times = np.asarray(times, float)
        known, curves = self._table
        out = np.full((len(CHOICES), *times.shape), -np.inf)
        inside = (times >= known[0]) & (times <= known[-1])
        at = np.log(self._course.at(times[inside])[1])
        out[:, inside] = np.stack([curve(at) for curve in curves])
        return out

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density of decision time and one of the choices."""
        return np.asarray(self.log_densities(times)[CHOICES.index(choice)])

    def grid(self) -> Array:
        """Increasing decision times between which the density is smooth."""
        return self._table[0]


def _curve(at: Array, logs: Array) -> Callable[[Array], Array]:
    """A smooth curve through logarithms, nothing before the first that is finite.

    Through what stands in for nothing there, it would swing far above those behind.
    """
    from scipy.interpolate import CubicSpline

    is_finite = np.isfinite(logs)
    first = int(np.argmax(is_finite))
    if is_finite.sum() < 2:
        return lambda x: np.full_like(x, -np.inf)
    spline = CubicSpline(at[first:], np.maximum(logs[first:], -1e4))
    return lambda x: np.where(x < at[first], -np.inf, spline(x))
