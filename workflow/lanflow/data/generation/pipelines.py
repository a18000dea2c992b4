"""Pipelines, in ssm-simulators' terms, that make the rows of a training file."""

from typing import Any, Literal

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.density import labels
from lanflow.models.generation import (
    make_sampler,
    own_pipeline,
    simulation_pipeline,
    training_strategy,
)
from lanflow.models.kde import KernelDensity
from lanflow.models.model import Model
from lanflow.models.sources import Source, make_density


def make_pipeline(source: Source, generator_config: dict[str, Any], model: Model) -> Any:
    """The pipeline that makes labels from a source, with our draws of parameters.

    Raises
    ------
    UserError
        If ssm-simulators cannot use its estimator for the model.
    """
    if source in ("analytic", "solver"):
        pipeline = DensityPipeline(generator_config, model, source)
    elif source == "kde":
        builder = _KernelBuilder(model.has_shift)
        pipeline = simulation_pipeline(generator_config, model, builder)
    else:
        own_type = {"exact_kde": "kde", "pyddm": "pyddm"}[source]
        estimator = {**generator_config["estimator"], "type": own_type}
        try:
            pipeline = own_pipeline({**generator_config, "estimator": estimator}, model)
        except (ImportError, ValueError) as e:
            raise UserError(f"model {model.name}, ESTIMATOR.TYPE {source}: {e}") from e
    pipeline._param_sampler = make_sampler(model)
    return pipeline


class DensityPipeline:
    """Rows and labels from a density, without simulating.

    The training strategy is ssm-simulators' own: the same mixture of rows from the density, rows
    uniform in rt, and rows with a negative rt.
    """

    def __init__(
        self,
        generator_config: dict[str, Any],
        model: Model,
        source: Literal["analytic", "solver"],
    ) -> None:
        self._source, self._model = source, model
        self._simulator = generator_config["simulator"]
        self._strategy = training_strategy(generator_config, model)
        self._param_sampler = make_sampler(model)

    def generate_for_parameter_set(
        self,
        parameter_sampling_seed: int,  # noqa: ARG002
        simulator_seed: int,
    ) -> dict[str, Any]:
        """Rows of one parameter set, in ssm-simulators' form; its sampler has its own seed."""
        theta = self._param_sampler.sample(1)
        numbers = {name: float(value[0]) for name, value in theta.items()}
        density = make_density(self._source, self._model, numbers, self._simulator["max_t"])
        rows = self._strategy.generate(theta, density, random_state=simulator_seed)
        vector = np.stack([theta[name] for name in self._model.parameters], axis=1).astype(
            np.float32
        )
        data = {"lan_data": rows[:, :-1], "lan_labels": rows[:, -1], "theta": vector}
        data |= {f"{kind}_data": vector for kind in ("cpn", "cpn_no_omission", "opn", "gonogo")}
        data |= labels(density, n_samples=self._simulator["n_samples"])
        return {"data": data, "theta": theta, "success": True}


class _KernelBuilder:
    """Builds the fast kernel density from simulations, as ssm-simulators asks for an estimator."""

    def __init__(self, shifted: bool) -> None:
        self._shifted = shifted

    def build(self, theta: dict[str, Any], simulations: dict[str, Any]) -> KernelDensity:
        estimator = KernelDensity(float(theta["t"][0]) if self._shifted else 0.0)
        estimator.fit(simulations)
        return estimator
