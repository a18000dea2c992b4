"""The figures of one network, by name."""

from collections.abc import Callable, Iterator

from lanflow.evaluation.reference import TrainedNetwork
from lanflow.evaluation.scores import likelihood_errors, probability_errors
from lanflow.report.figures.calibration import (
    draw_likelihood_calibration,
    draw_probability_calibration,
)
from lanflow.report.figures.densities import draw_densities, draw_outcomes
from lanflow.report.figures.errors import draw_likelihood_errors, draw_probability_errors
from lanflow.report.figures.sweeps import draw_manifold, draw_probability_sweeps

# Trials at each parameter draw; simulated ones where probabilities are not known.
_N_TRIALS, _N_SIMULATED = 100, 2000
# Parameter draws for errors and calibration; thousands of trials at each are slow to simulate.
_N_VECTORS, _N_SIMULATED_VECTORS = 256, 64


def draw_network(
    subject: TrainedNetwork,
    *,
    n_vectors: int | None = None,
    seed: int,
    on_plot: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, bytes]]:
    """Figures of a network, as (name, PNG): keys of :data:`lanflow.networks.folder.PLOTS`.

    Parameters
    ----------
    subject
        The network.
    n_vectors
        Parameter draws for errors and calibration; a few hundred when left out, fewer where the
        model has to be simulated.
    seed
        Decides all draws and simulations.
    on_plot
        Called with the name of each before it is made.
    """
    n_vectors = n_vectors or (_N_VECTORS if subject.is_exact else _N_SIMULATED_VECTORS)
    has_trial = subject.network_type.has_trial
    on_plot("density")
    yield "density", (draw_densities if has_trial else draw_outcomes)(subject, seed=seed)
    on_plot("sweep")
    if has_trial:
        yield "sweep", draw_manifold(subject)
        on_plot("error")
        errors = likelihood_errors(subject, n_vectors=n_vectors, n_trials=_N_TRIALS, seed=seed)
        yield "error", draw_likelihood_errors(subject, errors)
        yield "calibration", draw_likelihood_calibration(subject, errors)
    else:
        yield "sweep", draw_probability_sweeps(subject, seed=seed)
        on_plot("error")
        off = probability_errors(subject, n_vectors=n_vectors, n_trials=_N_SIMULATED, seed=seed)
        yield "error", draw_probability_errors(subject, off)
        yield "calibration", draw_probability_calibration(subject, off)
