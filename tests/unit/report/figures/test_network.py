import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.contour import ContourSet
from matplotlib.image import imread
from matplotlib.text import Text

from lanflow.core.figures import (
    BLUE,
    GREEN,
    ORANGE,
    Drawing,
    draw,
    format_parameters,
    line_key,
    put_legend,
    put_title,
)
from lanflow.evaluation.evaluate import score
from lanflow.evaluation.record import EvaluationSettings
from lanflow.evaluation.scores import Scores, calibration
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from lanflow.report.figures.calibration import (
    draw_likelihood_calibration,
    draw_probability_calibration,
)
from lanflow.report.figures.densities import draw_densities, draw_outcomes
from lanflow.report.figures.errors import draw_errors
from lanflow.report.figures.sweeps import draw_manifold, draw_probability_sweeps
from tests.made_networks import exact, exact_choice, made, reference_of
from tests.networks import write_network
from tests.unit.core.test_figures import n_pixels_of


def image_of(figure: Drawing) -> np.ndarray:
    image: np.ndarray = imread(io.BytesIO(figure.png()))
    return image[:, :, :3]


def n_black_pixels(image: np.ndarray) -> int:
    return int((image < 0.05).all(axis=2).sum())


def n_sets_of_lines(figure: Drawing) -> list[int]:
    """Of each panel with lines, whose lines it has: the network's, and the model's."""
    counts = [sum(isinstance(c, ContourSet) for c in axes.collections) for axes in figure.axes]
    return [n for n in counts if n]


def scores_of(network: Network, *, n_sets: int, rows: int = 20) -> Scores:
    settings = EvaluationSettings(n_sets=n_sets, rows=rows)
    return score(network, reference_of(network), settings, seed=1)


def densities(network: Network, *, seed: int = 1, n_trials: int = 500) -> Drawing:
    return draw_densities(network, reference_of(network), seed=seed, n_trials=n_trials)


def manifold(network: Network) -> Drawing:
    return draw_manifold(network, reference_of(network).for_drawing())


def errors(network: Network, *, n_sets: int = 64) -> Drawing:
    return draw_errors(network, scores_of(network, n_sets=n_sets))


def calibrated(network: Network, scores: Scores | None = None) -> Drawing:
    scores = scores or scores_of(network, n_sets=32)
    found = calibration(network, scores, reference_of(network))
    return draw_likelihood_calibration(network, scores, found)


LIKELIHOOD_FIGURES: list[Callable[[Network], Drawing]] = [densities, manifold, errors, calibrated]


@pytest.mark.parametrize("draw", LIKELIHOOD_FIGURES)
def test_a_fault_of_a_likelihood_network_changes_every_figure(
    draw: Callable[[Network], Drawing],
) -> None:
    right, wrong = draw(exact()), draw(exact(too_high=0.4))
    assert right.png().startswith(b"\x89PNG")
    assert (image_of(right) != image_of(wrong)).any(axis=2).sum() > 500


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (densities(exact(), n_trials=200).png() for _ in range(2))
    assert first == second
    assert first != densities(exact(), seed=2, n_trials=200).png()


def test_densities_show_both_choices_and_the_models_own_curve() -> None:
    image = image_of(densities(exact(too_high=0.4)))
    assert n_pixels_of(image, BLUE) > 1000
    assert n_pixels_of(image, ORANGE) > 1000
    hidden = image_of(densities(exact()))
    # Where the network is right its line lies under the dashes; here they stand apart.
    assert n_pixels_of(image, BLUE) > n_pixels_of(hidden, BLUE)


def test_a_model_of_three_choices_without_a_density_is_drawn_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanflow.evaluation.reference.N_SIMULATIONS", 5000)
    network = Network.from_folder(write_network(tmp_path, model="lca_no_bias_3"))
    drawn = image_of(densities(network, n_trials=300))
    assert min(n_pixels_of(drawn, colour) for colour in (ORANGE, BLUE, GREEN)) > 100
    assert set(n_sets_of_lines(manifold(network))) == {1}  # the model's curve is not known
    scores = scores_of(network, n_sets=2)
    image_of(draw_errors(network, scores))
    image_of(calibrated(network, scores))


def test_a_manifold_has_the_models_lines_where_its_density_is_known() -> None:
    assert n_sets_of_lines(manifold(exact(too_late=0.3))) == 4 * [2]


def test_errors_of_many_parameters_are_a_list_of_panels() -> None:
    network = exact()
    scores = scores_of(network, n_sets=16, rows=10)
    tall = image_of(draw_errors(network, scores))
    model = network.model
    bounds = Bounds({f"{name}{i}": pair for i in range(3) for name, pair in model.bounds.items()})
    many = made("ddm", "lan", network.outputs, bounds)
    wide = image_of(
        draw_errors(many, replace(scores, parameters=np.hstack([scores.parameters] * 3)))
    )
    assert wide.shape[1] == 9.6 * 120
    assert tall.shape[0] != wide.shape[0]


def test_a_fault_of_a_network_of_probabilities_changes_every_figure() -> None:
    figures = []
    for network in (exact_choice(), exact_choice(too_high=0.2)):
        truth, scores = reference_of(network), scores_of(network, n_sets=64)
        figures.append(
            [
                draw_outcomes(network, truth, seed=1, n_trials=100),
                draw_probability_sweeps(network, truth, seed=1),
                draw_errors(network, scores),
                draw_probability_calibration(network, scores),
            ]
        )
    for right, wrong in zip(*figures, strict=True):
        assert (image_of(right) != image_of(wrong)).any(axis=2).sum() > 500
    # The model's own probability stays in sight beside the network's.
    assert n_black_pixels(image_of(figures[1][1])) > n_black_pixels(image_of(figures[0][1])) * 0.8


def test_a_network_of_probabilities_of_a_simulated_model_has_points(tmp_path: Path) -> None:
    folder = write_network(tmp_path, model="race_no_bias_2", network_type="cpn")
    network = Network.from_folder(folder)
    truth, scores = reference_of(network), scores_of(network, n_sets=4)
    for figure in (
        draw_outcomes(network, truth, seed=1, n_trials=50),
        draw_probability_sweeps(network, truth, seed=1, n_trials=50),
        draw_errors(network, scores),
        draw_probability_calibration(network, scores),
    ):
        assert (image_of(figure) < 0.9).any(axis=2).sum() > 1000


def test_values_that_are_not_finite_or_huge_can_be_drawn() -> None:
    for figure_of in LIKELIHOOD_FIGURES:
        image_of(figure_of(exact(too_high=float("inf"))))


def text_of(figure: Drawing) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def spiked(network: Network) -> Network:
    """A network that is far too high where the first parameter is."""

    def outputs(rows: np.ndarray) -> np.ndarray:
        return network(rows) + np.where(rows[:, :1] > 2.0, np.float32(5.0), np.float32(0.0))

    return made("ddm", "lan", outputs, network.bounds)


def test_a_spike_of_a_bad_network_does_not_take_over_an_axis_and_is_told() -> None:
    right, wrong = exact(), spiked(exact())
    for figure_of in (densities, calibrated):
        tops = [[axes.get_ylim()[1] for axes in figure_of(one).axes] for one in (right, wrong)]
        assert all(b <= 2 * a for a, b in zip(*tops, strict=True))
    assert "cut off: the network's peak, " in text_of(densities(wrong))
    assert "above, up to" in text_of(calibrated(wrong))
    assert "outside, up to" in text_of(calibrated(wrong))
    assert "up to" not in text_of(calibrated(right))
    figure = errors(wrong)
    assert "\N{RIGHTWARDS ARROW}" in text_of(figure)


def test_titles_fit_a_figure_of_any_number_of_parameters() -> None:
    network = exact()
    model = network.model
    bounds = Bounds({f"{name}{i}": pair for i in range(3) for name, pair in model.bounds.items()})
    theta = dict.fromkeys(bounds, -1.23456)
    assert max(map(len, format_parameters(theta).splitlines())) <= 46

    def fill(figure: Drawing) -> None:
        put_title(figure, "many words " * 20, ", ".join(bounds) * 3)
        put_legend(figure, [line_key("black", f"a long label {i}") for i in range(6)])

    figure = draw((4.0, 3.0), fill)
    figure.png()
    width = figure.get_size_inches()[0] * figure.dpi
    drawn = [*figure.texts, *figure.legends]
    assert all(0 <= each.get_window_extent().x1 <= width for each in drawn)
