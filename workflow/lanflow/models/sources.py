"""Sources of a model's density: for labels, and for the reference of a network.

``analytic`` is a closed form, or an integral of one; ``solver`` the Fokker-Planck equation; ``kde``
our kernel density of simulations; ``exact_kde`` and ``pyddm`` are ssm-simulators' own estimators.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol, get_args

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.analytic import MODELS, diffusion
from lanflow.models.density import Array, Density
from lanflow.models.exact.recognised import (
    is_closed_race,
    is_levy,
    is_reflected_race,
    is_two_leaks,
    is_two_levels,
    is_two_stages,
    is_variable,
    levy_of,
    race_of,
    two_leaks_of,
    two_levels_of,
    two_stages_of,
    variable_of,
)
from lanflow.models.exact.two.levels_solved import Solution as TwoLevelSolution
from lanflow.models.exact.two_leaks import N_TERMS
from lanflow.models.model import Model
from lanflow.models.simulators import has_leaping_boundary, is_one_particle, process_of
from lanflow.models.solver import N_SPACE, STEP, Solution

Source = Literal["analytic", "solver", "kde", "exact_kde", "pyddm"]
# Those that can be the best there is for a model, the best first.
BestSource = Literal["analytic", "solver", "kde"]
_OF_ANGLE = {"v", "a", "z", "t", "theta"}


def has_source(source: Source, model: Model) -> bool:
    """True if a model has labels from a source, as far as that is known without trying."""
    match source:
        case "analytic":
            return (
                is_exactly_known(model)
                or is_closed_race(model)
                or is_variable(model)
                or is_two_stages(model, is_straight=True)
            )
        case "solver":
            return (
                (is_one_particle(model) and not has_leaping_boundary(model))
                or is_reflected_race(model)
                or is_levy(model)
                or is_two_leaks(model)
                or is_two_stages(model, is_straight=False)
                or is_two_levels(model)
            )
        case "pyddm":
            # ssm-simulators takes others, too: it fails at the first set, or its labels are off by
            # half a nat where the drift changes with time.
            return is_one_particle(model) and model.definition.drift is None
    return True


def is_in_chapter(model: Model) -> bool:
    """True if a model's density is in one of the chapters of :mod:`lanflow.models.exact`."""
    kinds = (is_closed_race, is_reflected_race, is_variable, is_levy, is_two_leaks)
    return any(is_one(model) for is_one in (*kinds, is_two_stages, is_two_levels))


def is_exactly_known(model: Model) -> bool:
    """True if a model is one of :data:`lanflow.models.analytic.MODELS`, and no variant of it."""
    return _known_name(model) is not None


def _known_name(model: Model) -> str | None:
    """Name among those models: of the same process under other bounds, ``angle_extended``, too."""
    if model.models_file is not None or model.definition.own:
        return None
    if model.base_name in MODELS:
        return model.base_name
    process = (model.simulator, model.definition.boundary, model.definition.drift, model.choices)
    is_angle = process == ("ddm_flexbound", "angle", None, (-1, 1))
    return "angle" if is_angle and set(model.parameters) - {"deadline"} == _OF_ANGLE else None


def best_source(model: Model) -> BestSource:
    """The source of the best labels there are for a model."""
    return next(source for source in get_args(BestSource) if has_source(source, model))


def label_source(
    estimator_type: Source | Literal["auto"], model: Model, *, key: str = "ESTIMATOR.TYPE"
) -> Source:
    """The source of labels that ESTIMATOR.TYPE means for a model; the best there is for ``auto``.

    Parameters
    ----------
    estimator_type
        As in the YAML.
    model
        Whose labels they are.
    key
        What asked for it, for errors.

    Raises
    ------
    UserError
        If the model has no such source.
    """
    if estimator_type == "auto":
        return best_source(model)
    source: Source = estimator_type
    if has_source(source, model):
        return source
    if source == "analytic":
        raise UserError(
            f"{key}: no analytic likelihood is known for model {model.base_name!r}, only "
            f"for {', '.join(MODELS)}, particles that vary over trials, two decisions between "
            "straight boundaries, ballistic accumulators, and races of diffusions without a floor "
            "or of Poisson processes; 'auto' takes the best there is"
        )
    if source == "pyddm":
        raise UserError(
            f"{key}: pyddm is for one particle between two boundaries whose drift does not change "
            f"with time; model {model.base_name!r} is none; 'auto' takes the best there is"
        )
    raise UserError(
        f"{key}: the solver is for one particle between two boundaries that does not vary over "
        "trials, for two decisions between boundaries that are not straight, for a high decision "
        "that drives a low one, for races of diffusions to a straight bound, and for stable "
        f"noise between straight boundaries; model {model.base_name!r} is none of them; 'auto' "
        "takes the best there is"
    )


def make_density(
    source: Literal["analytic", "solver"],
    model: Model,
    theta: Mapping[str, float],
    max_t: float,
    *,
    refinement: int = 1,
) -> Density:
    """The density of rt and choice at a parameter vector.

    Parameters
    ----------
    source
        One that :func:`label_source` gives for the model.
    model
        Whose density it is.
    theta
        The parameters by name.
    max_t
        How long a decision may take, seconds.
    refinement
        How many times finer than for labels the solver's grid is, in space and in time.
    """
    known = _known_name(model)
    if source == "analytic" and known is not None:
        return analytic_density(known, theta, max_t)
    if is_closed_race(model) or is_reflected_race(model):
        return _race_density(model, theta, max_t, refinement)
    if is_two_stages(model):
        both = two_stages_of(model, theta, max_t, refinement=refinement)
        return _density_of(both, model, theta, max_t)
    if is_two_levels(model):
        levels = two_levels_of(model, theta, max_t, refinement=refinement)
        return _density_of(TwoLevelSolution(levels), model, theta, max_t)
    if source == "analytic":
        # Its times are rts: there is no one non-decision time to take off them.
        return _density_of(variable_of(model, theta, max_t), model, theta, max_t, t=0.0)
    if is_levy(model):
        particle = levy_of(model, theta, max_t, refinement=refinement)
        return _density_of(particle, model, theta, max_t)
    solution = _solution(model, theta, max_t, refinement)
    deadline = theta.get("deadline", np.inf)
    return Density(solution.log_density, solution.times, theta["t"], max_t, deadline)


def _solution(model: Model, theta: Mapping[str, float], max_t: float, refinement: int) -> Solution:
    """One particle's equation solved."""
    n_space, step = refinement * N_SPACE, STEP / refinement
    if not is_two_leaks(model):
        return Solution(process_of(model, theta, max_t), n_space=n_space, step=step)
    two = replace(two_leaks_of(model, theta, max_t), n_terms=N_TERMS + refinement - 1)
    return Solution(two.process, n_space=n_space, step=step, solve=two.solve)


class _Solved(Protocol):
    """The density of decision time and choice in one of the chapters of :mod:`.exact`."""

    def grid(self) -> Array: ...

    def log_density(self, times: Array, choice: int, /) -> Array: ...

    def log_densities(self, times: Array, /) -> Array: ...


def _density_of(
    solved: _Solved,
    model: Model,
    theta: Mapping[str, float],
    max_t: float,
    *,
    t: float | None = None,
) -> Density:
    """The density of rt, which is later by the non-decision time ``t``, a parameter if left out."""
    return Density(
        solved.log_density,
        solved.grid(),
        theta["t"] if t is None else t,
        max_t,
        theta.get("deadline", np.inf),
        choices=model.choices,
        log_densities=solved.log_densities,
    )


def _race_density(
    model: Model, theta: Mapping[str, float], max_t: float, refinement: int
) -> Density:
    race, times, t = race_of(model, theta, max_t, refinement=refinement)
    return Density(
        race.log_density,
        times,
        t,
        max_t,
        theta.get("deadline", np.inf),
        choices=race.choices,
        log_densities=race.log_densities,
        at_once=race.at_once,
    )


def analytic_density(base_name: str, theta: Mapping[str, float], max_t: float) -> Density:
    """The exact density of a model of :data:`lanflow.models.analytic.MODELS`.

    Parameters
    ----------
    base_name
        The model's name without the ending for a deadline.
    theta
        The parameters by name.
    max_t
        How long a decision may take, seconds.
    """
    particle = diffusion(base_name, theta)
    deadline = theta.get("deadline", np.inf)
    return Density(particle.log_density, particle.grid(max_t), theta["t"], max_t, deadline)
