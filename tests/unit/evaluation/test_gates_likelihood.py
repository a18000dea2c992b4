import numpy as np
import pytest

from lanflow.evaluation.gates import judge
from lanflow.evaluation.gates_likelihood import (
    DENSITY_LIMITS,
    EDGE_LIMITS,
    N_TRIALS,
    density_numbers,
    distance,
    edge_numbers,
)
from lanflow.evaluation.implied import implied_density, rt_grid
from lanflow.evaluation.reference import choose_reference
from lanflow.models.simulators import find_model
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxSession
from tests import networks
from tests.unit.evaluation.test_scores import Exact

DDM = choose_reference(find_model("ddm"))
# Quick to simulate.
BOUNDS = DDM.model.bounds.overlaid({"a": (0.5, 1.2)})
N_SETS = 6

NETWORKS = {
    "well made": networks.well_made("lan"),
    "untrained": networks.untrained("lan"),
    "shuffled": networks.shuffled("lan"),
    "shifted": networks.shifted(0.1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_a_well_made_network_is_the_models_density(name: str) -> None:
    network = OnnxSession(export_onnx(*NETWORKS[name]))
    numbers = density_numbers(network, DDM, BOUNDS, n_sets=N_SETS, seed=1)
    gate = judge("density", numbers, DENSITY_LIMITS)
    assert gate.verdict == ("passed" if name == "well made" else "failed"), gate
    assert set(numbers) == {*DENSITY_LIMITS, "mean_distance", "mean_noise", "reference_distance"}


def test_a_shifted_network_has_its_mass_and_only_the_distance_tells() -> None:
    network = OnnxSession(export_onnx(*networks.shifted(0.1)))
    numbers = density_numbers(network, DDM, BOUNDS, n_sets=N_SETS, seed=1)
    assert numbers["mean_mass_error"] < DENSITY_LIMITS["mean_mass_error"]
    assert numbers["distance_ratio"] > 3


def test_the_exact_density_is_as_far_from_simulations_as_the_reference_is() -> None:
    numbers = density_numbers(Exact(DDM), DDM, BOUNDS, n_sets=N_SETS, seed=1)
    assert numbers["mean_mass_error"] < 2e-3
    assert numbers["mean_distance"] == pytest.approx(numbers["reference_distance"], abs=1e-3)
    assert judge("density", numbers, DENSITY_LIMITS).verdict == "passed"


def test_the_noise_is_measured_each_time() -> None:
    network = OnnxSession(export_onnx(*networks.well_made("lan")))
    first, other = (
        density_numbers(network, DDM, BOUNDS, n_sets=3, seed=seed)["mean_noise"] for seed in (1, 2)
    )
    assert first != other
    for noise in (first, other):  # of a two-sample Kolmogorov distance, at most 0.87 sqrt(2 / n)
        assert 0.2 < noise / (0.87 * np.sqrt(2 / N_TRIALS)) < 1.5


def test_trials_without_an_answer_count_as_mass_that_is_not_there() -> None:
    reference = choose_reference(find_model("ddm_deadline"))
    bounds = reference.model.bounds.overlaid(
        {"a": (0.8, 1.2), "t": (0.1, 0.2), "deadline": (0.4, 0.6)}
    )
    numbers = density_numbers(Exact(reference), reference, bounds, n_sets=3, seed=1)
    assert judge("density", numbers, DENSITY_LIMITS).verdict == "passed", numbers


def test_the_distance_is_kolmogorovs() -> None:
    rts = np.array([0.5, 1.5])
    uniform = lambda at: np.stack([np.clip(at / 2, 0, 1) * 0, np.clip(at / 2, 0, 1)])  # noqa: E731
    choices = np.ones(2)
    # Two trials out of N_TRIALS: the distribution function of the trials is nearly zero.
    assert distance(uniform, rts, choices, (-1, 1)) == pytest.approx(0.75 - 1 / N_TRIALS)


def test_the_implied_density_integrates_to_one_over_rts_and_choices() -> None:
    vector = np.array([0.5, 1.0, 0.5, 0.3])
    implied = implied_density(Exact(DDM), vector, (-1, 1), rt_grid(0.3, 20.0))
    assert implied.mass == pytest.approx(1, abs=2e-3)
    assert (np.diff(implied.rts) >= 0).all()


@pytest.mark.parametrize("shift", [0.00005, 0.02, 0.3, 1.3, 2.0])
@pytest.mark.parametrize("width", [0.001, 0.005, 0.05])
def test_an_edge_that_a_network_smooths_counts_as_much_as_it_holds(
    shift: float, width: float
) -> None:
    def smooth(features: np.ndarray) -> np.ndarray:
        """One choice: it rises to 10 until the shift, and falls from there."""
        late = features[:, -2:-1].astype(float) - shift
        return np.log(10) + np.where(late < 0, late / width, -late / 0.1)

    before = 10 * width * (1 - np.exp(-shift / width))
    implied = implied_density(smooth, np.zeros(1), (1,), rt_grid(shift, 20.0))
    assert implied.mass == pytest.approx(before + 1, abs=3e-3)
    assert (np.diff(implied.rts) > 0).all()


def test_a_well_made_network_is_sane_at_the_edges_and_spoilt_ones_are_not() -> None:
    bounds = DDM.model.bounds
    verdicts = {}
    for name, made in NETWORKS.items():
        numbers = edge_numbers(OnnxSession(export_onnx(*made)), DDM.model, bounds, seed=1)
        verdicts[name] = judge("tails", numbers, EDGE_LIMITS).verdict
    assert verdicts["well made"] == "passed"
    assert verdicts["untrained"] == verdicts["shuffled"] == "failed"


def test_mass_before_time_zero_and_outputs_that_are_no_number_are_found() -> None:
    bounds = DDM.model.bounds

    def early(features: np.ndarray) -> np.ndarray:
        return np.where(features[:, -2:-1] < 0, -3.0, -16.0)

    numbers = edge_numbers(early, DDM.model, bounds, seed=1)
    assert numbers["negative_rt_mass"] == pytest.approx(2 * np.exp(-3), rel=0.05)
    gate = judge("tails", numbers, EDGE_LIMITS)
    assert "; probability before time zero is 0.09" in f"; {gate.reason}"
    assert "largest probability before time zero at a corner" in gate.reason

    def broken(features: np.ndarray) -> np.ndarray:
        return np.where(features[:, :1] > 2.9, np.nan, -16.0)

    gate = judge("tails", edge_numbers(broken, DDM.model, bounds, seed=1), EDGE_LIMITS)
    assert gate.verdict == "failed"
    assert "values that are not finite at corners" in gate.reason


def test_corners_that_no_parameters_are_at_are_not_judged() -> None:
    lba = find_model("lba3")

    def impossible(features: np.ndarray) -> np.ndarray:
        """All its mass before time zero where a start is above its bound."""
        is_above = features[:, :1] > features[:, 1:2]
        early = np.where(features[:, -2:-1] < -0.05, 0.0, -16.0)
        return np.where(is_above, early, -16.0)

    numbers = edge_numbers(impossible, lba, lba.bounds, seed=1)
    assert judge("tails", numbers, EDGE_LIMITS).verdict == "passed"
