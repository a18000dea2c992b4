"""The normal distribution as the other chapters need it: tails in which nothing cancels."""

import numpy as np

from lanflow.models.density import Array

# A uniform draw on an interval of no length is taken for one on an interval of this share of what
# it is compared with: the error is its square, and with less, numbers would cancel.
LEAST_SPREAD = 1e-5


def upper_tail(z: Array) -> Array:
    """Probability of a standard normal draw above z."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-z))


def normal_density(z: Array) -> Array:
    """Density of a standard normal draw."""
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


def between(z_low: Array, z_high: Array) -> Array:
    """Probability of a standard normal draw between two values."""
    low, high = upper_tail(np.abs(z_low)), upper_tail(np.abs(z_high))
    return np.asarray(
        np.where(z_low > 0, low - high, np.where(z_high > 0, 1 - high - low, high - low))
    )


def between_boundaries(
    x: Array,
    start: Array | float,
    mean: Array | float,
    variance: Array | float,
    bounds: tuple[float, float],
) -> Array:
    """A normal density of places, less those whose way from the start has met a boundary.

    Both boundaries, the first of ``bounds`` away from zero then and the second now, are straight.
    """
    b_first, b = bounds
    free = normal_density((x - mean) / np.sqrt(variance)) / np.sqrt(variance)
    upper = -np.expm1(-2 * (b_first - start) * (b - x) / variance)
    lower = -np.expm1(-2 * (b_first + start) * (b + x) / variance)
    return np.asarray(free * upper * lower)


def mills_ratio(z: Array) -> Array:
    """Probability above z relative to the density at z; overflows far below zero."""
    from scipy.special import erfcx

    return np.asarray(np.sqrt(np.pi / 2) * erfcx(z / np.sqrt(2)))


def log(values: Array) -> Array:
    """Logarithms; ``-inf`` for what is not positive."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0))


def quadrature(n: int) -> tuple[Array, Array]:
    """Nodes and weights of Gauss and Legendre on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def spread_ways(bound: float, highest: float) -> tuple[float, float]:
    """Shortest and longest way to a bound from starts that are uniform on [0, highest].

    The shortest is negative where some start above the bound.
    """
    spread = max(highest, LEAST_SPREAD * bound, 1e-9)
    middle = bound - highest / 2
    return middle - spread / 2, middle + spread / 2
