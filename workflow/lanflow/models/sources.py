"""Where the labels of training files come from, as pipelines in ssm-simulators' terms.

A pipeline's ``generate_for_parameter_set(parameter_seed, simulator_seed)`` draws parameters and
gives the rows of one parameter set. ``kde``, ``exact_kde`` and ``pyddm`` simulate or solve in
ssm-simulators' own pipelines; ``analytic`` and ``solver`` draw their rows from the density itself.
"""

from typing import Any, Literal

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.analytic import MODELS, diffusion
from lanflow.models.density import Density
from lanflow.models.simulators import is_one_particle, process_of
from lanflow.models.solver import Solution

Source = Literal["analytic", "solver", "kde", "exact_kde", "pyddm"]


def base_name(model: dict[str, Any]) -> str:
    """The model's name in ssm-simulators without what tells that it has a deadline."""
    return str(model["name"]).removesuffix("_deadline")


def label_source(
    estimator_type: str, model: dict[str, Any], *, key: str = "ESTIMATOR.TYPE"
) -> Source:
    """The source of labels that ESTIMATOR.TYPE means for a model; the best there is for ``auto``.

    Parameters
    ----------
    estimator_type
        As in the YAML.
    model
        ssm-simulators' description of the model.
    key
        What asked for it, for errors.

    Raises
    ------
    UserError
        If the model has no such source.
    """
    name = base_name(model)
    match estimator_type:
        case "auto":
            if name in MODELS:
                return "analytic"
            return "solver" if is_one_particle(model) else "kde"
        case "analytic":
            if name not in MODELS:
                raise UserError(
                    f"{key}: no analytic likelihood is known for model {name!r}, only "
                    f"for {', '.join(MODELS)}; 'auto' takes the best there is"
                )
            return "analytic"
        case "solver" if not is_one_particle(model):
            raise UserError(
                f"{key}: the solver is for one particle between two boundaries that does not vary "
                f"over trials, which model {name!r} is not; 'auto' takes the best there is"
            )
        case "solver" | "kde" | "exact_kde" | "pyddm":
            return estimator_type
    raise AssertionError(estimator_type)


def has_shift(model: dict[str, Any]) -> bool:
    """Whether every trial of a parameter vector has the same non-decision time, its ``t``."""
    return "t" in model["params"] and "st" not in model["params"]


def make_density(
    source: Literal["analytic", "solver"],
    model: dict[str, Any],
    theta: dict[str, float],
    max_t: float,
) -> Density:
    """The density of rt and choice at a parameter vector.

    Parameters
    ----------
    source
        One that :func:`label_source` gives for the model.
    model
        ssm-simulators' description of the model.
    theta
        The parameters by name.
    max_t
        How long a decision may take, seconds.
    """
    if source == "analytic":
        particle = diffusion(base_name(model), theta)
        log_density, times = particle.log_density, particle.grid(max_t)
    else:
        solution = Solution(process_of(model, theta, max_t))
        log_density, times = solution.log_density, solution.times
    return Density(log_density, times, theta["t"], max_t, theta.get("deadline", np.inf))
