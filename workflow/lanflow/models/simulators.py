"""ssm-simulators, as far as lanflow uses it; the only module that imports it."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.models.kde import OMISSION
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds, sobol_points
from lanflow.models.solver import Process


@cache
def find_model(name: str) -> Model:
    """The model of a name in ssm-simulators' catalogue, with or without ``_deadline``.

    Raises
    ------
    UserError
        If ssm-simulators has no such model.
    """
    from ssms.config import ModelConfigBuilder

    try:
        config = dict(ModelConfigBuilder.from_model(name))
    except (KeyError, ValueError) as e:
        from ssms.config import model_config as catalogue

        from lanflow.core.settings import suggest

        raise UserError(
            f"model {name!r} is not one of ssm-simulators'{suggest(name, sorted(catalogue))}"
        ) from e
    return Model(
        name=name,
        parameters=tuple(config["params"]),
        bounds=_numeric_bounds(config),
        # Some models give only the number of their choices, and count them from 0.
        choices=tuple(sorted(config.get("choices", range(config["nchoices"])))),
        boundary=config.get("boundary_name"),
        drift=config.get("drift_name"),
        simulator=getattr(config["simulator"], "__name__", None),
        config=config,
    )


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

    Its own order comes from iterating over sets of names and so from PYTHONHASHSEED, and its
    pipeline for pyddm draws without a seed. Before each parameter set ``start_set(seed, point)``
    is called: the first draw is at the ``point`` of the unit cube, if there is one; later ones,
    which take the place of rejected draws, are uniform.

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
            self, n_samples: int = 1, rng: np.random.Generator | None = None
        ) -> dict[str, npt.NDArray[np.float32]]:
            drawn: dict[str, npt.NDArray[np.float32]]
            drawn = super().sample(n_samples, self._rng if rng is None else rng)
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


# Its models whose drifts sum to one; its simulator insists, its draws do not see to it.
_DRIFTS_SUM_TO_ONE = ("lba_3_vs_constraint", "lba_angle_3_vs_constraint")


def _names_another(bound: tuple[Any, Any]) -> bool:
    """True if a side of a parameter's range is another parameter's value."""
    return any(isinstance(side, str) for side in bound)


def _constraints(model: Model) -> list[Any]:
    """Constraints on draws of a model's parameters, as ssm-simulators' transforms."""
    from ssms.config import ModelConfigBuilder
    from ssms.transforms.sampling.normalize import NormalizeToSumConstraint

    constraints = list(ModelConfigBuilder.get_sampling_transforms(model.config))
    if not constraints and model.base_name in _DRIFTS_SUM_TO_ONE:
        constraints = [NormalizeToSumConstraint([p for p in model.parameters if p[0] == "v"])]
    return constraints


# Its simulators of one particle between two boundaries whose drift is a function of time, and
# whether the parameter g pulls it to zero.
_ONE_PARTICLE = {
    "ddm_flexbound": False,
    "ddm_flex": False,
    "ornstein_uhlenbeck": True,
    "ddm_flex_leak": True,
}


def is_one_particle(model: Model) -> bool:
    """True if :func:`process_of` knows the model's particle."""
    return model.simulator in _ONE_PARTICLE and len(model.choices) == 2


def process_of(model: Model, theta: Mapping[str, float], until: float) -> Process:
    """The particle of a model at given parameters, followed for a time.

    Boundary and drift are those that its simulator would use.
    """
    from ssms.basic_simulators.simulator import make_boundary_dict, make_drift_dict

    made = make_boundary_dict(model.config, dict(theta)) | make_drift_dict(
        model.config, dict(theta)
    )

    def drift(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if "drift_fun" not in made:
            return np.full_like(t, theta["v"])
        return np.asarray(made["drift_fun"](t=t, **made["drift_params"]), float)

    leaks = _ONE_PARTICLE[str(model.simulator)]
    return Process(
        boundary=lambda t: np.asarray(made["boundary_fun"](t=t, **made["boundary_params"]), float),
        drift=drift,
        start=theta["z"],
        leak=theta["g"] if leaks else 0.0,
        until=until,
    )


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

    Its labels of cpn, opn and gonogo take an answer behind the deadline for one in time, so that
    labels of opn are all zero; ours do not.
    """
    from ssms.dataset_generators.pipelines import SimulationPipeline

    class Pipeline(SimulationPipeline):  # type: ignore[misc]
        def _compute_auxiliary_labels(self, simulations: dict[str, Any]) -> dict[str, Any]:
            late = simulations["rts"] == OMISSION
            choices = np.where(late, OMISSION, simulations["choices"])
            made: dict[str, Any]
            made = super()._compute_auxiliary_labels({**simulations, "choices": choices})
            return made

    return Pipeline(
        generator_config,
        model.config,
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
    from ssms.basic_simulators.simulator import simulator

    made = simulator(
        theta=dict(theta),
        model=model.name,
        n_samples=n_samples,
        delta_t=delta_t,
        max_t=max_t,
        random_state=seed,
    )
    rts, choices = made["rts"].ravel().astype(float), made["choices"].ravel().astype(float)
    choices[rts == OMISSION] = OMISSION
    return rts, choices


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
