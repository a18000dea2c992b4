"""Draws of parameter vectors from a model's box: uniform, or filling the space evenly."""

from typing import Any

import numpy as np
import numpy.typing as npt


def drawing_order(space: dict[str, tuple[Any, Any]]) -> list[str]:
    """The model's order of parameters, each behind those its bounds refer to."""
    order: list[str] = []

    def visit(name: str) -> None:
        for bound in space[name]:
            if isinstance(bound, str) and bound not in order:
                visit(bound)
        if name not in order:
            order.append(name)

    for name in space:
        visit(name)
    return order


def sobol_points(
    seed: np.random.SeedSequence, n_dimensions: int, *, first: int, n_points: int
) -> npt.NDArray[np.float64]:
    """A stretch of a scrambled Sobol sequence (Owen 1998), shape (points, dimensions), in [0, 1).

    Parameters
    ----------
    seed
        Of the scrambling; sequences of different seeds share no points.
    n_dimensions
        Parameters.
    first, n_points
        Which stretch.
    """
    from scipy.stats import qmc

    engine = qmc.Sobol(n_dimensions, scramble=True, rng=np.random.default_rng(seed))
    if first:
        engine.fast_forward(first)
    # One at a time: a first call for a number that is no power of two warns.
    points = [engine.random(1)[0] for _ in range(n_points)]
    return np.array(points)
