"""The race that a model is: told by its simulator, and built from what that would get.

A name proves nothing: a model is one of these if its simulator is, no function of it is a user's,
and nothing that the density takes for given is a parameter. Parameters reach a simulator through
the model's own transforms, so that ``A`` and ``b``, one start for all or one for each, are no
concern of the densities.
"""

from collections.abc import Mapping

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.ballistic import (
    ballistic_race,
    faster_of_two_race,
    joined_later_race,
)
from lanflow.models.exact.poisson import poisson_race
from lanflow.models.exact.race import Race
from lanflow.models.exact.reflected import Reflected
from lanflow.models.exact.wald import racing_diffusion
from lanflow.models.model import Model
from lanflow.models.simulators import simulator_arguments

# Simulators with a closed form. Those of the LBA take their noise from the catalogue's names.
_BALLISTIC = ("lba_vanilla", "lba_angle", "rlwm_lba_race", "rlwm_lba_pw_v1")
_CLOSED = (*_BALLISTIC, "racing_diffusion_model", "poisson_race")
# Bounds that stand still or move in a straight line, in ssm-simulators' names.
_STRAIGHT = ("constant", "angle")
# Parameters of noise, which is taken for that of the simulator.
_NOISE = {"s", "sd"}


def is_closed_race(model: Model) -> bool:
    """True if a model is a race whose density is elementary, or an integral of what is."""
    is_known = model.simulator in _CLOSED and _is_as_simulated(model)
    return is_known and (model.simulator not in _BALLISTIC or model.models_file is None)


def is_reflected_race(model: Model) -> bool:
    """True if a model is a race of diffusions above a floor, to a straight bound."""
    return (
        model.simulator == "race_model"
        and model.definition.boundary in _STRAIGHT
        and _is_as_simulated(model)
    )


def _is_as_simulated(model: Model) -> bool:
    coded = (-1, 1) if model.simulator == "poisson_race" else tuple(range(len(model.choices)))
    is_theirs = not model.definition.own and not _NOISE & set(model.parameters)
    return is_theirs and model.choices == coded


def race_of(
    model: Model, theta: Mapping[str, float], until: float, *, refinement: int = 1
) -> tuple[Race, Array, float]:
    """The race of a model at given parameters.

    Parameters
    ----------
    model
        One of those above.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    refinement
        How many times finer than usual a grid is, where there is one.

    Returns
    -------
    tuple
        The race, decision times between which it is smooth, and the non-decision time.

    Raises
    ------
    ValueError
        If something starts above its bound at these parameters.
    """
    given = simulator_arguments(model, theta)
    t = float(given["t"][0])
    if model.simulator != "race_model":
        race = _closed_race(str(model.simulator), given)
        return race, race.grid(until), t
    starts = given["z"]
    if not (starts < 1).all():
        raise ValueError("an accumulator starts above its bound")
    slope = float(np.tan(given["theta"][0])) if model.definition.boundary == "angle" else 0.0
    race = Reflected(given["v"], starts, float(given["a"][0]), slope, until, refinement).race
    return race, race.grid(until, is_open=False), t


def _closed_race(simulator: str, given: Mapping[str, Array]) -> Race:
    match simulator:
        case "racing_diffusion_model":
            return racing_diffusion(given["v"], float(given["A"][0]), float(given["b"][0]))
        case "poisson_race":
            return poisson_race(given["r"], given["k"])
    a, z = float(given["a"][0]), float(given["z"][0])
    match simulator:
        case "lba_vanilla":
            return ballistic_race(given["v"], a, z)
        case "lba_angle":
            return ballistic_race(given["v"], a, z, float(given["theta"][0]))
        case "rlwm_lba_race":
            return faster_of_two_race(given["vRL"], given["vWM"], a, z)
    assert simulator == "rlwm_lba_pw_v1"
    return joined_later_race(given["vRL"], given["vWM"], a, z, float(given["tWM"][0]))
