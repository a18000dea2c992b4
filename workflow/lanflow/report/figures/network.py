"""The figures of one network, by name."""

from collections.abc import Callable, Iterator

from lanflow.evaluation.reference import Reference
from lanflow.evaluation.scores import Scores, calibration
from lanflow.networks.network import Network
from lanflow.report.figures.calibration import (
    draw_likelihood_calibration,
    draw_probability_calibration,
)
from lanflow.report.figures.densities import draw_densities, draw_outcomes
from lanflow.report.figures.errors import draw_errors
from lanflow.report.figures.sweeps import draw_manifold, draw_probability_sweeps


def draw_network(
    network: Network,
    reference: Reference,
    scores: Scores,
    *,
    seed: int,
    on_plot: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, bytes]]:
    """Figures of a network, as (name, PNG): keys of :data:`lanflow.networks.folder.PLOTS`.

    Parameters
    ----------
    network
        The network.
    reference
        The truth about its model.
    scores
        The network beside its reference: errors and calibration are drawn from these.
    seed
        Decides the parameter vectors and simulations of the other figures.
    on_plot
        Called with the name of each before it is made.
    """
    quick, has_trial = reference.for_drawing(), network.network_type.has_trial
    on_plot("density")
    yield "density", (draw_densities if has_trial else draw_outcomes)(network, quick, seed=seed)
    on_plot("sweep")
    if has_trial:
        yield "sweep", draw_manifold(network, quick)
    else:
        yield "sweep", draw_probability_sweeps(network, quick, seed=seed)
    on_plot("error")
    yield "error", draw_errors(network, scores)
    on_plot("calibration")
    if has_trial:
        ranks = calibration(network, scores, reference)
        yield "calibration", draw_likelihood_calibration(network, scores, ranks)
    else:
        yield "calibration", draw_probability_calibration(network, scores)
