"""A particle with stable noise between straight boundaries: ssm-simulators' ``levy*``.

``dX = v dt + dL`` between ``+-b(t)``, ``b = a - slope t``. The noise ``L`` is symmetric and stable
as the simulator draws it, with the characteristic function ``exp(-t |k|**alpha)`` for ``alpha``
from 1 (Cauchy) to 2 (a Wiener process of the variance ``2 t``). Below 2 it moves by jumps alone,
and leaves by a jump across a boundary, from wherever it is: the density of the decision time does
not begin at zero but at the rate of such jumps from the start,

    Gamma(alpha) sin(pi alpha / 2) / pi / distance**alpha.

**The equation.** With the place written as ``b y`` and the clock ``ds = dt / b**alpha``, the
density ``q`` of ``y`` obeys, with ``w(y) = v + slope y``,

    q_s = -(-Delta)**(alpha / 2) q - b**(alpha - 1) (w q)_y,    q = 0 outside of (-1, 1).

**Space** is :mod:`lanflow.models.exact.galerkin`: functions with the singularity that ``q`` has at
the boundaries.

**The rate of leaving** is no sum over jumps, which a Galerkin solution has badly near a boundary,
but what conservation leaves over. Without drift the chance ``h`` of leaving above is an incomplete
beta function, and the fractional Laplacian of it is zero, so that the flow is

    -d/ds int h q dy + b**(alpha - 1) int w h' q dy,

and that below the same with ``1 - h``. The two are together what is lost inside.

**Time** has steps of Radau's method, as in :mod:`lanflow.models.solver`, after the decay of the
slowest wave is taken out, so that long steps keep a tail exact; it is solved again in steps twice
as long, and extrapolated. Before the polynomials resolve the particle's start, the density is taken
to go from its known first value to the solution in a power of time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import lu_factor, lu_solve
from scipy.linalg.lapack import zgesv

from lanflow.models.density import CHOICES, Array
from lanflow.models.exact.galerkin import Space, jump_rate, space_of
from lanflow.models.exact.normal import log
from lanflow.models.solver import POLE, RESIDUE

# Polynomials for alpha 2, and how many more for alpha 1.
N_SMOOTH, N_ROUGH = 56, 70
# A start nearer to a boundary than this share of the way has more polynomials, so many times.
_NEAR, _MOST_MORE = 0.1, 2.0
# More are nearly sums of one another and of the hats: with 210, for alpha near one, rounding leaves
# their mass matrix without an inverse that means anything.
_MOST = 190
# A step relative to the clock; the first one relative to when the start is resolved.
STEP, _FIRST_STEP = 0.055, 0.05
# The polynomials resolve a start after this many decay times of their highest.
_RESOLVED = 4.5
# The solution is followed for so many nats of decay.
_LAST_NATS = 75.0
# Alpha is not taken closer to one, where the clock becomes a logarithm, and the kernel as well.
_NEAR_ONE = 1e-7
# A way, as a share of the boundaries' distance, that is none.
_ROUNDING = 1e-12
# Strengths of the drift at which the slowest wave is looked at, and times that it is sharpened.
_N_STRENGTHS, _SHARPENINGS = 8, 30
# A first value is come to faster than by this power only where hardly anybody jumps.
_FAST = 3.0
# A flow is taken from where it is so far, in logarithms, below its peak, and steps change it less.
_BELOW_PEAK, _MOST_OFF = 14.0, 0.5
_NOTHING = -1e4
# Times at which the density is looked at before the start is resolved.
_N_EARLY = 12


@dataclass(frozen=True)
class Levy:
    """A particle with stable noise.

    Attributes
    ----------
    v, alpha
        Drift, and alpha of the noise, from 1 to 2.
    a, slope
        Half the distance of the boundaries at the time zero, and how fast each comes nearer.
    z
        Start, as a share of the way from the lower to the upper boundary.
    until
        How long it is followed, seconds.
    refinement
        How many times finer than usual the steps are; the functions are its square root as many.
    """

    v: float
    a: float
    z: float
    alpha: float
    slope: float
    until: float
    refinement: int = 1

    @property
    def _slope(self) -> float:
        """The slope; none if it moves the boundaries by less than rounding does."""
        is_seen = abs(self.slope) * self.until > _ROUNDING * self.a
        return self.slope if is_seen else 0.0

    @property
    def _alpha(self) -> float:
        return max(self.alpha, 1 + _NEAR_ONE)

    @property
    def _start(self) -> float:
        return 2 * self.z - 1

    @cached_property
    def _n(self) -> int:
        n = N_SMOOTH + N_ROUGH * (2 - self.alpha)
        nearest = min(self.z, 1 - self.z)
        closer = np.clip(np.sqrt(_NEAR / nearest), 1, _MOST_MORE)
        return int(min(round(n * closer * np.sqrt(self.refinement)), _MOST))

    @property
    def _resolved(self) -> float:
        """Clock at which the polynomials have resolved the start."""
        return float(_RESOLVED * (np.sqrt(1 - self._start**2) / self._n) ** self._alpha)

    def clock(self, times: Array) -> Array:
        """The clock at decision times at which the boundaries have not met."""
        more = self._alpha - 1
        if self._slope == 0:
            return np.asarray(times / self.a**self._alpha)
        shrunk = np.log1p(-self._slope * np.asarray(times) / self.a)
        return np.asarray(np.expm1(-more * shrunk) / (more * self._slope * self.a**more))

    def bound(self, clock: Array) -> Array:
        """The boundary at readings of the clock."""
        more = self._alpha - 1
        shrunk = np.log1p(np.asarray(clock) * more * self._slope * self.a**more) / more
        return np.asarray(self.a * np.exp(-shrunk))

    @property
    def end(self) -> float:
        """Time at which the boundaries meet, seconds."""
        return self.a / self._slope if self._slope > 0 else np.inf

    @cached_property
    def _matrices(self) -> tuple[Space, Array]:
        """Space, and the matrix of the drift."""
        space = space_of(self._n, self._alpha, self._start)
        return space, self.v * space.drift + self._slope * space.pull

    @cached_property
    def _rates(self) -> tuple[Array, Array]:
        """Strengths of the drift, and the decay of the slowest wave there."""
        space, drift = self._matrices
        last = min(self.until, self.end * (1 - 1e-6))
        ends = sorted((self.a, self.a - self._slope * last))
        weakest, strongest = (end ** (self._alpha - 1) for end in ends)
        strengths = np.linspace(weakest, strongest, _N_STRENGTHS)
        wave, rates = space.all, []
        for strength in strengths if ends[0] < ends[1] else strengths[:1]:
            known = lu_factor(space.spread - strength * drift)
            for _ in range(_SHARPENINGS):
                next_wave = lu_solve(known, space.mass @ wave)
                rate = np.abs(wave).max() / np.abs(next_wave).max()
                wave = rate * next_wave
            rates.append(rate)
        return strengths[: len(rates)], np.array(rates)

    @cached_property
    def _steps(self) -> Array:
        """Readings of the clock, of which every second one is kept."""
        rates = self._rates[1]
        latest = float(self.clock(np.array(min(self.until, self.end * (1 - 1e-9)))))
        latest = min(latest, self._resolved + _LAST_NATS / rates.min())
        first = min(_FIRST_STEP * self._resolved, latest / 100) / self.refinement
        step = STEP / self.refinement
        n_grown = int(np.ceil(np.log1p(latest * step / first) / np.log1p(step) / 2)) * 2
        steps = np.expm1(np.arange(n_grown + 1) * np.log1p(step))
        return np.asarray(steps * (latest / steps[-1]))

    def _solve(self, steps: Array) -> Array:
        """Logarithms of the flows through both boundaries after each step, (2, steps)."""
        space, drift = self._matrices
        q = np.linalg.solve(space.mass, space.start)
        flows, flows_of_drift = self._flows()
        middles = (steps[1:] + steps[:-1]) / 2
        ends, middle = (self.bound(at) ** (self._alpha - 1) for at in (steps, middles))
        means = (ends[1:] + 4 * middle + ends[:-1]) / 6
        rates = np.interp(means, *self._rates)
        decay, out = 0.0, np.empty((2, len(middles)))
        for i, width in enumerate(np.diff(steps)):
            system = width * (space.spread - means[i] * drift)
            system = system - (rates[i] * width + POLE) * space.mass
            part = zgesv(system, space.mass @ q, 1, 1)[2]
            q = 2 * (RESIDUE * part).real
            decay += rates[i] * width
            out[:, i] = log((flows + ends[i + 1] * flows_of_drift) @ q) - decay
        return out

    def _flows(self) -> tuple[Array, Array]:
        """Rows that make the flows below and above of a density: by noise, and by drift."""
        space, drift = self._matrices
        sides = np.stack([space.all - space.above, space.above])
        test = np.linalg.solve(space.mass, sides.T).T
        gain = self.v * space.gain + self._slope * space.pull_gain
        return test @ space.spread, np.stack([-gain, gain]) - test @ drift

    @cached_property
    def _table(self) -> tuple[Array, Array, list[int]]:
        """Clock, logarithms of the flows, (2, clock), and where each of them begins."""
        steps = self._steps
        fine, coarse = self._solve(steps)[:, 1::2], self._solve(steps[::2])
        at = steps[2::2]
        # Of third order in the steps, but of second where the strength of the drift changes.
        order = 3 if self._slope == 0 else 2
        with np.errstate(invalid="ignore"):
            off = fine - coarse
        seen = np.isfinite(off) & (np.abs(off) < _MOST_OFF)
        seen &= at >= min(self._resolved, at[-3])
        logs = np.where(seen, fine + off / (2**order - 1), _NOTHING)
        seen &= logs > logs.max(axis=1, keepdims=True) - _BELOW_PEAK
        peaks = logs.argmax(axis=1)
        # Nor is it followed into what rounding leaves of a tail.
        unseen = (logs == _NOTHING).any(axis=0) & (np.arange(len(at)) > peaks.max())
        end = int(unseen.argmax()) if unseen.any() else len(at)
        at, logs, seen = at[:end], logs[:, :end], seen[:, :end]
        return at, logs, [_begin(row, peak) for row, peak in zip(seen, peaks, strict=True)]

    def _early(self, clock: Array) -> Array:
        """Flows as they begin, (2, ...): jumps across the boundary, to which the start moves.

        With ``alpha`` one they are the change of the chance to be behind a boundary that does not
        absorb, elsewhere something like it.
        """
        side = np.array(CHOICES).reshape(2, *np.ones(np.ndim(clock), int))
        way = 1 - side * self._start
        speed = side * self.v + self._slope * (side * self._start + 1) / 2
        moved = way - speed * self.a ** (self._alpha - 1) * clock
        spread = moved**2 + clock ** (2 / self.alpha)
        return np.asarray(jump_rate(self.alpha) * way / spread ** ((1 + self.alpha) / 2))

    @cached_property
    def _begun(self) -> list[tuple[float, float, float]]:
        """First solved clock of each flow, its rest there beside what it began with, and its power.

        The rest, relative to what it began with, is a power of the clock, or, where it comes
        faster, the exponential function of the clock's reciprocal, as without jumps.
        """
        at, logs, begins = self._table
        out = []
        for row, begin in enumerate(begins):
            first = at[begin]
            slope = CubicSpline(np.log(at[begin:]), logs[row, begin:])(np.log(first), 1)
            near = log(self._early(first * np.array([1 - 1e-4, 1, 1 + 1e-4]))[row])
            rest = np.expm1(logs[row, begin] - near[1])
            slope = slope - (near[2] - near[0]) / 2e-4
            power = (1 + rest) * slope / rest if rest != 0 else 1.0
            out.append((first, rest, power if power > 0 else 1.0))
        return out

    def log_densities(self, times: Array) -> Array:
        """Logarithms of the joint densities of decision time and each choice.

        Parameters
        ----------
        times
            Decision times in seconds, any shape. Nothing is decided before zero or behind the end.

        Returns
        -------
        numpy.ndarray
            Shape (choices, ...).
        """
        times = np.asarray(times, float)
        out = np.full((len(CHOICES), *times.shape), -np.inf)
        inside = (times >= 0) & (times < self.end)
        clock = self.clock(times[inside])
        at, logs, begins = self._table
        beginning = self._early(clock)
        late = (clock - at[-1]).clip(0) * self._rates[1].min()
        for row, (first, rest, power) in enumerate(self._begun):
            share = np.clip(clock / first, 1e-300, 1)
            fast = power > _FAST
            grown = np.exp(power * (1 - 1 / share)) if fast else share**power
            early = log(beginning[row] * (1 + rest * grown))
            spline = CubicSpline(np.log(at[begins[row] :]), logs[row, begins[row] :])
            solved = spline(np.log(np.clip(clock, first, at[-1]))) - late
            out[row, inside] = np.where(clock < first, early, solved)
        out[:, inside] -= self.alpha * np.log(self.bound(clock))
        return out

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density of decision time and one of the choices."""
        return np.asarray(self.log_densities(times)[CHOICES.index(choice)])

    def grid(self) -> Array:
        """Increasing decision times between which the density is smooth."""
        at, _, begins = self._table
        early = np.linspace(0, at[max(begins)], _N_EARLY)
        clock = np.unique(np.concatenate([early, at[min(begins) :]]))
        if self._slope == 0:
            return np.asarray(clock * self.a**self._alpha)
        return np.asarray((self.a - self.bound(clock)) / self._slope)


def _begin(seen: Array, peak: int) -> int:
    """The first place of a flow that is seen from there to its peak."""
    before = np.flatnonzero(np.logical_not(seen[:peak]))
    return int(min(before[-1] + 1 if len(before) else 0, len(seen) - 3))
