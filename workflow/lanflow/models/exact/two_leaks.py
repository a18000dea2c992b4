"""A particle that two inputs push, each with a leak of its own: ``conflict_stimflexrel1_leak2``.

The evidence of target and distractor starts at zero and shares its noise,

    dY1 = (drift1(t) - leak1 Y1) dt + dW / 2,    dY2 = (drift2(t) - leak2 Y2) dt + dW / 2,

and ``X = x0 + Y1 + Y2`` decides between ``+-boundary(t)``. With ``g`` the mean of the leaks and
``s`` half of their difference, it goes on with the lead of the target, ``L = Y1 - Y2``, in which
there is no noise:

    dX = (f(t) - g X - s L) dt + dW,    f = drift1 + drift2 + g x0,
    dL = (e(t) - s X - g L) dt,         e = drift1 - drift2 + s x0.

With equal leaks ``X`` goes alone (:mod:`lanflow.models.solver`). Else the density of both is, in
the lead, a Gaussian whose mean ``m + r X`` is tilted with the place, and its derivatives:

    p(X, L) = sum over k of q_k(X) (-d/dZ)**k N(Z; 0, w),    Z = L - m - r X,

so that ``q_0`` is the density of the place (Hermite's expansion, as of Gram and Charlier). As
``-d/dZ`` raises ``k`` by one, and ``Z`` lowers it or raises it ``w`` times, the Fokker-Planck
equation of both becomes one in the place for each ``q_k``,

    dq_k/dt = q_k'' / 2 - ((f - s m - (g + s r) X) q_k)' + k (s r - g) q_k
              + (k + 1) s q_(k+1)' + (s w + r) q_(k-1)' + (a + c X) q_(k-1) + h q_(k-2),

    dm/dt = e + (s r - g) m - r f - a,    dr/dt = s r**2 - s - c,
    dw/dt = r**2 + 2 (s r - g) w - 2 h,

with any ``a``, ``c`` and ``h``: they say how the Gaussian moves, and the rest makes up for it. They
are taken such that ``Z`` keeps a mean of zero at every place, as far as a straight line can, and
the variance ``w``. Without boundaries ``q_0`` is then all there is; with them few terms are enough:
three leave 1e-4 nats where the inputs are the largest, 1e-5 elsewhere. All of them are zero at the
boundaries. Each step is one of Radau's method for all terms at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.course import Process, running_integral
from lanflow.models.solver import POLE, RESIDUE, lags, packet, slopes

N_TERMS = 3
# What is left of mean, tilt and variance of Z goes by this share in a step.
_MENDED = 0.3
# When less than this is left between the boundaries, rounding is much of it.
_NOBODY = 1e-13


@dataclass(frozen=True)
class TwoLeaks:
    """The particle.

    Attributes
    ----------
    process
        The place ``X``: its drift is ``f``, its leak the mean of both.
    lead_drift
        ``e`` at an array of times since the start, seconds.
    split
        Half of what the target's leak is more than the distractor's.
    n_terms
        Terms of the expansion, three or more.
    """

    process: Process
    lead_drift: Callable[[Array], Array]
    split: float
    n_terms: int = N_TERMS

    def solve(self, process: Process, times: Array, n_space: int) -> Array:
        """Densities of the choices -1 and 1, as :func:`lanflow.models.solver.solve` has them."""
        return _Solver(self, process, times, n_space).densities()

    def free(self, time: float) -> tuple[Array, Array]:
        """Means of place and lead, and their covariances, of a particle without boundaries."""
        course, leak = self.process.course, self.process.leak
        start = (2 * self.process.start - 1) * course.b[0]
        t = np.append(course.t[course.t < time], time)
        f = np.interp(t, course.t, course.drift) - leak * start
        e = self.lead_drift(t) - self.split * start
        leaks, drifts = leak + self.split * np.array([1, -1]), np.array([f + e, f - e]) / 2
        evidence = np.trapezoid(np.exp(-leaks[:, None] * (time - t)) * drifts, t)
        rates = np.maximum(leaks[:, None] + leaks, 1e-12)
        both = -np.expm1(-rates * time) / (4 * rates)
        turn = np.array([[1, 1], [1, -1]])
        return turn @ evidence + [start, 0], turn @ both @ turn


class _Solver:
    """One solution: the terms ``q``, shape (places, terms), and the Gaussian's ``m, r, w``."""

    def __init__(self, two: TwoLeaks, process: Process, times: Array, n_space: int) -> None:
        course = process.course
        self._two, self._process, self._times, self._h = two, process, times, 2 / n_space
        self._y = np.linspace(-1, 1, n_space + 1)[1:-1]
        self._dt = np.diff(times)
        self._b, self._tau, way, relative_way = course.at(times)
        self._f = np.diff(way) / self._dt
        self._push = np.diff(relative_way)
        led = running_integral(two.lead_drift(course.t), course.t)
        self._e = np.diff(np.interp(times, course.t, led)) / self._dt
        self._width = two.n_terms + 1
        self._rows = np.zeros((3 * self._width + 1, len(self._y), two.n_terms), complex)
        self._begin()

    def _begin(self) -> None:
        time, b = float(self._times[0]), float(self._b[0])
        (place, lead), ((variance, both), (_, spread)) = self._two.free(time)
        tilt = both / variance
        self._gaussian = np.array([lead - tilt * place, tilt, spread - tilt * both])
        q = b * packet(self._process, self._y * b, time, b, place, variance)
        self._q = np.zeros((len(q), self._two.n_terms))
        self._q[:, 0] = q

    def densities(self) -> Array:
        """Densities of the choices -1 and 1 at the ends of steps, shape (2, times).

        Zero where rounding is all that is left.
        """
        out, gaussians = np.zeros((2, len(self._times))), np.zeros((3, len(self._times)))
        for i in range(len(self._times)):
            out[:, i], gaussians[:, i] = slopes(self._q[:, 0], self._h), self._gaussian
            if i == len(self._dt) or self._h * self._q[:, 0].sum() < _NOBODY:
                break
            moves = self._moves(i)
            middle = self._gaussian + self._dt[i] / 2 * self._rates(i, self._gaussian, moves)
            self._gaussian = self._gaussian + self._dt[i] * self._rates(i, middle, moves)
            self._step(i, middle, moves)
        mean, tilt, _ = self._two.split * gaussians
        out[:, 1:] *= np.exp(lags(self._process, self._times, push=-mean, pull=tilt))
        return np.asarray(out / (2 * self._b**2))

    def _rates(self, i: int, gaussian: Array, moves: Array) -> Array:
        """Changes of the Gaussian per second, in a step."""
        (m, r, w), (a, c, h), s = gaussian, moves, self._two.split
        back = s * r - self._process.leak
        return np.array(
            [
                self._e[i] + back * m - r * self._f[i] - a,
                s * r**2 - s - c,
                r**2 + 2 * back * w - 2 * h,
            ]
        )

    def _moves(self, i: int) -> Array:
        """``a``, ``c`` and ``h`` that keep mean, tilt and variance of ``Z`` from growing."""
        (m, r, w), s, leak = self._gaussian, self._two.split, self._process.leak
        b, back = self._b[i], s * r - leak
        x = b * self._y
        mass, first, second = (self._h * (x**power * self._q[:, 0]).sum() for power in range(3))
        mean, tilt = (self._h * (x**power * self._q[:, 1]).sum() for power in range(2))
        variance = self._h * self._q[:, 2].sum()
        (below, above), (two_below, two_above) = (slopes(self._q[:, k], self._h) for k in (1, 2))
        mended = _MENDED / self._dt[i]
        grown = -(below + above) / (2 * b**2) + (back + mended) * mean
        tilted = (below - above) / (2 * b) + (self._f[i] - s * m) * mean - 2 * s * variance
        tilted += (mended - 2 * leak) * tilt - (s * w + r) * mass
        a, c = -np.linalg.solve([[mass, first], [first, second]], [grown, tilted])
        spread = -(two_below + two_above) / (2 * b**2) + (2 * back + mended) * variance
        return np.array([a, c, -(spread + a * mean + c * tilt) / mass])

    def _step(self, i: int, middle: Array, moves: Array) -> None:
        """Move the terms by a step, with the Gaussian in the middle of it."""
        from scipy.linalg.lapack import zgbsv

        (m, r, w), (a, c, h), s, dt = middle, moves, self._two.split, self._dt[i]
        b, n = np.sqrt(self._b[i] * self._b[i + 1]), self._two.n_terms
        diffusion = (self._tau[i + 1] - self._tau[i]) / (2 * self._h**2)
        push = (self._push[i] - s * m * dt / b) / (2 * self._h)
        pull = np.log(self._b[i + 1] / self._b[i]) + (self._process.leak + s * r) * dt
        pull = pull / (2 * self._h)
        k, slope = np.arange(n), dt / (2 * self._h * b)
        self._set(1, 0, (pull * (self._y + self._h / 2) - push - diffusion)[:, None])
        self._set(-1, 0, (push - diffusion - pull * (self._y - self._h / 2))[:, None])
        centre = 2 * diffusion - pull * self._h - POLE
        self._set(0, 0, centre - k * (s * r - self._process.leak) * dt)
        for side in (-1, 1):
            self._set(side, -1, side * slope * s * k[1:])
            self._set(side, 1, side * slope * (s * w + r))
        self._set(0, 1, -dt * (a + c * b * self._y)[:, None])
        self._set(0, 2, -dt * h)
        matrix = self._rows.reshape(len(self._rows), -1)
        right = self._q.reshape(-1, 1).astype(complex)
        solved = zgbsv(self._width, self._width, matrix, right)[2]
        self._q = 2 * (RESIDUE * solved).real.reshape(-1, n)

    def _set(self, places: int, terms: int, values: Array | float) -> None:
        """Set what each place and term does to the one so many further on, in LAPACK's bands."""
        n = self._two.n_terms
        columns = slice(max(-terms, 0), n - max(terms, 0))
        self._rows[2 * self._width + places * n + terms, :, columns] = values
