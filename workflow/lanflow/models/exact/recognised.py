"""The race, particle or two decisions that a model is: told by its simulator, not its name.

A name proves nothing: a model is one of these if its simulator is, no function of it is a user's,
and nothing that the density takes for given is a parameter. Parameters reach a simulator through
the model's own transforms, so that ``A`` and ``b``, one start for all or one for each, are no
concern of the densities.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import numpy as np

from lanflow.models.definition import Part
from lanflow.models.density import Array
from lanflow.models.exact.ballistic import (
    ballistic_race,
    faster_of_two_race,
    joined_later_race,
)
from lanflow.models.exact.closed_races import poisson_race, racing_diffusion
from lanflow.models.exact.course import Process
from lanflow.models.exact.race import Race
from lanflow.models.exact.reflected import Reflected
from lanflow.models.exact.two.levels import LEAST_SHAPE, MOST_DRIFT, MOST_HEIGHT, TwoLevels
from lanflow.models.exact.two.stages import CHOICES, Particle, TwoStages
from lanflow.models.exact.two_leaks import TwoLeaks
from lanflow.models.exact.variable import Variable
from lanflow.models.model import Model
from lanflow.models.simulators import (
    boundary_of,
    drift_of,
    simulator_arguments,
    simulator_distributions,
)

if TYPE_CHECKING:
    from lanflow.models.exact.levy import Levy

# Simulators with a closed form. Those of the LBA take their noise from the catalogue's names.
_BALLISTIC = ("lba_vanilla", "lba_angle", "rlwm_lba_race", "rlwm_lba_pw_v1")
_CLOSED = (*_BALLISTIC, "racing_diffusion_model", "poisson_race")
# Bounds that stand still or move in a straight line, in ssm-simulators' names.
_STRAIGHT = ("constant", "angle")
# Simulators of a particle that varies over trials: by the same distributions always, or by any.
_VARYING = ("full_ddm", "full_ddm_rv")
# Simulators of two decisions: True if the second waits for the first.
_TWO_STAGES = {"ddm_flexbound_seq2": True, "ddm_flexbound_par2": False}
# Simulators of a high decision that drives a low one, and the boundaries that are solved for each:
# those that never rise and fall again, and a bump.
_MONOTONE = ("constant", "angle", "weibull_cdf")
_TWO_LEVELS = {
    "ddm_flexbound_mic2_ornstein": (*_MONOTONE, "conflict_gamma"),
    "ddm_flexbound_mic2_multinoise": _MONOTONE,
    "ddm_flexbound_tradeoff": _MONOTONE,
}
# Half the least width of the non-decision time, seconds: less is taken for it.
_LEAST_WIDTH = 1e-5
# Parameters of noise, which is taken for that of the simulator.
_NOISE = {"s", "sd"}


def is_closed_race(model: Model) -> bool:
    """True if a model is a race whose density is elementary, or an integral of what is."""
    is_known = model.simulator in _CLOSED and _is_as_simulated(model, _choices_of_race(model))
    return is_known and (model.simulator not in _BALLISTIC or model.models_file is None)


def is_reflected_race(model: Model) -> bool:
    """True if a model is a race of diffusions above a floor, to a straight bound."""
    return (
        model.simulator == "race_model"
        and model.definition.boundary in _STRAIGHT
        and _is_as_simulated(model, _choices_of_race(model))
    )


def is_variable(model: Model) -> bool:
    """True if a model is one particle whose non-decision time varies, and perhaps more does."""
    if not (
        model.simulator in _VARYING
        and model.definition.boundary == "constant"
        and _is_as_simulated(model, (-1, 1))
    ):
        return False
    if model.simulator == "full_ddm":
        return True
    found = simulator_distributions(model, model.bounds.centre())
    families = {name: _family(one) for name, one in found.items()}
    return (
        families.get("v_dist") in ("point", "norm")
        and families.get("z_dist") in ("point", "uniform")
        and families.get("t_dist") not in (None, "point")
    )


def is_two_stages(model: Model, *, is_straight: bool | None = None) -> bool:
    """True if a model is two decisions, in sequence or side by side.

    Parameters
    ----------
    model
        Which is asked about.
    is_straight
        The boundaries are straight lines, so that the density is elementary or an integral of what
        is; or they are not. Either if left out.
    """
    return (
        model.simulator in _TWO_STAGES
        and _is_as_simulated(model, CHOICES, except_for={"boundary"})
        and is_straight in (None, _is_straight(model))
    )


def _is_straight(model: Model) -> bool:
    return model.definition.boundary in _STRAIGHT and "boundary" not in model.definition.own


def is_levy(model: Model) -> bool:
    """True if a model is one particle with stable noise between straight bounds."""
    if not (
        model.simulator == "levy_flexbound"
        and model.definition.boundary in _STRAIGHT
        and _is_as_simulated(model, (-1, 1))
        and "alpha" in model.parameters
    ):
        return False
    lowest, highest = model.bounds["alpha"]
    return lowest >= 1 and highest <= 2


def is_two_leaks(model: Model) -> bool:
    """True if a model is one particle with two inputs, each with a leak of its own."""
    return (
        model.simulator == "ddm_flex_leak2"
        and model.definition.drift == "conflict_stimflexrel1_dual_drift"
        and not {"boundary", "simulator"} & set(model.definition.own)
        and {"t", "gt", "gd"} <= set(model.parameters)
        and not _NOISE & set(model.parameters)
        and model.choices == (-1, 1)
    )


def is_two_levels(model: Model) -> bool:
    """True if a model is a high decision that drives a noisy low one.

    Left out are bounds in which the solution would be lost in rounding, and boundaries that rise
    and fall where the low choice is read off with the boundary at the high decision: a wrong one
    has no simple probability then. So are those of the ``tradeoff`` simulator, whose boundary has
    other names for its parameters than the model, and jumps.
    """
    if not (
        model.definition.boundary in _TWO_LEVELS.get(str(model.simulator), ())
        and _is_as_simulated(model, CHOICES)
        and "s_pre_high_level_choice" not in model.parameters
        and {"vh", "a"} <= set(model.parameters)
        and np.abs(model.bounds["vh"]).max() * model.bounds["a"][1] <= MOST_DRIFT
        and (model.definition.boundary in _MONOTONE or _has_low_bumps(model))
    ):
        return False
    given = simulator_arguments(model, model.bounds.centre())
    return bool(given.get("s_pre_high_level_choice", np.ones(1))[0] == 1)


def _has_low_bumps(model: Model) -> bool:
    """True if a gamma density on top of the boundary is nowhere in the bounds too much of it.

    It is the highest and steepest where the density is the narrowest and nearest to the beginning.
    """
    of_bump = {"scale", "alphaGamma", "scaleGamma"}
    if not of_bump <= set(model.parameters) or model.bounds["alphaGamma"][0] < LEAST_SHAPE:
        return False
    steepest = {name: model.bounds[name][int(name in ("a", "scale"))] for name in of_bump | {"a"}}
    theta = model.bounds.centre() | steepest | {"vh": float(np.abs(model.bounds["vh"]).max())}
    return _way_up(model, theta) <= MOST_HEIGHT


def _way_up(model: Model, theta: Mapping[str, float]) -> float:
    """The high drift times half the distance of the boundaries where that is the widest."""
    given = _numbers(model, theta)
    heights = boundary_of(model, given)(np.geomspace(1e-6, 20, 400))
    return float(abs(given["vh"]) * np.max(heights))


def _family(distribution: Any) -> str:
    return "point" if isinstance(distribution, float) else str(distribution.dist.name)


def _is_as_simulated(
    model: Model, choices: tuple[int, ...], *, except_for: AbstractSet[Part] = frozenset()
) -> bool:
    """True if a model leaves drift, noise and functions to ssm-simulators, and codes choices so."""
    return (
        model.definition.drift is None
        and set(model.definition.own) <= except_for
        and not _NOISE & set(model.parameters)
        and model.choices == choices
    )


def _choices_of_race(model: Model) -> tuple[int, ...]:
    return (-1, 1) if model.simulator == "poisson_race" else tuple(range(len(model.choices)))


def _numbers(model: Model, theta: Mapping[str, float]) -> dict[str, float]:
    """Arguments of a simulator that takes numbers, as it gets them."""
    return {name: float(value[0]) for name, value in simulator_arguments(model, theta).items()}


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


def variable_of(model: Model, theta: Mapping[str, float], until: float) -> Variable:
    """The varying particle of a model at given parameters.

    Parameters
    ----------
    model
        One for which :func:`is_variable` is true.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    """
    given = _numbers(model, theta)
    v, a, t, start = given["v"], given["a"], given["t"], given["a"] * (2 * given["z"] - 1)
    if model.simulator == "full_ddm":
        low, high = start - given["sz"], start + given["sz"]
        before = _uniform(t, given["st"])
        return Variable(v, given["sv"], a, low, high, before, until)
    found = simulator_distributions(model, theta)
    drift, place, before = (found[name] for name in ("v_dist", "z_dist", "t_dist"))
    moved, sv = (drift, 0.0) if isinstance(drift, float) else (drift.mean(), drift.std())
    shares = (place, place) if isinstance(place, float) else place.support()
    low, high = (start + 2 * a * share for share in shares)
    if isinstance(before, float):
        before = _uniform(t + before, 0.0)
    else:
        before = before.dist(**{**before.kwds, "loc": before.kwds.get("loc", 0.0) + t})
    return Variable(v + float(moved), float(sv), a, low, high, before, until)


def two_stages_of(
    model: Model, theta: Mapping[str, float], until: float, *, refinement: int = 1
) -> TwoStages:
    """The two decisions of a model at given parameters.

    Parameters
    ----------
    model
        One for which :func:`is_two_stages` is true.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    refinement
        How many times finer than usual grids are.
    """
    given = _numbers(model, theta)
    return TwoStages(
        high=Particle(given["vh"], given["zh"]),
        low=(Particle(given["vl1"], given["zl1"]), Particle(given["vl2"], given["zl2"])),
        boundary=boundary_of(model, given),
        is_straight=_is_straight(model),
        is_sequence=_TWO_STAGES[str(model.simulator)],
        until=until,
        refinement=refinement,
    )


def levy_of(
    model: Model, theta: Mapping[str, float], until: float, *, refinement: int = 1
) -> "Levy":
    """The particle with stable noise of a model at given parameters.

    Parameters
    ----------
    model
        One for which :func:`is_levy` is true.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    refinement
        How many times finer than usual the solution is.
    """
    # It loads SciPy's splines and linear algebra, half a second that trainings need not wait for.
    from lanflow.models.exact.levy import Levy

    given = _numbers(model, theta)
    slope = float(np.tan(given["theta"])) if model.definition.boundary == "angle" else 0.0
    return Levy(given["v"], given["a"], given["z"], given["alpha"], slope, until, refinement)


def two_leaks_of(model: Model, theta: Mapping[str, float], until: float) -> TwoLeaks:
    """The particle with two inputs of a model at given parameters.

    Parameters
    ----------
    model
        One for which :func:`is_two_leaks` is true.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    """
    given = _numbers(model, theta)
    boundary, drift = boundary_of(model, given), drift_of(model, given)
    leak, split = (given["gt"] + given["gd"]) / 2, (given["gt"] - given["gd"]) / 2
    start = (2 * given["z"] - 1) * float(boundary(np.zeros(1)).item())
    process = Process(
        boundary=boundary,
        drift=lambda t: drift(t).sum(axis=1) + leak * start,
        start=given["z"],
        leak=leak,
        until=until,
    )
    return TwoLeaks(process, lambda t: drift(t) @ [1.0, -1.0] + split * start, split)


def two_levels_of(
    model: Model, theta: Mapping[str, float], until: float, *, refinement: int = 1
) -> TwoLevels:
    """The two levels of a model at given parameters.

    Parameters
    ----------
    model
        One for which :func:`is_two_levels` is true.
    theta
        The parameters by name.
    until
        How long a decision may take, seconds.
    refinement
        How many times finer than usual the grid is, in time.

    Raises
    ------
    ValueError
        If the high drift is so steep that the solution would be lost in rounding.
    """
    given = _numbers(model, theta)
    if abs(given["vh"]) * theta["a"] > MOST_DRIFT:
        raise ValueError(f"vh * a is above {MOST_DRIFT:g}: the solution is lost in rounding")
    if _way_up(model, theta) > MOST_HEIGHT:
        raise ValueError(
            f"vh times the height of the boundary's bump is above {MOST_HEIGHT:g}: the solution is "
            "lost in rounding"
        )
    boundary, d = boundary_of(model, given), given["d"]
    drift, noise, misses = (0.0, 1 - d), (1.0, 0.0), False
    if model.simulator == "ddm_flexbound_tradeoff":
        drift = noise = ((1 - d) / (2 - d), d / (2 - d))
    if model.simulator == "ddm_flexbound_mic2_multinoise":
        noise, misses = (0.0, 1.0), bool(np.diff(boundary(np.array([0.0, 1.0])))[0] < 0)
    return TwoLevels(
        boundary=boundary,
        v_high=given["vh"],
        z_high=given["zh"],
        v_low=np.array([given["vl1"], given["vl2"]]),
        z_low=np.array([given["zl1"], given["zl2"]]),
        drift=drift,
        noise=noise,
        leak=given.get("g", 0.0),
        until=until,
        misses=misses,
        refinement=refinement,
    )


def _uniform(middle: float, half_width: float) -> Any:
    from scipy.stats import uniform

    half_width = max(half_width, _LEAST_WIDTH)
    return uniform(loc=middle - half_width, scale=2 * half_width)
