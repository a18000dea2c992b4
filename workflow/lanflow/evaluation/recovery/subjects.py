"""Simulated subjects of a likelihood network, whose parameters are to be found again."""

from dataclasses import dataclass

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.processes import require_memory
from lanflow.models.density import Array
from lanflow.models.kde import OMISSION
from lanflow.models.simulators import draw_parameters, simulate
from lanflow.networks.network import Network


def require_recoverable(network: Network) -> None:
    """Refuse a network whose parameters cannot be recovered.

    Raises
    ------
    UserError
        If it is no likelihood network, one of a model with a deadline, or not a perceptron with the
        inputs of its model.
    """
    if not network.network_type.has_trial:
        raise UserError(
            f"{network.folder}: a network of type {network.network_type.name} says nothing of "
            "single rts; only a likelihood network (lan) recovers parameters"
        )
    if network.model.has_deadline:
        raise UserError(
            f"{network.folder}: {network.model_name} has a deadline, and a likelihood network "
            "gives omissions no likelihood: its parameters are not recovered"
        )
    _ = network.perceptron
    network.require_inputs()


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
    network: Network, *, n_subjects: int, n_trials: int, seed: int
) -> list[Subject]:
    """Simulate subjects at random parameters within the trained bounds.

    Parameters
    ----------
    network
        Whose model and bounds they are.
    n_subjects, n_trials
        Subjects, and trials of each.
    seed
        Decides parameters and trials; the first subjects of more are the same.

    Raises
    ------
    UserError
        If a subject never answers.
    """
    model = network.model
    require_memory(
        f"simulating {n_subjects:,} subjects with {n_trials:,} trials each",
        n_subjects * (n_trials * 16 + 1000),  # rt and choice of each trial
        advice="lower --n-subjects (study key recovery.n_subjects) or --n-trials (n_trials)",
    )
    subjects = []
    for i, theta in enumerate(draw_parameters(model, network.bounds, n_subjects, seed=seed)):
        # Half of them: seeds of the simulator end at 2^31.
        states = np.random.SeedSequence([seed, i]).generate_state(2) // 2
        of_trials, of_search = states.tolist()
        named = network.bounds.named(theta)
        rts, choices = simulate(model, named, n_trials, seed=of_trials)
        answered = choices != OMISSION
        if not answered.any():
            raise UserError(f"{model.name}: no trial has an answer at {named}; take another seed")
        n_undecided = int((~answered).sum())
        subjects.append(Subject(theta, rts[answered], choices[answered], n_undecided, of_search))
    return subjects
