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

**Space.** The functions ``(1 - y**2)**(alpha / 2) P_n``, with Jacobi's polynomials of the exponents
``alpha / 2``, have the singularity of ``q`` at the boundaries, and the fractional Laplacian takes
them to ``Gamma(alpha + n + 1) / n! P_n`` (Dyda, Kuznetsov & Kwasnicki 2017, Constr. Approx. 45), so
that Galerkin's matrices are diagonal, or moments that a Gauss quadrature has without error. With
``alpha`` near one the drift is as strong as the noise at any scale, and the exponents at the
boundaries become others: hat functions on nodes in a geometric series are added there
(:class:`_Layers`). Of their second derivatives, which are points, the fractional Laplacian is
``|y|**(3 - alpha) / (2 Gamma(4 - alpha) cos(pi alpha / 2))``.

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
from scipy.special import beta as beta_function
from scipy.special import betainc, gamma, gammaln, roots_jacobi

from lanflow.models.density import CHOICES, Array
from lanflow.models.exact.normal import log, quadrature
from lanflow.models.solver import POLE, RESIDUE

# Polynomials for alpha 2, and how many more for alpha 1.
N_SMOOTH, N_ROUGH = 56, 70
# Hats at each boundary, the distance of the outermost, and by what factor they come closer.
_N_HATS, _OUTERMOST, _CLOSER = 12, 0.03, (1.5, 3.0)
# A start nearer to a boundary than this share of the way has more polynomials, so many times.
_NEAR, _MOST_MORE = 0.1, 2.0
# More are nearly sums of one another and of the hats.
_MOST = 256
# A step relative to the clock; the first one relative to when the start is resolved.
STEP, _FIRST_STEP = 0.055, 0.05
# The polynomials resolve a start after this many decay times of their highest.
_RESOLVED = 4.5
# What comes after so many nats of decay is not followed.
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
_NODES, _WEIGHTS = quadrature(8)


@dataclass(frozen=True)
class _Space:
    """Galerkin's matrices, for a test function ``f`` (rows) and a density ``q`` (columns).

    Integrals over ``y``: ``f q``, ``f (-Delta)**(alpha / 2) q``, ``f' q`` and ``y f' q``; test
    functions at the start of the particle; integrals of ``q``, ``h q``, ``h' q`` and ``y h' q``.
    """

    mass: Array
    spread: Array
    drift: Array
    pull: Array
    start: Array
    all: Array
    above: Array
    gain: Array
    pull_gain: Array


def _polynomials(n: int, s: float, y: Array) -> tuple[Array, Array]:
    """Polynomials orthonormal under ``(1 - y**2)**s``, and their derivatives, (n, places)."""
    k = np.arange(1, n + 1)
    step = np.sqrt(k * (k + 2 * s) / (4 * (k + s + 0.5) * (k + s - 0.5)))
    values, slopes = np.zeros((2, n, len(y)))
    values[0] = beta_function(0.5, s + 1) ** -0.5
    for i in range(n - 1):
        before, slope_before = (values[i - 1], slopes[i - 1]) if i else (0.0, 0.0)
        back = step[i - 1] if i else 0.0
        values[i + 1] = (y * values[i] - back * before) / step[i]
        slopes[i + 1] = (values[i] + y * slopes[i] - back * slope_before) / step[i]
    return values, slopes


def _eigenvalues(n: int, alpha: float) -> Array:
    """Factors with which the fractional Laplacian takes the functions to polynomials."""
    k = np.arange(n)
    return np.asarray(np.exp(gammaln(alpha + k + 1) - gammaln(k + 1)))


def _smooth_space(n: int, alpha: float, start: float) -> _Space:
    """The matrices of the first ``n`` functions ``(1 - y**2)**(alpha / 2) P_n``."""
    s, k = alpha / 2, np.arange(n)
    y, weights = roots_jacobi(n + 1, alpha - 1, alpha - 1)
    p, p_slopes = _polynomials(n, s, y)
    inside = 1 - y**2
    slopes = (inside * p_slopes - alpha * y * p) * weights
    norm = 2 ** (alpha - 1) * beta_function(s, s)
    everything = np.zeros(n)
    everything[0] = beta_function(0.5, s + 1) ** 0.5
    above = (p_slopes * inside) @ weights / (norm * np.maximum(k * (k + alpha + 1), 1))
    above[0] = everything[0] / 2
    return _Space(
        start=_polynomials(n, s, np.array([start]))[0][:, 0] * (1 - start**2) ** s,
        mass=(p * (weights * inside)) @ p.T,
        spread=np.diag(_eigenvalues(n, alpha)),
        drift=slopes @ p.T,
        pull=(slopes * y) @ p.T,
        all=everything,
        above=above,
        gain=p @ weights / norm,
        pull_gain=p @ (weights * y) / norm,
    )


class _Layers:
    """Hat functions at one of the boundaries, by the distance from it."""

    def __init__(self, alpha: float) -> None:
        closer = _CLOSER[0] + (2 - alpha) * (_CLOSER[1] - _CLOSER[0])
        nodes = np.append(0, _OUTERMOST * closer ** -np.arange(_N_HATS, -1.0, -1.0))
        widths = np.diff(nodes)
        self.at = (nodes[:-1, None] + widths[:, None] * _NODES).ravel()
        weights = (widths[:, None] * _WEIGHTS).ravel()
        identity = np.eye(len(nodes))[1:-1]
        hats = np.stack([np.interp(self.at, nodes, row) for row in identity])
        rises = np.diff(identity, axis=1) / widths
        scale = 1 / np.sqrt(hats**2 @ weights)[:, None]
        self.hats = hats * scale
        self.weighted = self.hats * weights
        self.slopes = np.repeat(rises, len(_NODES), axis=1) * scale * weights
        bends = np.diff(rises, axis=1, prepend=0, append=0) * scale
        distances = np.abs(nodes[:, None] - nodes)
        # Less the square of the distance, which does nothing, for the sake of alpha near one.
        logs = np.log(np.where(distances > 0, distances, 1.0))
        kernel = distances**2 * np.expm1((1 - alpha) * logs)
        self.spread = bends @ kernel @ bends.T / (2 * gamma(4 - alpha) * np.cos(np.pi * alpha / 2))
        self.nodes, self.peaks = nodes, identity * scale
        self.areas = self.weighted.sum(axis=1)
        self.centres = self.weighted @ self.at / self.areas

    def at_distance(self, distance: float) -> Array:
        """The hats at a distance from the boundary."""
        return np.array([np.interp(distance, self.nodes, row, right=0.0) for row in self.peaks])


def _space(n: int, alpha: float, start: float) -> _Space:
    """The matrices of polynomials, then of hats at the lower and at the upper boundary."""
    smooth, layers = _smooth_space(n, alpha, start), _Layers(alpha)
    total = n + 2 * _N_HATS
    lower, upper = slice(n, n + _N_HATS), slice(n + _N_HATS, total)
    mass, spread, drift, pull = np.zeros((4, total, total))
    first, every, above, gain, pull_gain = np.zeros((5, total))
    mass[:n, :n], spread[:n, :n] = smooth.mass, smooth.spread
    drift[:n, :n], pull[:n, :n] = smooth.drift, smooth.pull
    first[:n], every[:n], above[:n] = smooth.start, smooth.all, smooth.above
    gain[:n], pull_gain[:n] = smooth.gain, smooth.pull_gain
    s, at = alpha / 2, layers.at
    p = _polynomials(n, s, 1 - at)[0]
    inside = at * (2 - at)
    h_slope = inside ** (s - 1) / (2 ** (alpha - 1) * beta_function(s, s))
    for part, side in ((lower, -1.0), (upper, 1.0)):
        y, polynomials = side * (1 - at), p * (side ** np.arange(n))[:, None]
        h = betainc(s, s, at / 2)
        first[part] = layers.at_distance(1 - side * start)
        above[part] = layers.weighted @ (h if side < 0 else 1 - h)
        every[part] = layers.areas
        gain[part], pull_gain[part] = layers.weighted @ h_slope, layers.weighted @ (y * h_slope)
        spread[part, part] = layers.spread
        spread[part, :n] = layers.weighted @ polynomials.T * _eigenvalues(n, alpha)
        for columns, q in ((slice(0, n), inside**s * polynomials), (part, layers.hats)):
            mass[part, columns] = layers.weighted @ q.T
            drift[part, columns] = -side * layers.slopes @ q.T
            pull[part, columns] = -side * (layers.slopes * y) @ q.T
        # By parts: the functions are zero at the boundaries.
        spread[:n, part], mass[:n, part] = spread[part, :n].T, mass[part, :n].T
        drift[:n, part] = -drift[part, :n].T
        pull[:n, part] = -pull[part, :n].T - mass[:n, part]
    gaps = 2 - layers.centres[:, None] - layers.centres
    spread[lower, upper] = -jump_rate(alpha) * alpha * np.outer(layers.areas, layers.areas)
    spread[lower, upper] /= gaps ** (1 + alpha)
    spread[upper, lower] = spread[lower, upper].T
    return _Space(mass, spread, drift, pull, first, every, above, gain, pull_gain)


def jump_rate(alpha: float) -> float:
    """Rate of jumps in one direction that are longer than one."""
    return float(gamma(alpha) * np.sin(np.pi * alpha / 2) / np.pi)


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
        return self.slope if self.slope * self.until > _ROUNDING * self.a else 0.0

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
    def _matrices(self) -> tuple[_Space, Array]:
        """Space, and the matrix of the drift."""
        space = _space(self._n, self._alpha, self._start)
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
