"""Maximum likelihood of many subjects, a process for each core."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lanflow.maximum_likelihood import Fit, TrialLikelihood, fit
from lanflow.network_gradient import DifferentiableNetwork
from lanflow.simulated_subjects import Recoverable, Subject
from lanflow.worker_pool import worker_pool

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class FittedSubject:
    """What was found of one subject.

    Attributes
    ----------
    log_likelihood
        Of its trials at the true parameters, by the network, in nats.
    fit
        The maximum.
    """

    log_likelihood: float
    fit: Fit


def fit_subjects(
    network: Recoverable,
    subjects: list[Subject],
    *,
    n_processes: int,
    on_subject: Callable[[], None] = lambda: None,
) -> list[FittedSubject]:
    """Find the parameters under which a network gives each subject the highest likelihood.

    Parameters
    ----------
    network
        A likelihood network.
    subjects
        From :func:`lanflow.simulated_subjects.simulate_subjects`.
    n_processes
        Subjects fitted at a time; of no effect on what is found.
    on_subject
        Called after each subject.
    """
    fits = []
    # One process, too, so that its sums are the same.
    with worker_pool(min(n_processes, len(subjects)), _start_worker, network) as executor:
        # All processes are started by this call, which has one thread for each of them.
        with _one_thread():
            found = executor.map(_fit_subject, subjects)
        for one in found:
            fits.append(one)
            on_subject()
    return fits


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
    _network_here = DifferentiableNetwork(network.onnx), network.bounds


def _fit_subject(subject: Subject) -> FittedSubject:
    network, bounds = _network_here
    likelihood = TrialLikelihood(network, bounds, subject.rts, subject.choices)
    found = fit(likelihood, seed=subject.seed)
    return FittedSubject(likelihood.at(subject.theta), found)
