"""ssm-simulators, as far as lanflow uses it; the only module that imports it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.models.kde import OMISSION
from lanflow.models.solver import Process


def model_config(model: str) -> dict[str, Any]:
    """ssm-simulators' description of a model.

    Raises
    ------
    UserError
        If it knows no such model.
    """
    from ssms.config import ModelConfigBuilder

    try:
        return dict(ModelConfigBuilder.from_model(model))
    except (KeyError, ValueError) as e:
        from ssms.config import model_config as known

        from lanflow.core.settings import suggest

        names = sorted(known)
        raise UserError(
            f"model {model!r} is not one of ssm-simulators'{suggest(model, names)}"
        ) from e


def default_generator_config(model: str) -> dict[str, Any]:
    """Its nested configuration of data generation, with its defaults."""
    from ssms.config import get_default_generator_config

    nested: dict[str, Any] = get_default_generator_config("lan", model=model)
    return nested


def make_sampler(model: dict[str, Any]) -> Any:
    """Its sampler of a model's box, in our order and with the set's own draws.

    Its own order comes from iterating over sets of names and so from PYTHONHASHSEED, and its
    pipeline for pyddm draws without a seed. Before each parameter set ``start_set(seed, point)``
    is called: the first draw is at the ``point`` of the unit cube, if there is one; later ones,
    which take the place of rejected draws, are uniform.
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

    space = model["param_bounds_dict"]
    sampler = Sampler(space, _constraints(model))
    sampler._sampling_order = drawing_order(space)
    return sampler


# Its models whose drifts sum to one; its simulator insists, its draws do not see to it.
_DRIFTS_SUM_TO_ONE = ("lba_3_vs_constraint", "lba_angle_3_vs_constraint")


def _constraints(model: dict[str, Any]) -> list[Any]:
    """What draws of a model's parameters must obey, as ssm-simulators' transforms."""
    from ssms.config import ModelConfigBuilder
    from ssms.transforms.sampling.normalize import NormalizeToSumConstraint

    constraints = list(ModelConfigBuilder.get_sampling_transforms(model))
    if not constraints and model["name"].removesuffix("_deadline") in _DRIFTS_SUM_TO_ONE:
        constraints = [NormalizeToSumConstraint([p for p in model["params"] if p[0] == "v"])]
    return constraints


# Its simulators of one particle between two boundaries whose drift is a function of time, and
# whether the parameter g pulls it to zero.
_ONE_PARTICLE = {
    "ddm_flexbound": False,
    "ddm_flex": False,
    "ornstein_uhlenbeck": True,
    "ddm_flex_leak": True,
}


def is_one_particle(model: dict[str, Any]) -> bool:
    """Whether :func:`process_of` knows the model's particle."""
    return getattr(model["simulator"], "__name__", None) in _ONE_PARTICLE and model["nchoices"] == 2


def process_of(model: dict[str, Any], theta: Mapping[str, float], until: float) -> Process:
    """The particle of a model at given parameters, followed for a time.

    Boundary and drift are those that its simulator would use.
    """
    from ssms.basic_simulators.simulator import make_boundary_dict, make_drift_dict

    made = make_boundary_dict(model, dict(theta)) | make_drift_dict(model, dict(theta))

    def drift(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if "drift_fun" not in made:
            return np.full_like(t, theta["v"])
        return np.asarray(made["drift_fun"](t=t, **made["drift_params"]), float)

    leaks = _ONE_PARTICLE[model["simulator"].__name__]
    return Process(
        boundary=lambda t: np.asarray(made["boundary_fun"](t=t, **made["boundary_params"]), float),
        drift=drift,
        start=theta["z"],
        leak=theta["g"] if leaks else 0.0,
        until=until,
    )


def training_strategy(generator_config: dict[str, Any], model: dict[str, Any]) -> Any:
    """Its mixture of rows from an estimator, uniform in rt, and with a negative rt."""
    from ssms.dataset_generators.strategies import ResampleMixtureStrategy

    return ResampleMixtureStrategy(generator_config, model)


def own_pipeline(generator_config: dict[str, Any], model: dict[str, Any]) -> Any:
    """Its pipeline for its own estimators, as it is.

    Raises
    ------
    ImportError, ValueError
        If the estimator is not installed or cannot be used for the model.
    """
    from ssms.dataset_generators.pipelines.pipeline_factory import create_data_generation_pipeline

    return create_data_generation_pipeline(generator_config, model)


def simulation_pipeline(
    generator_config: dict[str, Any], model: dict[str, Any], estimator_builder: Any
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
        generator_config, model, estimator_builder, training_strategy(generator_config, model)
    )


def simulate(
    model: dict[str, Any],
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
        From :func:`model_config`.
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
        model=model["name"],
        n_samples=n_samples,
        delta_t=delta_t,
        max_t=max_t,
        random_state=seed,
    )
    rts, choices = made["rts"].ravel().astype(float), made["choices"].ravel().astype(float)
    choices[rts == OMISSION] = OMISSION
    return rts, choices


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
