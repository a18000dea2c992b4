from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.models.density import Array, Density
from lanflow.models.exact.recognised import is_two_leaks, two_leaks_of
from lanflow.models.exact.two_leaks import N_TERMS, TwoLeaks
from lanflow.models.simulators import draw_parameters, find_model, simulate
from lanflow.models.solver import N_SPACE, STEP, Solution
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated
from tests.unit.models.exact.particle import UNTIL, process, switching

MODEL = find_model("conflict_stimflexrel1_leak2")
MIDDLE = MODEL.bounds.centre()
# Leaks that differ as much as they can, and inputs that go on for as long.
APART = MIDDLE | {"a": 1.2, "z": 0.55, "t": 0.3, "vt": 2.0, "vd": 1.5, "tcoh": 0.6, "dcoh": -0.5}
APART |= {"tonset": 0.0, "donset": 0.1, "toffset": 0.6, "doffset": 0.5, "gt": 1.0, "gd": 0.0}
STEADY = APART | {"a": 2.5, "vt": 5.0, "vd": 0.0, "tcoh": 1.0, "toffset": 1.0}


def solved(two: TwoLeaks, *, n_terms: int = N_TERMS, finer: int = 1) -> Density:
    solve = replace(two, n_terms=n_terms).solve
    solution = Solution(two.process, n_space=N_SPACE * finer, step=STEP / finer, solve=solve)
    return Density(solution.log_density, solution.times, 0.0, UNTIL)


def errors(density: Density, truth: Density) -> Array:
    """Absolute differences of log densities at trials of the truth, sorted."""
    trials = truth.sample(1000, random_state=1)
    return np.sort(np.abs(density.evaluate(**trials) - truth.evaluate(**trials)))


def two_leaks(
    leaks: tuple[float, float], drifts: tuple[float, float] = (1.4, -0.6), *, start: float = 0.4
) -> TwoLeaks:
    """Inputs that stay the same, between boundaries that fall."""
    leak, split = (leaks[0] + leaks[1]) / 2, (leaks[0] - leaks[1]) / 2
    x0, both = (2 * start - 1) * 1.2, drifts[0] + drifts[1] + leak * (2 * start - 1) * 1.2
    place = process(v=both, leak=leak, start=start, slope=0.2)
    lead = drifts[0] - drifts[1] + split * x0
    return TwoLeaks(place, lambda t: np.full_like(t, lead), split)


@settings(deadline=None, max_examples=6)
@given(st.floats(0, 1), st.floats(0.1, 0.9), st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_with_equal_leaks_the_place_goes_alone(
    leak: float, start: float, drifts: tuple[float, float]
) -> None:
    two = two_leaks((leak, leak), drifts, start=start)
    alone = Solution(two.process)
    truth = Density(alone.log_density, alone.times, 0.0, UNTIL)
    assert errors(solved(two), truth).max() < 2e-3


def test_inputs_that_leak_alike_are_one_input() -> None:
    # The lead does not matter then, whatever moves it.
    two = two_leaks((0.7, 0.7))
    moved = replace(two, lead_drift=switching)
    assert errors(solved(moved), solved(two)).max() < 1e-9


@pytest.mark.parametrize(("theta", "most"), [(APART, 2e-5), (STEADY, 2e-4)])
def test_few_terms_are_enough(theta: dict[str, float], most: float) -> None:
    two = two_leaks_of(MODEL, theta, UNTIL)
    truth = solved(two, n_terms=7)
    off = [errors(solved(two, n_terms=n), truth).mean() for n in (3, 4, 5)]
    assert off[0] < most
    assert off[2] < off[1] / 4 < off[0] / 16
    # The lead matters: one leak for both would be far off.
    assert errors(solved(replace(two, split=0.0)), truth).mean() > 100 * most


@pytest.mark.parametrize("theta", [APART, STEADY])
def test_a_finer_grid_gives_the_same_labels(theta: dict[str, float]) -> None:
    two = two_leaks_of(MODEL, theta, UNTIL)
    off = errors(solved(two), solved(two, n_terms=N_TERMS + 2, finer=4))
    assert off.mean() < 1e-3
    assert np.quantile(off, 0.99) < 0.01


def test_labels_are_right_everywhere_in_the_bounds() -> None:
    vectors = draw_parameters(MODEL, MODEL.bounds, 12, seed=3, is_even=True)
    for vector in vectors:
        theta = MODEL.bounds.named(vector)
        density = make_density("solver", MODEL, theta, UNTIL)
        assert density.cumulative[:, -1].sum() < 1 + 2e-4
        assert (np.diff(density.cumulative, axis=1) >= 0).all()
        assert density.choice_probabilities.sum() == pytest.approx(1, abs=1e-4)
        truth = make_density("solver", MODEL, theta, UNTIL, refinement=2)
        assert errors(density, truth).mean() < 1e-3


def test_nobody_is_lost_where_everybody_decides() -> None:
    density = solved(two_leaks((1.0, 0.0)))
    assert density.cumulative[:, -1].sum() == pytest.approx(1, abs=2e-5)


def test_of_the_inputs_each_could_be_the_target() -> None:
    one, other = two_leaks((0.9, 0.1), (1.4, -0.6)), two_leaks((0.1, 0.9), (-0.6, 1.4))
    assert errors(solved(one), solved(other)).max() < 1e-9


def test_strong_inputs_that_leave_nobody_end_in_numbers() -> None:
    density = solved(two_leaks((1.0, 0.0), (20.0, 10.0)))
    assert density.cumulative[1, -1] == pytest.approx(1, abs=1e-3)
    assert np.isfinite(density.evaluate([0.01, 0.1, 1.0, 5.0], [1, -1, 1, -1])).all()


def test_a_free_particle_s_means_and_covariances_are_those_of_its_equation() -> None:
    two, time, n = two_leaks((1.0, 0.2)), 0.5, 4000
    start, dt = (2 * two.process.start - 1) * 1.2, time / n
    inputs, leaks = np.array([1.4, -0.6]), np.array([1.0, 0.2])
    mean, covariance, noise = np.zeros(2), np.zeros((2, 2)), np.full((2, 2), 0.25)
    for _ in range(n):
        half = mean + dt / 2 * (inputs - leaks * mean)
        middle = covariance + dt / 2 * (noise - (leaks[:, None] + leaks) * covariance)
        mean = mean + dt * (inputs - leaks * half)
        covariance = covariance + dt * (noise - (leaks[:, None] + leaks) * middle)
    turn = np.array([[1, 1], [1, -1]])
    means, covariances = two.free(time)
    np.testing.assert_allclose(means, turn @ mean + [start, 0], atol=1e-6)
    np.testing.assert_allclose(covariances, turn @ covariance @ turn, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theta", "n"),
    [
        (STEADY | {"a": 2.0}, 50_000),
        (APART | {"a": 1.5, "vd": 5.0, "dcoh": -1.0, "gt": 0.0, "gd": 1.0, "doffset": 1.0}, 20_000),
    ],
)
def test_ssm_simulators_simulates_this_density(theta: dict[str, float], n: int) -> None:
    dt = 1e-4
    rts, choices = simulate(MODEL, theta, n, seed=4, delta_t=dt, max_t=UNTIL)
    decided = rts < UNTIL
    rts, choices = rts[decided], choices[decided]
    # The simulator's steps meet boundaries that are farther away, and their middles count.
    away = theta | {"a": theta["a"] + 0.5826 * np.sqrt(dt)}
    away["z"] = 0.5 + (theta["z"] - 0.5) * theta["a"] / away["a"]
    density = make_density("solver", MODEL, away, UNTIL)
    assert_simulated(density, rts - theta["t"] - dt / 2, choices)


def test_a_model_is_told_by_what_it_is() -> None:
    assert is_two_leaks(replace(MODEL, name="mine"))
    assert not is_two_leaks(find_model("conflict_stimflexrel1_leak"))
    for changed in ({"own": ["drift", "boundary"]}, {"own": ["drift", "simulator"]}):
        own = MODEL.definition.model_copy(update=changed)
        assert not is_two_leaks(replace(MODEL, definition=own))
    assert not is_two_leaks(replace(MODEL, parameters=(*MODEL.parameters, "s")))
