"""What a network is judged by: the best density there is for a model, and draws from it.

``analytic`` is exact. ``solver`` is a solution on a grid four times as fine, in space and in time,
as that of the labels. ``kde`` is a kernel density of many simulations, for models that have
neither; its own error is of the size of a good network's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lanflow.density import Array, Density, labels
from lanflow.errors import UserError
from lanflow.kde import OMISSION, KernelDensity
from lanflow.label_sources import base_name, has_shift, make_density
from lanflow.likelihood_ddm import MODELS
from lanflow.likelihood_solver import N_SPACE, STEP, Solution
from lanflow.networks import NetworkTypeName
from lanflow.simulators import is_one_particle, model_config, process_of, simulate

Source = Literal["analytic", "solver", "kde"]

_FINER = 4
N_SIMULATIONS = 100_000
# How long a simulated decision may take, seconds, as in ssm-simulators' generator.
MAX_T = 20.0


@dataclass(frozen=True)
class Reference:
    """The reference for one model.

    Attributes
    ----------
    source
        Where it comes from.
    model
        ssm-simulators' description.
    """

    source: Source
    model: dict[str, Any]

    @property
    def description(self) -> str:
        """What it is, for a person."""
        match self.source:
            case "analytic":
                return "the exact likelihood"
            case "solver":
                return f"the Fokker-Planck equation, on a grid {_FINER} times finer than labels'"
        return f"a kernel density of {N_SIMULATIONS:,} simulations, which has an error of its own"

    def density(self, theta: Mapping[str, float], *, seed: int) -> Density | KernelDensity:
        """The density at a parameter vector, with ``evaluate`` and ``sample``.

        Parameters
        ----------
        theta
            The parameters by name.
        seed
            Of the simulations, where there are any.
        """
        numbers = dict(theta)
        if self.source == "analytic":
            return make_density("analytic", self.model, numbers, MAX_T)
        if self.source == "solver":
            return self._solution(numbers)
        rts, choices = simulate(self.model, numbers, N_SIMULATIONS, seed=seed)
        estimate = KernelDensity(numbers["t"] if has_shift(self.model) else 0.0)
        metadata = {"max_t": MAX_T, "possible_choices": self.model["choices"]}
        estimate.fit({"rts": rts, "choices": choices, "metadata": metadata})
        return estimate

    def _solution(self, theta: dict[str, float]) -> Density:
        process = process_of(self.model, theta, MAX_T)
        solution = Solution(process, n_space=_FINER * N_SPACE, step=STEP / _FINER)
        deadline = theta.get("deadline", np.inf)
        return Density(solution.log_density, solution.times, theta["t"], MAX_T, deadline)

    def probability(
        self, theta: Mapping[str, float], network_type: NetworkTypeName, *, seed: int
    ) -> float:
        """What a network without trials predicts at a parameter vector: see its ``output``."""
        if self.source != "kde":
            density = self.density(theta, seed=seed)
            assert isinstance(density, Density)
            return float(labels(density, n_samples=1)[f"{network_type}_labels"][0, 0])
        rts, choices = simulate(self.model, theta, N_SIMULATIONS, seed=seed)
        return frequency(rts, choices, network_type)


def frequency(rts: Array, choices: Array, network_type: NetworkTypeName) -> float:
    """How often simulated trials end in what a network predicts.

    Parameters
    ----------
    rts, choices
        From :func:`lanflow.simulators.simulate`.
    network_type
        ``cpn``: choice 1 in time; ``opn``: no answer in time; ``gonogo``: anything but choice 1 in
        time.
    """
    omitted = rts == OMISSION
    match network_type:
        case "cpn":
            return float(np.mean((choices == 1) & ~omitted))
        case "opn":
            return float(np.mean(omitted))
        case "gonogo":
            return float(np.mean((choices != 1) | omitted))
    raise AssertionError(network_type)


def choose_reference(model_name: str, wanted: Source | Literal["auto"] = "auto") -> Reference:
    """The reference asked for, or the best there is for the model.

    Raises
    ------
    UserError
        If the model is not known, or has no such reference.
    """
    model = model_config(model_name)
    has = {
        "analytic": base_name(model) in MODELS,
        "solver": is_one_particle(model),
        "kde": True,
    }
    if wanted == "auto":
        best: Source = "analytic" if has["analytic"] else "solver" if has["solver"] else "kde"
        return Reference(best, model)
    if not has[wanted]:
        there = ", ".join(name for name, is_there in has.items() if is_there)
        raise UserError(
            f"--reference {wanted}: there is none for model {model_name!r} (accepted: auto, "
            f"{there})"
        )
    return Reference(wanted, model)
