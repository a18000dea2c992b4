from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array, Density
from lanflow.models.solver import Process, Solution, first_time, log_base, step_times

UNTIL = 20.0


def process(
    *,
    a: float = 1.2,
    v: float = 0.5,
    start: float = 0.4,
    slope: float = 0.0,
    leak: float = 0.0,
    boundary: Callable[[Array], Array] | None = None,
    drift: Callable[[Array], Array] | None = None,
) -> Process:
    return Process(
        boundary=boundary or (lambda t: a - slope * t),
        drift=drift or (lambda t: np.full_like(t, v)),
        start=start,
        leak=leak,
        until=UNTIL,
    )


def weibull(t: Array) -> Array:
    return 1.5 * np.exp(-((t / 1.3) ** 0.5))


def density_of(solution: Solution) -> Density:
    return Density(solution.log_density, solution.times, 0.0, UNTIL)


def error(solution: Solution, truth: Density) -> Array:
    rows = truth.sample(400, random_state=1)
    return np.abs(density_of(solution).evaluate(**rows) - truth.evaluate(**rows))


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.floats(-3, 3), st.floats(0.3, 3), st.floats(0.15, 0.85), st.floats(-0.1, 3.0))
def test_straight_boundaries_have_the_exact_likelihood(
    v: float, a: float, z: float, slope: float
) -> None:
    exact = Diffusion(v, a, z, slope)
    truth = Density(exact.log_density, exact.grid(UNTIL), 0.0, UNTIL)
    solution = Solution(process(v=v, a=a, start=z, slope=slope))
    off = error(solution, truth)
    assert off.mean() < 2e-3
    assert np.quantile(off, 0.9) < 5e-3
    probabilities = density_of(solution).choice_probabilities
    np.testing.assert_allclose(probabilities, truth.choice_probabilities, atol=5e-3)


def test_the_tails_are_exact_on_a_logarithmic_scale() -> None:
    exact = Diffusion(2.5, 2.0, 0.5, 0.5)
    times = np.linspace(0.02, 3.95, 300)
    solution = Solution(process(v=2.5, a=2.0, start=0.5, slope=0.5))
    for choice in (-1, 1):
        truth = exact.log_density(times, choice)
        off = np.abs(solution.log_density(times, choice) - truth)
        assert truth.min() < -60
        assert off[truth > -60].max() < 0.05


def test_a_finer_grid_is_closer_to_the_truth() -> None:
    exact = Diffusion(1.0, 1.5, 0.3, 0.8)
    truth = Density(exact.log_density, exact.grid(UNTIL), 0.0, UNTIL)
    particle = process(v=1.0, a=1.5, start=0.3, slope=0.8)
    coarse, usual, fine = (
        error(Solution(particle, n_space=n, step=step), truth).mean()
        for n, step in ((60, 0.2), (200, 0.06), (300, 0.02))
    )
    assert fine < usual / 2 < coarse / 4
    assert fine < 2e-4


def test_a_bent_boundary_agrees_with_a_finer_grid() -> None:
    particle = process(boundary=weibull)
    truth = density_of(Solution(particle, n_space=400, step=0.015))
    assert error(Solution(particle), truth).mean() < 2e-3
    assert truth.choice_probabilities.sum() == pytest.approx(1, abs=2e-3)


def test_a_drift_that_is_reached_by_a_jump_agrees_with_a_simulation() -> None:
    def drift(t: Array) -> Array:
        return np.where(t >= 0.4, 2.0, -0.5)

    rng = np.random.default_rng(1)
    n, dt = 4000, 0.001
    place, decided = np.full(n, -0.24), np.zeros(n)
    for i in range(1200):
        moving = decided == 0
        step = drift(np.array([i * dt]))[0] * dt + np.sqrt(dt) * rng.standard_normal(moving.sum())
        place[moving] += step
        # The boundary that a walk in steps meets is farther away (Siegmund 1979).
        out = np.abs(place) >= 1.2 - 0.5826 * np.sqrt(dt)
        decided[moving & out] = np.sign(place[moving & out])
    mass = density_of(Solution(process(drift=drift))).mass(1.2)
    np.testing.assert_allclose(mass, [(decided == -1).mean(), (decided == 1).mean()], atol=0.025)


def test_a_leak_without_an_end_is_that_of_the_known_survival() -> None:
    # With leak 1 and no drift, He_2(x sqrt 2) = 2 x**2 - 1 is an eigenfunction with rate 2: between
    # the boundaries +-sqrt(1/2) the slowest decay is exp(-2 t).
    particle = process(a=np.sqrt(0.5), v=0.0, start=0.5, leak=1.0)
    times = np.linspace(2, 5, 20)
    logs = Solution(particle).log_density(times, 1)
    np.testing.assert_allclose(np.diff(logs) / np.diff(times), -2, atol=2e-3)


def test_a_start_in_the_middle_without_drift_favours_nobody() -> None:
    solution = Solution(process(v=0.0, start=0.5, boundary=weibull))
    times = np.linspace(0.01, 5, 50)
    np.testing.assert_allclose(
        solution.log_density(times, 1), solution.log_density(times, -1), atol=1e-6
    )


def test_what_cannot_happen_has_no_density() -> None:
    solution = Solution(process(a=1.0, slope=2.0))
    logs = solution.log_density(np.array([-1.0, 0.0, 0.2, 0.5, 3.0]), 1)
    assert np.isneginf(logs[[0, 1, 3, 4]]).all()
    assert np.isfinite(logs[2])


def test_the_base_of_straight_boundaries_is_the_density_itself() -> None:
    times = np.geomspace(0.01, 0.8, 50)
    exact = Diffusion(0.5, 1.2, 0.4, 1.1).log_density(times, 1)
    base = log_base(process(slope=1.1), times, 1)
    np.testing.assert_allclose(base, exact, atol=1e-4, rtol=1e-5)


def test_steps_begin_before_anybody_decides_and_grow() -> None:
    particle = process()
    times = step_times(particle, 0.06)
    assert times[0] == first_time(particle)
    assert len(times) % 2 == 1
    assert (np.diff(times) > 0).all()
    begun = density_of(Solution(particle)).mass(times[0]).sum()
    assert 0 <= begun < 1e-5
    assert len(step_times(particle, 0.03)) > 1.8 * len(times)


def test_a_straight_boundary_that_stands_in_for_one_that_leaps_begins_further_out() -> None:
    straight = process(a=1.2, slope=0.3).course
    assert straight.began(0.5) == pytest.approx(1.2, abs=1e-6)
    leaping = process(boundary=lambda t: 0.3 + 5 * t**0.1).course
    assert leaping.began(0.2) == pytest.approx(0.3 + 5 * 0.2**0.1 * 0.9, rel=1e-3)
    rising = process(boundary=lambda t: 0.3 + t**2).course
    assert rising.began(0.5) == pytest.approx(0.3)
