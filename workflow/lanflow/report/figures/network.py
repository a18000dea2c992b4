"""The figures of one network, by name."""

from collections.abc import Callable
from typing import Any

from lanflow.core.figures import GREY, Drawing, draw, put_title
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

# In the order in which they are drawn, the cheapest first; keys of PLOTS in networks.folder.
FIGURES = ("density", "sweep", "error", "calibration")


def draw_figure(
    name: str,
    network: Network,
    reference: Reference | None,
    scores: Callable[[], Scores],
    *,
    seed: int,
) -> Drawing:
    """Draw one figure of a network.

    Parameters
    ----------
    name
        One of :data:`FIGURES`.
    network
        The network.
    reference
        The truth about its model; None where that is not at hand, and the figure says so.
    scores
        Gives the network beside its reference; called for errors and calibration.
    seed
        Decides the parameter vectors and simulations of the other figures.
    """
    if reference is None:
        return _draw_nothing(name, network)
    quick, has_trial = reference.for_drawing(), network.network_type.has_trial
    match name:
        case "density":
            return (draw_densities if has_trial else draw_outcomes)(network, quick, seed=seed)
        case "sweep" if has_trial:
            return draw_manifold(network, quick)
        case "sweep":
            return draw_probability_sweeps(network, quick, seed=seed)
        case "error":
            return draw_errors(network, scores())
        case "calibration" if has_trial:
            made = scores()
            ranks = calibration(network, made, reference)
            return draw_likelihood_calibration(network, made, ranks)
        case "calibration":
            return draw_probability_calibration(network, scores())
    raise AssertionError(name)


def _draw_nothing(name: str, network: Network) -> Drawing:
    """A figure of a network that has nothing to be compared with."""

    def fill(figure: Any) -> None:
        put_title(figure, f"{network.title}: {name}", "not judged")
        said = f"The model {network.model_name} is not at hand:\nbring it in with --models-file."
        figure.text(0.5, 0.45, said, ha="center", va="center", color=GREY)

    return draw((6, 2.4), fill)
