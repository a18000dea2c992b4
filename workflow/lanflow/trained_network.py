"""A network from its ONNX file, beside the model that it stands for.

Everything that figures need: the network's own density or probabilities, the model's exact ones
where they are known, simulated trials, and parameter draws that fill the box evenly.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lanflow import artifacts
from lanflow.box import Box, box_of
from lanflow.density import FLOOR, Array, Density, labels
from lanflow.errors import UserError
from lanflow.kde import OMISSION
from lanflow.label_sources import Source, label_source, make_density
from lanflow.networks import NETWORK_TYPES, NetworkType
from lanflow.onnx_network import OnnxNetwork, load_network
from lanflow.parameter_sampling import sobol_points
from lanflow.simulators import make_sampler, model_config, simulate
from lanflow.stored_network import StoredNetwork, read_card

Theta = dict[str, float]

# Seconds a decision may take, as in ssm-simulators' default generation.
MAX_T = 20.0
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
    return _described(folder / artifacts.ONNX, network_type, model, box, card["backend"])


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
