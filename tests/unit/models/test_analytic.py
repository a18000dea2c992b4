import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr
from ssms.basic_simulators.simulator import simulator

from lanflow.models.analytic import (
    _CROSSOVER,
    MODELS,
    RELATIVE_ERROR,
    Diffusion,
    choice_probability,
    diffusion,
    log_unit_density,
)
from lanflow.models.density import Array, Density

drifts = st.floats(-3, 3)
halves = st.floats(0.3, 3)
starts = st.floats(0.05, 0.95)
slopes = st.floats(-0.1, 3.6)
quick = settings(deadline=None, max_examples=20)


def series_density(t: np.ndarray, v: float, a: float, w: float) -> np.ndarray:
    """Feller's series for the lower boundary at distance a, with far more terms than are needed."""
    k = np.arange(-60, 61)[:, None]
    tau = t / a**2
    total = ((w + 2 * k) * np.exp(-((w + 2 * k) ** 2) / (2 * tau))).sum(0)
    return np.exp(-v * a * w - v**2 * t / 2) / a**2 * total / np.sqrt(2 * np.pi * tau**3)


def blurton_cumulative(t: float, v: float, a: float, w: float) -> float:
    """Probability of the lower boundary before t (Blurton et al. 2012), a the distance."""
    total = 0.0
    for j in range(60):
        r = j * a + a * (w if j % 2 == 0 else 1 - w)
        for sign in (-1, 1):
            # exp(-v a w - v^2 t / 2) phi(r / sqrt t) times Mills' ratio at (r + sign v t) / sqrt t
            x = (r + sign * v * t) / np.sqrt(t)
            log_term = -v * a * w + sign * v * r + log_ndtr(-x)
            total += (-1) ** j * np.exp(log_term)
    return total


@quick
@given(drifts, halves, starts)
def test_the_density_is_that_of_the_published_series(v: float, a: float, z: float) -> None:
    t = np.geomspace(0.02, 1.2, 30) * a**2
    lower = Diffusion(v, a, z).log_density(t, -1)
    np.testing.assert_allclose(np.exp(lower), series_density(t, v, 2 * a, z), rtol=1e-8)
    upper = Diffusion(v, a, z).log_density(t, 1)
    np.testing.assert_allclose(np.exp(upper), series_density(t, -v, 2 * a, 1 - z), rtol=1e-8)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_the_truncation_error_stays_below_its_bound(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tau = np.concatenate([np.geomspace(1e-3, 30, 300), [_CROSSOVER * (1 - 1e-12), _CROSSOVER]])
    taken = log_unit_density(tau, share)
    monkeypatch.setattr("lanflow.models.analytic._N_IMAGES", 40)
    monkeypatch.setattr("lanflow.models.analytic._N_SINES", 40)
    rounding = 2e-15 * np.abs(taken) + 2e-14
    assert (np.abs(taken - log_unit_density(tau, share)) <= RELATIVE_ERROR + rounding).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_both_series_agree_where_one_takes_over_from_the_other(share: float) -> None:
    tau = _CROSSOVER * np.array([1 - 1e-13, 1])
    early, late = log_unit_density(tau, share)
    assert early == pytest.approx(late, abs=1e-11)


@quick
@given(drifts, halves, starts)
def test_both_choices_have_their_known_probabilities(v: float, a: float, z: float) -> None:
    density = density_of(Diffusion(v, a, z), until=np.inf)
    upper = choice_probability(v, a, z)
    np.testing.assert_allclose(density.cumulative[:, -1], [1 - upper, upper], atol=2e-8)


@quick
@given(drifts, halves, starts, st.floats(0.01, 5))
def test_the_distribution_function_is_the_published_one(
    v: float, a: float, z: float, t: float
) -> None:
    times = np.unique(np.append(Diffusion(v, a, z).grid(20.0), t))
    density = Density(Diffusion(v, a, z).log_density, times, 0.0, 20.0)
    lower, upper = density.mass(t)
    assert lower == pytest.approx(blurton_cumulative(t, v, 2 * a, z), abs=1e-7)
    assert upper == pytest.approx(blurton_cumulative(t, -v, 2 * a, 1 - z), abs=1e-7)


@quick
@given(drifts, halves, starts, slopes, st.floats(0.01, 2.5))
def test_the_density_integrates_to_one(
    v: float, a: float, z: float, slope: float, sv: float
) -> None:
    particle = Diffusion(v, a, z, slope=max(slope, 0.0), sv=sv)
    total = density_of(particle, until=np.inf).cumulative[:, -1].sum()
    assert total == pytest.approx(1, abs=2e-6)


@quick
@given(st.floats(0.3, 3), starts, st.floats(-0.5, 1.0), st.floats(0.1, 0.9))
def test_what_is_not_decided_is_still_between_the_boundaries(
    a: float, z: float, slope: float, share_of_time: float
) -> None:
    until = share_of_time * min(a / slope if slope > 0 else 20.0, 20.0)
    decided = density_of(Diffusion(0.0, a, z, slope), until=until).cumulative[:, -1].sum()
    # The density of the place, from the heat kernel between -1 and 1 at the time t / (a b).
    b, start, y = a - slope * until, 2 * z - 1, np.linspace(-1, 1, 2001)
    k = np.arange(1, 400)[:, None] * np.pi / 2
    waves = np.sin(k * (y + 1)) * np.sin(k * (start + 1)) * np.exp(-(k**2) / 2 * until / (a * b))
    place = np.sqrt(b / a) * np.exp(slope / 2 * (b * y**2 - a * start**2)) * waves.sum(axis=0)
    assert 1 - decided == pytest.approx(np.trapezoid(place, y), abs=1e-5)


@pytest.mark.parametrize(
    ("model", "theta"),
    [
        ("ddm", {}),
        ("ddm_legacy", {}),
        ("ddm_sdv", {"sv": 1.5}),
        ("angle", {"theta": 0.6}),
        ("angle", {"theta": -0.1}),
    ],
)
def test_ssm_simulators_simulates_this_density(model: str, theta: dict[str, float]) -> None:
    theta = {"v": 0.8, "a": 1.3, "z": 0.4, "t": 0.25, **theta}
    n = 10_000
    out = simulator(theta=theta, model=model, n_samples=n, delta_t=0.0005, random_state=1)
    particle = diffusion(model, theta)
    density = Density(particle.log_density, particle.grid(20.0), theta["t"], 20.0)
    quantiles = np.quantile(out["rts"], [0.1, 0.3, 0.5, 0.7, 0.9, 1])
    simulated = [
        [((out["rts"] <= q) & (out["choices"] == choice)).mean() for q in quantiles]
        for choice in (-1, 1)
    ]
    # Three standard errors, and what the simulator's time step hides: half of it, and an
    # overshoot of the boundary of 0.58 sqrt(0.0005).
    np.testing.assert_allclose(density.mass(quantiles), simulated, atol=0.02)


@quick
@given(drifts, halves, starts, slopes)
def test_a_variable_drift_is_the_average_over_drifts(
    v: float, a: float, z: float, slope: float
) -> None:
    sv, t = 0.9, np.array([0.05, 0.4]) * min(1.0, a / max(slope, 1e-9))
    nodes = np.linspace(-8, 8, 201)
    weights = np.exp(-(nodes**2) / 2) * 0.08 / np.sqrt(2 * np.pi)
    average = sum(
        weight * np.exp(Diffusion(v + sv * x, a, z, slope).log_density(t, 1))
        for x, weight in zip(nodes, weights, strict=True)
    )
    np.testing.assert_allclose(
        np.exp(Diffusion(v, a, z, slope, sv).log_density(t, 1)), average, rtol=1e-8, atol=1e-12
    )


@quick
@given(drifts, halves, starts, st.floats(0.05, 3.0))
def test_moving_boundaries_obey_the_law_of_a_stopped_particle(
    v: float, a: float, z: float, slope: float
) -> None:
    # For any u, exp(u X - u v T - u**2 T / 2) has the mean exp(u X_0) when the particle is stopped.
    particle = Diffusion(v, a, z, slope)
    end = a / slope
    u, mean = 0.7, 0.0
    for choice in (-1, 1):

        def weighted(t: Array, choice: int = choice) -> Array:
            place = choice * (a - particle.slope * t)
            log = particle.log_density(t, choice)
            return np.exp(log + u * place - u * v * t - u**2 * t / 2)

        times = end * np.linspace(0, 1, 20_001) ** 3
        mean += np.trapezoid(weighted(times), times)
    assert mean == pytest.approx(np.exp(u * (2 * z - 1) * a), rel=1e-4)


def test_far_tails_have_finite_logarithms() -> None:
    t = np.array([1e-5, 1e-3, 50.0, 1000.0])
    logs = Diffusion(2.5, 2.0, 0.5).log_density(t, -1)
    assert np.isfinite(logs).all()
    assert logs[0] == pytest.approx(-(2.0**2) / 2e-5, rel=1e-3)


def test_what_cannot_happen_has_no_density() -> None:
    particle = Diffusion(0.5, 1.0, 0.5, slope=2.0)
    assert particle.collapse_time == 0.5
    logs = particle.log_density(np.array([-1.0, 0.0, 0.2, 0.5, 3.0]), 1)
    assert np.isneginf(logs[[0, 1, 3, 4]]).all()
    assert np.isfinite(logs[2])


def test_the_probability_of_a_choice_without_drift_is_the_start() -> None:
    assert choice_probability(0.0, 1.5, 0.3) == 0.3
    assert choice_probability(1e-7, 1.5, 0.3) == pytest.approx(0.3, abs=1e-6)
    assert choice_probability(1.0, 1.0, 0.5) == pytest.approx(1 / (1 + np.exp(-2)))
    assert choice_probability(-2.0, 1.0, 0.5) == pytest.approx(1 / (1 + np.exp(4)))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_its_particle(model: str) -> None:
    theta = {"v": 1.0, "a": 2.0, "z": 0.4, "sv": 0.5, "theta": np.pi / 4}
    particle = diffusion(model, theta)
    assert particle.a == (1.0 if model == "ddm_legacy" else 2.0)
    assert particle.sv == (0.5 if model == "ddm_sdv" else 0.0)
    assert particle.slope == pytest.approx(1.0 if model == "angle" else 0.0)
    assert (particle.v, particle.z) == (1.0, 0.4)


def density_of(particle: Diffusion, *, until: float) -> Density:
    until = min(until, 1e9)
    return Density(particle.log_density, particle.grid(until), 0.0, 20.0)
