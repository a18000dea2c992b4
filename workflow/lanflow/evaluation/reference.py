"""The reference that a network is judged by: the best density of its model, and draws from it.

``analytic`` is exact. ``solver`` is a solution on a grid four times as fine, in space and in time,
as that of the labels. ``kde`` is a kernel density of many simulations, for models that have
neither; its own error is of the size of a good network's, and it is smeared as kernel labels are,
so it is told and decides nothing: ``gates_calibration`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.density import Array, Density, labels
from lanflow.models.kde import OMISSION, KernelDensity
from lanflow.models.model import Model
from lanflow.models.simulators import simulate
from lanflow.models.sources import BestSource, best_source, has_source, make_density
from lanflow.networks.types import NetworkTypeName

_FINER = 4
N_SIMULATIONS = 100_000
# How long a simulated decision may take, seconds, as in ssm-simulators' generator.
MAX_T = 20.0


@dataclass(frozen=True)
class Reference:
    """The truth about one model, as far as it is known.

    Attributes
    ----------
    source
        Where it comes from.
    model
        The cognitive model.
    refinement
        How many times finer than for labels the solver's grid is.
    """

    source: BestSource
    model: Model
    refinement: int = _FINER

    @property
    def is_exact(self) -> bool:
        """True if the density is known or solved, and not estimated from simulations."""
        return self.source != "kde"

    @property
    def name(self) -> str:
        """Its name in a word or two, for a figure's legend."""
        return {"analytic": "exact", "solver": "numerical solution"}.get(self.source, "simulated")

    @property
    def description(self) -> str:
        """Its description for a person."""
        match self.source:
            case "analytic":
                return "the exact likelihood"
            case "solver":
                return f"the Fokker-Planck equation, on a grid {_FINER} times finer than labels'"
        return f"a kernel density of {N_SIMULATIONS:,} simulations, which has an error of its own"

    @property
    def n_simulations(self) -> int:
        """Trials that a kernel density is made of."""
        return N_SIMULATIONS

    def for_drawing(self) -> "Reference":
        """The same on the grid of labels: an eye sees no difference, and it is much faster."""
        return replace(self, refinement=1)

    def density(self, theta: Mapping[str, float], *, seed: int = 0) -> Density | KernelDensity:
        """The density at a parameter vector, with ``evaluate`` and ``sample``.

        Parameters
        ----------
        theta
            The parameters by name.
        seed
            Of the simulations, where there are any.
        """
        exact = self.exact_density(theta)
        if exact is not None:
            return exact
        rts, choices = self.simulate(theta, N_SIMULATIONS, seed=seed)
        estimate = KernelDensity(theta["t"] if self.model.has_shift else 0.0)
        metadata = {"max_t": MAX_T, "possible_choices": list(self.model.choices)}
        estimate.fit({"rts": rts, "choices": choices, "metadata": metadata})
        return estimate

    def exact_density(self, theta: Mapping[str, float]) -> Density | None:
        """The density at a parameter vector where it is known or solved; otherwise None."""
        if self.source == "kde":
            return None
        return make_density(self.source, self.model, theta, MAX_T, refinement=self.refinement)

    def simulate(
        self, theta: Mapping[str, float], n_trials: int, *, seed: int
    ) -> tuple[Array, Array]:
        """Simulated rts and choices, shape (n_trials,); OMISSION where there was no answer."""
        return simulate(self.model, theta, n_trials, seed=seed, max_t=MAX_T)

    def trials(
        self, theta: Mapping[str, float], n_trials: int, *, seed: int
    ) -> tuple[Array, Array, Array, Array]:
        """Trials with an answer, their log-likelihoods, and the choices' probabilities.

        Trials are drawn from the density by inverse transform, which simulates the model without
        the error of a time step; with a ``kde`` reference they come from the simulator.

        Returns
        -------
        tuple of numpy.ndarray
            rts (seconds), choices and log-likelihoods (nats), shape (trials,); probability of
            each choice in time, shape (choices,).
        """
        density = self.density(theta, seed=2 * seed)
        if isinstance(density, KernelDensity):
            rts, choices = self.simulate(theta, n_trials, seed=2 * seed + 1)
            rts, choices = rts[rts > 0], choices[rts > 0]
            probabilities = density.choice_probabilities
        else:
            drawn = density.sample(n_trials, random_state=2 * seed + 1)
            rts, choices = drawn["rts"], drawn["choices"]
            probabilities = density.mass(min(density.deadline, MAX_T)).ravel()
        rts = rts.astype(np.float32).astype(float)  # as the network sees them
        return rts, choices, density.evaluate(rts, choices), probabilities

    def probabilities(
        self,
        theta: Mapping[str, float],
        network_type: NetworkTypeName,
        *,
        n_outputs: int = 1,
        n_simulations: int | None = None,
        seed: int,
    ) -> Array:
        """The probabilities that a network without trials predicts, shape (n_outputs,).

        Where they are not known, shares of ``n_simulations`` trials, :data:`N_SIMULATIONS` when
        left out.
        """
        density = self.exact_density(theta)
        if density is not None and n_outputs > 1:
            return _choices_in_time(density)
        if density is not None:
            made = labels(density, n_samples=1)[f"{network_type}_labels"].astype(float).ravel()
            return made[-n_outputs:]  # of several choices' a network may predict the highest only
        rts, choices = self.simulate(theta, n_simulations or N_SIMULATIONS, seed=seed)
        return frequencies(rts, choices, self.model, network_type, n_outputs=n_outputs)


def _choices_in_time(density: Density) -> Array:
    """Probability of each choice, before the deadline if there is one."""
    if np.isinf(density.deadline):
        return density.choice_probabilities
    return density.mass(density.deadline).ravel()


def frequencies(
    rts: Array, choices: Array, model: Model, network_type: NetworkTypeName, *, n_outputs: int = 1
) -> Array:
    """Shares of simulated trials that end in what a network predicts, shape (n_outputs,).

    Parameters
    ----------
    rts, choices
        From :func:`lanflow.models.simulators.simulate`.
    model
        Whose trials they are.
    network_type
        ``cpn``: the highest choice in time, or with several outputs each of the choices; ``opn``:
        no answer in time; ``gonogo``: anything but the highest choice in time.
    n_outputs
        Outcomes whose probabilities the network gives.
    """
    omitted = rts == OMISSION
    shares = np.array([np.mean((choices == choice) & ~omitted) for choice in model.choices])
    match network_type:
        case "cpn":
            return shares if n_outputs > 1 else shares[-1:]
        case "opn":
            return np.array([np.mean(omitted)])
        case "gonogo":
            return 1 - shares[-1:]
    raise AssertionError(network_type)


def choose_reference(model: Model, wanted: BestSource | Literal["auto"] = "auto") -> Reference:
    """The reference asked for, or the best there is for the model.

    Raises
    ------
    UserError
        If the model has no such reference.
    """
    if wanted == "auto":
        return Reference(best_source(model), model)
    known = [source for source in get_args(BestSource) if has_source(source, model)]
    if wanted not in known:
        raise UserError(
            f"--reference {wanted}: there is none for model {model.name!r} (accepted: auto, "
            f"{', '.join(known)})"
        )
    return Reference(wanted, model)
