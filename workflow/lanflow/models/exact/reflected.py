"""Races of diffusions above a reflecting floor: ssm-simulators' ``race_*`` with straight bounds.

Each accumulator is a Wiener process with drift ``v`` and noise one that starts at the share ``z``
of the bound, is reflected at zero, and finishes at ``b(t) = a - slope * t``. The simulator cuts its
particles off at zero after each step, which for small steps is reflection; its own step of a
millisecond makes them slower by the way that they overshoot the bound. Where it finds no answer
until ``max_t``, it takes the highest particle.

**The equation.** With the place written as ``b y`` and the clock ``tau = t / (a b)``, the density
of the place is an elementary factor,

    (a b)**-1/2 exp(v (b y - a z) - v**2 t / 2 + slope (b y**2 - a z**2) / 2),

times ``q``, which spreads without drift: ``q' = q_yy / 2``, ``q = 0`` at ``y = 1``. All that is
left of the drift is the floor, which drains: ``q_y = v b q`` at ``y = 0``.

**Early**, until what the bound has absorbed matters at the floor, ``q`` is known. Of a driftless
particle the time ``l`` that it has spent at the floor (its local time) acts as a longer way: one
that was at the floor is where a free particle would be that started at ``-(a z + l)`` (Levy's
theorem), and the drift gives it the weight ``exp(-v l)`` (Girsanov's). So the density is that of a
free particle from ``a z``, and from ``-a z``, less ``2 v`` times the integral over ``l`` of
``exp(-v l)`` times that from ``-(a z + l)``, and each free particle meets the straight bound as the
principle of reflection says. The integrals are Mills' ratios.

**Later** the equation is solved on :data:`N_SPACE` intervals by central differences of fourth order
(compact, so that the systems are tridiagonal), and steps of Radau's method, after the decay of the
slowest wave, ``exp(-k**2 tau / 2)`` with ``tan k = -k / (v b)``, is taken out, so that long steps
keep a tail exact. It is solved again in steps twice as long, and extrapolated.

As in :mod:`lanflow.models.solver`, what is interpolated is the ratio to a known density with the
same singularity and tail: that without drift.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lanflow.models.analytic import log_unit_density
from lanflow.models.density import Array
from lanflow.models.exact.normal import log, mills_ratio, normal_density, quadrature
from lanflow.models.exact.race import Race
from lanflow.models.solver import POLE, RESIDUE

# Intervals between floor and bound, and steps relative to the clock while it is below one.
N_SPACE = 40
STEP = 0.06
# Share of (2 - z)**2, of the image of the start in the bound, at which the solution begins; what it
# has sent to the floor until then is below exp(-23).
_START = 1 / 46
# Early times at which the known density is looked at, down to this share of the first.
_N_EARLY, _EARLIEST = 28, 0.01
# Clock at which less than exp(-70) of the driftless particles are left.
_LAST_TAU = 60.0
_NODES, _WEIGHTS = quadrature(3)


@dataclass(frozen=True)
class Reflected:
    """Accumulators above one floor and below one bound.

    Attributes
    ----------
    drifts, starts
        Of the accumulators; a start is a share of ``a``.
    a, slope
        The bound at the time zero, and how fast it comes down.
    until
        How long they are followed, seconds.
    refinement
        How many times finer than usual the grid is, in space and in time.
    """

    drifts: Array
    starts: Array
    a: float
    slope: float
    until: float
    refinement: int = 1

    @property
    def race(self) -> Race:
        """The race between the accumulators."""
        nearest = (1 - float(self.starts.max())) ** 2
        return Race(
            self.parts,
            tuple(range(len(self.drifts))),
            first=float(self.time(np.array(nearest / 80))),
            end=float(self.time(np.array(self.last))) if self.slope > 0 else np.inf,
        )

    def time(self, tau: Array) -> Array:
        """Seconds at a reading of the clock."""
        return np.asarray(self.a**2 * tau / (1 + self.slope * self.a * tau))

    def bound(self, times: Array) -> Array:
        """The bound at times."""
        return np.asarray(self.a - self.slope * times)

    @property
    def last(self) -> float:
        """Clock until which the accumulators are followed."""
        tau = _LAST_TAU
        if self.slope * self.until < self.a:  # before the bound has come down
            tau = min(tau, self.until / (self.a * (self.a - self.slope * self.until)))
        return max(tau, 2 * float(self.first.max()))

    @property
    def first(self) -> Array:
        """Clock at which the solution begins, for each accumulator."""
        return np.asarray((2 - self.starts) ** 2 * _START)

    @cached_property
    def taus(self) -> Array:
        """Clock at the steps, shape (steps + 1, accumulators)."""
        step = STEP / self.refinement
        looks = np.linspace(0, 1, 400)[:, None]
        tau = self.first * (self.last / self.first) ** looks
        length = step * np.where(tau < 1.5, tau, 1.5 * (1 + 0.2 * (tau - 1.5)))
        rate = 1 / length
        widths = np.diff(tau, axis=0)
        steps = np.cumsum((rate[1:] + rate[:-1]) / 2 * widths, axis=0)
        steps = np.concatenate([np.zeros((1, len(self.drifts))), steps])
        n_steps = 2 * int(np.ceil(steps[-1].max() / 2))
        wanted = np.linspace(0, 1, n_steps + 1)
        columns = [
            np.exp(np.interp(wanted, row / row[-1], np.log(one)))
            for row, one in zip(steps.T, tau.T, strict=True)
        ]
        return np.stack(columns, axis=1)

    def factor(self, times: Array, y: float | Array, index: int) -> Array:
        """Logarithm of the density of the place relative to ``q``, but for ``(a b)**-1/2``."""
        v, b = self.drifts[index], self.bound(times)
        start = self.starts[index] * self.a
        bend = self.slope * (b * y**2 - start**2 / self.a) / 2
        return np.asarray(v * (b * y - start) - v**2 * times / 2 + bend)

    def parts(self, times: Array) -> tuple[Array, Array]:
        """Log densities and log survivals at positive times, shape (accumulators, ...)."""
        b = self.bound(times)
        tau = times / (self.a * b)
        densities, survivals = [], []
        for index, spline in enumerate(self._splines):
            ratio, survival = np.moveaxis(spline(self._within(np.log(tau), index)), -1, 0)
            known = log_driftless(tau, self.starts[index]) + self.factor(times, 1.0, index)
            densities.append(ratio + known - 0.5 * np.log(self.a) - 1.5 * np.log(b))
            survivals.append(np.minimum(survival, 0))
        return np.stack(densities), np.stack(survivals)

    def _within(self, logs: Array, index: int) -> Array:
        ends = self._splines[index].x[[0, -1]]
        return np.asarray(np.clip(logs, *ends))

    @cached_property
    def _splines(self) -> list[Any]:
        """Of each accumulator, over the logarithm of the clock: log ratio and log survival."""
        from scipy.interpolate import CubicSpline

        taus, ratios, survivals = self._solution
        splines = []
        for index in range(len(self.drifts)):
            early = taus[0, index] * np.geomspace(_EARLIEST, 1, _N_EARLY)[:-1]
            ratio, rest = self._early(early, taus[0, index], index)
            survival = log(np.exp(survivals[0, index]) + rest)
            values = [
                np.concatenate([ratio, ratios[:, index]]),
                np.concatenate([survival, survivals[:, index]]),
            ]
            at = np.log(np.concatenate([early, taus[:, index]]))
            splines.append(CubicSpline(at, np.stack(values, axis=-1)))
        return splines

    def _early(self, tau: Array, first: float, index: int) -> tuple[Array, Array]:
        """Log ratio before the solution begins, and what is decided from then until it does."""
        times = self.time(np.append(tau, first))
        widths = np.diff(times)
        inner = times[:-1, None] + widths[:, None] * _NODES
        shares = np.exp(self._log_early(inner, index)) @ _WEIGHTS * widths
        t = times[:-1]
        b = self.bound(t)
        known = log_driftless(tau, self.starts[index]) + self.factor(t, 1.0, index)
        known = known - 0.5 * np.log(self.a) - 1.5 * np.log(b)
        return self._log_early(t, index) - known, np.cumsum(shares[::-1])[::-1]

    def _log_early(self, times: Array, index: int) -> Array:
        """Log density of the finishing time before what was absorbed matters at the floor."""
        v, b, root = self.drifts[index], self.bound(times), np.sqrt(times)
        start = self.starts[index] * self.a
        # Relative to the density of a free particle that goes straight to the bound.
        straight = -((b - start) ** 2) / (2 * times) - 0.5 * np.log(2 * np.pi * times)
        back = np.exp(-2 * b * start / times)
        longer = root * mills_ratio((b + start + v * times) / root)
        drained = 1 + ((self.a - b) / times - v) * longer
        sums = (self.a - start) / times + back * ((self.a + start) / times - 2 * v * drained)
        gain = v * (b - start) - v**2 * times / 2
        return np.asarray(log(sums) + straight + gain)

    def _begin(self, y: Array) -> Array:
        """``q`` when the solution begins, shape (accumulators, places)."""
        tau = self.first[:, None]
        t = self.time(tau)
        b, v, start = self.bound(t), self.drifts[:, None], self.starts[:, None] * self.a
        x, root = b * y, np.sqrt(t)

        def free(way: Array) -> Array:
            """Free particles from ``-(way - x)``, and all of the longer ways, drained."""
            density = normal_density(way / root) / root
            return density * (1 - 2 * v * root * mills_ratio((way + v * t) / root))

        image = np.exp(2 * (b - x) * (b - self.a) / t)
        direct = normal_density((x - start) / root) / root
        direct = direct - image * normal_density((2 * b - x - start) / root) / root
        floor = free(x + start) - image * free(2 * b - x + start)
        bend = np.exp(-self.slope * (b * y**2 - start**2 / self.a) / 2)
        return np.asarray(np.sqrt(self.a * b) * bend * (direct + floor))

    @cached_property
    def _solution(self) -> tuple[Array, Array, Array]:
        """Clock, log ratio and log survival at every second step."""
        n_space = N_SPACE * self.refinement
        y = np.linspace(0, 1, n_space + 1)
        begin = self._begin(y[:-1])
        taus = self.taus[::2]
        outflows, survivals = (
            (4 * fine[::2] - coarse) / 3
            for fine, coarse in zip(
                self._measured(self.taus, y, begin), self._measured(taus, y, begin), strict=True
            )
        )
        known = np.stack(
            [log_driftless(one, z) for one, z in zip(taus.T, self.starts, strict=True)], axis=1
        )
        # Both are relative to the decay of the slowest wave, the same on either grid.
        decay = self._decay(self.taus)[::2]
        return taus, log(outflows) - decay - known, log(survivals) - decay

    def _measured(self, taus: Array, y: Array, begin: Array) -> tuple[Array, Array]:
        """Outflow at the bound and what is still below it, relative to the slowest wave."""
        q = self._solved(taus, begin)
        # On the other side of the bound q continues with the opposite sign.
        h = y[1]
        outflow = (45 * q[..., -1] - 9 * q[..., -2] + q[..., -3]) / (30 * h) / 2
        t = self.time(taus)
        weights = np.where(np.arange(len(y) - 1) % 2, 4.0, 2.0) * h / 3
        weights[0] = h / 3
        logs = [self.factor(t[:, [index]], y[:-1], index) for index in range(len(self.drifts))]
        scale = np.sqrt(self.bound(t) / self.a)
        inside = (q * np.exp(np.stack(logs, axis=1))) @ weights * scale
        off = self._decay(taus) - self._decay(self.taus)[:: (len(self.taus) - 1) // (len(taus) - 1)]
        return outflow * np.exp(-off), inside * np.exp(-off)

    def _middles(self, taus: Array) -> tuple[Array, Array]:
        """The floor's drain in the middle of each step, and its change, shape (steps, ...)."""
        middle = (taus[1:] + taus[:-1]) / 2
        shrunk = 1 + self.slope * self.a * middle
        drain = self.drifts * self.a / shrunk
        return drain, -self.slope * self.a / shrunk * drain

    def _decay(self, taus: Array) -> Array:
        """Integral of the slowest wave's rate, as the steps see it, shape (steps + 1, ...)."""
        rates = slowest_rate(self._middles(taus)[0]) * np.diff(taus, axis=0)
        return np.concatenate([np.zeros((1, len(self.drifts))), np.cumsum(rates, axis=0)])

    def _solved(self, taus: Array, q: Array) -> Array:
        """``q`` at each step relative to the slowest wave, shape (steps + 1, accumulators, places).

        The floor's equation is that of fourth order for ``q_y = drain * q``, from the series of
        ``q`` at the first interval, with ``q_yy = 2 q'`` twice.
        """
        from scipy.linalg.lapack import zgtsv

        n, m = q.shape
        h = 1 / m
        steps = np.diff(taus, axis=0)[..., None]
        drain, change = self._middles(taus)
        scale = -steps * slowest_rate(drain)[..., None] - POLE
        ones = np.ones((1, 1, m))
        centre = steps / h**2 + scale * (10 / 12) * ones
        weight = 5 / 12 + h * drain / 12
        centre[..., 0] = (
            steps[..., 0] * ((1 + h * drain) / (2 * h**2) + h * change / 12)
            + scale[..., 0] * weight
        )
        beside = (-steps / (2 * h**2) + scale / 12) * ones
        beside[..., -1] = 0  # no accumulator knows of another
        centre, beside = (part.reshape(len(steps), n * m) for part in (centre, beside))
        out = np.empty((len(steps) + 1, n, m))
        out[0] = q
        right = np.empty((n, m))
        for i in range(len(steps)):
            q = out[i]
            right[:, 1:-1] = (q[:, :-2] + 10 * q[:, 1:-1] + q[:, 2:]) / 12
            right[:, 0] = weight[i] * q[:, 0] + q[:, 1] / 12
            right[:, -1] = (q[:, -2] + 10 * q[:, -1]) / 12
            off = beside[i, :-1]
            part = zgtsv(off, centre[i], off.copy(), right.ravel().astype(complex), 1, 1, 1, 1)[3]
            out[i + 1] = 2 * (RESIDUE * part).real.reshape(n, m)
        return out


def log_driftless(tau: Array, start: float) -> Array:
    """Log density of the finishing time without drift, above a floor at zero, of a bound at one."""
    return np.logaddexp(
        log_unit_density(tau, (1 - start) / 2), log_unit_density(tau, (1 + start) / 2)
    )


def slowest_rate(drain: Array) -> Array:
    """Rate ``k**2 / 2`` at which the slowest wave decays: the least k with tan k = -k / drain."""
    k = np.full_like(drain, 2.0)
    for _ in range(5):
        k -= (k - np.pi + np.arctan2(k, drain)) / (1 + drain / (drain**2 + k**2))
    return k**2 / 2
