from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.implied import drawable_log_density, grid_of
from lanflow.evaluation.reference import MAX_T, Reference, choose_reference, frequencies
from lanflow.models.analytic import choice_probability
from lanflow.models.kde import OMISSION
from lanflow.models.simulators import draw_parameters, find_model
from lanflow.models.sources import BestSource
from lanflow.networks.network import Network
from tests.made_networks import reference_of
from tests.networks import write_network

ANGLE = {"v": 1.0, "a": 1.0, "z": 0.4, "t": 0.2, "theta": 0.3}


def reference(model: str, wanted: BestSource | None = None) -> Reference:
    return choose_reference(find_model(model), wanted or "auto")


def test_the_best_reference_is_exact_then_solved_then_simulated() -> None:
    assert reference("ddm").source == "analytic"
    assert reference("weibull").source == "solver"
    assert reference("full_ddm").source == "analytic"
    assert reference("lca_3").source == "kde"
    assert reference("angle", "solver").source == "solver"


def test_a_reference_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"--reference analytic.*'weibull'.*auto, solver, kde"):
        reference("weibull", "analytic")
    with pytest.raises(UserError, match="did you mean 'ddm'"):
        reference("dmd")


def test_a_fine_solution_is_nearly_the_exact_likelihood() -> None:
    rts, choices = np.linspace(0.25, 3, 40), np.tile([-1.0, 1.0], 20)
    exact, solved = (
        reference("angle", source).density(ANGLE, seed=1).evaluate(rts, choices)
        for source in ("analytic", "solver")  # type: ignore[attr-defined]
    )
    kept = exact > np.log(1e-7)
    assert kept.sum() > 20
    assert np.abs(exact - solved)[kept].max() < 1e-4


def test_many_simulations_come_near_and_say_that_they_have_an_error() -> None:
    simulated = reference("ddm", "kde")
    assert "error of its own" in simulated.description
    theta = {"v": 1.0, "a": 0.6, "z": 0.4, "t": 0.2}
    rts, choices = np.array([0.3, 0.4, 0.5, 0.4]), np.array([1.0, 1.0, 1.0, -1.0])
    estimated = simulated.density(theta, seed=1).evaluate(rts, choices)
    exact = reference("ddm").density(theta, seed=1).evaluate(rts, choices)
    np.testing.assert_allclose(estimated, exact, atol=0.08)


def test_probabilities_are_those_of_the_model_whatever_the_reference() -> None:
    theta = {"v": 1.0, "a": 0.6, "z": 0.4, "t": 0.2}
    upper = choice_probability(1.0, 0.6, 0.4)
    exact = reference("ddm")
    assert exact.probabilities(theta, "cpn", seed=1) == pytest.approx([upper], abs=1e-6)
    assert exact.probabilities(theta, "gonogo", seed=1) == pytest.approx([1 - upper], abs=1e-6)
    assert exact.probabilities(theta, "opn", seed=1) == [0]
    (simulated,) = reference("ddm", "kde").probabilities(theta, "cpn", seed=1)
    # The simulator's time step lets some particles pass a boundary unseen.
    assert simulated == pytest.approx(upper, abs=0.02)


def test_a_trial_without_an_answer_is_an_omission_and_no_choice() -> None:
    rts = np.array([0.5, 0.5, 0.5, OMISSION])
    choices = np.array([1.0, 1.0, -1.0, OMISSION])
    model = find_model("ddm")
    assert frequencies(rts, choices, model, "cpn") == [0.5]
    assert frequencies(rts, choices, model, "opn") == [0.25]
    assert frequencies(rts, choices, model, "gonogo") == [0.5]


def test_of_many_choices_the_highest_counts_and_every_other_is_a_no_go() -> None:
    rts = np.array([0.5, 0.5, 0.5, OMISSION])
    choices = np.array([2.0, 1.0, 0.0, OMISSION])
    model = find_model("race_no_bias_3")
    assert frequencies(rts, choices, model, "cpn") == [0.25]
    assert frequencies(rts, choices, model, "gonogo") == [0.75]
    assert frequencies(rts, choices, model, "cpn", n_outputs=3).tolist() == [0.25] * 3


def test_a_folder_tells_what_its_network_is_of(tmp_path: Path) -> None:
    bounds = {"v": [-1, 1], "a": [0.5, 1], "z": [0.4, 0.6], "t": [0, 1]}
    network = Network.from_folder(write_network(tmp_path, bounds=bounds))
    assert network.title == "ddm lan (jax)"
    assert network.bounds["v"] == (-1.0, 1.0)
    assert network.model.choices == (-1, 1)
    truth = reference_of(network)
    assert (truth.source, truth.name) == ("analytic", "exact")
    vector = np.array(list(network.bounds.centre().values()))
    values = drawable_log_density(network, vector, np.array([0.5, 1.0]), np.ones(2))
    assert values.shape == (2,)
    rows = np.array([[0, 0.75, 0.5, 0.5, 0.5, 1]], np.float32)
    assert values[0] == network(rows)[0, 0]


@pytest.mark.parametrize(
    ("network_type", "outcomes"),
    [("cpn", ("choice 1",)), ("opn", ("omission",)), ("gonogo", ("no-go",))],
)
def test_a_network_of_probabilities_names_its_outcome(
    tmp_path: Path, network_type: str, outcomes: tuple[str, ...]
) -> None:
    folder = write_network(tmp_path, model="ddm_deadline", network_type=network_type)  # type: ignore[arg-type]
    network = Network.from_folder(folder)
    assert network.outcomes == outcomes
    probabilities = np.exp(network.log_probability(**network.bounds.centre()))
    assert probabilities.shape == (1,)
    assert 0 < probabilities[0] < 1


@pytest.mark.parametrize("network_type", ["cpn", "opn", "gonogo"])
def test_true_probabilities_are_those_of_simulations(network_type: str) -> None:
    truth = reference("ddm_deadline")
    theta = {"v": 0.4, "a": 1.2, "z": 0.5, "t": 0.3, "deadline": 1.2}
    (true,) = truth.probabilities(theta, network_type, seed=0)  # type: ignore[arg-type]
    trials = truth.simulate(theta, 4000, seed=3)
    (share,) = frequencies(*trials, truth.model, network_type)  # type: ignore[arg-type]
    assert 0.1 < true < 0.9
    assert share == pytest.approx(true, abs=0.04)  # five standard errors, and the time step


def test_a_model_without_a_density_is_simulated() -> None:
    truth = reference("lca_no_bias_3")
    theta = truth.model.bounds.centre() | {"v2": 2.0, "v0": 0.1, "v1": 0.1}
    assert truth.exact_density(theta) is None
    assert truth.name == "simulated"
    (share,) = truth.probabilities(theta, "cpn", n_simulations=500, seed=1)
    assert 0.5 < share < 1
    assert (share,) == tuple(truth.probabilities(theta, "cpn", n_simulations=500, seed=1))


def test_a_race_has_the_probabilities_of_its_density() -> None:
    truth = reference("race_no_bias_3_deadline")
    theta = truth.model.bounds.centre() | {"v2": 2.5, "t": 0.2, "deadline": 1.5}
    all_three = truth.probabilities(theta, "cpn", n_outputs=3, seed=1)
    (highest,) = truth.probabilities(theta, "cpn", seed=1)
    assert all_three[2] == highest
    (late,) = truth.probabilities(theta, "opn", seed=1)
    assert all_three.sum() + late == pytest.approx(1)
    rts, choices, logs, probabilities = truth.trials(theta, 200, seed=1)
    assert set(choices) <= {0, 1, 2}
    assert logs.min() > -20
    np.testing.assert_allclose(probabilities, all_three)
    assert rts.max() < 1.5


def test_an_onnx_file_alone_is_looked_at_in_the_models_bounds_or_its_cards(tmp_path: Path) -> None:
    path = write_network(tmp_path) / "model.onnx"
    network = Network.from_onnx(path, model="ddm")
    assert network.title == "ddm lan"
    assert network.bounds["a"] == (0.3, 2.5)
    card = tmp_path / "bounds.json"
    card.write_text('{"bounds": {"a": [1, 2]}}')
    assert Network.from_onnx(path, model="ddm", card_path=card).bounds["a"] == (1.0, 2.0)


def test_a_network_of_another_model_is_refused_by_its_inputs(tmp_path: Path) -> None:
    path = write_network(tmp_path) / "model.onnx"
    with pytest.raises(
        UserError, match=r"takes 6 inputs, but a lan network of angle takes 7 \(v, "
    ):
        Network.from_onnx(path, model="angle").require_inputs()
    with pytest.raises(UserError, match="takes 6 inputs, but a cpn network of ddm takes 4"):
        Network.from_onnx(path, model="ddm", network_type="cpn").require_inputs()


def test_even_draws_fill_the_bounds_and_follow_from_the_seed() -> None:
    model = find_model("ddm")
    draws = draw_parameters(model, model.bounds, 64, seed=4, is_even=True)
    low, high = np.array(list(model.bounds.values())).T
    shares = (draws - low) / (high - low)
    assert ((shares >= 0) & (shares <= 1)).all()
    for column in shares.T:  # a Sobol sequence has as many in each part
        assert np.histogram(column, 8, (0, 1))[0].tolist() == [8] * 8
    again = draw_parameters(model, model.bounds, 64, seed=4, is_even=True)
    np.testing.assert_array_equal(draws, again)
    assert not np.array_equal(draws, draw_parameters(model, model.bounds, 64, seed=5, is_even=True))


@pytest.mark.parametrize(
    ("theta", "last"), [({"t": 0.3}, 20.3), ({"t": 0.3, "deadline": 1.5}, 1.5)]
)
def test_times_go_to_the_deadline_and_are_dense_behind_the_non_decision_time(
    theta: dict[str, float], last: float
) -> None:
    grid = grid_of(theta, MAX_T)
    assert grid[0] == 0
    assert grid[-1] == pytest.approx(last, rel=1e-5)
    assert grid[-1] < theta.get("deadline", np.inf)
    assert (np.diff(grid) >= 0).all()
    behind = grid[(grid >= theta["t"]) & (grid < theta["t"] + 0.02)]
    assert len(behind) > 50


def test_simulated_trials_behind_a_deadline_are_omissions() -> None:
    truth = reference("ddm_deadline")
    theta = {"v": 0.0, "a": 1.5, "z": 0.5, "t": 0.2, "deadline": 0.8}
    rts, choices = truth.simulate(theta, 200, seed=1)
    assert set(choices) <= {-1, 1, OMISSION}
    assert (choices == OMISSION).mean() > 0.3
    assert rts[choices != OMISSION].max() <= 0.8
