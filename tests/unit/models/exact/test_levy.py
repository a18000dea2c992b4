from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betainc, gamma

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array, Density
from lanflow.models.exact.levy import _MOST, Levy
from lanflow.models.exact.recognised import is_levy
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters, find_model, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

UNTIL = 20.0
quick = settings(deadline=None, max_examples=6)
drifts = st.floats(-3, 3)
halves = st.floats(0.3, 3)
starts = st.floats(0.1, 0.9)
alphas = st.floats(1, 2)
angles = st.floats(-0.1, 1.3)


def density_of(particle: Levy) -> Density:
    return Density(
        particle.log_density,
        particle.grid(),
        0.0,
        UNTIL,
        log_densities=particle.log_densities,
    )


def particle(
    *,
    v: float = 0.0,
    a: float = 1.0,
    z: float = 0.5,
    alpha: float = 1.5,
    slope: float = 0.0,
    until: float = 200.0,
) -> Levy:
    return Levy(v, a, z, alpha, slope, until)


@pytest.mark.parametrize("alpha", [1.0, 1.2, 1.6, 2.0])
@pytest.mark.parametrize("z", [0.02, 0.1, 0.35, 0.5])
def test_without_drift_choices_and_mean_times_are_those_known(alpha: float, z: float) -> None:
    # Blumenthal, Getoor & Ray 1961: chances of leaving an interval above, and mean times.
    density = density_of(particle(a=1.4, z=z, alpha=alpha))
    assert density.choice_probabilities[1] == pytest.approx(
        betainc(alpha / 2, alpha / 2, z), abs=3e-4
    )
    nodes, weights = np.polynomial.legendre.leggauss(4)
    widths = np.diff(density.times)[:, None] / 2
    t = density.times[:-1, None] + widths * (nodes + 1)
    flow = sum(np.exp(density.log_density(t, choice)) for choice in (-1, 1))
    known = 1.4**alpha * (4 * z * (1 - z)) ** (alpha / 2) / gamma(alpha + 1)
    assert ((flow * t * widths) @ weights).sum() == pytest.approx(known, rel=5e-4)


@pytest.mark.parametrize("v", [-3.0, 0.4, 2.0])
def test_the_place_at_the_end_of_a_cauchy_particle_is_known(v: float) -> None:
    # With alpha one the drift makes the noise asymmetric, and the exponents at the boundaries
    # 1/2 -+ arctan(v) / pi; the chance of leaving above is an incomplete beta function of them.
    density = density_of(particle(v=v, z=0.3, alpha=1.0))
    above = 0.5 + np.arctan(v) / np.pi
    assert density.choice_probabilities[1] == pytest.approx(
        betainc(1 - above, above, 0.3), abs=1e-3
    )


@quick
@example(v=0.0, a=1.0, z=0.5, theta=-0.0625)  # boundaries that go apart
@given(drifts, halves, starts, angles)
def test_with_alpha_two_it_is_a_diffusion(v: float, a: float, z: float, theta: float) -> None:
    # Its variance is 2 t: in units of sqrt(2) it is that of others.
    slope, scale = np.tan(theta), np.sqrt(2)
    exact = Diffusion(v / scale, a / scale, z, slope / scale)
    truth = Density(exact.log_density, exact.grid(UNTIL), 0.0, UNTIL)
    rows = truth.sample(400, random_state=1)
    off = np.abs(density_of(Levy(v, a, z, 2.0, slope, UNTIL)).evaluate(**rows))
    off = np.abs(off - np.abs(truth.evaluate(**rows)))
    assert off.mean() < 4e-3
    assert np.quantile(off, 0.99) < 2e-2


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.8])
def test_it_begins_with_the_jumps_that_are_long_enough(alpha: float) -> None:
    one = particle(v=0.5, a=1.3, z=0.3, alpha=alpha)
    # Jumps come at the rate gamma(1 + alpha) sin(pi alpha / 2) / pi / length**(1 + alpha).
    height = gamma(1 + alpha) * np.sin(np.pi * alpha / 2) / np.pi
    for choice, way in ((-1, 0.3 * 2.6), (1, 0.7 * 2.6)):
        jumps = quad(lambda x: height / x ** (1 + alpha), way, np.inf)[0]
        assert one.log_density(np.zeros(1), choice)[0] == pytest.approx(np.log(jumps), abs=1e-6)


# Cells of the walk's grid from its middle to a boundary, which is between two of them.
CELLS = 256.5


def walk(one: Levy, step: float) -> tuple[Array, Array]:
    """Densities of a walk in steps of a time that sees boundaries after each, on a grid.

    An increment has its own density, found from its characteristic function.
    """
    n, width = 2**14, one.a / CELLS
    k = 2 * np.pi * np.fft.rfftfreq(n, width)
    place = (np.arange(n) - n // 2) * width
    turn = np.exp(-step * k**one.alpha - 1j * k * one.v * step)
    q = np.zeros(n)
    q[n // 2 + round((2 * one.z - 1) * one.a / width)] = 1.0
    times = step * np.arange(1, int(1.5 / step) + 1)
    flows = np.empty((2, len(times)))
    for i in range(len(times)):
        q = np.fft.irfft(np.fft.rfft(q) * turn, n)
        flows[:, i] = q[place < -one.a].sum() / step, q[place > one.a].sum() / step
        q[np.abs(place) > one.a] = 0
    return times - step / 2, flows


@pytest.mark.parametrize(
    ("v", "cell", "alpha"), [(0.0, 0, 1.2), (1.0, -128, 1.4), (-0.8, 64, 1.15)]
)
def test_a_walk_in_short_steps_has_this_density(v: float, cell: int, alpha: float) -> None:
    # A walk overshoots boundaries by a multiple of step**(1 / alpha): extrapolated from two steps.
    one = particle(v=v, z=(cell / CELLS + 1) / 2, alpha=alpha, until=UNTIL)
    at = np.linspace(0.1, 1.2, 12)
    logs = []
    for step in (0.004, 0.002):
        times, flows = walk(one, step)
        logs.append(np.stack([np.interp(at, times, np.log(row)) for row in flows]))
    extrapolated = logs[1] + (logs[1] - logs[0]) / (2 ** (1 / alpha) - 1)
    np.testing.assert_allclose(one.log_densities(at), extrapolated, atol=4e-3)


@quick
@given(drifts, halves, starts, alphas, angles)
def test_a_finer_solution_gives_the_same_labels_and_nothing_is_lost(
    v: float, a: float, z: float, alpha: float, theta: float
) -> None:
    usual, finer = (
        density_of(Levy(v, a, z, alpha, np.tan(theta), UNTIL, times)) for times in (1, 2)
    )
    rows = usual.sample(300, random_state=1)
    off = np.abs(usual.evaluate(**rows) - finer.evaluate(**rows))
    assert off.mean() < 0.01
    assert np.quantile(off, 0.99) < 0.05
    if theta > 0.2:
        assert usual.cumulative[:, -1].sum() == pytest.approx(1, abs=5e-3)
    assert (np.diff(usual.cumulative, axis=1) >= 0).all()


@pytest.mark.slow
def test_the_density_is_as_close_as_labels_must_be() -> None:
    model = find_model("levy_angle")
    off = []
    for vector in draw_parameters(model, model.bounds, 8, seed=1, is_even=True):
        theta = model.bounds.named(vector)
        usual, finer = (
            make_density("solver", model, theta, UNTIL, refinement=times) for times in (1, 4)
        )
        rows = usual.sample(200, random_state=1)
        off.append(np.abs(usual.evaluate(**rows) - finer.evaluate(**rows)))
    errors = np.concatenate(off)
    assert errors.mean() < 2e-3
    assert np.quantile(errors, 0.99) < 2e-2
    assert errors.max() < 1


@pytest.mark.parametrize("alpha", [1.0, 1.16, 1.3])
def test_the_finest_solution_there_is_loses_nothing(alpha: float) -> None:
    # Polynomials and hats are nearly sums of one another there.
    one = Levy(-0.9, 2.0, 0.44, alpha, 0.0, UNTIL, refinement=4)
    assert one._n == _MOST
    assert density_of(one).cumulative[:, -1].sum() == pytest.approx(1, abs=1e-3)


def test_a_mirror_image_has_the_mirrored_density() -> None:
    times = np.array([0.0, 0.01, 0.1, 0.5, 2.0])
    one = particle(v=1.2, a=1.3, z=0.3, alpha=1.1, slope=0.4)
    other = replace(one, v=-1.2, z=0.7)
    np.testing.assert_allclose(
        one.log_densities(times), other.log_densities(times)[::-1], atol=1e-6
    )


@pytest.mark.parametrize("slope", [1e-9, -1e-9, 5e-324, -5e-324])
def test_boundaries_that_hardly_move_are_straight(slope: float) -> None:
    times = np.array([0.01, 0.1, 0.5, 2.0, 5.0])
    still, moving = (particle(v=0.7, alpha=1.7, slope=slope) for slope in (0.0, slope))
    np.testing.assert_allclose(still.log_densities(times), moving.log_densities(times), atol=2e-3)


def test_behind_the_end_and_before_the_start_nothing_happens() -> None:
    logs = particle(slope=2.0).log_densities(np.array([-1e-3, 0.25, 0.5, 0.6]))
    assert np.isneginf(logs[:, [0, 2, 3]]).all()
    assert np.isfinite(logs[:, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), [("levy", {}), ("levy_angle", {"theta": 0.6})])
def test_ssm_simulators_simulates_this_density(name: str, more: dict[str, float]) -> None:
    # A tenth of the usual step: the way by which a walk overshoots its boundaries is then 0.1 %.
    theta = {"v": 2.5, "a": 0.6, "z": 0.4, "alpha": 1.3, "t": 0.3, **more}
    model = find_model(name)
    rts, choices = simulate(model, theta, 100_000, seed=3, delta_t=1e-4)
    density = make_density("solver", model, theta, UNTIL)
    assert_simulated(density, rts - theta["t"], choices)


def changed(**parts: object) -> Model:
    model = find_model("levy")
    return replace(model, definition=model.definition.model_copy(update=parts))


def test_a_model_is_told_by_what_it_is_and_not_by_its_name() -> None:
    assert is_levy(replace(find_model("levy"), name="mine"))
    assert is_levy(find_model("levy_angle_deadline"))
    assert not is_levy(find_model("ddm"))
    assert not is_levy(changed(own=["simulator"]))
    assert not is_levy(changed(boundary="weibull_cdf"))
    assert not is_levy(replace(find_model("levy"), parameters=("v", "a", "z", "alpha", "t", "s")))
    # Below one, a particle with a drift has finitely long paths: another equation.
    assert not is_levy(find_model("levy").with_bounds({"alpha": (0.8, 2.0)}, "here"))
    assert is_levy(find_model("levy").with_bounds({"alpha": (1.4, 1.6)}, "here"))
