from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array, Density
from lanflow.models.simulators import find_model
from lanflow.models.solver import (
    N_SPACE,
    STEP,
    Solution,
    first_time,
    log_base,
    step_times,
)
from lanflow.models.sources import make_density
from tests.unit.models.exact.particle import UNTIL, process, switching


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


@pytest.mark.parametrize(
    ("v", "a", "z", "slope"),
    [(2.5, 2.5, 0.3, 2.5), (-2.5, 2.5, 0.3, 3.0), (3.0, 2.9, 0.2, 1.0), (-3.0, 2.9, 0.8, 0.5)],
)
def test_fast_particles_and_boundaries_have_it_too(
    v: float, a: float, z: float, slope: float
) -> None:
    exact = Diffusion(v, a, z, slope)
    truth = Density(exact.log_density, exact.grid(UNTIL), 0.0, UNTIL)
    off = error(Solution(process(v=v, a=a, start=z, slope=slope)), truth)
    assert off.mean() < 7e-4  # without the correction for averages over steps: 0.001 to 0.002
    assert np.quantile(off, 0.99) < 3e-3


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


def log_density_after_a_jump(
    particle: Diffusion,
    later_drift: float,
    jump: float,
    since: Array,
    choice: int,
    *,
    later_slope: float = 0.0,
) -> Array:
    """Log density at times since the drift jumps and boundaries bend, from all places then.

    Between boundaries that stand still the places are known as a series, and for each of them the
    density of what is left.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    a, v = particle.a, particle.v
    places, first, waves = a * nodes, a * (2 * particle.z - 1), np.arange(1, 200) * np.pi / (2 * a)
    parts = np.sin((places[:, None] + a) * waves) * np.sin((first + a) * waves)
    free = (parts @ np.exp(-(waves**2) * jump / 2)) / a
    there = free * np.exp(v * (places - first) - v**2 * jump / 2)
    left = [
        np.exp(Diffusion(later_drift, a, share, later_slope).log_density(since, choice))
        for share in (nodes + 1) / 2
    ]
    return np.log((a * weights * there) @ np.array(left))


@pytest.mark.parametrize(("v", "later"), [(-0.5, 2.0), (1.0, -4.0), (3.0, 0.0)])
def test_right_after_a_jump_of_the_drift_the_density_is_the_exact_one(
    v: float, later: float
) -> None:
    since = np.array([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
    before = np.array([0.2, 0.3, 0.39])
    jumping = process(drift=lambda t: np.where(t >= 0.4, later, v))
    solution, particle = Solution(jumping), Diffusion(v, 1.2, 0.4)
    assert jumping.course.jumps == pytest.approx(np.full((2, 1), 0.4), abs=1e-9)
    for choice in (-1, 1):
        truth = log_density_after_a_jump(particle, later, 0.4, since, choice)
        off = np.abs(solution.log_density(0.4 + since, choice) - truth)
        assert off.max() < 0.02
        assert off[2:].max() < 3e-3
        # The jump shows at once: it is more than ten times what the density may be off.
        jumped = truth - particle.log_density(0.4 + since, choice)
        assert np.abs(jumped[2:]).min() > 0.03
        exact = particle.log_density(before, choice)
        assert np.abs(solution.log_density(before, choice) - exact).max() < 3e-3


@pytest.mark.parametrize(("later", "slope"), [(0.5, 1.0), (0.5, -1.5), (-2.0, 0.8)])
def test_right_after_a_kink_of_the_boundary_the_density_is_the_exact_one(
    later: float, slope: float
) -> None:
    since = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.7])
    bent = process(
        boundary=lambda t: 1.2 - slope * np.maximum(t - 0.4, 0),
        drift=lambda t: np.where(t >= 0.4, later, 0.5),
    )
    solution, particle = Solution(bent), Diffusion(0.5, 1.2, 0.4)
    for choice in (-1, 1):
        truth = log_density_after_a_jump(particle, later, 0.4, since, choice, later_slope=slope)
        off = np.abs(solution.log_density(0.4 + since, choice) - truth)
        assert off.max() < 0.02
        assert off[4:].max() < 3e-3
        # The kink shows: without it, all would be off by more.
        bent_by = truth - particle.log_density(0.4 + since, choice)
        assert np.abs(bent_by[2:]).min() > 0.03


def switch(before: float, after: float, width: float) -> Callable[[Array], Array]:
    """A logistic curve at 0.4 s."""
    return lambda t: before + (after - before) * expit((np.asarray(t) - 0.4) / width)


@pytest.mark.parametrize(
    "curve",
    [
        {"drift": switch(2.0, -2.0, 0.02)},
        {"drift": switch(0.0, 3.0, 0.005)},
        {"drift": switch(2.0, -2.0, 0.001)},
        {"boundary": switch(1.5, 0.8, 0.02)},
        {"boundary": switch(0.8, 1.5, 0.005)},
    ],
    ids=["drift", "quick drift", "nearly a jump", "boundary", "quick boundary"],
)
def test_a_switch_that_is_quick_and_no_jump_agrees_with_a_finer_grid(
    curve: dict[str, Callable[[Array], Array]],
) -> None:
    switched = process(**curve)
    truth = density_of(Solution(switched, n_space=4 * N_SPACE, step=STEP / 4))
    usual = density_of(Solution(switched))
    rows = truth.sample(2000, random_state=1)
    off = np.abs(usual.evaluate(**rows) - truth.evaluate(**rows))
    assert off.mean() < 6e-4  # without short steps there: 1e-3 to 4e-2
    assert np.quantile(off, 0.99) < 5e-3
    assert usual.mass(UNTIL).sum() == pytest.approx(1, abs=5e-4)


@pytest.mark.parametrize(
    "boundary",
    [
        lambda t: np.where(t < 0.4, 1.5, np.maximum(1.5 - 1.2 * (t - 0.4), 0.01)),
        lambda t: np.maximum(1.5 - np.maximum(t - 0.5, 0), 0.05),
        lambda t: 1 + np.minimum(t, 0.6) * 2 - np.maximum(t - 0.6, 0) * 0.2,
    ],
    ids=["delayed", "to a floor", "tent"],
)
def test_a_boundary_with_kinks_agrees_with_a_finer_grid(
    boundary: Callable[[Array], Array],
) -> None:
    bent = process(boundary=boundary)
    truth = density_of(Solution(bent, n_space=4 * N_SPACE, step=STEP / 4))
    off = error(Solution(bent), truth)
    assert off.mean() < 2e-3
    assert np.quantile(off, 0.99) < 0.02
    assert truth.choice_probabilities.sum() == pytest.approx(1, abs=1e-3)


def test_a_step_ends_at_each_jump_of_the_drift() -> None:
    times = step_times(process(drift=switching), 0.06)
    assert np.isin(process(drift=switching).course.jumps[1], times[::2]).all()
    assert len(times) % 2 == 1
    assert (np.diff(times) > 0).all()


# Vectors at which the sum of all probabilities was up to 1.5 % off one: drifts that jump, drifts so
# steep that the grid was too coarse, and a fast one between boundaries that close.
FAILED = [
    ("conflict_stimflex", [-2.64, 2.035, 0.468, 0.881, 2.901, 1.601, 0.617, -0.956, 0.502, 0.294]),
    ("conflict_stimflex", [0.078, 2.699, 0.863, 1.254, 4.794, 3.246, 0.732, 0.038, 0.814, 0.319]),
    (
        "conflict_stimflex_angle",
        [-1.721, 1.456, 0.71, 0.921, 4.363, 0.939, -0.851, 0.128, 0.68, 0.973, 0.318],
    ),
    (
        "conflict_stimflexrel1_angle",
        [2.442, 1.598, 0.455, 0.54, 3.616, 3.376, -0.566, 0.451, 0.613, 0.034, 0.329],
    ),
    (
        "conflict_stimflexrel1_leak",
        [
            -1.251,
            2.014,
            0.486,
            0.895,
            3.087,
            2.159,
            0.675,
            -0.761,
            0.565,
            0.063,
            0.503,
            0.845,
            0.018,
        ],
    ),
    (
        "conflict_dsstimflex",
        [
            2.755,
            2.042,
            0.516,
            1.686,
            2.294,
            1.694,
            0.856,
            2.419,
            3.457,
            0.852,
            -0.481,
            0.921,
            0.245,
        ],
    ),
    (
        "conflict_dsstimflex_angle",
        [
            -1.528,
            2.943,
            0.1,
            1.701,
            1.232,
            4.355,
            0.398,
            2.0,
            3.73,
            -0.954,
            -0.635,
            0.25,
            0.966,
            1.291,
        ],
    ),
    ("shrink_spot", [2.026, 2.705, 0.541, 0.28, 2.623, 5.357, 3.808, 0.035, 2.673]),
    ("shrink_spot_simple", [2.888, 2.749, 0.768, 0.208, 2.571, 5.358, 0.048, 2.997]),
    (
        "conflict_ds_angle",
        [2.931, 2.616, 0.195, 0.868, 4.696, 4.986, 3.662, 1.805, 0.279, 0.198, 0.525, 0.922],
    ),
]


@pytest.mark.parametrize(("name", "values"), FAILED, ids=[name for name, _ in FAILED])
def test_nothing_is_lost_or_won_where_drifts_jump_or_are_steep(
    name: str, values: list[float]
) -> None:
    model = find_model(name)
    theta = model.bounds.named(np.array(values))
    usual = make_density("solver", model, theta, UNTIL)
    finer = make_density("solver", model, theta, UNTIL, refinement=4)
    assert finer.mass(UNTIL).sum() == pytest.approx(1, abs=1e-3)
    assert usual.mass(UNTIL).sum() == pytest.approx(1, abs=1.5e-3)
    rows = finer.sample(1000, random_state=1)
    off = np.abs(usual.evaluate(**rows) - finer.evaluate(**rows))
    assert off.mean() < 2e-3
    assert np.quantile(off, 0.99) < 0.02


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
