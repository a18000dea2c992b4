"""ssm-simulators, as far as lanflow uses it; the only module that imports it."""

import contextlib
import copyreg
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.core.settings import suggest
from lanflow.models.definition import Definition, ModelsFileRecord, choices_of, define
from lanflow.models.kde import OMISSION
from lanflow.models.model import Model, ModelNotAtHandError
from lanflow.models.models_file import ModelsFile, at_hand, base_name
from lanflow.models.own import PARTICLES, OwnModel, own_models
from lanflow.models.own_simulator import numpy_seeded
from lanflow.models.parameters import Bounds, Theta, sobol_points
from lanflow.models.solver import Process


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

    if models_file is not None:
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
    from ssms.config import model_config as catalogue

    if models_file is None:
        return (
            f"model {name!r} is not one of ssm-simulators'{suggest(name, sorted(catalogue))}; a "
            "model of your own is brought in with --models-file (models_file: in a study)"
        )
    names = sorted(own_models(models_file))
    return (
        f"model {name!r} is neither in {models_file} ({', '.join(names)}) nor one of "
        f"ssm-simulators'{suggest(name, names + sorted(catalogue))}"
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


_COPIES = "A copy is models_file.py in the folder of each network of it, and in its bundle"


def _numeric_bounds(config: Mapping[str, Any]) -> Bounds:
    space = config["param_bounds_dict"]

    def number(bound: Any, side: int) -> float:
        return number(space[bound][side], side) if isinstance(bound, str) else float(bound)

    return Bounds(
        {name: (number(space[name][0], 0), number(space[name][1], 1)) for name in config["params"]}
    )


def default_generator_config(model: Model) -> dict[str, Any]:
    """Its nested configuration of data generation, with its defaults."""
    from ssms.config import get_default_generator_config

    nested: dict[str, Any] = get_default_generator_config("lan", model=model.name)
    return nested


def make_sampler(model: Model, bounds: Mapping[str, tuple[float, float]] | None = None) -> Any:
    """Its sampler of parameters within bounds, in our order and with the set's own draws.

    At 0.12 its own order comes from iterating over sets of names and so from PYTHONHASHSEED, and
    its pipeline for pyddm draws without a seed. Before each parameter set ``start_set(seed,
    point)`` is called: the first draw is at the ``point`` of the unit cube, if there is one; later
    ones, which take the place of rejected draws, are uniform. The generator that a pipeline of its
    own offers is not drawn from.

    Parameters
    ----------
    model
        Whose parameters are drawn.
    bounds
        Take the place of the model's own, but of those that are another parameter's value.
    """
    from ssms.dataset_generators.parameter_samplers import UniformParameterSampler

    class Sampler(UniformParameterSampler):  # type: ignore[misc]
        def start_set(self, seed: list[int], point: list[float] | None) -> None:
            self._rng = np.random.default_rng(seed)
            self._point: Iterator[float] = iter(point or ())

        def sample(
            self,
            n_samples: int = 1,
            rng: object = None,  # noqa: ARG002
        ) -> dict[str, npt.NDArray[np.float32]]:
            drawn: dict[str, npt.NDArray[np.float32]]
            drawn = super().sample(n_samples, self._rng)
            return drawn

        def _sample_parameter(
            self, param: str, lower: Any, upper: Any, n_samples: int, rng: np.random.Generator
        ) -> npt.NDArray[np.float32]:
            place = next(self._point, None)
            if place is None:
                drawn = super()._sample_parameter(param, lower, upper, n_samples, rng)
            else:
                drawn = np.full(n_samples, lower + place * (upper - lower))
            return np.asarray(drawn, np.float32)

    space = dict(model.config["param_bounds_dict"])
    for name, pair in (bounds or {}).items():
        if not _names_another(space[name]):
            space[name] = pair
    sampler = Sampler(space, _constraints(model))
    sampler._sampling_order = drawing_order(space)
    return sampler


# Constraints that its simulators need and its draws do not see to: drifts that sum to one, and for
# each pair, the first above the second (a particle starts below its bound).
_DRIFTS_SUM_TO_ONE = ("lba_3_vs_constraint", "lba_angle_3_vs_constraint")
_ABOVE = {
    "lba2": ("b", "A"),
    "lba3": ("b", "A"),
    "lba_3_vs_constraint": ("a", "z"),
    "lba_angle_3_vs_constraint": ("a", "z"),
}


def _names_another(bound: tuple[Any, Any]) -> bool:
    """True if a side of a parameter's range is another parameter's value."""
    return any(isinstance(side, str) for side in bound)


def _constraints(model: Model) -> list[Any]:
    """Constraints on draws of a model's parameters, as ssm-simulators' transforms."""
    from ssms.config import ModelConfigBuilder
    from ssms.transforms import SwapIfLessConstraint
    from ssms.transforms.sampling.normalize import NormalizeToSumConstraint

    constraints = list(ModelConfigBuilder.get_sampling_transforms(model.config))
    if constraints or model.models_file is not None:
        return constraints
    if model.base_name in _DRIFTS_SUM_TO_ONE:
        constraints.append(NormalizeToSumConstraint([p for p in model.parameters if p[0] == "v"]))
    if model.base_name in _ABOVE:
        constraints.append(SwapIfLessConstraint(*_ABOVE[model.base_name]))
    return constraints


def describe_constraints(model: Model) -> str:
    """Describe what holds between parameters beside their bounds; empty if nothing does."""
    said = []
    for name, pair in model.config["param_bounds_dict"].items():
        said += [f"{name} at least {pair[0]}"] if isinstance(pair[0], str) else []
        said += [f"{name} at most {pair[1]}"] if isinstance(pair[1], str) else []
    for step in _constraints(model):
        if hasattr(step, "param_a"):
            said.append(f"{step.param_a} above {step.param_b}")
        elif hasattr(step, "param_names"):
            said.append(f"{' + '.join(step.param_names)} = 1")
    return "; ".join(said)


def constrain(model: Model, theta: Theta) -> Theta:
    """The parameters as the model's constraints on draws make them; most models have none."""
    arrays: dict[str, Any] = {name: np.array([value]) for name, value in theta.items()}
    for constraint in _constraints(model):
        arrays = constraint.apply(arrays)
    return {name: float(arrays[name][0]) for name in theta}


def is_one_particle(model: Model) -> bool:
    """True if :func:`process_of` knows the model's particle, whose noise is one."""
    return (
        model.simulator in PARTICLES
        and "simulator" not in model.definition.own
        and "t" in model.parameters
        and not {"s", "sd"} & set(model.parameters)
        and len(model.choices) == 2
    )


def process_of(model: Model, theta: Mapping[str, float], until: float) -> Process:
    """The particle of a model at given parameters, followed for a time.

    Boundary and drift are those that its simulator would use.
    """
    from ssms.basic_simulators.simulator import make_boundary_dict, make_drift_dict

    theta = _as_simulated(model, theta)
    made = make_boundary_dict(model.config, dict(theta)) | make_drift_dict(
        model.config, dict(theta)
    )

    def drift(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if "drift_fun" not in made:
            return np.full_like(t, theta["v"])
        return np.asarray(made["drift_fun"](t=t, **made["drift_params"]), float)

    leaks = PARTICLES[str(model.simulator)]
    return Process(
        boundary=lambda t: np.asarray(made["boundary_fun"](t=t, **made["boundary_params"]), float),
        drift=drift,
        start=theta["z"],
        leak=theta["g"] if leaks else 0.0,
        until=until,
    )


def _as_simulated(model: Model, theta: Mapping[str, float]) -> Mapping[str, float]:
    """The parameters as the simulator gets them: some models leave out the start, or ``v``."""
    from ssms.config import ModelConfigBuilder

    steps = ModelConfigBuilder.get_simulation_transforms(model.config)
    if not steps:
        return theta
    arrays: dict[str, Any] = {name: np.array([value]) for name, value in theta.items()}
    for step in steps:
        arrays = step.apply(arrays, model.config, 1)
    return {name: float(np.ravel(value)[0]) for name, value in arrays.items()}


def training_strategy(generator_config: dict[str, Any], model: Model) -> Any:
    """Its mixture of rows from an estimator, uniform in rt, and with a negative rt."""
    from ssms.dataset_generators.strategies import ResampleMixtureStrategy

    return ResampleMixtureStrategy(generator_config, model.config)


def own_pipeline(generator_config: dict[str, Any], model: Model) -> Any:
    """Its pipeline for its own estimators, as it is.

    Raises
    ------
    ImportError, ValueError
        If the estimator is not installed or cannot be used for the model.
    """
    from ssms.dataset_generators.pipelines.pipeline_factory import create_data_generation_pipeline

    return create_data_generation_pipeline(generator_config, model.config)


def simulation_pipeline(
    generator_config: dict[str, Any], model: Model, estimator_builder: Any
) -> Any:
    """Its pipeline of simulations, with an estimator of ours.

    Before 0.14 its labels of cpn, opn and gonogo take an answer behind the deadline for one in
    time, so that labels of opn are all zero; ours do not.
    """
    from ssms.dataset_generators.pipelines import SimulationPipeline

    class Pipeline(SimulationPipeline):  # type: ignore[misc]
        def _run_simulations(self, theta: dict[str, Any], seed: int) -> dict[str, Any]:
            made: dict[str, Any]
            with numpy_seeded(seed):
                made = super()._run_simulations(theta, seed)
            return made

        def _compute_auxiliary_labels(self, simulations: dict[str, Any]) -> dict[str, Any]:
            late = simulations["rts"] == OMISSION
            choices = np.where(late, OMISSION, simulations["choices"])
            made: dict[str, Any]
            made = super()._compute_auxiliary_labels({**simulations, "choices": choices})
            return made

    return Pipeline(
        generator_config,
        model.config if model.models_file is None else _neutral(model.config),
        estimator_builder,
        training_strategy(generator_config, model),
    )


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


def _run_simulator(model: Model, **given: Any) -> dict[str, Any]:
    """ssm-simulators' simulator; of a models file's model the one that takes a description."""
    from ssms.basic_simulators import Simulator
    from ssms.basic_simulators.simulator import simulator

    made: dict[str, Any]
    with numpy_seeded(given["random_state"]):
        if model.models_file is None:
            made = simulator(model=model.name, **given)
        else:
            made = Simulator(model=_neutral(model.config)).simulate(**given)
    return made


def _neutral(config: Mapping[str, Any]) -> dict[str, Any]:
    """A description whose name means nothing: "lba" inside one changes the noise there."""
    return {**config, "name": "own"}


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
