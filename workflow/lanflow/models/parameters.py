"""Parameter vectors inside a network's box: drawn at random, and at its corners."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.models.density import Array
from lanflow.models.simulators import make_sampler

Box = Mapping[str, tuple[float, float]]

MAX_CORNERS = 64


def box_of(model: dict[str, Any], trained: Box | None = None) -> dict[str, tuple[float, float]]:
    """The box that a network was trained in, in the model's order of parameters.

    Parameters
    ----------
    model
        ssm-simulators' description; its bounds stand in where a network has none of its own, and
        where one names another parameter, that one's.
    trained
        Bounds from the network's card.
    """
    space = model["param_bounds_dict"]

    def number(bound: Any, side: int) -> float:
        return number(space[bound][side], side) if isinstance(bound, str) else float(bound)

    own = {name: (number(space[name][0], 0), number(space[name][1], 1)) for name in model["params"]}
    return {name: (trained or {}).get(name, pair) for name, pair in own.items()}


def draw_parameters(model: dict[str, Any], box: Box, n_sets: int, *, seed: int) -> Array:
    """Vectors drawn as for training: uniform in the box, within the model's own constraints.

    Parameters
    ----------
    model
        ssm-simulators' description.
    box
        Bounds of the parameters, by name.
    n_sets
        Vectors.
    seed
        Decides them; more vectors begin with the same ones.

    Returns
    -------
    numpy.ndarray
        Shape (sets, parameters), in the model's order, as float32 holds them.
    """
    space = model["param_bounds_dict"]
    fixed = {name: pair for name, pair in box.items() if not any(map(_is_name, space[name]))}
    sampler = make_sampler({**model, "param_bounds_dict": {**space, **fixed}})
    out = []
    for index in range(n_sets):
        sampler.start_set([seed, index], None)
        drawn = sampler.sample(1)
        out.append([float(drawn[name][0]) for name in model["params"]])
    return np.array(out).reshape(n_sets, len(model["params"]))


def _is_name(bound: Any) -> bool:
    return isinstance(bound, str)


def corners(box: Box, *, seed: int) -> Array:
    """Corners of a box, all or :data:`MAX_CORNERS` drawn ones; shape (corners, parameters)."""
    sides = np.array(list(box.values()), float)
    if 2 ** len(sides) <= MAX_CORNERS:
        return np.array(list(itertools.product(*sides)))
    chosen = np.random.default_rng(seed).integers(0, 2, (MAX_CORNERS, len(sides)))
    return np.asarray(sides[np.arange(len(sides)), chosen])


# Draws of parameter vectors from a model's box: uniform, or filling the space evenly.


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
