import numpy as np
import pytest

from lanflow.errors import UserError
from lanflow.kde import OMISSION
from lanflow.likelihood_ddm import choice_probability
from lanflow.true_density import choose_reference, frequency

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
