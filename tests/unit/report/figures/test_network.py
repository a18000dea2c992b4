import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lanflow.core.figures import BLUE, GREEN, ORANGE, YELLOW
from lanflow.evaluation.reference import TrainedNetwork, read_network_folder
from lanflow.evaluation.scores import likelihood_errors, probability_errors
from lanflow.report.figures.calibration import (
    draw_likelihood_calibration,
    draw_probability_calibration,
)
from lanflow.report.figures.densities import draw_densities, draw_outcomes
from lanflow.report.figures.errors import draw_likelihood_errors, draw_probability_errors
from lanflow.report.figures.sweeps import draw_manifold, draw_probability_sweeps
from tests.made_networks import exact, exact_choice, write_untrained
from tests.unit.core.test_figures import n_pixels_of


def image_of(png: bytes) -> np.ndarray:
    image: np.ndarray = imread(io.BytesIO(png))
    return image[:, :, :3]


def n_black_pixels(image: np.ndarray) -> int:
    return int((image < 0.05).all(axis=2).sum())


def drawn_errors(subject: TrainedNetwork) -> bytes:
    return draw_likelihood_errors(
        subject, likelihood_errors(subject, n_vectors=64, n_trials=20, seed=1)
    )


def drawn_calibration(subject: TrainedNetwork) -> bytes:
    return draw_likelihood_calibration(
        subject, likelihood_errors(subject, n_vectors=32, n_trials=20, seed=1)
    )


LIKELIHOOD_FIGURES: list[Callable[[TrainedNetwork], bytes]] = [
    lambda subject: draw_densities(subject, seed=1, n_trials=500),
    draw_manifold,
    drawn_errors,
    drawn_calibration,
]


@pytest.mark.parametrize("draw", LIKELIHOOD_FIGURES)
def test_a_fault_of_a_likelihood_network_changes_every_figure(
    draw: Callable[[TrainedNetwork], bytes],
) -> None:
    right, wrong = draw(exact()), draw(exact(too_high=0.4))
    assert right.startswith(b"\x89PNG")
    assert (image_of(right) != image_of(wrong)).any(axis=2).sum() > 500


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (draw_densities(exact(), seed=1, n_trials=200) for _ in range(2))
    assert first == second
    assert first != draw_densities(exact(), seed=2, n_trials=200)


def test_densities_show_both_choices_and_the_models_own_curve() -> None:
    subject = exact(too_high=0.4)
    image = image_of(draw_densities(subject, seed=1, n_trials=500))
    assert n_pixels_of(image, BLUE) > 1000
    assert n_pixels_of(image, ORANGE) > 1000
    hidden = image_of(draw_densities(exact(), seed=1, n_trials=500))
    # Where the network is right its line lies under the dashes; here they stand apart.
    assert n_pixels_of(image, BLUE) > n_pixels_of(hidden, BLUE)


def test_a_model_of_three_choices_without_a_density_is_drawn_too(tmp_path: Path) -> None:
    subject = read_network_folder(write_untrained(tmp_path, "race_no_bias_3"))
    densities = image_of(draw_densities(subject, seed=1, n_trials=300))
    assert min(n_pixels_of(densities, colour) for colour in (ORANGE, BLUE, GREEN)) > 200
    manifold = image_of(draw_manifold(subject))
    assert n_pixels_of(manifold, YELLOW) == 0  # no curve of a model that is not known
    errors = likelihood_errors(subject, n_vectors=4, n_trials=20, seed=1)
    image_of(draw_likelihood_errors(subject, errors))
    image_of(draw_likelihood_calibration(subject, errors))


def test_a_manifold_has_the_models_lines_where_its_density_is_known() -> None:
    assert n_pixels_of(image_of(draw_manifold(exact(too_late=0.3))), YELLOW) > 500


def test_errors_of_many_parameters_are_a_list_of_panels() -> None:
    subject = exact()
    errors = likelihood_errors(subject, n_vectors=16, n_trials=10, seed=1)
    tall = image_of(draw_likelihood_errors(subject, errors))
    thetas = np.hstack([errors.thetas] * 3)
    bounds = {f"{name}{i}": pair for i in range(3) for name, pair in subject.bounds.items()}
    many = TrainedNetwork(subject.network, subject.network_type, subject.model, bounds)
    wide = image_of(
        draw_likelihood_errors(many, type(errors)(**{**vars(errors), "thetas": thetas}))
    )
    assert wide.shape[1] == 9.6 * 120
    assert tall.shape[0] != wide.shape[0]


def test_a_fault_of_a_network_of_probabilities_changes_every_figure() -> None:
    figures = []
    for subject in (exact_choice(), exact_choice(too_high=0.2)):
        errors = probability_errors(subject, n_vectors=64, n_trials=0, seed=1)
        figures.append(
            [
                draw_outcomes(subject, seed=1, n_trials=100),
                draw_probability_sweeps(subject, seed=1),
                draw_probability_errors(subject, errors),
                draw_probability_calibration(subject, errors),
            ]
        )
    for right, wrong in zip(*figures, strict=True):
        assert (image_of(right) != image_of(wrong)).any(axis=2).sum() > 500
    # The model's own probability stays in sight beside the network's.
    assert n_black_pixels(image_of(figures[1][1])) > n_black_pixels(image_of(figures[0][1])) * 0.8


def test_a_network_of_probabilities_of_a_simulated_model_has_points(tmp_path: Path) -> None:
    subject = read_network_folder(write_untrained(tmp_path, "race_no_bias_2", "cpn"))
    errors = probability_errors(subject, n_vectors=4, n_trials=50, seed=1)
    for png in (
        draw_outcomes(subject, seed=1, n_trials=50),
        draw_probability_sweeps(subject, seed=1, n_trials=50),
        draw_probability_errors(subject, errors),
        draw_probability_calibration(subject, errors),
    ):
        assert (image_of(png) < 0.9).any(axis=2).sum() > 1000


def test_values_that_are_not_finite_or_huge_can_be_drawn() -> None:
    subject = exact(too_high=float("inf"))
    for draw in LIKELIHOOD_FIGURES:
        image_of(draw(subject))
