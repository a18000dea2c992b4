import warnings
from typing import Any

import numpy as np
import pytest
from ssms.basic_simulators.simulator import simulator
from ssms.dataset_generators.likelihood_estimators.kde_estimator import KDELikelihoodEstimator
from ssms.support_utils.kde_class import bandwidth_silverman

from lanflow.models.analytic import diffusion
from lanflow.models.density import FLOOR, Density
from lanflow.models.kde import OMISSION, KernelDensity, silverman_bandwidth

THETA = {"v": 0.8, "a": 1.2, "z": 0.4, "t": 0.4}


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    out: dict[str, Any] = simulator(theta=THETA, model="ddm", n_samples=3000, random_state=5)
    return out


def of(rts: list[float], choices: list[int]) -> dict[str, Any]:
    return {
        "rts": np.array(rts, "f4")[:, None],
        "choices": np.array(choices, "i4")[:, None],
        "metadata": {"possible_choices": [-1, 1], "max_t": 20.0},
    }


def fitted(simulations: dict[str, Any], shift: float = 0.0) -> KernelDensity:
    estimator = KernelDensity(shift)
    estimator.fit(simulations)
    return estimator


def exactly(simulations: dict[str, Any], rts: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """What ssm-simulators makes of it with scikit-learn."""
    estimator = KDELikelihoodEstimator()
    estimator.fit(simulations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.evaluate(rts, choices)


def test_it_is_the_exact_estimate_up_to_binning(simulated: dict[str, Any]) -> None:
    rts = np.geomspace(0.2, 15, 400)
    for choice in (-1, 1):
        choices = np.full(400, choice)
        exact = exactly(simulated, rts, choices)
        fast = fitted(simulated).evaluate(rts, choices)
        near = exact > -6
        assert near.sum() > 100
        assert np.abs(fast - exact)[near].max() < 2e-4
        assert np.abs(fast - exact)[exact > -60].max() < 0.05


@pytest.mark.parametrize(
    "simulations",
    [
        of([0.7, 1.0, 2.0, 4.0], [1, 1, 1, 1]),
        of([0.7, 1.0, 2.0, 4.0], [-1, 1, 1, 1]),
        of([1.0] * 50, [1, -1] * 25),
        of([0.5] * 30 + [19.0], [1] * 31),
    ],
    ids=["one choice", "a single time", "equal times", "an outlier"],
)
def test_few_and_odd_simulations_are_estimated_the_same_way(simulations: dict[str, Any]) -> None:
    rts = np.geomspace(0.05, 30, 50)
    for choice in (-1, 1):
        choices = np.full(50, choice)
        exact = exactly(simulations, rts, choices)
        assert np.isfinite(exact).all()
        np.testing.assert_allclose(
            fitted(simulations).evaluate(rts, choices),
            np.maximum(exact, FLOOR),
            atol=0.05,
            rtol=5e-3,
        )


def test_bandwidths_are_those_of_ssm_simulators() -> None:
    rng = np.random.default_rng(1)
    for sample in (rng.normal(size=100), rng.normal(size=2), np.ones(1), np.ones(5)):
        assert silverman_bandwidth(sample) == pytest.approx(float(bandwidth_silverman(sample)))


def test_taking_the_non_decision_time_off_brings_it_closer_to_the_truth(
    simulated: dict[str, Any],
) -> None:
    particle = diffusion("ddm", THETA)
    density = Density(particle.log_density, particle.grid(20.0), THETA["t"], 20.0)
    rows = density.sample(2000, random_state=1)
    truth = density.evaluate(**rows)
    errors = [
        np.abs(fitted(simulated, shift).evaluate(**rows) - truth).mean()
        for shift in (0.0, THETA["t"])
    ]
    assert errors[1] < 0.9 * errors[0]


def test_nothing_is_answered_before_the_non_decision_time(simulated: dict[str, Any]) -> None:
    rts = np.array([-1.0, 0.0, 0.1, 0.399, 0.4])
    assert (fitted(simulated, 0.4).evaluate(rts, np.ones(5)) == FLOOR).all()


def test_no_label_is_below_the_floor(simulated: dict[str, Any]) -> None:
    rts = np.array([1e-8, 1e-4, 1e4, 1e12])
    assert (fitted(simulated).evaluate(rts, np.ones(4)) == FLOOR).all()


def test_the_estimate_is_a_density() -> None:
    simulations = simulator(theta=THETA, model="ddm", n_samples=500, random_state=5)
    rts = np.linspace(0.01, 60, 60_001)
    total = 0.0
    for choice in (-1, 1):
        density = np.exp(fitted(simulations).evaluate(rts, np.full(len(rts), choice)))
        total += np.trapezoid(density, rts)
    assert total == pytest.approx(1, abs=1e-4)


def test_omitted_trials_are_missing_from_the_density(simulated: dict[str, Any]) -> None:
    late = simulated["rts"] > np.median(simulated["rts"])
    rts = np.where(late, OMISSION, simulated["rts"])
    estimator = fitted({**simulated, "rts": rts})
    grid = np.linspace(0.01, 60, 60_001)
    total = sum(
        np.trapezoid(np.exp(estimator.evaluate(grid, np.full(len(grid), c))), grid) for c in (-1, 1)
    )
    assert total == pytest.approx(0.5, abs=1e-3)


def test_a_choice_never_made_has_the_density_of_one_trial() -> None:
    estimator = fitted(of([0.5, 0.7, 0.9], [1, 1, 1]))
    assert estimator.evaluate([0.6], [-1]) == pytest.approx(-np.log(3 * 20))


def test_samples_are_drawn_from_the_estimate(simulated: dict[str, Any]) -> None:
    drawn = fitted(simulated, 0.4).sample(20_000, random_state=3)
    assert drawn["rts"].shape == drawn["choices"].shape == (20_000,)
    assert (drawn["rts"] > 0.4).all()
    share = (simulated["choices"] == 1).mean()
    assert (drawn["choices"] == 1).mean() == pytest.approx(share, abs=1e-4)
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(drawn["rts"], q) == pytest.approx(
            np.quantile(simulated["rts"], q), rel=0.05
        )


def test_samples_follow_the_seed(simulated: dict[str, Any]) -> None:
    estimator = fitted(simulated)
    first, again, other = (estimator.sample(50, random_state=seed)["rts"] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_samples_of_nothing_are_uniform() -> None:
    estimator = fitted(of([OMISSION] * 4, [1, 1, -1, -1]))
    drawn = estimator.sample(1000, random_state=1)
    assert 0 < drawn["rts"].min() < 0.5
    assert 19.5 < drawn["rts"].max() < 20
    assert set(drawn["choices"]) == {-1, 1}
    assert estimator.get_metadata()["max_t"] == 20.0
