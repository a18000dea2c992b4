"""Where the labels of training files come from, as pipelines in ssm-simulators' terms.

A pipeline's ``generate_for_parameter_set(parameter_seed, simulator_seed)`` draws parameters and
gives the rows of one parameter set. ``kde``, ``exact_kde`` and ``pyddm`` simulate or solve in
ssm-simulators' own pipelines; ``analytic`` and ``solver`` draw their rows from the density itself.
"""

from typing import Any, Literal

import numpy as np

from lanflow.density import Density, labels
from lanflow.errors import UserError
from lanflow.kde import KernelDensity
from lanflow.likelihood_ddm import MODELS, diffusion
from lanflow.likelihood_solver import Solution
from lanflow.simulators import (
    is_one_particle,
    make_sampler,
    own_pipeline,
    process_of,
    simulation_pipeline,
    training_strategy,
)

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


def make_pipeline(source: Source, generator_config: dict[str, Any], model: dict[str, Any]) -> Any:
    """The pipeline that makes labels from a source, with our draws of parameters.

    Raises
    ------
    UserError
        If ssm-simulators cannot use its estimator for the model.
    """
    if source in ("analytic", "solver"):
        pipeline = DensityPipeline(generator_config, model, source)
    elif source == "kde":
        builder = _KernelBuilder(has_shift(model))
        pipeline = simulation_pipeline(generator_config, model, builder)
    else:
        own_type = {"exact_kde": "kde", "pyddm": "pyddm"}[source]
        estimator = {**generator_config["estimator"], "type": own_type}
        try:
            pipeline = own_pipeline({**generator_config, "estimator": estimator}, model)
        except (ImportError, ValueError) as e:
            raise UserError(f"model {model['name']}, ESTIMATOR.TYPE {source}: {e}") from e
    pipeline._param_sampler = make_sampler(model)
    return pipeline


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


class DensityPipeline:
    """Rows and labels from a density, without simulating.

    The training strategy is ssm-simulators' own: the same mixture of rows from the density, rows
    uniform in rt, and rows with a negative rt.
    """

    def __init__(
        self,
        generator_config: dict[str, Any],
        model: dict[str, Any],
        source: Literal["analytic", "solver"],
    ) -> None:
        self._source, self._model = source, model
        self._simulator = generator_config["simulator"]
        self._strategy = training_strategy(generator_config, model)
        self._param_sampler = make_sampler(model)

    def generate_for_parameter_set(
        self, parameter_sampling_seed: Any, simulator_seed: int | None
    ) -> dict[str, Any]:
        """Rows of one parameter set, in ssm-simulators' form."""
        theta = self._param_sampler.sample(1, rng=np.random.default_rng(parameter_sampling_seed))
        numbers = {name: float(value[0]) for name, value in theta.items()}
        density = make_density(self._source, self._model, numbers, self._simulator["max_t"])
        rows = self._strategy.generate(theta, density, random_state=simulator_seed)
        vector = np.stack([theta[name] for name in self._model["params"]], axis=1).astype(
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
