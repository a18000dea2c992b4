"""Maximum likelihood: the parameters under which a network gives trials the highest likelihood.

L-BFGS-B (Byrd et al. 1995) within the bounds with the network's own gradient, from the best of
many places that fill them, since a likelihood can have several maxima. Subjects are fitted on a
process for each core.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanflow.core.processes import worker_pool
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.density import Array
from lanflow.models.parameters import Bounds, sobol_points
from lanflow.networks.network import Network
from lanflow.networks.runtime import Perceptron

# Places that are looked at, and those of them that are climbed from.
_N_PLACES, _N_CLIMBED = 32, 4
# How near to a bound, in shares of the range, a maximum is at the bound.
_AT_BOUND = 1e-6
# A non-decision time that no rt lies before; its share of the first rt.
_BEFORE_FIRST_RT = 0.9


@dataclass(frozen=True)
class Fit:
    """The best maximum that was found.

    Attributes
    ----------
    theta
        Shape (parameters,).
    log_likelihood
        Of all trials there, in nats.
    at_lower, at_upper
        Whether each parameter is at one of its bounds, shape (parameters,).
    """

    theta: Array
    log_likelihood: float
    at_lower: np.ndarray
    at_upper: np.ndarray


class TrialLikelihood:
    """The log-likelihood of trials as a function of the place within the bounds, each range 0 to 1.

    Parameters
    ----------
    network
        A likelihood network.
    bounds
        In the order of the network's inputs.
    rts, choices
        Shape (trials,).
    """

    def __init__(
        self,
        network: Perceptron,
        bounds: Bounds,
        rts: Array,
        choices: Array,
    ) -> None:
        self.names = tuple(bounds)
        self.low, high = np.array(list(bounds.values()), float).T
        self.width = high - self.low
        self.rts = rts
        self._network = network
        self._rows = np.empty((len(rts), len(self.names) + 2))
        self._rows[:, -2], self._rows[:, -1] = rts, choices

    def at(self, theta: Array) -> float:
        """The log-likelihood at parameters, in nats."""
        self._rows[:, :-2] = theta
        return float(self._network.values(self._rows).sum())

    def mean_loss(self, place: Array) -> tuple[float, Array]:
        """Minus the mean over trials and its gradient, shape (parameters,)."""
        self._rows[:, :-2] = self.low + place * self.width
        values, gradients = self._network(self._rows)
        return -float(values.mean()), -gradients[:, :-2].mean(axis=0) * self.width


def fit(likelihood: TrialLikelihood, *, seed: int) -> Fit:
    """Climb from several places; the same seed and trials give the same maximum.

    Parameters
    ----------
    likelihood
        Of one subject's trials.
    seed
        Decides where the search begins.
    """
    from scipy.optimize import minimize

    n = len(likelihood.names)
    found = [
        minimize(likelihood.mean_loss, place, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * n)
        for place in _starts(likelihood, seed=seed)
    ]
    place = min(found, key=lambda one: float(one.fun)).x
    theta = likelihood.low + place * likelihood.width
    return Fit(theta, likelihood.at(theta), place <= _AT_BOUND, place >= 1 - _AT_BOUND)


def _starts(likelihood: TrialLikelihood, *, seed: int) -> Array:
    """The likeliest of places that fill the bounds, shape (starts, parameters)."""
    n = len(likelihood.names)
    places = sobol_points(np.random.SeedSequence(seed), n, first=0, n_points=_N_PLACES)
    places[0] = 0.5
    if "t" in likelihood.names:
        # Behind the first rt a likelihood is at its floor, and has no slope to climb.
        i = likelihood.names.index("t")
        latest = _BEFORE_FIRST_RT * likelihood.rts.min() - likelihood.low[i]
        width = likelihood.width[i]
        places[:, i] *= np.clip(latest / width, 0, 1) if width > 0 else 1
    values = [likelihood.at(likelihood.low + place * likelihood.width) for place in places]
    best = np.argsort(values, kind="stable")[::-1][:_N_CLIMBED]
    return np.asarray(places[np.sort(best)])


@dataclass(frozen=True)
class FittedSubject:
    """The fit of one subject.

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
    network: Network,
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
        From :func:`lanflow.evaluation.recovery.subjects.simulate_subjects`.
    n_processes
        Subjects fitted at a time; of no effect on what is found.
    on_subject
        Called after each subject.
    """
    fits = []
    # One process, too, so that its sums are the same.
    n_processes = min(n_processes, len(subjects))
    with worker_pool(n_processes, _start_worker, network.onnx, network.bounds) as pool:
        for one in pool.map(_fit_subject, subjects):
            fits.append(one)
            on_subject()
    return fits


_network_here: Any = None


def _start_worker(onnx: bytes, bounds: Bounds) -> None:
    """Give a process its network, once."""
    global _network_here
    _network_here = Perceptron(onnx), bounds


def _fit_subject(subject: Subject) -> FittedSubject:
    network, bounds = _network_here
    likelihood = TrialLikelihood(network, bounds, subject.rts, subject.choices)
    found = fit(likelihood, seed=subject.seed)
    return FittedSubject(likelihood.at(subject.theta), found)
