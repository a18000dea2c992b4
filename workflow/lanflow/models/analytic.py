"""The exact likelihood of a particle with constant drift between straight boundaries.

ssm-simulators' terms: drift ``v``, boundaries at ``+-(a - slope * t)``, start at the share ``z`` of
the way from the lower to the upper one, noise 1, choices -1 (lower) and 1 (upper). Its models of
this kind, all of them exactly:

- ``ddm``: boundaries that stand still (``slope`` 0);
- ``ddm_legacy``: the same with boundaries at 0 and ``a``;
- ``ddm_sdv``: as ``ddm``, the drift of a trial normal with standard deviation ``sv``;
- ``angle``: boundaries that move in a straight line, ``slope = tan(theta)``.

Each also with a deadline. Where start or non-decision time vary (``full_ddm``, ``ddm_st``), these
densities are averaged: :mod:`lanflow.models.exact.variable`.

With ``b = a - slope * t`` and the particle's place written as ``b * y``, the density of the place
is an elementary factor times that of a driftless particle between -1 and 1 at the time
``tau = t / (a * b)``, since ``b`` has no second derivative (Hall 1997, J. Appl. Prob. 34). Its
first-passage density is a theta function with two series, one for small and one for large times
(Navarro & Fuss 2009, J. Math. Psych. 53; Gondan, Blurton & Kesselmeier 2014, J. Math. Psych. 60).
Here each sum is taken relative to its first term, so that densities of any smallness have finite
logarithms, and as many terms are taken as :data:`RELATIVE_ERROR` asks for.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Bound on the truncation error of a density, relative to it, for z in [0.01, 0.99].
RELATIVE_ERROR = 1e-13
# Where both series need few terms, in units of the squared half distance of the boundaries.
_CROSSOVER = 1.6

# Points of a grid; 3 % apart for parameters as usual.
N_TIMES = 401

MODELS = ("ddm", "ddm_legacy", "ddm_sdv", "angle")


@dataclass(frozen=True)
class Diffusion:
    """A particle with constant drift between straight boundaries.

    Attributes
    ----------
    v, sv
        Mean and standard deviation, over trials, of the drift.
    a
        Half the distance of the boundaries at the start.
    z
        Start, as a share of the distance, from the lower boundary.
    slope
        How fast each boundary comes closer; negative if it moves away.
    """

    v: float
    a: float
    z: float
    slope: float = 0.0
    sv: float = 0.0

    @property
    def collapse_time(self) -> float:
        """Time at which the boundaries meet, seconds; infinite if they never do."""
        return self.a / self.slope if self.slope > 0 else np.inf

    def log_density(self, times: Array, choice: int) -> Array:
        """Logarithm of the joint density of decision time and choice.

        Parameters
        ----------
        times
            Decision times in seconds, any shape. The density of a time that is not positive or
            behind :attr:`collapse_time` is zero, its logarithm ``-inf``.
        choice
            -1 or 1.
        """
        out = np.full(np.shape(times), -np.inf)
        inside = (times > 0) & (times < self.collapse_time)
        t = np.asarray(times, float)[inside]
        b = self.a - self.slope * t
        start = 2 * self.z - 1
        way = choice * b - start * self.a
        factor = (
            -0.5 * np.log(self.a)
            - 1.5 * np.log(b)
            + 0.5 * self.slope * (b - self.a * start**2)
            + _log_tilt(way, t, self.v, self.sv)
        )
        share = self.z if choice == -1 else 1 - self.z
        with np.errstate(over="ignore"):
            out[inside] = factor + log_unit_density(t / (self.a * b), share)
        return out

    def grid(self, until: float) -> Array:
        """Increasing times on which the density is smooth, from where it begins to ``until``.

        They are equidistant in the logarithm of the clock ``tau = t / (a * b)``; before the first
        a particle has moved less than a tenth of its way to a boundary (a chance below 1e-20) and
        behind ``tau = 60`` less than ``exp(-70)`` of the driftless particles are left.
        """
        first = (2 * min(self.z, 1 - self.z) / 10) ** 2
        last = 60.0
        if until < self.collapse_time:
            last = min(last, until / (self.a * (self.a - self.slope * until)))
        tau = np.geomspace(min(first, last / 2), last, N_TIMES)
        return self.a**2 * tau / (1 + self.slope * self.a * tau)


def diffusion(model: str, theta: Mapping[str, float]) -> Diffusion:
    """The particle of one of :data:`MODELS` at given parameters."""
    v, a, z = theta["v"], theta["a"], theta["z"]
    match model:
        case "ddm_legacy":
            return Diffusion(v, a / 2, z)
        case "ddm_sdv":
            return Diffusion(v, a, z, sv=theta["sv"])
        case "angle":
            return Diffusion(v, a, z, slope=float(np.tan(theta["theta"])))
    assert model == "ddm"
    return Diffusion(v, a, z)


def choice_probability(v: float, a: float, z: float) -> float:
    """Probability of the choice 1 of the ddm, with no limit of time."""
    if abs(v * a) < 1e-9:
        return z
    return float(np.expm1(-4 * v * a * z) / np.expm1(-4 * v * a))


def _log_tilt(way: Array, t: Array, v: float, sv: float) -> Array:
    """Likelihood ratio of drift against none, averaged over a normal drift.

    The particle went ``way`` in the time ``t``: ``E exp(V way - V**2 t / 2)``.
    """
    spread = 1 + sv**2 * t
    return (sv**2 * way**2 + 2 * v * way - v**2 * t) / (2 * spread) - 0.5 * np.log(spread)


def log_unit_density(tau: Array, share: float) -> Array:
    """Log density of the first passage without drift of one of the boundaries -1 and 1.

    Parameters
    ----------
    tau
        Positive times.
    share
        Distance of the start to that boundary, as a share of the distance of the two, in (0, 1).
    """
    early = tau < _CROSSOVER
    # The series are usually written for boundaries at distance 1: a quarter of the time.
    out = np.empty_like(tau)
    out[early] = _log_images(tau[early] / 4, share)
    out[~early] = _log_sines(tau[~early] / 4, share)
    return np.asarray(out - np.log(4))


def _log_images(t: Array, w: float) -> Array:
    """Small times: mirror images, those of each odd m (at m - u and m + u, u = 1 - w) together.

    Taken together they are positive where t < 1, and nothing cancels as u goes to zero.
    """
    u = 1 - w
    total = np.zeros_like(t)
    for m in range(1, 2 * _N_IMAGES, 2):
        pair = -(m + u) * np.expm1(-2 * m * u / t) - 2 * u
        total += pair * np.exp(-(m - 1) * (m + 1 - 2 * u) / (2 * t))
    return np.log(total) - w**2 / (2 * t) - 0.5 * np.log(2 * np.pi * t**3)


def _log_sines(t: Array, w: float) -> Array:
    """Large times: eigenfunctions."""
    total = np.full_like(t, np.sin(np.pi * w))
    for k in range(2, _N_SINES + 1):
        total += k * np.sin(k * np.pi * w) * np.exp(-(k**2 - 1) * np.pi**2 * t / 2)
    return np.log(np.pi * total) - np.pi**2 * t / 2


def _n_images(error: float) -> int:
    """Pairs of images for a relative error at the crossover, where the error is largest.

    In the sum the pair of m is at most ``2 m exp(-(m - 1)**2 / 2t)``, since u is at most 1, and
    those behind it are less than it; the whole sum is at least 0.005 for z in [0.01, 0.99].
    """
    t = _CROSSOVER / 4
    for n in itertools.count(1):
        m = 2 * n + 1
        if 4 * m * np.exp(-((m - 1) ** 2) / (2 * t)) / 0.005 < error:
            return n
    raise AssertionError


def _n_sines(error: float) -> int:
    """Sines for a relative error: abs(sin(k x)) <= k sin(x), so term k is at most k**2 exp(..)."""
    t = _CROSSOVER / 4
    for n in itertools.count(1):
        k = n + 1
        if 2 * k**2 * np.exp(-(k**2 - 1) * np.pi**2 * t / 2) < error:
            return n
    raise AssertionError


_N_IMAGES = _n_images(RELATIVE_ERROR)
_N_SINES = _n_sines(RELATIVE_ERROR)
