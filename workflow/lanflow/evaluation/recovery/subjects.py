"""Simulated subjects of a likelihood network, whose parameters are to be found again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.density import Array
from lanflow.models.kde import OMISSION
from lanflow.models.parameters import box_of, draw_parameters
from lanflow.models.simulators import model_config, simulate
from lanflow.networks import folder as network_folder
from lanflow.networks.network import StoredNetwork
from lanflow.networks.onnx import ContractError
from lanflow.networks.runtime import DifferentiableNetwork


@dataclass(frozen=True)
class Recoverable:
    """A likelihood network whose parameters can be recovered; it can be sent to a process.

    Attributes
    ----------
    title
        Model, type and backend, for people.
    model
        Its name in ssm-simulators.
    backend
        What trained it.
    onnx
        The network.
    bounds
        The trained box, by parameter in the order of the network's inputs.
    """

    title: str
    model: str
    backend: str
    onnx: bytes
    bounds: Mapping[str, tuple[float, float]]

    @classmethod
    def from_folder(cls, folder: Path) -> "Recoverable":
        """The network of a folder that a training wrote.

        Raises
        ------
        UserError
            If it is no likelihood network, one of a model with a deadline, or not a perceptron of
            Tanh and Relu with the inputs of its model.
        """
        stored = StoredNetwork(folder)
        card = stored.card
        title = f"{card['model']} {card['network_type']} ({card['backend']})"
        if card["network_type"] != "lan":
            raise UserError(
                f"{folder}: a network of type {card['network_type']} says nothing of single rts; "
                "only a likelihood network (lan) recovers parameters"
            )
        bounds = box_of(model_config(card["model"]), card["bounds"])
        if "deadline" in bounds:
            raise UserError(
                f"{folder}: {card['model']} has a deadline, and a likelihood network gives "
                "omissions no likelihood: its parameters are not recovered"
            )
        box = {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
        try:
            n_inputs = DifferentiableNetwork(stored.onnx).n_inputs
        except ContractError as e:
            raise ContractError(f"{folder / network_folder.ONNX}: {e}") from e
        if n_inputs != len(box) + 2:
            raise UserError(
                f"{folder / network_folder.ONNX}: takes {n_inputs} inputs, but a likelihood "
                f"network of {card['model']} takes {len(box) + 2} ({', '.join(box)}, rt, choice)"
            )
        return cls(title, card["model"], card["backend"], stored.onnx, box)


@dataclass(frozen=True)
class Subject:
    """One simulated subject.

    Attributes
    ----------
    theta
        Its parameters, shape (parameters,).
    rts, choices
        Of its trials that have an answer, shape (trials,).
    n_undecided
        Trials that had none when the simulation ended.
    seed
        Decides how it is searched.
    """

    theta: Array
    rts: Array
    choices: Array
    n_undecided: int
    seed: int


def simulate_subjects(
    network: Recoverable, *, n_subjects: int, n_trials: int, seed: int
) -> list[Subject]:
    """Simulate subjects at random parameters inside the trained box.

    Parameters
    ----------
    network
        Whose model and box it is.
    n_subjects, n_trials
        Subjects, and trials of each.
    seed
        Decides parameters and trials; the first subjects of more are the same.

    Raises
    ------
    UserError
        If a subject never answers.
    """
    model = model_config(network.model)
    subjects = []
    for i, theta in enumerate(draw_parameters(model, network.bounds, n_subjects, seed=seed)):
        # Half of them: seeds of the simulator end at 2^31.
        states = np.random.SeedSequence([seed, i]).generate_state(2) // 2
        of_trials, of_search = states.tolist()
        named = dict(zip(network.bounds, theta.tolist(), strict=True))
        rts, choices = simulate(model, named, n_trials, seed=of_trials)
        answered = choices != OMISSION
        if not answered.any():
            raise UserError(
                f"{model['name']}: no trial has an answer at {named}; take another seed"
            )
        n_undecided = int((~answered).sum())
        subjects.append(Subject(theta, rts[answered], choices[answered], n_undecided, of_search))
    return subjects
