"""Galerkin's matrices for a density of stable noise that ends at boundaries.

The functions ``(1 - y**2)**(alpha / 2) P_n``, with Jacobi's polynomials of the exponents
``alpha / 2``, have the singularity of the density at the boundaries, and the fractional Laplacian
takes them to ``Gamma(alpha + n + 1) / n! P_n`` (Dyda, Kuznetsov & Kwasnicki 2017, Constr. Approx.
45), so that Galerkin's matrices are diagonal, or moments that a Gauss quadrature has without error.
With ``alpha`` near one the drift is as strong as the noise at any scale, and the exponents at the
boundaries become others: hat functions on nodes in a geometric series are added there
(:class:`_Layers`). Of their second derivatives, which are points, the fractional Laplacian is
``|y|**(3 - alpha) / (2 Gamma(4 - alpha) cos(pi alpha / 2))``.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import beta as beta_function
from scipy.special import betainc, gamma, gammaln, roots_jacobi

from lanflow.models.density import Array
from lanflow.models.exact.normal import quadrature

# Hats at each boundary, the distance of the outermost, and by what factor they come closer.
_N_HATS, _OUTERMOST, _CLOSER = 12, 0.03, (1.5, 3.0)
_NODES, _WEIGHTS = quadrature(8)


@dataclass(frozen=True)
class Space:
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


def _smooth_space(n: int, alpha: float, start: float) -> Space:
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
    return Space(
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


def space_of(n: int, alpha: float, start: float) -> Space:
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
    return Space(mass, spread, drift, pull, first, every, above, gain, pull_gain)


def jump_rate(alpha: float) -> float:
    """Rate of jumps in one direction that are longer than one."""
    return float(gamma(alpha) * np.sin(np.pi * alpha / 2) / np.pi)
