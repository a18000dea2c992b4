"""ssm-simulators' data generation: draws of a model's parameters, and pipelines of rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.models.kde import OMISSION
from lanflow.models.model import Model
from lanflow.models.own.simulator import numpy_seeded
from lanflow.models.parameters import Theta


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
    theta, space = dict(theta), model.config["param_bounds_dict"]
    for name in drawing_order(space):
        low, high = space[name]
        if isinstance(low, str):
            theta[name] = max(theta[name], theta[low])
        if isinstance(high, str):
            theta[name] = min(theta[name], theta[high])
    arrays: dict[str, Any] = {name: np.array([value]) for name, value in theta.items()}
    for constraint in _constraints(model):
        arrays = constraint.apply(arrays)
    return {name: float(arrays[name][0]) for name in theta}


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
        model.config if model.models_file is None else neutral(model.config),
        estimator_builder,
        training_strategy(generator_config, model),
    )


def neutral(config: Mapping[str, Any]) -> dict[str, Any]:
    """A description whose name means nothing: "lba" inside one changes the noise there."""
    return {**config, "name": "own"}


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
