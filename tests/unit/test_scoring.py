import numpy as np
import pytest

from lanflow.box import box_of, draw_parameters
from lanflow.export import export_onnx
from lanflow.onnx_network import OnnxNetwork
from lanflow.scoring import by_name, rows_of, score_likelihood, score_probability
from lanflow.simulators import simulate
from lanflow.true_density import Reference, choose_reference
from tests import networks

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
