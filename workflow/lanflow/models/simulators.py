"""ssm-simulators' models: found, simulated, and read as a particle that the solver follows."""

import contextlib
import copyreg
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.core.settings import nearest
from lanflow.models.definition import Definition, ModelsFileRecord, choices_of, define
from lanflow.models.exact.course import Process
from lanflow.models.generation import constrain, make_sampler, neutral
from lanflow.models.kde import NO_TIME, OMISSION
from lanflow.models.model import Model, ModelNotAtHandError
from lanflow.models.models_file import ModelsFile, at_hand, base_name
from lanflow.models.own.model import PARTICLES, OwnModel, own_models
from lanflow.models.own.simulator import numpy_seeded
from lanflow.models.parameters import Bounds, sobol_points


@cache
def find_model(name: str, models_file: ModelsFile | None = None) -> Model:
    """The model of a name in a models file or ssm-simulators' catalogue, or its ``_deadline``.

    Raises
    ------
    UserError
        If the models file cannot be used.
    ModelNotAtHandError
        If there is no such model in either.
    """
    from ssms.config import ModelConfigBuilder

    if models_file is not None and models_file.mentions(name):
        own = own_models(models_file).get(base_name(name))
        if own is not None:
            return _own_model(name, own, models_file)
    try:
        config = dict(ModelConfigBuilder.from_model(name))
    except (KeyError, ValueError) as e:
        raise ModelNotAtHandError(_not_known(name, models_file)) from e
    # Some of its models carry another's name, and some give only the number of their choices.
    config |= {"name": name, "choices": config.get("choices") or choices_of(config)}
    return Model(
        name=name,
        parameters=tuple(config["params"]),
        bounds=_numeric_bounds(config),
        choices=tuple(sorted(config["choices"])),
        definition=define(config, qualified_name),
        config=config,
        record=config,
    )


def _find_again(name: str, models_file: ModelsFile | None, changed_bounds: Bounds) -> Model:
    return find_model(name, models_file).with_bounds(changed_bounds, "bounds")


# Another process finds a model for itself: its functions stay here.
copyreg.pickle(
    Model, lambda model: (_find_again, (model.name, model.models_file, model.changed_bounds))
)


def model_names() -> list[str]:
    """The models that ssm-simulators came with; each also has its ``_deadline``."""
    from ssms.config import model_config as catalogue

    return list(catalogue)


def is_built_in(name: str) -> bool:
    """True if ssm-simulators came with a model of this name; others are registered by somebody."""
    return base_name(name) in model_names()


def _own_model(name: str, own: OwnModel, models_file: ModelsFile) -> Model:
    from ssms.config import ModelConfigBuilder

    config, record = dict(own.config), dict(own.record)
    if name != own.config["name"]:
        config, record = map(ModelConfigBuilder.with_deadline, (config, record))
    return Model(
        name=name,
        parameters=tuple(config["params"]),
        bounds=_numeric_bounds(config),
        choices=tuple(sorted(config["choices"])),
        definition=define(record, str, models_file=ModelsFileRecord.of(models_file)),
        config=config,
        record=record,
        models_file=models_file,
    )


def _not_known(name: str, models_file: ModelsFile | None) -> str:
    """Say where a model was not found, and how it is brought in."""
    names = model_names()
    theirs = f"one of the {len(names)} of ssm-simulators (docs/models.md lists them)"
    if models_file is None:
        return (
            f"model {name!r} is not {theirs}{nearest(name, names) or '.'} A model of your own is "
            "brought in with --models-file (models_file: in a study)"
        )
    own = sorted(own_models(models_file))
    return (
        f"model {name!r} is neither in {models_file} ({', '.join(own)}) nor {theirs}"
        f"{nearest(name, own + names)}"
    )


def qualified_name(function: Any) -> str | None:
    """A function's module and name; None for what is no function."""
    if not callable(function):
        return None
    return f"{function.__module__}.{getattr(function, '__name__', type(function).__name__)}"


def resolve_model(
    name: str,
    *,
    parameters: Sequence[str] | None,
    definition: Definition | None,
    models_file: ModelsFile | None,
    where: str,
) -> Model:
    """The model that data or a network are of: its name, and all that a record says of it.

    Parameters
    ----------
    name, parameters
        Of the record; None for parameters that it does not give.
    definition
        Of the record; None where it says that the model is the catalogue's, or nothing.
    models_file
        The file that the user names now, if any.
    where
        What the record is of, for errors.

    Raises
    ------
    UserError
        If the models file is another than the record's.
    ModelNotAtHandError
        If the model is not the one that the name stands for here.
    """
    recorded = None if definition is None else definition.models_file
    if models_file is None and recorded is not None:
        models_file = at_hand(recorded.sha256)
    model = None
    with contextlib.suppress(ModelNotAtHandError):
        model = find_model(name, models_file)
    is_own = model is not None and model.models_file is not None
    if recorded is not None and not is_own:
        raise ModelNotAtHandError(
            f"{where}: model {name!r} is defined in a models file, {recorded.name} (sha256 "
            f"{recorded.sha256[:12]}...), which is not at hand; bring it in with --models-file "
            f"(models_file: in a study). {_COPIES}"
        )
    if model is None:
        said = re.sub(r" \(accepted: [^)]*\)", "", _not_known(name, models_file))
        raise ModelNotAtHandError(f"{where}: {said}")
    used = model.models_file
    if used is not None and recorded is not None and recorded.sha256 != used.sha256:
        raise UserError(
            f"{used}: is not the file that defined model {name!r} of {where} (sha256 "
            f"{used.sha256[:12]}..., recorded {recorded.sha256[:12]}...). {_COPIES}"
        )
    differences = [] if definition is None else definition.differences(model.definition)
    if parameters is not None and list(parameters) != list(model.parameters):
        expected = ", ".join(model.parameters)
        differences.insert(0, f"parameters {', '.join(parameters)} instead of {expected}")
    if differences:
        of = "ssm-simulators" if used is None else used
        raise ModelNotAtHandError(
            f"{where}: its model is named {name!r}, but is not that of {of}: "
            f"{'; '.join(differences)}. Bring it in with --models-file (models_file: in a study), "
            "under the name that it has there"
        )
    return model


# Parameter vectors at which a boundary of the user's is followed for leaps, for so long.
_N_LEAP_SETS, _LEAP_SECONDS = 8, 20.0
# Simulators that draw covariates of a trial, unless they are given, and these.
_DRAWS_COVARIATES = {"addm": "fixations and values"}
# Trials that tell whether a model has times.
_N_TOLD = 10

_COPIES = "A copy is models_file.py in the folder of each network of it, and in its bundle"


def _numeric_bounds(config: Mapping[str, Any]) -> Bounds:
    space = config["param_bounds_dict"]

    def number(bound: Any, side: int) -> float:
        return number(space[bound][side], side) if isinstance(bound, str) else float(bound)

    return Bounds(
        {name: (number(space[name][0], 0), number(space[name][1], 1)) for name in config["params"]}
    )


def is_one_particle(model: Model) -> bool:
    """True if :func:`process_of` knows the model's particle, whose noise is one."""
    return (
        model.simulator in PARTICLES
        and "simulator" not in model.definition.own
        and "t" in model.parameters
        and not {"s", "sd"} & set(model.parameters)
        and len(model.choices) == 2
    )


def has_leaping_boundary(model: Model) -> bool:
    """True if a boundary of the user's own leaps, at any of some parameters within the bounds."""
    if "boundary" not in model.definition.own:
        return False
    vectors = draw_parameters(model, model.bounds, _N_LEAP_SETS, seed=0)
    processes = (process_of(model, model.bounds.named(v), _LEAP_SECONDS) for v in vectors)
    return any(process.leaps.size for process in processes)


def process_of(model: Model, theta: Mapping[str, float], until: float) -> Process:
    """The particle of a model at given parameters, followed for a time.

    Boundary and drift are those that its simulator would use.
    """
    theta = _as_simulated(model, theta)
    leaks = PARTICLES[str(model.simulator)]
    return Process(
        boundary=boundary_of(model, theta),
        drift=drift_of(model, theta),
        start=theta["z"],
        leak=theta["g"] if leaks else 0.0,
        until=until,
    )


def boundary_of(
    model: Model, theta: Mapping[str, float]
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """The boundary that a model's simulator would use, at times in seconds."""
    from ssms.basic_simulators.simulator import make_boundary_dict

    made = make_boundary_dict(model.config, dict(theta))
    return lambda t: np.asarray(made["boundary_fun"](t=t, **made["boundary_params"]), float)


def drift_of(
    model: Model, theta: Mapping[str, float]
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """The drift that a model's simulator would use, at times in seconds.

    Shape (times,); (times, inputs) where each input has its own.
    """
    from ssms.basic_simulators.simulator import make_drift_dict

    made = make_drift_dict(model.config, dict(theta))
    if "drift_fun" not in made:
        return lambda t: np.full_like(t, theta["v"])
    return lambda t: np.asarray(made["drift_fun"](t=t, **made["drift_params"]), float)


def simulator_arguments(
    model: Model, theta: Mapping[str, float]
) -> dict[str, npt.NDArray[np.float64]]:
    """The numbers that a model's simulator gets for one trial, each of one dimension.

    The model's transforms gather, rename and complete its parameters: ``v0`` and ``v1`` become
    ``v``.
    """
    given = _transformed(model, theta)
    numbers = {name: value for name, value in given.items() if not callable(value)}
    return {name: np.ravel(value).astype(float) for name, value in numbers.items()}


def simulator_distributions(model: Model, theta: Mapping[str, float]) -> dict[str, Any]:
    """The distributions that a model's simulator gets, of what varies over trials.

    Returns
    -------
    dict
        Scipy's frozen ones by the simulator's name for them. One of a width of zero stands for its
        place, a number; a function that is none of scipy's is left out.
    """
    found: dict[str, Any] = {}
    for name, value in _transformed(model, theta).items():
        family: Any = getattr(getattr(value, "func", None), "__self__", None)
        if not hasattr(family, "rvs") or value.args:
            continue
        keywords = {key: float(np.ravel(number)[0]) for key, number in value.keywords.items()}
        is_point = keywords.get("scale") == 0
        found[name] = keywords.get("loc", 0.0) if is_point else family(**keywords)
    return found


def _transformed(model: Model, theta: Mapping[str, float]) -> dict[str, Any]:
    from ssms.config import ModelConfigBuilder

    arrays: dict[str, Any] = {name: np.array([value]) for name, value in theta.items()}
    for step in ModelConfigBuilder.get_simulation_transforms(model.config):
        arrays = step.apply(arrays, model.config, 1)
    return arrays


def _as_simulated(model: Model, theta: Mapping[str, float]) -> Mapping[str, float]:
    """The same as numbers: some models leave out the start, or ``v``."""
    return {name: float(value[0]) for name, value in simulator_arguments(model, theta).items()}


def simulate(
    model: Model,
    theta: Mapping[str, float],
    n_samples: int,
    *,
    seed: int,
    delta_t: float = 0.001,
    max_t: float = 20.0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Simulated trials at one parameter vector.

    Parameters
    ----------
    model
        What is simulated.
    theta
        The parameters by name.
    n_samples
        Trials.
    seed
        Decides them.
    delta_t, max_t
        Step of a simulation and its end, seconds.

    Returns
    -------
    tuple of numpy.ndarray
        rts in seconds and choices, shape (n_samples,); both :data:`lanflow.models.kde.OMISSION` for
        a trial without an answer before its deadline.
    """
    made = _run_simulator(
        model,
        theta=dict(theta),
        n_samples=n_samples,
        delta_t=delta_t,
        max_t=max_t,
        random_state=seed,
    )
    rts, choices = made["rts"].ravel().astype(float), made["choices"].ravel().astype(float)
    choices[rts == OMISSION] = OMISSION
    return rts, choices


def covariates_remark(model: Model) -> str | None:
    """A line on labels that do not know what varies over trials besides parameters; or None."""
    if model.simulator not in _DRAWS_COVARIATES:
        return None
    drawn = _DRAWS_COVARIATES[model.simulator]
    return f"each trial's {drawn} are drawn by its simulator; labels are averages over them"


def has_times(model: Model) -> bool:
    """False of a model of choices alone, such as ``inv_temp_softmax_2``: each of its rts is -1.

    A few trials somewhere within the bounds tell.
    """
    (vector,) = draw_parameters(model, model.bounds, 1, seed=0)
    rts, _ = simulate(model, model.bounds.named(vector), _N_TOLD, seed=0)
    return not (rts == NO_TIME).all()


def _run_simulator(model: Model, **given: Any) -> dict[str, Any]:
    """ssm-simulators' simulator; of a models file's model the one that takes a description."""
    from ssms.basic_simulators import Simulator
    from ssms.basic_simulators.simulator import simulator

    made: dict[str, Any]
    with numpy_seeded(given["random_state"]):
        if model.models_file is None:
            made = simulator(model=model.name, **given)
        else:
            made = Simulator(model=neutral(model.config)).simulate(**given)
    return made


def draw_parameters(
    model: Model, bounds: Bounds, n_sets: int, *, seed: int, is_even: bool = False
) -> npt.NDArray[np.float64]:
    """Vectors drawn as for training: within bounds and the model's own constraints.

    Parameters
    ----------
    model, bounds
        Where parameters are drawn.
    n_sets
        Vectors.
    seed
        Decides them; more vectors begin with the same ones.
    is_even
        Fill the bounds evenly (a Sobol sequence) instead of uniformly at random.

    Returns
    -------
    numpy.ndarray
        Shape (sets, parameters), in the model's order, as float32 holds them.
    """
    points: list[list[float] | None] = [None] * n_sets
    if is_even:
        sequence = np.random.SeedSequence(seed)
        points = sobol_points(sequence, len(bounds), first=0, n_points=n_sets).tolist()
    sampler = make_sampler(model, bounds)
    out = []
    for index, point in enumerate(points):
        sampler.start_set([seed, index], point)
        drawn = sampler.sample(1)
        out.append([float(drawn[name][0]) for name in model.parameters])
    return np.array(out).reshape(n_sets, len(model.parameters))


def possible_corners(model: Model, bounds: Bounds, *, seed: int) -> npt.NDArray[np.float64]:
    """Corners of the bounds, those that cannot be as the model's constraints make them.

    Parameters
    ----------
    model, bounds
        Where parameters are drawn.
    seed
        Decides which corners, where there are many.

    Returns
    -------
    numpy.ndarray
        Shape (corners, parameters), in the model's order, each once.
    """
    corners = [constrain(model, bounds.named(corner)) for corner in bounds.corners(seed=seed)]
    vectors = np.array([list(corner.values()) for corner in corners])
    return np.unique(vectors[np.isfinite(vectors).all(axis=1)], axis=0)
