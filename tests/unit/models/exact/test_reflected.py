import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from lanflow.models.density import Array, Density
from lanflow.models.exact.reflected import Reflected, slowest_rate
from lanflow.models.simulators import find_model, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

UNTIL = 20.0
drifts = st.floats(0, 2.5)
bounds = st.floats(1, 3)
starts = st.floats(0, 0.9)
angles = st.floats(-0.1, 1.45)
quick = settings(deadline=None, max_examples=15)


def accumulator(
    v: float, a: float, z: float, slope: float = 0.0, *, refinement: int = 1
) -> Reflected:
    return Reflected(np.array([v]), np.array([z]), a, slope, UNTIL, refinement)


def density_of(accumulators: Reflected) -> Density:
    race = accumulators.race
    return Density(
        race.log_density,
        race.grid(UNTIL, is_open=False),
        0.0,
        UNTIL,
        choices=race.choices,
        log_densities=race.log_densities,
    )


def eigenfunctions(v: float, a: float, start: float, t: Array) -> tuple[Array, Array]:
    """Density and survival for a bound that stands still, from 80 eigenfunctions."""
    n = np.arange(1, 81)
    k = np.array(
        [
            brentq(lambda k: k * np.cos(k) + v * a * np.sin(k), (i - 0.5) * np.pi - 1e-6, i * np.pi)
            for i in n
        ]
    )
    k = (k / a)[:, None]
    norm = a / 2 - np.sin(2 * k * a) / (4 * k)
    waves = np.sin(k * (a - start)) / norm * np.exp(-(k**2 + v**2) * t / 2 - v * start)
    x = np.linspace(0, a, 4001)[:, None, None]
    place = (np.exp(v * x) * np.sin(k * (a - x)) * waves).sum(axis=1)
    return np.exp(v * a) * (k * waves).sum(axis=0) / 2, np.trapezoid(place, x[:, 0], axis=0)


@pytest.mark.parametrize("v", [0.0, 0.7, 2.5])
@pytest.mark.parametrize(("a", "z"), [(1.0, 0.0), (1.7, 0.4), (3.0, 0.9)])
def test_below_a_still_bound_it_is_the_series_of_eigenfunctions(
    v: float, a: float, z: float
) -> None:
    t = np.array([0.02, 0.1, 0.5, 2.0, 10.0, 20.0]) * a**2
    t = t[t < UNTIL]
    density, survival = eigenfunctions(v, a, z * a, t)
    logs, undecided = accumulator(v, a, z).parts(t)
    seen = (np.abs(density) > 1e-9 * np.max(density)) | (t > a**2)
    np.testing.assert_allclose(logs[0][seen], np.log(density[seen]), atol=2e-4)
    late = survival < 0.999
    np.testing.assert_allclose(undecided[0][late], np.log(survival[late]), atol=2e-4)


@quick
@given(drifts, bounds, starts, st.floats(0.02, 1.45), st.floats(0.1, 4))
def test_a_moving_bound_obeys_the_law_of_a_stopped_particle(
    v: float, a: float, z: float, theta: float, rate: float
) -> None:
    # exp(-rate t) h(X) is a martingale above the floor if h'' / 2 + v h' = rate h and h'(0) = 0.
    slope = np.tan(theta)
    faster = np.sqrt(v**2 + 2 * rate)

    def h(x: Array) -> Array:
        return np.exp(-v * x) * (np.cosh(faster * x) + v / faster * np.sinh(faster * x))

    density = density_of(accumulator(v, a, z, slope))
    nodes, weights = np.polynomial.legendre.leggauss(4)
    widths = np.diff(density.times)[:, None] / 2
    t = density.times[:-1, None] + widths * (nodes + 1)
    shares = np.exp(density.log_density(t, 0) - rate * t) * h(a - slope * t)
    undecided = 1 - density.cumulative.sum(axis=0)[-1]
    assert (shares * widths) @ weights @ np.ones(len(widths)) == pytest.approx(
        h(np.array(z * a)), rel=2e-4, abs=2 * abs(undecided) * h(np.array(a))
    )


@quick
@given(drifts, bounds, starts, angles)
def test_what_has_not_finished_is_still_below_the_bound(
    v: float, a: float, z: float, theta: float
) -> None:
    one = accumulator(v, a, z, np.tan(theta))
    density = density_of(one)
    times = density.times[1:-1:10]
    undecided = np.exp(one.parts(times)[1][0])
    np.testing.assert_allclose(density.mass(times)[0], 1 - undecided, atol=1e-4)
    assert undecided[0] == pytest.approx(1, abs=3e-5)


@quick
@example([0.0, 0.0, 0.0], 1.0, 0.0, 1e-310)  # a slope so small that a division by it overflows
@given(st.lists(drifts, min_size=3, max_size=3), bounds, starts, angles)
def test_a_grid_four_times_finer_gives_the_same_labels(
    v: list[float], a: float, z: float, theta: float
) -> None:
    usual, finer = (
        density_of(Reflected(np.array(v), np.array([z, 0.3, 0.0]), a, np.tan(theta), UNTIL, times))
        for times in (1, 4)
    )
    rows = finer.sample(300, random_state=1)
    off = np.abs(usual.evaluate(**rows) - finer.evaluate(**rows))
    assert off.mean() < 1e-4
    assert off.max() < 1e-3
    rts = np.linspace(0, UNTIL, 200)
    for choice in range(3):
        known = finer.evaluate(rts, np.full(200, choice))
        off = np.abs(usual.evaluate(rts, np.full(200, choice)) - known)[known > -60]
        assert (off < 0.02).all()


@pytest.mark.parametrize("drain", [0.0, 1e-6, 0.5, 7.5, 100.0])
def test_the_slowest_wave_fits_between_floor_and_bound(drain: float) -> None:
    k = np.sqrt(2 * slowest_rate(np.array(drain)))
    assert np.pi / 2 <= k < np.pi
    assert k * np.cos(k) + drain * np.sin(k) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(("name", "theta"), [("race_2", 0.0), ("race_no_bias_angle_2", 0.6)])
def test_ssm_simulators_simulates_this_density(name: str, theta: float) -> None:
    # Its particles are looked at after each step. To the next order that is as if bound and floor
    # were 0.5826 sqrt(step) further away each (Siegmund 1979; for a floor: Lindley's recursion).
    v, a, z, step = [1.1, 0.9], 1.2, 0.3, 1e-3
    further = 0.5826 * np.sqrt(step)
    given_to_it = {"v0": v[0], "v1": v[1], "a": a, "t": 0.0, "theta": theta}
    given_to_it |= {"z": z} if theta else {"z0": z, "z1": z}
    model = find_model(name)
    named = {parameter: given_to_it[parameter] for parameter in model.parameters}
    rts, choices = simulate(model, named, 100_000, seed=2, delta_t=step)
    start = (z * a + further) / (a + 2 * further)
    moved = Reflected(np.array(v), np.array([start, start]), a + 2 * further, np.tan(theta), UNTIL)
    assert_simulated(density_of(moved), rts, choices)
    # The density of the model is that without the step.
    known = make_density("solver", model, named, UNTIL).evaluate([0.3, 0.8], [0, 1])
    still = density_of(Reflected(np.array(v), np.array([z, z]), a, np.tan(theta), UNTIL))
    np.testing.assert_allclose(still.evaluate([0.3, 0.8], [0, 1]), known)
