from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import cumulative_trapezoid
from scipy.stats import gamma

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array, Density
from lanflow.models.exact.course import Process
from lanflow.models.exact.recognised import is_two_levels, two_levels_of
from lanflow.models.exact.two.bent import Bent, step_times
from lanflow.models.exact.two.levels import TwoLevels
from lanflow.models.exact.two.levels_solved import Solution
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters, find_model, model_names, simulate
from lanflow.models.solver import STEP
from lanflow.models.sources import best_source, make_density
from tests.unit.models.exact.agreement import LEVEL, agreement, assert_simulated

Boundary = Callable[[Array], Array]
UNTIL = 20.0
NAMES = [name for name in model_names() if name.startswith(("ddm_mic2_", "tradeoff_"))]
# What a low process has of its drift and noise, as the three simulators have it.
ADJUSTED = {"drift": (0.0, 0.6), "noise": (1.0, 0.0)}
MULTINOISE = {"drift": (0.0, 0.6), "noise": (0.0, 1.0)}
TRADEOFF = {"drift": (0.3, 0.5), "noise": (0.3, 0.5)}
quick = settings(deadline=None, max_examples=6)


# Boundaries of a, slope, and height, shape and scale of a bump: that leaps up, that makes a valley
# before it, that is high and steep where drifts are (0.2 % of ssm-simulators' draws are steeper).
LEAP, VALLEY, STEEP = (
    (0.3, 0.5, 5.0, 1.1, 0.5),
    (1.0, 0.5, 2.0, 4.0, 0.5),
    (2.0, 0.3, 4.0, 1.8, 0.6),
)


def bump(a: float, slope: float, height: float, shape: float, scale: float) -> Boundary:
    return lambda t: a - slope * t + height * gamma.pdf(t, shape, scale=scale)


def levels(
    a: float = 1.2, slope: float = 0.0, boundary: Boundary | None = None, **changed: Any
) -> TwoLevels:
    given: dict[str, Any] = {"v_high": 0.7, "z_high": 0.45, "leak": 0.0, **ADJUSTED, **changed}
    v_low, z_low = given.pop("v_low", (1.1, -0.6)), given.pop("z_low", (0.6, 0.4))
    return TwoLevels(
        boundary=boundary or (lambda t: a - slope * t),
        v_low=np.array(v_low),
        z_low=np.array(z_low),
        until=UNTIL,
        **given,
    )


def density_of(both: TwoLevels) -> Density:
    solution = Solution(both)
    return Density(
        lambda times, choice: solution.log_densities(times)[choice],
        solution.grid(),
        0.0,
        UNTIL,
        choices=(0, 1, 2, 3),
        log_densities=solution.log_densities,
    )


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_a_low_process_that_knows_nothing_of_the_high_one_makes_a_product(slope: float) -> None:
    both = levels(slope=slope, drift=(1.0, 0.0))
    high = Diffusion(both.v_high, 1.2, both.z_high, slope=slope)
    t = np.geomspace(0.02, 2.1, 4001)
    logs = Solution(both).log_densities(t)
    for side in range(2):
        low = Diffusion(both.v_low[side], 1.2, both.z_low[side], slope=slope)
        f_high = np.exp(high.log_density(t, 2 * side - 1))
        for choice in range(2):
            f_low = np.exp(low.log_density(t, 2 * choice - 1))
            until = [_running(f, t) for f in (f_high, f_low)]
            known = np.log(f_high * until[1] + f_low * until[0])
            off = np.abs(logs[2 * side + choice] - known)
            for below, most in [(9, 0.05), (6, 0.01), (4, 0.003)]:
                assert off[known > known.max() - below].max() < most
            assert off[known > -60].max() < 1


def product(both: TwoLevels) -> tuple[Array, Array]:
    """Times, and log densities of choices that know nothing of each other: from one particle each.

    Of another chapter, with four times its steps.
    """
    drifts = np.array([both.v_high, *both.v_low])
    fastest = float(np.abs(drifts).max())
    one = Process(both.boundary, lambda t: np.full_like(t, fastest), 0.5, 0.0, UNTIL)
    steps = step_times(one, STEP / 4, is_fed=False)
    alone = Bent(one.course, drifts, np.full(3, 0.5), n_space=256)
    (high, *low), t = np.exp(alone.log_arrivals(steps)), steps[::2]
    out = []
    for side in range(2):
        for f_low in low[side]:
            until = [cumulative_trapezoid(f, t, initial=0) for f in (high[side], f_low)]
            out.append(high[side] * until[1] + f_low * until[0])
    return t, np.stack(out)


@pytest.mark.parametrize(
    ("shape", "v", "most"), [(LEAP, 0.1, 0.01), (VALLEY, 1.5, 0.01), (STEEP, 3.5, 0.03)]
)
def test_behind_a_bump_too_a_low_process_that_knows_nothing_makes_a_product(
    shape: tuple[float, ...], v: float, most: float
) -> None:
    both = levels(boundary=bump(*shape), drift=(1.0, 0.0), v_high=v, z_high=0.5, z_low=(0.5, 0.5))
    t, known = product(both)
    assert np.trapezoid(known.sum(axis=0), t) == pytest.approx(1, abs=1e-3)
    logs = Solution(both).log_densities(t)
    for mine, right in zip(logs, known, strict=True):
        likely = right > right.max() * np.exp(-6)
        differences = np.abs(mine[likely] - np.log(right[likely]))
        assert np.average(differences, weights=right[likely] * np.gradient(t)[likely]) < 1e-3
        assert differences[right[likely] > right.max() * np.exp(-4)].max() < most


@pytest.mark.parametrize(
    ("shape", "v", "lost"),
    [(LEAP, 0.1, 1e-3), (LEAP, -4.0, 0.01), ((2.5, 0.25, 5.0, 1.1, 0.5), 4.0, 0.02)],
)
def test_in_the_steepest_corners_nothing_is_lost_in_rounding(
    shape: tuple[float, ...], v: float, lost: float
) -> None:
    # exp(40) is what the elementary factor spans each way, and exp(45) where the boundary falls.
    both = levels(boundary=bump(*shape), v_high=v, z_high=0.5, z_low=(0.5, 0.5))
    assert density_of(both).cumulative[:, -1].sum() == pytest.approx(1, abs=lost)


def _running(f: Array, t: Array) -> Array:
    from scipy.integrate import cumulative_simpson

    return np.asarray(cumulative_simpson(f, x=t, initial=0) + f[0] * t[0] ** 2)


def alone(v: float, a: float, x: Array, upper: bool, rate: float) -> Array:
    """Mean of ``exp(-rate T)`` where a diffusion from ``x`` decides so."""
    faster = np.sqrt(v**2 + 2 * rate)
    end = a if upper else -a
    return np.asarray(
        np.exp(v * (end - x)) * np.sinh(faster * (x + end)) / np.sinh(2 * faster * end)
    )


def transformed(both: TwoLevels, a: float, side: int, choice: int, rate: float, n: int) -> float:
    """Mean of ``exp(-rate T)`` with a choice: the backward equation, which has no time."""
    from scipy.interpolate import RectBivariateSpline
    from scipy.sparse import diags, kron
    from scipy.sparse.linalg import spsolve

    x = np.linspace(-a, a, n + 1)
    h, inner = x[1] - x[0], slice(1, -1)
    second = diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(n - 1, n + 1)) / h**2
    first = diags([-1.0, 1.0], [0, 2], shape=(n - 1, n + 1)) / (2 * h)
    stay = diags([1.0], [1], shape=(n - 1, n + 1))
    beta = (1 + (2 * side - 1) * x / a)[inner] / 2
    drift = diags(both.v_low[side] * (both.drift[0] + both.drift[1] * beta))
    noise = diags((both.noise[0] + both.noise[1] * beta) ** 2 / 2)
    law = kron(second / 2 + both.v_high * first, stay) + kron(noise @ stay, second)
    law = law + kron(drift @ stay, first) - rate * kron(stay, stay)
    law = law - kron(stay, both.leak * diags(x[inner]) @ first)
    value = np.zeros((n + 1, n + 1))
    value[:, n * choice] = alone(both.v_high, a, x, bool(side), rate)
    value[n * side] = alone(both.v_low[side], a, x, bool(choice), rate)
    free = kron(*[diags([1.0], [-1], shape=(n + 1, n - 1))] * 2)
    found = spsolve((law @ free).tocsc(), -law @ value.ravel())
    value[inner, inner] = found.reshape(n - 1, n - 1)
    places = [(2 * z - 1) * a for z in (both.z_high, both.z_low[side])]
    return float(RectBivariateSpline(x, x, value)(*places)[0, 0])


@pytest.mark.parametrize(
    "kind",
    [
        ADJUSTED,
        ADJUSTED | {"leak": 2.5, "v_low": (3.5, -2.0)},
        MULTINOISE,
        TRADEOFF | {"v_low": (-3.0, 2.0), "v_high": 2.0},
    ],
)
def test_its_transforms_obey_the_backward_equation(kind: dict[str, Any]) -> None:
    both = levels(**kind)
    density = density_of(both)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    widths = np.diff(density.times)[:, None] / 2
    t = density.times[:-1, None] + widths * (nodes + 1)
    shares = np.exp(density.log_densities(t)) * widths * weights
    for rate in (0.0, 2.0, 8.0):
        found = (shares * np.exp(-rate * t)).sum(axis=(1, 2))
        for choice in range(4):
            coarse, fine = (
                transformed(both, 1.2, choice // 2, choice % 2, rate, n) for n in (60, 120)
            )
            assert found[choice] == pytest.approx((4 * fine - coarse) / 3, rel=1e-3, abs=2e-6)


@quick
@given(
    st.sampled_from([ADJUSTED, MULTINOISE, TRADEOFF]),
    st.floats(-4, 4),
    st.floats(-4, 4),
    st.floats(-4, 4),
    st.floats(0.4, 2.5),
    st.floats(-0.1, 1.5),
)
def test_nothing_is_lost_and_the_high_choice_is_that_of_one_particle(
    kind: dict[str, Any], v: float, v_1: float, v_2: float, a: float, slope: float
) -> None:
    both = levels(a, slope, v_high=v, v_low=(v_1, v_2), **kind)
    density = density_of(both)
    until = min(density.times[-1] * 0.99, UNTIL)
    shares = density.mass(until).reshape(2, 2).sum(axis=1)
    high = Diffusion(v, a, both.z_high, slope=slope)
    grid = high.grid(UNTIL)
    known = Density(high.log_density, grid, 0.0, UNTIL).choice_probabilities
    undecided = 1 - shares.sum()
    assert undecided > -2e-3
    assert (np.abs(shares - known) < 2e-3 + undecided).all()


@pytest.mark.slow
@quick
@given(
    st.sampled_from(NAMES).filter(lambda name: is_two_levels(find_model(name))),
    st.integers(0, 1000),
)
def test_a_finer_grid_gives_the_same_labels(name: str, seed: int) -> None:
    model = find_model(name)
    theta = model.bounds.named(draw_parameters(model, model.bounds, 1, seed=seed)[0])
    usual, finer = (make_density("solver", model, theta, UNTIL, refinement=r) for r in (1, 4))
    rows = finer.sample(300, random_state=1)
    off = np.abs(usual.evaluate(**rows) - finer.evaluate(**rows))
    assert off.mean() < 2e-3
    assert np.quantile(off, 0.99) < 0.02
    rts = theta["t"] + np.linspace(0.02, UNTIL, 100)
    for choice in range(4):
        known = finer.evaluate(rts, np.full(100, choice))
        off = np.abs(usual.evaluate(rts, np.full(100, choice)) - known)
        assert (off[known > -60] < 1).all()


# As many trials as show a shift of 1 %: few where decision times vary little.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_trials"),
    [
        ("ddm_mic2_ornstein", 100_000),
        ("ddm_mic2_multinoise_angle_no_bias", 75_000),
        ("tradeoff_no_bias", 100_000),
        ("ddm_mic2_ornstein_conflict_gamma_no_bias", 20_000),
        ("ddm_mic2_adj_conflict_gamma_no_bias", 25_000),
    ],
)
def test_ssm_simulators_simulates_this_density(name: str, n_trials: int) -> None:
    # Particles are looked at once a step, as if boundaries were 0.5826 sqrt(step) further away.
    step = 1e-4
    given_to_it = {"vh": 3.1, "vl1": 4.7, "vl2": -3.1, "a": 0.32, "d": 0.4, "t": 0.0}
    given_to_it |= {"zh": 0.4, "zl1": 0.55, "zl2": 0.6, "g": 4.9, "theta": 0.8}
    given_to_it |= {"scale": 0.4, "alphaGamma": 1.7, "scaleGamma": 0.2}
    model = find_model(name)
    theta = {parameter: given_to_it[parameter] for parameter in model.parameters}
    rts, choices = simulate(model, theta, n_trials, seed=3, delta_t=step, max_t=3.0)
    moved = theta | {"a": theta["a"] + 0.5826 * np.sqrt(step)}
    assert_simulated(make_density("solver", model, moved, UNTIL), rts, choices)
    if "multinoise" in name:  # its low choice is sometimes read off wrongly
        right = replace(two_levels_of(model, moved, UNTIL), misses=False)
        assert agreement(density_of(right), rts, choices) < LEVEL


def test_the_models_are_recognised_and_nothing_else() -> None:
    found = {name for name in model_names() if is_two_levels(find_model(name))}
    assert set(NAMES) - found == {
        "ddm_mic2_multinoise_conflict_gamma_no_bias",
        "tradeoff_conflict_gamma_no_bias",
    }
    assert len(found) == 29
    assert best_source(find_model("tradeoff_angle_no_bias_deadline")) == "solver"


def changed(name: str, **parts: object) -> Model:
    model = find_model(name)
    return replace(model, definition=model.definition.model_copy(update=parts))


def test_a_model_is_told_by_what_it_is_and_not_by_its_name() -> None:
    assert is_two_levels(replace(find_model("tradeoff_no_bias"), name="mine"))
    assert not is_two_levels(changed("tradeoff_no_bias", simulator="lca"))
    assert not is_two_levels(changed("ddm_mic2_adj", own=["simulator"]))
    assert not is_two_levels(changed("ddm_mic2_adj", boundary="conflict_gamma"))
    assert not is_two_levels(changed("ddm_mic2_multinoise_no_bias", own=["boundary"]))
    model = find_model("ddm_mic2_adj")
    assert not is_two_levels(replace(model, parameters=(*model.parameters, "s")))
    assert not is_two_levels(replace(find_model("ddm_mic2_adj"), choices=(0, 1)))


def test_a_drift_that_would_be_lost_in_rounding_is_not_solved() -> None:
    model = find_model("ddm_mic2_adj")
    assert model.bounds["a"] == (0.3, 2.5)
    assert is_two_levels(model.with_bounds({"vh": (-7.0, 7.0)}, "PARAM_BOUNDS"))
    steeper = model.with_bounds({"vh": (-8.0, 7.0)}, "PARAM_BOUNDS")
    assert not is_two_levels(steeper)
    assert best_source(steeper) == "kde"
    with pytest.raises(ValueError, match=r"vh \* a is above 18"):
        make_density("solver", model, model.bounds.centre() | {"vh": 8.0, "a": 2.5}, UNTIL)


def test_a_bump_that_is_too_high_or_begins_with_a_jump_is_not_solved() -> None:
    model = find_model("ddm_mic2_adj_conflict_gamma_no_bias")
    for bounds in ({"scale": (0.0, 6.0)}, {"scaleGamma": (0.4, 5.0)}, {"alphaGamma": (1.0, 5.0)}):
        assert best_source(model.with_bounds(bounds, "PARAM_BOUNDS")) == "kde"
    assert best_source(model.with_bounds({"vh": (-3.0, 3.0)}, "PARAM_BOUNDS")) == "solver"
    steep = model.bounds.centre() | {"vh": 4.0, "scale": 9.0, "alphaGamma": 1.1, "scaleGamma": 0.5}
    with pytest.raises(ValueError, match=r"vh times the height .* is above 45"):
        make_density("solver", model, steep, UNTIL)


def test_without_noise_before_the_high_decision_there_is_none_to_solve() -> None:
    # ssm-simulators' models of this name do have the noise; they are those without the ending.
    noisy = find_model("ddm_mic2_leak_no_bias_no_lowdim_noise")
    theta = noisy.bounds.centre()
    rows = {"rts": np.linspace(1.2, 4, 20), "choices": np.arange(20) % 4}
    same = [
        make_density("solver", find_model(name), theta, UNTIL).evaluate(**rows)
        for name in ("ddm_mic2_leak_no_bias", noisy.name)
    ]
    np.testing.assert_array_equal(*same)
    with_it = replace(noisy, parameters=(*noisy.parameters, "s_pre_high_level_choice"))
    assert not is_two_levels(with_it)


def test_a_deadline_cuts_the_density() -> None:
    model = find_model("ddm_mic2_adj_deadline")
    theta = model.bounds.centre() | {"deadline": 1.6, "t": 0.4}
    density = make_density("solver", model, theta, UNTIL)
    assert density.deadline == 1.6
    assert density.sample(200, random_state=1)["rts"].max() < 1.6
    assert density.evaluate([1.7], [3])[0] < -60
