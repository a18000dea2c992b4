"""Boundary and drift of one particle over time, and the moments at which they change.

Both are functions of the time since the start, of which nothing is known. They are looked at on a
fine grid, dense at the start and at the end, so that jumps of the drift and kinks of the boundary
are told from what is steep: a change between two looks is halved until it stays or gets small. From
the same looks come integrals of the drift and the clock ``tau = int 1 / b**2``, by which a particle
without drift moves between boundaries ``+-b`` as between two that stand still. Near each change of
drift and slope, whoever solves for a density takes short steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.density import Array

# Points on which boundary and drift are looked at.
_N_LOOKS = 4001
# Boundaries closer than this share of their first distance have met.
_CLOSED = 1e-3
# Jumps of the drift by less do no harm. They are told from steep slopes by halving a look so often.
_LEAST_JUMP = 0.01
_HALVINGS = 24
# The slope of a boundary is taken over this time, seconds; its kinks are told by fewer halvings.
_SLOPE_SPAN, _KINK_HALVINGS = 1e-6, 10
# Near a change by d, the scale of a step is _TO_CHANGE * (time to it + _AT_CHANGE / d**2), seconds.
# Changes are looked for over these spans of time, seconds.
_TO_CHANGE, _AT_CHANGE = 2.5, 0.0175
_SPANS = 2.0 ** np.arange(-13, 0)
# Clock of the driftless particle until which there is a density at all (less than exp(-70)).
_LAST_TAU = 60.0


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
    def _looks(self) -> Array:
        """Times at which boundary and drift are looked at, dense at the start and at the end."""
        grid = np.linspace(0, 1, _N_LOOKS)
        until = self.until
        for _ in range(2):  # the second time within the interval in which the boundaries meet
            t = until * grid
            met = np.flatnonzero(self._boundary(t) <= _CLOSED * self._boundary(t[:1]))
            until = t[met[0]] if len(met) else until
        return until * (1 - (1 - grid**3) ** 3)

    @property
    def leaps(self) -> Array:
        """Times after the start at which the boundary leaps, seconds."""
        before, _ = _jumps(self._boundary, self._looks)
        return np.asarray(before[before > 0])

    @cached_property
    def course(self) -> "Course":
        """Boundary and drift.

        Raises
        ------
        UserError
            If the boundary leaps: where it leaps at particles there is no density.
        """
        if self.leaps.size:
            raise UserError(
                f"the boundary leaps at {self.leaps[0]:.4g} s, which the solver is not for; labels "
                "from 'kde' (ESTIMATOR.TYPE) are for any boundary"
            )
        t = self._looks
        jumps = np.hstack([_jumps(self._drift, t), _jumps(self._slope, t, halvings=_KINK_HALVINGS)])
        t = np.union1d(t, jumps)
        drift, slope = self._drift(t), self._slope(t)
        b = np.maximum(self._boundary(t), _CLOSED / 2 * self._boundary(t[:1]))
        widths, ends = np.diff(t), b[1:] * b[:-1]
        # Exact where the boundary is straight, as it is between two times.
        tau = _running(widths / ends)
        last = min(int(np.searchsorted(tau, _LAST_TAU)) + 1, len(t))
        mean = (drift[1:] + drift[:-1]) / 2
        way, relative_way = _running(mean * widths), _running(mean * widths / np.sqrt(ends))
        t, b, tau, way, relative_way, drift, slope = (
            row[:last] for row in (t, b, tau, way, relative_way, drift, slope)
        )
        jumps = jumps[:, (jumps[0] > 0) & (jumps[1] < t[-1])]
        return Course(t, b, tau, way, relative_way, drift, slope, jumps)

    def _boundary(self, t: Array) -> Array:
        return np.broadcast_to(np.asarray(self.boundary(t), float), t.shape)

    def _slope(self, t: Array) -> Array:
        """Slope of the boundary."""
        before, after = np.maximum(t - _SLOPE_SPAN, 0.0), t + _SLOPE_SPAN
        return np.asarray((self._boundary(after) - self._boundary(before)) / (after - before))

    def _drift(self, t: Array) -> Array:
        return np.broadcast_to(np.asarray(self.drift(t), float), t.shape)


def _jumps(function: Callable[[Array], Array], t: Array, *, halvings: int = _HALVINGS) -> Array:
    """Times before and after each jump of a function, next to each other, shape (2, jumps).

    A change between two looks is halved again and again: a jump stays, a slope gets small. A drift
    may look at the first and the last of its times, so that it always gets those.
    """
    values = function(t)
    found = np.flatnonzero(np.abs(np.diff(values)) > _LEAST_JUMP)
    ends = np.stack([t[found], t[found + 1], values[found], values[found + 1]])
    for _ in range(halvings):
        if not ends.size:
            break
        before, after, low, high = ends
        middle = (before + after) / 2
        value = function(np.concatenate([t[:1], middle, t[-1:]]))[1:-1]
        earlier, later = (
            np.stack([before, middle, low, value]),
            np.stack([middle, after, value, high]),
        )
        ends = np.where(np.abs(value - low) > np.abs(high - value), earlier, later)
        ends = ends[:, np.abs(ends[3] - ends[2]) > _LEAST_JUMP]
    return ends[:2]


@dataclass(frozen=True)
class Course:
    """Boundary ``b``, clock ``tau = int 1 / b**2``, and integrals of the drift, on a fine grid.

    Two of its times stand before and after each jump of the drift and kink of the boundary:
    ``jumps``, shape (2, jumps).
    """

    t: Array
    b: Array
    tau: Array
    way: Array
    relative_way: Array
    drift: Array
    slope: Array
    jumps: Array

    def at(self, times: Array) -> tuple[Array, Array, Array, Array]:
        """``b``, ``tau``, ``way``, ``relative_way`` at times."""
        b, way = (np.interp(times, self.t, row) for row in (self.b, self.way))
        before = np.clip(np.searchsorted(self.t, times) - 1, 0, len(self.t) - 2)
        passed = (times - self.t[before]) / (self.b[before] * b)
        drift = (self.drift[before] + self.drift[before + 1]) / 2
        relative_way = self.relative_way[before] + drift * passed * np.sqrt(self.b[before] * b)
        return b, self.tau[before] + passed, way, relative_way

    @property
    def speed(self) -> Array:
        """Speed of particle and boundary towards each other."""
        return np.asarray(np.abs(self.drift) + np.abs(self.slope))

    def rates_near_changes(self) -> Array:
        """Inverse of the time to changes of drift and slope, before and after them, per second.

        Jumps and steep curves: what changes slowly is small over any span that matters.
        """
        rates = np.zeros_like(self.t)
        for row in (self.drift, self.slope):
            if np.ptp(row) < _LEAST_JUMP:
                continue
            for span in _SPANS:
                before, after = (np.interp(self.t + d, self.t, row) for d in (-span, span))
                change = np.maximum(np.maximum(np.abs(row - before), np.abs(after - row)), 1e-9)
                near = 1 / (_TO_CHANGE * (span + _AT_CHANGE / change**2))
                rates = np.maximum(rates, near)
        return rates

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


def running_integral(values: Array, t: Array) -> Array:
    """Integral of values from the first of their times until each, by trapezoids."""
    return _running((values[1:] + values[:-1]) / 2 * np.diff(t))
