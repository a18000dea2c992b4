import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betainc
from scipy.stats import gamma, invgauss

from lanflow.models.density import Density
from lanflow.models.exact.closed_races import poisson_race, racing_diffusion
from lanflow.models.exact.race import Race
from lanflow.models.simulators import find_model, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

TIMES = np.array([0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 20.0])


def density_of(race: Race) -> Density:
    return Density(
        race.log_density,
        race.grid(20.0),
        0.0,
        20.0,
        choices=race.choices,
        log_densities=race.log_densities,
        at_once=race.at_once,
    )


@pytest.mark.parametrize("v", [0.2, 1.0, 2.5])
def test_from_one_start_it_is_the_inverse_gaussian(v: float) -> None:
    b = 1.3
    known = invgauss(mu=1 / (v * b), scale=b**2)
    density, survival = racing_diffusion(np.array([v]), 0.0, b).parts(TIMES)
    np.testing.assert_allclose(density[0], known.logpdf(TIMES), atol=1e-6, rtol=1e-6)
    seen = known.sf(TIMES) > 1e-12  # scipy's own digits
    np.testing.assert_allclose(np.exp(survival[0])[seen], known.sf(TIMES)[seen], rtol=1e-5)


@pytest.mark.parametrize("v", [1e-3, 1.0, 2.5])
@pytest.mark.parametrize(("a", "b"), [(0.6, 1.1), (0.5, 0.5), (0.9, 0.6)])
def test_averages_over_the_start_are_those_of_quadrature(v: float, a: float, b: float) -> None:
    least = max(b - a, 0.0)
    densities, survivals = racing_diffusion(np.array([v]), a, b).parts(TIMES)
    for t, density, survival in zip(TIMES, densities[0], survivals[0], strict=True):
        points = [k for k in (least + np.sqrt(t), b - np.sqrt(t), v * t) if least < k < b]

        def wald(k: float, t: float = t) -> float:
            return float(k * np.exp(-((k - v * t) ** 2) / (2 * t)) / np.sqrt(2 * np.pi * t**3))

        mean = quad(wald, least, b, points=points or None, epsabs=1e-14)[0] / a
        assert np.exp(density) == pytest.approx(mean, rel=1e-7, abs=1e-10)

        def beyond(k: float, t: float = t) -> float:
            return float(invgauss.sf(t, mu=1 / (v * k), scale=k**2)) if k > 0 else 0.0

        mean = quad(beyond, least, b, points=points or None, epsabs=1e-12)[0] / a
        assert np.exp(survival) == pytest.approx(mean, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.6, 1.1), (0.5, 0.5), (0.9, 0.6)])
def test_densities_integrate_to_what_is_no_longer_undecided(a: float, b: float) -> None:
    race = racing_diffusion(np.array([0.3, 1.2, 2.0]), a, b)
    density = density_of(race)
    undecided = np.exp(race.parts(density.times[1:])[1].sum(axis=0))
    np.testing.assert_allclose(density.cumulative[:, 1:].sum(axis=0), 1 - undecided, atol=1e-5)
    # Between its times masses are interpolated.
    undecided = np.exp(race.parts(TIMES)[1].sum(axis=0))
    np.testing.assert_allclose(density.mass(TIMES).sum(axis=0), 1 - undecided, atol=3e-4)


def test_far_tails_have_finite_logarithms() -> None:
    density, survival = racing_diffusion(np.array([2.5, 0.0]), 0.4, 3.0).parts(
        np.array([0.05, 20.0])
    )
    assert np.isfinite(density).all()
    assert np.isfinite(survival).all()
    assert density[0][0] < -59
    assert survival[0][1] < -30


def test_those_behind_the_bound_finish_at_once_the_first_of_them_first() -> None:
    density = density_of(racing_diffusion(np.array([1.0, 1.0, 1.0]), 0.8, 0.6))
    assert density.at_once == pytest.approx([0.25, 0.25 * 0.75, 0.25 * 0.75**2])
    assert density.mass(0.0).ravel() == pytest.approx(density.at_once)
    assert density.mass(-0.1).sum() == 0
    assert density.choice_probabilities.sum() == pytest.approx(1, abs=1e-4)
    rows = density.sample(2000, random_state=1)
    assert rows["rts"].min() > 0
    assert (density.evaluate(**rows) > -20).all()
    rts, choices = simulate(
        find_model("racing_diffusion_3"),
        {"v0": 1.0, "v1": 1.0, "v2": 1.0, "A": 0.8, "b": 0.6, "t": 0.0},
        20_000,
        seed=1,
        delta_t=1e-4,
    )
    shares = [((choices == choice) & (rts < 0.1)).mean() for choice in range(3)]
    np.testing.assert_allclose(density.mass(0.1).ravel(), shares, atol=0.015)


def test_ssm_simulators_simulates_these_racing_diffusions() -> None:
    # To the next order its steps are as if the bound were 0.5826 sqrt(step) further away
    # (Siegmund 1979); an rt is the beginning of the step that crosses.
    model, step = find_model("racing_diffusion_3"), 1e-3
    theta = {"v0": 2.0, "v1": 1.6, "v2": 0.8, "A": 0.3, "b": 1.2, "t": 0.0}
    rts, choices = simulate(model, theta, 100_000, seed=4, delta_t=step)
    moved = {**theta, "b": theta["b"] + 0.5826 * np.sqrt(step)}
    assert_simulated(make_density("analytic", model, moved, 20.0), rts + step, choices)


POISSON = {"r1": 9.0, "r2": 4.0, "k1": 7.3, "k2": 2.6, "t": 0.2}
POISSON_RACE = find_model("poisson_race")


def test_finishing_times_have_gamma_distributions() -> None:
    times = np.array([1e-3, 0.1, 1.0, 5.0])
    density, survival = poisson_race(np.array([9.0, 0.01]), np.array([1.0, 19.5])).parts(times)
    for row, known in enumerate((gamma(1.0, scale=1 / 9), gamma(19.5, scale=100))):
        np.testing.assert_allclose(density[row], known.logpdf(times), rtol=1e-10)
        np.testing.assert_allclose(survival[row], known.logsf(times), atol=1e-12)


@pytest.mark.parametrize("slow", [1.0, 0.001])
def test_choices_have_the_probabilities_of_a_race_without_end(slow: float) -> None:
    theta = {**POISSON, "r1": POISSON["r1"] * slow, "r2": POISSON["r2"] * slow}
    probabilities = make_density("analytic", POISSON_RACE, theta, 20.0).choice_probabilities
    first = betainc(7.3, 2.6, 9 / 13)
    np.testing.assert_allclose(probabilities, [first, 1 - first], atol=1e-5)


def test_where_nothing_is_decided_in_time_rows_are_uniform() -> None:
    theta = {**POISSON, "r1": 1e-3, "r2": 1e-3, "k1": 20.0, "k2": 20.0}
    density = make_density("analytic", POISSON_RACE, theta, 20.0)
    rows = density.sample(100, random_state=1)
    assert rows["rts"].max() <= 20
    assert np.isfinite(density.evaluate(**rows)).all()


def test_ssm_simulators_simulates_this_race_of_poisson_processes() -> None:
    rts, choices = simulate(POISSON_RACE, POISSON, 60_000, seed=5, delta_t=1e-4)
    density = make_density("analytic", POISSON_RACE, POISSON, 20.0)
    assert_simulated(density, rts - POISSON["t"], choices)
