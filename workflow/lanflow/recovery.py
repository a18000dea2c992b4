"""Whether parameters are found again: simulated subjects, fitted through the network."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from lanflow import artifacts
from lanflow.box import box_of, draw_parameters
from lanflow.density import Array
from lanflow.errors import UserError
from lanflow.export import ContractError
from lanflow.kde import OMISSION
from lanflow.maximum_likelihood import Fit, TrialLikelihood, fit
from lanflow.network_gradient import DifferentiableNetwork
from lanflow.simulators import model_config, simulate
from lanflow.stored_network import StoredNetwork

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
            raise ContractError(f"{folder / artifacts.ONNX}: {e}") from e
        if n_inputs != len(box) + 2:
            raise UserError(
                f"{folder / artifacts.ONNX}: takes {n_inputs} inputs, but a likelihood network of "
                f"{card['model']} takes {len(box) + 2} ({', '.join(box)}, rt, choice)"
            )
        return cls(title, card["model"], card["backend"], stored.onnx, box)


@dataclass(frozen=True)
class Subject:
    """One simulated subject, and what was found of it.

    Attributes
    ----------
    true
        Shape (parameters,).
    log_likelihood
        Of its trials at the true parameters, by the network, in nats.
    fit
        The maximum.
    n_undecided
        Trials that had no answer when the simulation ended; they are left out.
    """

    true: Array
    log_likelihood: float
    fit: Fit
    n_undecided: int


def recover(
    network: Recoverable,
    *,
    n_subjects: int,
    n_trials: int,
    seed: int,
    n_processes: int,
    on_subject: Callable[[], None] = lambda: None,
) -> list[Subject]:
    """Simulate subjects at random parameters inside the box, and find these again.

    Parameters
    ----------
    network
        A likelihood network.
    n_subjects, n_trials
        Subjects, and trials of each.
    seed
        Decides parameters, trials and where each search begins; the first subjects of more are
        the same.
    n_processes
        Subjects fitted at a time; of no effect on what is found.
    on_subject
        Called after each subject.

    Raises
    ------
    UserError
        If a subject never answers.
    """
    model = model_config(network.model)
    thetas = draw_parameters(model, network.bounds, n_subjects, seed=seed)
    tasks = [(theta, n_trials, [seed, i]) for i, theta in enumerate(thetas)]
    subjects = []
    with _workers(network, min(n_processes, n_subjects)) as executor:
        # All processes are started by this call, which has one thread for each of them.
        with _one_thread():
            found = executor.map(_recover_subject, tasks)
        for subject in found:
            subjects.append(subject)
            on_subject()
    return subjects


@contextmanager
def _workers(network: Recoverable, n: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that have the network; one process, too, so that its sums are the same."""
    executor = ProcessPoolExecutor(
        n, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(network,)
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started here split no sums: matrices are small, and cores have a fit each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_network_here: Any = None


def _start_worker(network: Recoverable) -> None:
    """Give a process its network, once."""
    global _network_here
    differentiable = DifferentiableNetwork(network.onnx)
    _network_here = differentiable, network.bounds, model_config(network.model)


def _recover_subject(task: tuple[Array, int, list[int]]) -> Subject:
    theta, n_trials, seed = task
    network, bounds, model = _network_here
    return recover_subject(network, bounds, model, theta, n_trials, seed)


def recover_subject(
    network: DifferentiableNetwork,
    bounds: Mapping[str, tuple[float, float]],
    model: dict[str, Any],
    theta: Array,
    n_trials: int,
    seed: list[int],
) -> Subject:
    """Simulate one subject and find its parameters again.

    Parameters
    ----------
    network, bounds, model
        The network, its box, and ssm-simulators' description of what it is a network of.
    theta
        The subject's parameters, shape (parameters,).
    n_trials
        Its trials.
    seed
        Decides them and the search.
    """
    # Half of them: seeds of the simulator end at 2^31.
    of_trials, of_search = (np.random.SeedSequence(seed).generate_state(2) // 2).tolist()
    named = dict(zip(bounds, theta.tolist(), strict=True))
    rts, choices = simulate(model, named, n_trials, seed=of_trials)
    answered = choices != OMISSION
    if not answered.any():
        raise UserError(f"{model['name']}: no trial has an answer at {named}; take another seed")
    likelihood = TrialLikelihood(network, bounds, rts[answered], choices[answered])
    found = fit(likelihood, seed=of_search)
    return Subject(theta, likelihood.at(theta), found, int((~answered).sum()))
