from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.reference import (
    Reference,
    TrainedNetwork,
    choose_reference,
    read_network_folder,
)
from lanflow.evaluation.scores import (
    by_name,
    integrate,
    likelihood_errors,
    probability_errors,
    rows_of,
    score_likelihood,
    score_probability,
)
from lanflow.models.parameters import box_of, draw_parameters
from lanflow.models.simulators import simulate
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxNetwork
from tests import networks
from tests.made_networks import exact, exact_choice, write_untrained

DDM = choose_reference("ddm")
BOX = box_of(DDM.model)


class Exact:
    """A network without error, or with a known one."""

    def __init__(self, reference: Reference, *, offset: float = 0.0) -> None:
        self._reference, self._offset = reference, offset

    def __call__(self, features: np.ndarray) -> np.ndarray:
        names = self._reference.model["params"]
        out = np.empty((len(features), 1))
        vectors, which = np.unique(features[:, : len(names)], axis=0, return_inverse=True)
        for index, vector in enumerate(vectors):
            rows = which.ravel() == index
            density = self._reference.density(by_name(names, vector.astype(float)), seed=1)
            out[rows, 0] = density.evaluate(features[rows, -2], features[rows, -1])
        return out + self._offset


def test_an_exact_network_has_no_error_and_an_offset_is_found() -> None:
    given = {"n_sets": 10, "rows": 50, "seed": 1}
    summary = score_likelihood(Exact(DDM), DDM, BOX, **given).summary()
    assert summary["mean_abs_error"] < 1e-5
    assert summary["n_sets"] == 10
    assert summary["n_rows"] > 450
    off = score_likelihood(Exact(DDM, offset=0.1), DDM, BOX, **given).summary()
    assert off["mean_difference"] == pytest.approx(-0.1, abs=1e-5)
    for key in ("mean_abs_error", "median_abs_error", "p99_abs_error"):
        assert off[key] == pytest.approx(0.1, abs=1e-4)


def test_the_seed_decides_the_score() -> None:
    network = OnnxNetwork(export_onnx(*networks.well_made("lan")))
    first, again, other = (
        score_likelihood(network, DDM, BOX, n_sets=5, rows=20, seed=seed).summary()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_trials_of_the_density_score_like_trials_of_the_simulator() -> None:
    """The trials of the score are drawn from the density; the simulator's give the same."""
    network = OnnxNetwork(export_onnx(*networks.well_made("lan")))
    n_sets, n = 60, 200
    drawn = score_likelihood(network, DDM, BOX, n_sets=n_sets, rows=n, seed=1)
    differences = []
    for index, vector in enumerate(draw_parameters(DDM.model, BOX, n_sets, seed=1)):
        theta = by_name(networks.PARAMETERS, vector)
        rts, choices = simulate(DDM.model, theta, n, seed=index, max_t=10.0)
        kept = rts < 10.0 + theta["t"]
        rows = rows_of(vector, rts[kept], choices[kept])
        truth = DDM.density(theta, seed=1).evaluate(rows[:, -2], rows[:, -1])
        differences.append(truth - network(rows)[:, 0])
    simulated = np.abs(np.concatenate(differences)).mean()
    assert drawn.summary()["mean_abs_error"] == pytest.approx(simulated, rel=0.2)


def test_with_simulations_as_the_reference_trials_are_simulated() -> None:
    reference = choose_reference("ddm", "kde")
    box = BOX | {"a": (0.4, 0.6), "v": (1.0, 2.0)}
    summary = score_likelihood(Exact(DDM), reference, box, n_sets=2, rows=100, seed=1).summary()
    assert summary["n_rows"] == 200
    assert 1e-3 < summary["mean_abs_error"] < 0.1  # that of the kernel density


def test_probabilities_are_compared_with_the_models() -> None:
    network = OnnxNetwork(export_onnx(*networks.well_made("cpn")))
    summary = score_probability(network, DDM, BOX, "cpn", n_sets=50, seed=1).summary()
    assert summary["unit"] == "probability"
    assert summary["n_rows"] == 50
    assert summary["mean_abs_error"] < 0.005
    wrong = score_probability(network, DDM, BOX, "gonogo", n_sets=50, seed=1).summary()
    assert wrong["mean_abs_error"] > 0.2


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
