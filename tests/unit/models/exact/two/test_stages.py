import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lanflow.models.analytic import Diffusion, choice_probability
from lanflow.models.density import Array, Density
from lanflow.models.exact.normal import quadrature
from lanflow.models.exact.recognised import is_two_stages
from lanflow.models.exact.two.stages import CHOICES, Particle, TwoStages
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters, find_model, model_names, simulate
from lanflow.models.sources import best_source, make_density
from tests.unit.models.exact.agreement import assert_simulated

NAMES = [name for name in model_names() if name.startswith(("ddm_seq2", "ddm_par2"))]
HIGH, LOW = Particle(1.1, 0.45), (Particle(-0.6, 0.4), Particle(2.0, 0.6))
A = 0.9
Boundary = Callable[[Array], Array]


def straight(slope: float, a: float = A) -> Boundary:
    return lambda t: a - slope * t


def bent(t: Array) -> Array:
    return np.asarray(A * np.exp(-((t / 1.5) ** 2.5)))


def both(
    boundary: Boundary, *, is_sequence: bool, is_straight: bool = True, refinement: int = 1
) -> TwoStages:
    return TwoStages(HIGH, LOW, boundary, is_straight, is_sequence, 20.0, refinement)


def density_of(one: TwoStages) -> Density:
    return Density(
        one.log_density, one.grid(), 0.0, 20.0, choices=CHOICES, log_densities=one.log_densities
    )


def of_each_choice() -> list[tuple[int, int, Particle, int]]:
    """Choices of both, their sides, and the particle of the low one."""
    return [
        (2 * high + low, 2 * high - 1, LOW[high], 2 * low - 1) for high in (0, 1) for low in (0, 1)
    ]


@pytest.mark.parametrize("slope", [0.0, 0.5, -0.1])
def test_a_sequence_is_the_sum_of_two_decisions(slope: float) -> None:
    one = both(straight(slope), is_sequence=True)
    nodes, weights = quadrature(60)
    for t in (0.15, 0.4, 0.9, 1.4):
        total = np.zeros(4)
        for first, last in itertools.pairwise(t * np.linspace(0, 1, 9)):
            since = first + (last - first) * nodes
            for choice, side, particle, low in of_each_choice():
                high = Diffusion(HIGH.v, A, HIGH.z, slope).log_density(since, side)
                then = [
                    Diffusion(particle.v, A - slope * s, particle.z, slope).log_density(
                        np.array([t - s]), low
                    )[0]
                    for s in since
                ]
                total[choice] += np.exp(high + then) @ weights * (last - first)
        np.testing.assert_allclose(one.log_densities(np.array([t]))[:, 0], np.log(total), atol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0])
def test_between_still_boundaries_it_has_the_product_of_laplace_transforms(rate: float) -> None:
    def transform(one: Particle, side: int) -> float:
        root, start = np.sqrt(one.v**2 + 2 * rate), A * (2 * one.z - 1)
        way = np.exp(one.v * side * (A - side * start))
        return float(way * np.sinh(root * (A + side * start)) / np.sinh(2 * root * A))

    density = density_of(both(straight(0.0), is_sequence=True))
    nodes, weights = quadrature(4)
    widths = np.diff(density.times)
    t = density.times[:-1, None] + widths[:, None] * nodes
    for choice, side, particle, low in of_each_choice():
        shares = np.exp(density.log_density(t, choice) - rate * t) @ weights @ widths
        assert shares == pytest.approx(transform(HIGH, side) * transform(particle, low), rel=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.5, -0.1])
def test_side_by_side_both_have_decided(slope: float) -> None:
    density = density_of(both(straight(slope), is_sequence=False))
    ends = density.times[20::15]

    def until(one: Particle, side: int) -> Array:
        law = Diffusion(one.v, A, one.z, slope)
        return Density(law.log_density, law.grid(20.0), 0.0, 20.0).mass(ends)[(side + 1) // 2]

    for choice, side, particle, low in of_each_choice():
        known = until(HIGH, side) * until(particle, low)
        np.testing.assert_allclose(density.mass(ends)[choice], known, atol=3e-4)


@pytest.mark.parametrize("is_sequence", [True, False])
def test_it_is_whole_and_choices_are_those_of_each_decision(is_sequence: bool) -> None:
    density = density_of(both(straight(0.0), is_sequence=is_sequence))
    assert density.cumulative[:, -1].sum() == pytest.approx(1, abs=1e-6)
    upper = [choice_probability(one.v, A, one.z) for one in (HIGH, *LOW)]
    known = [
        (1 - upper[0]) * (1 - upper[1]),
        (1 - upper[0]) * upper[1],
        upper[0] * (1 - upper[2]),
        upper[0] * upper[2],
    ]
    np.testing.assert_allclose(density.choice_probabilities, known, atol=1e-6)


@pytest.mark.parametrize("is_sequence", [True, False])
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_solution_for_bent_boundaries_is_that_for_straight_ones(
    slope: float, is_sequence: bool
) -> None:
    exact = density_of(both(straight(slope), is_sequence=is_sequence))
    solved = density_of(both(straight(slope), is_sequence=is_sequence, is_straight=False))
    rows = exact.sample(500, random_state=1)
    off = np.abs(solved.evaluate(**rows) - exact.evaluate(**rows))
    assert off.mean() < 2e-4
    assert off.max() < 5e-3


@pytest.mark.parametrize("is_sequence", [True, False])
def test_between_bent_boundaries_it_is_whole_and_obeys_the_law_of_a_stopped_particle(
    is_sequence: bool,
) -> None:
    # Wald's identity for the place: E X = start + v E T, of each decision.
    density = density_of(both(bent, is_sequence=is_sequence, is_straight=False))
    assert density.cumulative[:, -1].sum() == pytest.approx(1, abs=1e-4)
    if not is_sequence:
        return
    nodes, weights = quadrature(4)
    widths = np.diff(density.times)
    t = density.times[:-1, None] + widths[:, None] * nodes
    flows = np.exp(density.log_densities(t))
    together = replace(both(bent, is_sequence=False, is_straight=False), low=(HIGH, HIGH))
    s = np.linspace(1e-3, together.grid()[-1], 4001)
    high = np.exp(together.alone(HIGH, s))
    for row, one in enumerate(LOW):
        both_times = (flows[2 * row : 2 * row + 2].sum(axis=0) * t) @ weights @ widths
        took = both_times - np.trapezoid(high[row] * s, s)
        start = np.trapezoid(high[row] * bent(s), s) * (2 * one.z - 1)
        ends = (flows[2 * row + 1] - flows[2 * row]) * bent(t) @ weights @ widths
        assert ends - start == pytest.approx(one.v * took, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_four_times_finer_gives_the_same_labels(name: str) -> None:
    model = find_model(f"{name}_deadline")
    source = best_source(model)
    assert source != "kde"
    off = []
    for vector in draw_parameters(model, model.bounds, 3, seed=3, is_even=True):
        theta = model.bounds.named(vector)
        usual, finer = (
            make_density(source, model, theta, 20.0, refinement=times) for times in (1, 4)
        )
        rows = finer.sample(200, random_state=1)
        off.append(np.abs(usual.evaluate(**rows) - finer.evaluate(**rows)))
        np.testing.assert_allclose(
            usual.choice_probabilities, finer.choice_probabilities, atol=1e-3
        )
        rts = np.linspace(0, 25, 80)
        for choice in CHOICES:
            known = finer.evaluate(rts, np.full(80, choice))
            found = usual.evaluate(rts, np.full(80, choice))
            assert np.isfinite(found).all()
            assert (np.abs(found - known)[known > -66] < 1).all()
    assert np.mean(off) < 1e-3
    assert np.quantile(off, 0.99) < 0.01


# Simulated are decisions between boundaries nearer to each other: the same in units of their time,
# a third of the steps.
NEAR = 0.6
NEAR_HIGH, *NEAR_LOW = (Particle(one.v / NEAR, one.z) for one in (HIGH, *LOW))
CASES = {
    "ddm_seq2": straight(0.0, NEAR * A),
    "ddm_par2": straight(0.0, NEAR * A),
    "ddm_seq2_angle_no_bias": straight(np.tan(0.7), NEAR * A),
    "ddm_seq2_weibull_no_bias": lambda t: NEAR * bent(t / NEAR**2),
    "ddm_par2_weibull_no_bias": lambda t: NEAR * bent(t / NEAR**2),
}


# As many trials as show a shift of 1 %: fewer where decision times vary less.
N_TRIALS = {
    "ddm_seq2": 100_000,
    "ddm_par2": 100_000,
    "ddm_seq2_angle_no_bias": 50_000,
    "ddm_seq2_weibull_no_bias": 60_000,
    "ddm_par2_weibull_no_bias": 120_000,
}
STEPS = [
    *((name, 1e-3) for name in ("ddm_seq2_angle_no_bias", "ddm_par2_weibull_no_bias")),
    *(pytest.param(name, 1e-4, marks=pytest.mark.slow) for name in CASES),
]


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_ssm_simulators_simulates_this_density(name: str, step: float) -> None:
    # Its particles are looked at after each step: to the next order the boundaries are 0.5826
    # sqrt(step) further away (Siegmund 1979).
    model, high, low, a = find_model(name), NEAR_HIGH, NEAR_LOW, NEAR * A
    z = dict.fromkeys(("zh", "zl1", "zl2"), 0.5)
    if "zh" in model.parameters:
        z = {"zh": high.z, "zl1": low[0].z, "zl2": low[1].z}
    theta = {"vh": high.v, "vl1": low[0].v, "vl2": low[1].v, "a": a, "t": 0.0, **z}
    theta |= {"theta": 0.7, "alpha": 2.5, "beta": 1.5 * NEAR**2}
    theta = {parameter: theta[parameter] for parameter in model.parameters}
    rts, choices = simulate(model, theta, N_TRIALS[name], seed=4, delta_t=step, max_t=3.0)
    further = 0.5826 * np.sqrt(step)

    def seen(v: float, share: float) -> Particle:
        return Particle(v, ((2 * share - 1) * a / (a + further) + 1) / 2)

    moved = TwoStages(
        seen(high.v, z["zh"]),
        (seen(low[0].v, z["zl1"]), seen(low[1].v, z["zl2"])),
        lambda t: CASES[name](t) + further,
        "weibull" not in name,
        "seq2" in name,
        20.0,
    )
    assert_simulated(density_of(moved), rts, choices)
    # The density of the model is that without the step.
    still = replace(moved, boundary=CASES[name])
    still = replace(still, high=Particle(high.v, z["zh"]))
    still = replace(still, low=(Particle(low[0].v, z["zl1"]), Particle(low[1].v, z["zl2"])))
    source = best_source(model)
    assert source == ("solver" if "weibull" in name else "analytic")
    known = make_density(source, model, theta, 20.0).evaluate([0.1, 0.3], [0, 3])
    np.testing.assert_allclose(density_of(still).evaluate([0.1, 0.3], [0, 3]), known, atol=1e-5)


def test_two_decisions_are_recognised_and_nothing_else() -> None:
    assert {name for name in model_names() if is_two_stages(find_model(name))} == set(NAMES)
    assert len(NAMES) == 10

    def changed(**parts: object) -> Model:
        model = find_model("ddm_seq2")
        return replace(model, definition=model.definition.model_copy(update=parts))

    assert is_two_stages(replace(find_model("ddm_par2"), name="mine"), is_straight=True)
    assert not is_two_stages(changed(simulator="ddm_flexbound_mic2_ornstein"))
    assert not is_two_stages(changed(own=["simulator"]))
    assert not is_two_stages(changed(drift="gamma_drift"))
    assert is_two_stages(changed(own=["boundary"]), is_straight=False)
    assert not is_two_stages(replace(find_model("ddm_seq2"), choices=(-1, 1)))


@pytest.mark.parametrize("is_sequence", [True, False])
def test_earliest_decisions_before_a_rising_boundary_go_straight_to_it(is_sequence: bool) -> None:
    def rising(t: Array) -> Array:
        return np.asarray(1.0 + 3 * np.minimum(t / 0.1, 1.0) ** 0.3)

    one = Particle(0.0, 0.5)
    density = density_of(TwoStages(one, (one, one), rising, False, is_sequence, 20.0))
    for t in (0.2, 0.5):
        # Both from the middle, one after the other at the best time for it, or at once.
        end, s = rising(np.array([t]))[0], t * np.linspace(0.02, 0.98, 97)
        in_turn = (rising(s) ** 2 / s + end**2 / (t - s)).min() / 2
        nats = in_turn if is_sequence else end**2 / t
        logs = [density.log_density(np.array([t]), choice)[0] for choice in CHOICES]
        np.testing.assert_allclose(logs, -nats, atol=6)


@pytest.mark.parametrize(
    "more", [{}, {"alphaGamma": 1.6}, {"scaleGamma": 0.8}, {"a": 1.2}], ids=str
)
@pytest.mark.parametrize("kind", ["par2", "seq2"])
def test_behind_a_high_bump_nothing_is_lost(kind: str, more: dict[str, float]) -> None:
    model = find_model(f"ddm_{kind}_conflict_gamma_no_bias")
    theta = {"vh": -2.2, "vl1": 3.2, "vl2": 3.0, "a": 2.5, "t": 0.0, "theta": 0.5}
    theta |= {"scale": 5.0, "alphaGamma": 1.2, "scaleGamma": 0.5} | more
    usual, finer = (make_density("solver", model, theta, 20.0, refinement=r) for r in (1, 4))
    rows = finer.sample(300, random_state=1)
    assert np.abs(usual.evaluate(**rows) - finer.evaluate(**rows)).mean() < 2e-3
    assert usual.mass(20.0).sum() == pytest.approx(1.0, abs=2e-3)


def test_where_the_first_densities_are_below_all_numbers_none_are_made_up() -> None:
    model = find_model("ddm_seq2_conflict_gamma_no_bias")
    theta = {"vh": -2.869, "vl1": -3.585, "vl2": 2.262, "a": 0.58, "t": 0.0, "theta": 0.251}
    theta |= {"scale": 3.102, "alphaGamma": 1.566, "scaleGamma": 0.931}
    density = make_density("solver", model, theta, 20.0)
    assert density.mass(20.0).sum() == pytest.approx(1.0, abs=1e-4)
    assert (density.evaluate(np.linspace(1e-4, 0.1, 500), np.zeros(500)) < -20).all()
