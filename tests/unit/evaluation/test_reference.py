from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.reference import (
    choose_reference,
    frequency,
    read_network_folder,
    read_onnx_file,
    time_grid,
)
from lanflow.models.analytic import choice_probability
from lanflow.models.kde import OMISSION
from tests.made_networks import exact, exact_choice, write_untrained

ANGLE = {"v": 1.0, "a": 1.0, "z": 0.4, "t": 0.2, "theta": 0.3}


def test_the_best_reference_is_exact_then_solved_then_simulated() -> None:
    assert choose_reference("ddm").source == "analytic"
    assert choose_reference("weibull").source == "solver"
    assert choose_reference("full_ddm").source == "kde"
    assert choose_reference("angle", "solver").source == "solver"


def test_a_reference_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"--reference analytic.*'weibull'.*auto, solver, kde"):
        choose_reference("weibull", "analytic")
    with pytest.raises(UserError, match="did you mean 'ddm'"):
        choose_reference("dmd")


def test_a_fine_solution_is_nearly_the_exact_likelihood() -> None:
    rts, choices = np.linspace(0.25, 3, 40), np.tile([-1.0, 1.0], 20)
    exact, solved = (
        choose_reference("angle", source).density(ANGLE, seed=1).evaluate(rts, choices)
        for source in ("analytic", "solver")
    )
    kept = exact > np.log(1e-7)
    assert kept.sum() > 20
    assert np.abs(exact - solved)[kept].max() < 1e-4


def test_many_simulations_come_near_and_say_that_they_have_an_error() -> None:
    reference = choose_reference("ddm", "kde")
    assert "error of its own" in reference.description
    theta = {"v": 1.0, "a": 0.6, "z": 0.4, "t": 0.2}
    rts, choices = np.array([0.3, 0.4, 0.5, 0.4]), np.array([1.0, 1.0, 1.0, -1.0])
    estimated = reference.density(theta, seed=1).evaluate(rts, choices)
    exact = choose_reference("ddm").density(theta, seed=1).evaluate(rts, choices)
    np.testing.assert_allclose(estimated, exact, atol=0.08)


def test_probabilities_are_those_of_the_model_whatever_the_reference() -> None:
    theta = {"v": 1.0, "a": 0.6, "z": 0.4, "t": 0.2}
    upper = choice_probability(1.0, 0.6, 0.4)
    exact = choose_reference("ddm")
    assert exact.probability(theta, "cpn", seed=1) == pytest.approx(upper, abs=1e-6)
    assert exact.probability(theta, "gonogo", seed=1) == pytest.approx(1 - upper, abs=1e-6)
    assert exact.probability(theta, "opn", seed=1) == 0
    simulated = choose_reference("ddm", "kde").probability(theta, "cpn", seed=1)
    # The simulator's time step lets some particles pass a boundary unseen.
    assert simulated == pytest.approx(upper, abs=0.02)


def test_a_trial_without_an_answer_is_an_omission_and_no_choice() -> None:
    rts = np.array([0.5, 0.5, 0.5, OMISSION])
    choices = np.array([1.0, 1.0, -1.0, OMISSION])
    assert frequency(rts, choices, "cpn") == 0.5
    assert frequency(rts, choices, "opn") == 0.25
    assert frequency(rts, choices, "gonogo") == 0.5


def test_a_folder_tells_what_its_network_is_of(tmp_path: Path) -> None:
    subject = read_network_folder(
        write_untrained(
            tmp_path, bounds={"v": [-1, 1], "a": [0.5, 1], "z": [0.4, 0.6], "t": [0, 1]}
        )
    )
    assert subject.title == "ddm lan (jax)"
    assert subject.bounds["v"] == (-1.0, 1.0)
    assert subject.choices == (-1, 1)
    assert (subject.source, subject.reference_name) == ("analytic", "exact")
    values = subject.log_density(subject.centre(), np.array([0.5, 1.0]), 1)
    assert values.shape == (2,)
    rows = np.array([[0, 0.75, 0.5, 0.5, 0.5, 1]], np.float32)
    assert values[0] == subject.network(rows)[0, 0]


@pytest.mark.parametrize(
    ("network_type", "outcomes"),
    [("cpn", ("choice 1",)), ("opn", ("omission",)), ("gonogo", ("no-go",))],
)
def test_a_network_of_probabilities_names_its_outcome(
    tmp_path: Path, network_type: str, outcomes: tuple[str, ...]
) -> None:
    folder = write_untrained(tmp_path, "ddm_deadline", network_type)  # type: ignore[arg-type]
    subject = read_network_folder(folder)
    assert subject.outcomes == outcomes
    probabilities = subject.probabilities([subject.centre()] * 3)
    assert probabilities.shape == (3, 1)
    assert 0 < probabilities[0, 0] < 1


@pytest.mark.parametrize("network_type", ["cpn", "opn", "gonogo"])
def test_true_probabilities_are_those_of_simulations(tmp_path: Path, network_type: str) -> None:
    folder = write_untrained(tmp_path, "ddm_deadline", network_type)  # type: ignore[arg-type]
    subject = read_network_folder(folder)
    theta = {"v": 0.4, "a": 1.2, "z": 0.5, "t": 0.3, "deadline": 1.2}
    (true,) = subject.true_probabilities(theta, 0, seed=0)
    _, choices = subject.simulate(theta, 4000, seed=3)
    (share,) = subject.shares_of(choices)
    assert 0.1 < true < 0.9
    assert share == pytest.approx(true, abs=0.04)  # five standard errors, and the time step


def test_a_model_without_a_density_is_simulated(tmp_path: Path) -> None:
    subject = read_network_folder(write_untrained(tmp_path, "race_no_bias_3", "cpn"))
    assert subject.density(subject.centre()) is None
    assert subject.reference_name == "simulated"
    theta = subject.centre() | {"v2": 2.5, "v0": 0.1, "v1": 0.1}
    (share,) = subject.true_probabilities(theta, 500, seed=1)
    assert 0.5 < share < 1
    assert (share,) == tuple(subject.true_probabilities(theta, 500, seed=1))


def test_an_onnx_file_alone_is_looked_at_in_the_models_box_or_its_cards(tmp_path: Path) -> None:
    path = write_untrained(tmp_path) / "model.onnx"
    subject = read_onnx_file(path, "ddm", "lan")
    assert subject.title == "ddm lan"
    assert subject.bounds["a"] == (0.3, 2.5)
    write_untrained(tmp_path / "other", bounds={"a": [1, 2]})
    card = tmp_path / "other" / "card.json"
    assert read_onnx_file(path, "ddm", "lan", card).bounds["a"] == (1.0, 2.0)


def test_a_network_of_another_model_is_refused_by_its_inputs(tmp_path: Path) -> None:
    path = write_untrained(tmp_path) / "model.onnx"
    with pytest.raises(
        UserError, match=r"takes 6 inputs, but a lan network of angle takes 7 \(v, "
    ):
        read_onnx_file(path, "angle", "lan")
    with pytest.raises(UserError, match="takes 6 inputs, but a cpn network of ddm takes 4"):
        read_onnx_file(path, "ddm", "cpn")


def test_draws_fill_the_box_and_follow_from_the_seed() -> None:
    subject = exact_choice()
    draws = subject.draws(64, seed=4)
    places = np.array([[theta[name] for name in subject.bounds] for theta in draws])
    low, high = np.array(list(subject.bounds.values())).T
    shares = (places - low) / (high - low)
    assert ((shares >= 0) & (shares <= 1)).all()
    for column in shares.T:  # a Sobol sequence has as many in each part
        assert np.histogram(column, 8, (0, 1))[0].tolist() == [8] * 8
    assert draws == subject.draws(64, seed=4)
    assert draws != subject.draws(64, seed=5)


@pytest.mark.parametrize(
    ("theta", "last"),
    [({"t": 0.3}, 20.0), ({"t": 0.3, "deadline": 1.5}, 1.5), ({"t": 1.0, "deadline": 0.4}, 0.4)],
)
def test_times_go_to_the_deadline_and_are_dense_behind_the_non_decision_time(
    theta: dict[str, float], last: float
) -> None:
    grid = time_grid(theta)
    assert grid[0] == 0
    assert grid[-1] == pytest.approx(last, rel=1e-5)
    assert grid[-1] < theta.get("deadline", np.inf)
    assert (np.diff(grid) > 0).all()
    if last > theta["t"]:
        behind = grid[(grid >= theta["t"]) & (grid < theta["t"] + 0.02)]
        assert len(behind) > 50


def test_simulated_trials_behind_a_deadline_are_omissions() -> None:
    subject = exact("ddm_deadline")
    theta = {"v": 0.0, "a": 1.5, "z": 0.5, "t": 0.2, "deadline": 0.8}
    rts, choices = subject.simulate(theta, 200, seed=1)
    assert set(choices) <= {-1, 1, OMISSION}
    assert (choices == OMISSION).mean() > 0.3
    assert rts[choices != OMISSION].max() <= 0.8
