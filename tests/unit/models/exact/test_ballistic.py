import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from lanflow.models.density import Array
from lanflow.models.exact.ballistic import (
    NOISE,
    ballistic_race,
    faster_of_two_race,
    joined_later_race,
)
from lanflow.models.exact.race import Race
from lanflow.models.simulators import find_model, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

TIMES = np.array([0.05, 0.3, 0.6, 1.0, 2.0, 5.0, 15.0])
speeds = st.lists(st.floats(0, 2), min_size=3, max_size=3).map(np.array)
bounds = st.floats(0.05, 3)
shares = st.floats(0, 1)
quick = settings(deadline=None, max_examples=15)


def brown_and_heathcote(t: float, v: float, b: float, a: float, s: float) -> tuple[float, float]:
    """Density and distribution function of one accumulator, as the paper writes them.

    Speeds may be negative there.
    """
    near, far = (b - a - t * v) / (t * s), (b - t * v) / (t * s)
    inside = -v * norm.cdf(near) + s * norm.pdf(near) + v * norm.cdf(far) - s * norm.pdf(far)
    decided = (
        1
        + (b - a - t * v) / a * norm.cdf(near)
        - (b - t * v) / a * norm.cdf(far)
        + t * s / a * (norm.pdf(near) - norm.pdf(far))
    )
    return inside / a, decided


@pytest.mark.parametrize("t", [0.3, 0.8, 1.0, 1.5])
def test_it_is_the_published_formula_where_no_speed_would_be_negative(t: float) -> None:
    v, b, a = 0.9, 0.8, 0.4  # nine standard deviations above zero
    race = ballistic_race(np.array([v]), b, a)
    density, survival = race.parts(np.array(t))
    published, decided = brown_and_heathcote(t, v, b, a, NOISE)
    assert np.exp(density[0]) == pytest.approx(published, rel=1e-9)
    assert 1 - np.exp(survival[0]) == pytest.approx(decided, abs=1e-12)


def mean_over_starts(function, a: float, z: float, points: list[float]) -> float:  # type: ignore[no-untyped-def]
    if z == 0:
        return float(function(a))
    inner = sorted({p for p in points if a - z < p < a})
    ends = [a - z, *inner, a]
    parts = [quad(function, *pair, epsabs=1e-13)[0] for pair in itertools.pairwise(ends)]
    return sum(parts) / z


@pytest.mark.parametrize("v", [0.0, 0.15, 1.3])
@pytest.mark.parametrize(("a", "z"), [(1.0, 0.6), (0.7, 0.0), (0.4, 0.4), (0.3, 0.6)])
@pytest.mark.parametrize("theta", [0.0, 0.5])
def test_averages_over_the_start_are_those_of_quadrature(
    v: float, a: float, z: float, theta: float
) -> None:
    slope = np.tan(theta)
    race = ballistic_race(np.array([v]), a, z, theta)
    times = TIMES[a / slope > TIMES] if slope else TIMES
    densities, survivals = (np.exp(part[0]) for part in race.parts(times))

    def folded(x: float) -> float:
        return float(norm.pdf(x, v, NOISE) + norm.pdf(x, -v, NOISE)) if x > 0 else 0.0

    def below(x: float) -> float:
        return float(norm.cdf(x, v, NOISE) - norm.cdf(-x, v, NOISE)) if x > 0 else 0.0

    for t, density, survival in zip(times, densities, survivals, strict=True):
        points = [t * (x + slope) for x in (0, *(v + k * NOISE for k in (-6, -3, 0, 3, 6)))]
        mean = mean_over_starts(lambda y, t=t: y / t**2 * folded(y / t - slope), a, z, points)
        assert density == pytest.approx(mean, rel=1e-6, abs=1e-9)
        mean = mean_over_starts(lambda y, t=t: below(y / t - slope), a, z, points)
        assert survival == pytest.approx(mean, rel=1e-6, abs=1e-9)


def survives(race: Race) -> Array:
    inside = TIMES[race.end > TIMES]
    return np.exp(race.parts(inside)[1].sum(axis=0))


@quick
@given(speeds, speeds, bounds, shares, st.floats(0, 1.3), st.floats(0.01, 0.5))
def test_densities_integrate_to_what_is_no_longer_undecided(
    first: Array, second: Array, a: float, share: float, theta: float, joined: float
) -> None:
    z = share * a
    races = [
        ballistic_race(first, a, z),
        ballistic_race(first, a, z, theta),
        faster_of_two_race(first, second, a, z),
        joined_later_race(first, second, a, z, joined),
    ]
    for race in races:
        times = np.unique(np.concatenate([race.grid(20.0), TIMES[race.end > TIMES]]))
        inner = (times[1:, None] + times[:-1, None]) / 2 + np.diff(times)[:, None] / 2 * NODES
        flow = np.exp(race.log_densities(inner)).sum(axis=0) @ WEIGHTS * np.diff(times) / 2
        decided = np.interp(TIMES[race.end > TIMES], times, np.append(0, np.cumsum(flow)))
        np.testing.assert_allclose(decided, 1 - survives(race), atol=3e-4)
        assert flow.sum() == pytest.approx(1, abs=3e-4)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)


@quick
@given(speeds, bounds, shares)
def test_processes_without_speed_of_their_own_change_nothing(
    v: Array, a: float, share: float
) -> None:
    alone = ballistic_race(v, a, share * a).parts(TIMES)
    late = joined_later_race(v, v, a, share * a, joined=100.0).parts(TIMES)
    np.testing.assert_allclose(np.exp(late), np.exp(alone), rtol=1e-12)
    # Of two equally fast ones the distribution function is squared.
    one = faster_of_two_race(v, np.zeros(3), a, 0.0).parts(TIMES)
    density, survival = ballistic_race(v, a, 0.0).parts(TIMES)
    slow = ballistic_race(np.zeros(3), a, 0.0).parts(TIMES)
    product = np.exp(density + slow[1]) + np.exp(slow[0] + survival)
    np.testing.assert_allclose(np.exp(one[0]), product, rtol=1e-5, atol=1e-9)


def test_a_start_above_the_bound_has_answered_before() -> None:
    race = ballistic_race(np.array([0.5, 0.5]), 0.3, 0.6)
    (undecided,) = np.exp(race.parts(np.array([1e-6]))[1].sum(axis=0))
    assert undecided == pytest.approx(0.25, abs=1e-4)


def test_far_tails_are_finite_until_the_floor_and_exact() -> None:
    race = ballistic_race(np.array([0.8, 0.3]), 0.9, 0.2)
    logs = race.log_densities(np.array([0.42, 30.0]))
    assert np.isfinite(logs).all()
    # In a ratio of two densities of one accumulator nothing else is left.
    near, late = race.parts(np.array([0.42]))[0][0], race.parts(np.array([30.0]))[0][0]
    for t, log in ((0.42, near), (30.0, late)):
        points = [0.7, 0.71, 0.75]
        mean = mean_over_starts(
            lambda y, t=t: (
                y / t**2 * (norm.pdf(y / t, 0.8, 0.1) + norm.pdf(y / t, -0.8, 0.1)) * 1e12
            ),
            0.9,
            0.2,
            points,
        )
        assert log[0] == pytest.approx(np.log(mean / 1e12), abs=1e-6)


CASES = {
    "lba3": {"A": 0.3, "b": 0.5, "v0": 0.45, "v1": 0.4, "v2": 0.1},
    "lba_angle_3": {"v0": 0.5, "v1": 1.5, "v2": 1.0, "a": 0.9, "z": 0.4, "theta": 0.6},
    "dev_rlwm_lba_race_v2": {
        "vRL0": 0.5,
        "vRL1": 0.3,
        "vRL2": 0.2,
        "vWM0": 0.3,
        "vWM1": 0.45,
        "vWM2": 0.1,
        "a": 0.7,
        "z": 0.3,
    },
    "dev_rlwm_lba_pw_v1": {
        "vRL0": 0.6,
        "vRL1": 0.5,
        "vRL2": 0.2,
        "vWM0": 0.2,
        "vWM1": 0.6,
        "vWM2": 0.3,
        "a": 0.5,
        "z": 0.3,
        "tWM": 0.45,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_ssm_simulators_simulates_this_density(name: str) -> None:
    # It has no time step: each answer is computed.
    model, theta = find_model(name), CASES[name]
    rts, choices = simulate(model, theta, 40_000, seed=3)
    density = make_density("analytic", model, theta, 20.0)
    kept = rts < 50  # of a few accumulators all speeds are almost zero
    assert kept.mean() > 0.999
    assert_simulated(density, rts[kept], choices[kept])
