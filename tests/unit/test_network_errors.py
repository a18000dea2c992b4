from pathlib import Path

import numpy as np
import pytest

from lanflow.errors import UserError
from lanflow.network_errors import integrate, likelihood_errors, probability_errors
from lanflow.trained_network import TrainedNetwork, read_network_folder
from tests.made_networks import exact, exact_choice, write_untrained


def test_an_integral_grows_from_zero_along_the_grid() -> None:
    grid = np.array([0.0, 1.0, 3.0])
    np.testing.assert_allclose(integrate(np.array([2.0, 2.0, 4.0]), grid), [0, 2, 8])
    assert integrate(np.ones((4, 3)), grid).shape == (4, 3)


@pytest.mark.parametrize("model", ["ddm", "ddm_deadline"])
def test_a_network_that_is_right_has_no_errors_and_uniform_ranks(model: str) -> None:
    errors = likelihood_errors(exact(model), n_vectors=32, n_trials=40, seed=1)
    assert np.abs(errors.predicted - errors.reference).max() < 1e-4
    np.testing.assert_allclose(errors.probabilities, errors.true_probabilities, atol=5e-3)
    counts, _ = np.histogram(errors.ranks, 10, (0, 1))
    expected = errors.ranks.size / 10
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    assert errors.against == "the model's own likelihood (exact)"


def test_a_log_likelihood_that_is_too_high_shows_in_errors_and_masses() -> None:
    errors = likelihood_errors(exact(too_high=0.3), n_vectors=8, n_trials=20, seed=1)
    np.testing.assert_allclose(errors.predicted - errors.reference, 0.3, atol=1e-4)
    ratio = errors.probabilities.sum(axis=1) / errors.true_probabilities.sum(axis=1)
    np.testing.assert_allclose(ratio, np.exp(0.3), rtol=5e-3)


def test_rts_that_come_too_late_have_low_ranks() -> None:
    errors = likelihood_errors(exact(too_late=0.1), n_vectors=16, n_trials=40, seed=1)
    assert np.mean(errors.ranks < 0.1) > 0.15
    assert errors.ranks.mean() < 0.45


def test_vectors_without_an_answer_in_time_are_left_out() -> None:
    subject = exact("ddm_deadline")
    errors = likelihood_errors(subject, n_vectors=32, n_trials=5, seed=1)
    names = list(subject.bounds)
    t, deadline = errors.thetas[:, names.index("t")], errors.thetas[:, names.index("deadline")]
    assert 16 < len(errors.thetas) < 32
    assert (deadline > t).all()
    never = TrainedNetwork(
        subject.network,
        subject.network_type,
        subject.model,
        subject.bounds | {"deadline": (0, 0.01)},
    )
    with pytest.raises(UserError, match="no trial is answered in time anywhere in the box"):
        likelihood_errors(never, n_vectors=8, n_trials=5, seed=1)


def test_a_model_without_a_density_is_held_against_simulations(tmp_path: Path) -> None:
    subject = read_network_folder(write_untrained(tmp_path, "race_no_bias_3"))
    errors = likelihood_errors(subject, n_vectors=2, n_trials=10, seed=1)
    assert errors.against == "a kernel density of 4,000 simulated trials"
    assert errors.true_probabilities.shape == (2, 3)
    np.testing.assert_allclose(errors.true_probabilities.sum(axis=1), 1)
    assert (errors.reference > -12).all()  # trials of the model are likely under its density


@pytest.mark.parametrize("too_high", [0.0, 0.1])
def test_errors_of_probabilities_are_the_differences_from_the_models(too_high: float) -> None:
    errors = probability_errors(exact_choice(too_high=too_high), n_vectors=64, n_trials=0, seed=2)
    difference = (errors.predicted - errors.true)[errors.true < 0.9]
    np.testing.assert_allclose(difference, too_high, atol=1e-3)
    assert errors.against == "the model's own probability (exact)"
