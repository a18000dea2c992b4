import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import gamma

from lanflow.models.exact.poisson import poisson_race
from lanflow.models.simulators import find_model, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

THETA = {"r1": 9.0, "r2": 4.0, "k1": 7.3, "k2": 2.6, "t": 0.2}
MODEL = find_model("poisson_race")


def test_finishing_times_have_gamma_distributions() -> None:
    times = np.array([1e-3, 0.1, 1.0, 5.0])
    density, survival = poisson_race(np.array([9.0, 0.01]), np.array([1.0, 19.5])).parts(times)
    for row, known in enumerate((gamma(1.0, scale=1 / 9), gamma(19.5, scale=100))):
        np.testing.assert_allclose(density[row], known.logpdf(times), rtol=1e-10)
        np.testing.assert_allclose(survival[row], known.logsf(times), atol=1e-12)


@pytest.mark.parametrize("slow", [1.0, 0.001])
def test_choices_have_the_probabilities_of_a_race_without_end(slow: float) -> None:
    theta = {**THETA, "r1": THETA["r1"] * slow, "r2": THETA["r2"] * slow}
    probabilities = make_density("analytic", MODEL, theta, 20.0).choice_probabilities
    first = betainc(7.3, 2.6, 9 / 13)
    np.testing.assert_allclose(probabilities, [first, 1 - first], atol=1e-5)


def test_where_nothing_is_decided_in_time_rows_are_uniform() -> None:
    theta = {**THETA, "r1": 1e-3, "r2": 1e-3, "k1": 20.0, "k2": 20.0}
    density = make_density("analytic", MODEL, theta, 20.0)
    rows = density.sample(100, random_state=1)
    assert rows["rts"].max() <= 20
    assert np.isfinite(density.evaluate(**rows)).all()


def test_ssm_simulators_simulates_this_density() -> None:
    rts, choices = simulate(MODEL, THETA, 60_000, seed=5, delta_t=1e-4)
    density = make_density("analytic", MODEL, THETA, 20.0)
    assert_simulated(density, rts - THETA["t"], choices)
