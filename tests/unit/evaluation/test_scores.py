from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.implied import ImpliedDensity
from lanflow.evaluation.reference import Reference, choose_reference
from lanflow.evaluation.scores import (
    Scores,
    calibration,
    read_scores,
    score_likelihood,
    score_probability,
    write_scores,
)
from lanflow.models.simulators import draw_parameters, find_model, simulate
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxSession, likelihood_rows
from tests import networks
from tests.made_networks import MadeNetwork, exact, exact_choice, reference_of

DDM = choose_reference(find_model("ddm"))
BOUNDS = DDM.model.bounds


class Exact:
    """A network without error, or with a known one."""

    def __init__(self, reference: Reference, *, offset: float = 0.0) -> None:
        self._reference, self._offset = reference, offset

    def __call__(self, features: np.ndarray) -> np.ndarray:
        model = self._reference.model
        out = np.empty((len(features), 1))
        vectors, which = np.unique(
            features[:, : len(model.parameters)], axis=0, return_inverse=True
        )
        for index, vector in enumerate(vectors):
            rows = which.ravel() == index
            density = self._reference.density(model.bounds.named(vector.astype(float)), seed=1)
            out[rows, 0] = density.evaluate(features[rows, -2], features[rows, -1])
        return out + self._offset


def test_an_exact_network_has_no_error_and_an_offset_is_found() -> None:
    given = {"n_sets": 10, "rows": 50, "seed": 1}
    summary = score_likelihood(Exact(DDM), DDM, BOUNDS, **given).summary()
    assert summary.mean_abs_error < 1e-5
    assert summary.n_sets == 10
    assert summary.n_rows > 450
    off = score_likelihood(Exact(DDM, offset=0.1), DDM, BOUNDS, **given).summary()
    assert off.mean_difference == pytest.approx(0.1, abs=1e-5)
    for key in ("mean_abs_error", "median_abs_error", "p99_abs_error"):
        assert getattr(off, key) == pytest.approx(0.1, abs=1e-4)


def test_the_seed_decides_the_score() -> None:
    network = OnnxSession(export_onnx(*networks.well_made("lan")))
    first, again, other = (
        score_likelihood(network, DDM, BOUNDS, n_sets=5, rows=20, seed=seed).summary()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_trials_of_the_density_score_like_trials_of_the_simulator() -> None:
    """The trials of the score are drawn from the density; the simulator's give the same."""
    network = OnnxSession(export_onnx(*networks.well_made("lan")))
    n_sets, n = 60, 200
    drawn = score_likelihood(network, DDM, BOUNDS, n_sets=n_sets, rows=n, seed=1)
    differences = []
    for index, vector in enumerate(draw_parameters(DDM.model, BOUNDS, n_sets, seed=1)):
        theta = BOUNDS.named(vector)
        rts, choices = simulate(DDM.model, theta, n, seed=index, max_t=10.0)
        kept = rts < 10.0 + theta["t"]
        rows = likelihood_rows(vector, rts[kept], choices[kept])
        truth = DDM.density(theta, seed=1).evaluate(rows[:, -2], rows[:, -1])
        differences.append(truth - network(rows)[:, 0])
    simulated = np.abs(np.concatenate(differences)).mean()
    assert drawn.summary().mean_abs_error == pytest.approx(simulated, rel=0.2)


def test_with_simulations_as_the_reference_trials_are_simulated() -> None:
    reference = choose_reference(find_model("ddm"), "kde")
    bounds = BOUNDS.overlaid({"a": (0.4, 0.6), "v": (1.0, 2.0)})
    summary = score_likelihood(Exact(DDM), reference, bounds, n_sets=2, rows=100, seed=1).summary()
    assert summary.n_rows == 200
    assert 1e-3 < summary.mean_abs_error < 0.1  # that of the kernel density


def test_probabilities_are_compared_with_the_models() -> None:
    network = OnnxSession(export_onnx(*networks.well_made("cpn")))
    summary = score_probability(network, DDM, BOUNDS, "cpn", n_sets=50, seed=1).summary()
    assert summary.unit == "probability"
    assert summary.n_rows == 50
    assert summary.mean_abs_error < 0.005
    wrong = score_probability(network, DDM, BOUNDS, "gonogo", n_sets=50, seed=1).summary()
    assert wrong.mean_abs_error > 0.2


def test_an_implied_density_is_integrated_by_trapezoids_from_zero() -> None:
    densities = np.array([[2.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    implied = ImpliedDensity(np.array([0.0, 1.0, 3.0]), densities)
    np.testing.assert_allclose(implied.cumulative, [[0, 2, 8], [0, 1, 3]])
    assert implied.mass == 11


def likelihood_scores(network: MadeNetwork, *, n_sets: int, rows: int) -> Scores:
    return score_likelihood(
        network, reference_of(network), network.bounds, n_sets=n_sets, rows=rows, seed=1
    )


@pytest.mark.parametrize("model", ["ddm", "ddm_deadline"])
def test_a_network_that_is_right_has_no_errors_and_uniform_ranks(model: str) -> None:
    network = exact(model)
    scores = likelihood_scores(network, n_sets=32, rows=40)
    found = calibration(network, scores, reference_of(network))
    assert np.abs(scores.differences).max() < 1e-4
    np.testing.assert_allclose(found.masses, found.true_masses, atol=5e-3)
    counts, _ = np.histogram(found.ranks, 10, (0, 1))
    expected = found.ranks.size / 10
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    assert scores.against == "the exact likelihood"


def test_a_log_likelihood_that_is_too_high_shows_in_errors_and_masses() -> None:
    network = exact(too_high=0.3)
    scores = likelihood_scores(network, n_sets=8, rows=20)
    np.testing.assert_allclose(scores.differences, 0.3, atol=1e-4)
    found = calibration(network, scores, reference_of(network))
    ratio = found.masses.sum(axis=1) / found.true_masses.sum(axis=1)
    np.testing.assert_allclose(ratio, np.exp(0.3), rtol=1e-2)


def test_rts_that_come_too_late_have_low_ranks() -> None:
    network = exact(too_late=0.1)
    scores = likelihood_scores(network, n_sets=16, rows=40)
    ranks = calibration(network, scores, reference_of(network)).ranks
    assert np.mean(ranks < 0.1) > 0.15
    assert ranks.mean() < 0.45


def test_vectors_without_an_answer_in_time_are_left_out_of_calibration() -> None:
    network = exact("ddm_deadline")
    scores = likelihood_scores(network, n_sets=32, rows=5)
    found = calibration(network, scores, reference_of(network))
    names = list(network.bounds)
    vectors = scores.parameters[found.sets]
    t, deadline = vectors[:, names.index("t")], vectors[:, names.index("deadline")]
    assert 16 < len(vectors) < 32
    assert (deadline > t).all()
    assert np.isnan(scores.mean_abs_error_of_sets()).sum() > 0
    never = network.bounds.overlaid({"deadline": (0, 0.01), "t": (0.1, 1)})
    with pytest.raises(UserError, match="no trial is answered in time anywhere"):
        score_likelihood(network, reference_of(network), never, n_sets=8, rows=5, seed=1)


def test_a_model_without_a_density_is_held_against_simulations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanflow.evaluation.reference.N_SIMULATIONS", 5000)
    network = Network.from_folder(networks.write_network(tmp_path, model="lca_no_bias_3"))
    truth = reference_of(network)
    scores = score_likelihood(network, truth, network.bounds, n_sets=2, rows=10, seed=1)
    assert scores.against.startswith("a kernel density of 5,000 simulations")
    assert scores.choice_probabilities.shape == (2, 3)
    np.testing.assert_allclose(scores.choice_probabilities.sum(axis=1), 1)
    assert (scores.reference > -12).all()  # trials of the model are likely under its density


@pytest.mark.parametrize("too_high", [0.0, 0.1])
def test_errors_of_probabilities_are_the_differences_from_the_models(too_high: float) -> None:
    network = exact_choice(too_high=too_high)
    scores = score_probability(
        network, reference_of(network), network.bounds, "cpn", n_sets=64, seed=2
    )
    np.testing.assert_allclose(scores.differences[scores.reference < 0.9], too_high, atol=1e-3)
    assert scores.against == "the exact likelihood"


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    scores = likelihood_scores(exact(too_high=0.1), n_sets=3, rows=10)
    path = tmp_path / "evaluation.npz"
    given = {"onnx_sha256": "a" * 64, "n_parameters": 4}
    assert read_scores(path, **given) is None
    write_scores(path, scores, onnx_sha256="a" * 64)
    read = read_scores(path, **given)
    assert read is not None
    assert read.summary() == scores.summary()
    np.testing.assert_array_equal(read.rts, scores.rts)
    first = path.read_bytes()
    write_scores(path, scores, onnx_sha256="a" * 64)
    assert path.read_bytes() == first
    assert read_scores(path, **{**given, "onnx_sha256": "b" * 64}) is None
    with pytest.raises(UserError, match=r"evaluation.npz: damaged \(shapes differ\)"):
        read_scores(path, **{**given, "n_parameters": 5})
    path.write_bytes(first[:100])
    with pytest.raises(UserError, match=r"evaluation.npz: damaged .*'lanflow evaluate' again"):
        read_scores(path, **given)
