"""What a network is judged by: the best density there is for a model, and draws from it.

``analytic`` is exact. ``solver`` is a solution on a grid four times as fine, in space and in time,
as that of the labels. ``kde`` is a kernel density of many simulations, for models that have
neither; its own error is of the size of a good network's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.analytic import MODELS
from lanflow.models.density import FLOOR, Array, Density, labels
from lanflow.models.kde import OMISSION, KernelDensity
from lanflow.models.parameters import Box, box_of, sobol_points
from lanflow.models.simulators import (
    is_one_particle,
    make_sampler,
    model_config,
    process_of,
    simulate,
)
from lanflow.models.solver import N_SPACE, STEP, Solution
from lanflow.models.sources import Source, base_name, has_shift, label_source, make_density
from lanflow.networks import folder as network_folder
from lanflow.networks.network import StoredNetwork, read_card
from lanflow.networks.runtime import OnnxNetwork, load_network
from lanflow.networks.types import NETWORK_TYPES, NetworkType, NetworkTypeName

ReferenceSource = Literal["analytic", "solver", "kde"]

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

    source: ReferenceSource
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
        From :func:`lanflow.models.simulators.simulate`.
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


def choose_reference(
    model_name: str, wanted: ReferenceSource | Literal["auto"] = "auto"
) -> Reference:
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
        best: ReferenceSource = (
            "analytic" if has["analytic"] else "solver" if has["solver"] else "kde"
        )
        return Reference(best, model)
    if not has[wanted]:
        there = ", ".join(name for name, is_there in has.items() if is_there)
        raise UserError(
            f"--reference {wanted}: there is none for model {model_name!r} (accepted: auto, "
            f"{there})"
        )
    return Reference(wanted, model)


# A network from its ONNX file, beside the model that it stands for.
#
# Everything that figures need: the network's own density or probabilities, the model's exact ones
# where they are known, simulated trials, and parameter draws that fill the box evenly.


Theta = dict[str, float]
_FIRST_DECISION = 1e-3
_N_BEFORE, _N_AFTER = 40, 400


@dataclass(frozen=True)
class TrainedNetwork:
    """What a network computes and what it should compute.

    Attributes
    ----------
    network
        As a function of rows.
    network_type
        What the outputs mean.
    model
        ssm-simulators' description of the model.
    bounds
        The box it is looked at in, by parameter in the order of its inputs.
    backend
        What trained it, if known.
    """

    network: OnnxNetwork
    network_type: NetworkType
    model: dict[str, Any]
    bounds: dict[str, tuple[float, float]]
    backend: str | None = None

    @property
    def title(self) -> str:
        """Model, type and backend, for figures."""
        trained_by = f" ({self.backend})" if self.backend else ""
        return f"{self.model['name']} {self.network_type.name}{trained_by}"

    @property
    def choices(self) -> tuple[int, ...]:
        """The model's choices, in order."""
        return tuple(sorted(self.model["choices"]))

    @cached_property
    def source(self) -> Source:
        """Where the model's own density comes from."""
        return label_source("auto", self.model)

    @property
    def is_exact(self) -> bool:
        """Whether the model's density is known or solved."""
        return self.source != "kde"

    @property
    def reference_name(self) -> str:
        """How the model's own density is known."""
        names = {"analytic": "exact", "solver": "numerical solution"}
        return names.get(self.source, "simulated")

    def centre(self) -> Theta:
        """The middle of the box."""
        return {name: (low + high) / 2 for name, (low, high) in self.bounds.items()}

    def draws(self, n: int, *, seed: int) -> list[Theta]:
        """Parameter vectors that fill the box evenly."""
        points = sobol_points(np.random.SeedSequence(seed), len(self.bounds), first=0, n_points=n)
        sampler = make_sampler({**self.model, "param_bounds_dict": self.bounds})
        drawn = []
        for i, point in enumerate(points.tolist()):
            sampler.start_set([seed, i], point)
            values = sampler.sample(1)
            drawn.append({name: float(values[name][0]) for name in self.bounds})
        return drawn

    def density(self, theta: Theta) -> Density | None:
        """The model's own density of rt and choice, where it is known."""
        source = self.source
        if source not in ("analytic", "solver"):
            return None
        return make_density(source, self.model, theta, MAX_T)

    def simulate(self, theta: Theta, n_trials: int, *, seed: int) -> tuple[Array, Array]:
        """Simulated rts and choices, shape (n_trials,); OMISSION where there was no answer."""
        return simulate(self.model, theta, n_trials, seed=seed, max_t=MAX_T)

    def log_density(self, theta: Theta, rts: Array, choices: Array | float) -> Array:
        """A likelihood network's log density at rts and choices, shape (rts,).

        Values that cannot be drawn or integrated are at the limits of those that can; the gates of
        an evaluation tell of them.
        """
        rows = np.empty((len(rts), self.network.n_inputs), np.float32)
        rows[:, :-2] = [theta[name] for name in self.bounds]
        rows[:, -2], rows[:, -1] = rts, choices
        values = self.network(rows)[:, 0].astype(float)
        return np.asarray(np.clip(np.nan_to_num(values, nan=FLOOR), FLOOR, -FLOOR))

    def probabilities(self, thetas: list[Theta]) -> Array:
        """What any other network gives, as probabilities, shape (vectors, outputs)."""
        rows = np.array([[theta[name] for name in self.bounds] for theta in thetas], np.float32)
        return np.asarray(np.exp(self.network(rows)), float)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What the outputs of a network of probabilities are the probabilities of."""
        match self.network_type.name:
            case "opn":
                return ("omission",)
            case "gonogo":
                return ("no-go",)
        if self.network.n_outputs == 1:
            return (f"choice {self.choices[-1]}",)
        return tuple(f"choice {choice}" for choice in self.choices)

    def true_probabilities(self, theta: Theta, n_trials: int, *, seed: int) -> Array:
        """Probabilities of the outcomes: exact where known, else shares of simulated trials."""
        density = self.density(theta)
        if density is not None:
            value = labels(density, n_samples=1)[self.network_type.labels_key]
            return np.asarray(value, float).ravel()
        _, choices = self.simulate(theta, n_trials, seed=seed)
        return self.shares_of(choices)

    def shares_of(self, choices: Array) -> Array:
        """Shares of simulated trials that ended in each of the outcomes."""
        shares = np.array([(choices == choice).mean() for choice in self.choices])
        match self.network_type.name:
            case "opn":
                return np.array([(choices == OMISSION).mean()])
            case "gonogo":
                return 1 - shares[-1:]
        return shares if self.network.n_outputs > 1 else shares[-1:]


def time_grid(theta: Theta) -> Array:
    """Times that resolve a density: few before the non-decision time, then ever further apart."""
    # At the deadline itself there is no density.
    until = min(MAX_T, theta.get("deadline", np.inf) * (1 - 1e-6))
    t = min(theta.get("t", 0.0), until)
    before = np.linspace(0, t, _N_BEFORE, endpoint=False) if t > 0 else np.empty(0)
    rest = until - t
    if rest <= _FIRST_DECISION:
        return np.append(before, until)
    return np.concatenate([before, [t], t + np.geomspace(_FIRST_DECISION, rest, _N_AFTER)])


def read_network_folder(folder: Path) -> TrainedNetwork:
    """The network of a folder that a training wrote, from its ONNX file and its card.

    Raises
    ------
    UserError
        Naming the file that is missing or does not fit.
    """
    stored = StoredNetwork(folder)
    card = stored.card
    model = model_config(card["model"])
    network_type = NETWORK_TYPES[card["network_type"]]
    box = box_of(model, card["bounds"])
    return _described(folder / network_folder.ONNX, network_type, model, box, card["backend"])


def read_onnx_file(
    path: Path, model_name: str, network_type: str, card_path: Path | None = None
) -> TrainedNetwork:
    """Any network in an ONNX file, in the box of its card or ssm-simulators' own of its model.

    Raises
    ------
    UserError
        If it is no network of that model and type.
    """
    model = model_config(model_name)
    trained = {} if card_path is None else read_card(card_path)["bounds"]
    return _described(path, NETWORK_TYPES[network_type], model, box_of(model, trained), None)


def _described(
    path: Path,
    network_type: NetworkType,
    model: dict[str, Any],
    box: Box,
    backend: str | None,
) -> TrainedNetwork:
    network = load_network(path)
    expected = len(box) + 2 * network_type.has_trial
    if network.n_inputs != expected:
        behind = ", rt, choice" if network_type.has_trial else ""
        raise UserError(
            f"{path}: takes {network.n_inputs} inputs, but a {network_type.name} network of "
            f"{model['name']} takes {expected} ({', '.join(box)}{behind})"
        )
    bounds = {name: (float(low), float(high)) for name, (low, high) in box.items()}
    return TrainedNetwork(network, network_type, model, bounds, backend)
