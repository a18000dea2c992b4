import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lanflow.core.figures import BLUE, GREEN, ORANGE, YELLOW
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


def image_of(png: bytes) -> np.ndarray:
    image: np.ndarray = imread(io.BytesIO(png))
    return image[:, :, :3]


def n_black_pixels(image: np.ndarray) -> int:
    return int((image < 0.05).all(axis=2).sum())


def scores_of(network: Network, *, n_sets: int, rows: int = 20) -> Scores:
    settings = EvaluationSettings(n_sets=n_sets, rows=rows)
    return score(network, reference_of(network), settings, seed=1)


def densities(network: Network, *, seed: int = 1, n_trials: int = 500) -> bytes:
    return draw_densities(network, reference_of(network), seed=seed, n_trials=n_trials)


def manifold(network: Network) -> bytes:
    return draw_manifold(network, reference_of(network).for_drawing())


def errors(network: Network, *, n_sets: int = 64) -> bytes:
    return draw_errors(network, scores_of(network, n_sets=n_sets))


def calibrated(network: Network, *, n_sets: int = 32) -> bytes:
    scores = scores_of(network, n_sets=n_sets)
    found = calibration(network, scores, reference_of(network))
    return draw_likelihood_calibration(network, scores, found)


LIKELIHOOD_FIGURES: list[Callable[[Network], bytes]] = [densities, manifold, errors, calibrated]


@pytest.mark.parametrize("draw", LIKELIHOOD_FIGURES)
def test_a_fault_of_a_likelihood_network_changes_every_figure(
    draw: Callable[[Network], bytes],
) -> None:
    right, wrong = draw(exact()), draw(exact(too_high=0.4))
    assert right.startswith(b"\x89PNG")
    assert (image_of(right) != image_of(wrong)).any(axis=2).sum() > 500


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (densities(exact(), n_trials=200) for _ in range(2))
    assert first == second
    assert first != densities(exact(), seed=2, n_trials=200)


def test_densities_show_both_choices_and_the_models_own_curve() -> None:
    image = image_of(densities(exact(too_high=0.4)))
    assert n_pixels_of(image, BLUE) > 1000
    assert n_pixels_of(image, ORANGE) > 1000
    hidden = image_of(densities(exact()))
    # Where the network is right its line lies under the dashes; here they stand apart.
    assert n_pixels_of(image, BLUE) > n_pixels_of(hidden, BLUE)


def test_a_model_of_three_choices_without_a_density_is_drawn_too(tmp_path: Path) -> None:
    network = Network.from_folder(write_network(tmp_path, model="race_no_bias_3"))
    drawn = image_of(densities(network, n_trials=300))
    assert min(n_pixels_of(drawn, colour) for colour in (ORANGE, BLUE, GREEN)) > 200
    assert n_pixels_of(image_of(manifold(network)), YELLOW) == 0  # the curve is not known
    image_of(errors(network, n_sets=4))
    image_of(calibrated(network, n_sets=4))


def test_a_manifold_has_the_models_lines_where_its_density_is_known() -> None:
    assert n_pixels_of(image_of(manifold(exact(too_late=0.3))), YELLOW) > 500


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
    for png in (
        draw_outcomes(network, truth, seed=1, n_trials=50),
        draw_probability_sweeps(network, truth, seed=1, n_trials=50),
        draw_errors(network, scores),
        draw_probability_calibration(network, scores),
    ):
        assert (image_of(png) < 0.9).any(axis=2).sum() > 1000


def test_values_that_are_not_finite_or_huge_can_be_drawn() -> None:
    for draw in LIKELIHOOD_FIGURES:
        image_of(draw(exact(too_high=float("inf"))))
