import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import rayleigh, truncnorm, uniform

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array, Density
from lanflow.models.exact import variable
from lanflow.models.exact.normal import quadrature
from lanflow.models.exact.recognised import is_variable, variable_of
from lanflow.models.exact.variable import CHOICES, Variable
from lanflow.models.simulators import draw_parameters, find_model, model_names, simulate
from lanflow.models.sources import make_density
from tests.unit.models.exact.agreement import assert_simulated

NAMES = ["full_ddm", "full_ddm2", "full_ddm_rv", "ddm_st", "ddm_truncnormt", "ddm_rayleight"]
NAMES += [name for name in model_names() if name == "ddm_normal_st"]  # ssm-simulators 0.15 has it


def particle(nondecision: Any, *, width: float = 0.3, **changed: float) -> Variable:
    given = {"v": 0.8, "sv": 0.6, "a": 1.1, **changed}
    return Variable(
        **given, lowest=0.1 - width, highest=0.1 + width, nondecision=nondecision, until=20.0
    )


def density_of(one: Variable) -> Density:
    return Density(one.log_density, one.grid(), 0.0, 20.0, log_densities=one.log_densities)


def brute(one: Variable, rts: Array, choice: int) -> Array:
    """Density by many nodes in start and non-decision time, one by one, with no table."""
    nodes, weights = quadrature(60)
    starts = one.lowest + (one.highest - one.lowest) * nodes
    low, high = one.nondecision.ppf(1e-15), one.nondecision.isf(1e-15)
    parts = 30
    edges = np.linspace(low, high, parts + 1)
    total = np.zeros(len(rts))
    for a, b in itertools.pairwise(edges):
        tau = a + (b - a) * nodes
        share = weights * (b - a) * one.nondecision.pdf(tau)
        for start, weight in zip(starts, weights, strict=True):
            z = (start / one.a + 1) / 2
            law = Diffusion(one.v, one.a, z, sv=one.sv)
            total += weight * np.exp(law.log_density(rts[:, None] - tau, choice)) @ share
    return total


@pytest.mark.parametrize(
    "nondecision",
    [
        uniform(0.3, 0.4),
        uniform(0.5, 0.002),
        truncnorm(a=-0.4 / 0.2, b=np.inf, loc=0.4, scale=0.2),
        rayleigh(scale=0.3),
    ],
)
def test_it_is_the_mean_over_starts_and_non_decision_times(nondecision: Any) -> None:
    one = particle(nondecision)
    rts = np.array([0.45, 0.6, 0.9, 1.5, 3.0])
    for choice in CHOICES:
        known = brute(one, rts, choice)
        seen = known > 1e-12
        assert seen.sum() > 2
        found = one.log_density(rts, choice)[seen]
        np.testing.assert_allclose(found, np.log(known[seen]), atol=2e-5)


def test_without_variability_it_is_the_ddm() -> None:
    one = particle(uniform(0.3 - 1e-5, 2e-5), width=0.0, sv=0.0)
    law = Diffusion(0.8, 1.1, (0.1 / 1.1 + 1) / 2)
    decision = np.array([0.02, 0.05, 0.2, 1.0, 5.0, 15.0])
    for choice in CHOICES:
        np.testing.assert_allclose(
            one.log_density(decision + 0.3, choice), law.log_density(decision, choice), atol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_finer_table_and_more_nodes_give_the_same_labels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model(name)
    vectors = draw_parameters(model, model.bounds, 5, seed=11, is_even=True)
    thetas = [model.bounds.named(vector) for vector in vectors]
    if name == "full_ddm":  # some start outside
        thetas.append({**thetas[0], "a": 0.3, "z": 0.3, "sz": 0.2})
    usual = [make_density("analytic", model, theta, 20.0) for theta in thetas]
    rows = [density.sample(200, random_state=1) for density in usual]
    labels = [density.evaluate(**each) for density, each in zip(usual, rows, strict=True)]
    for density in usual:
        assert density.choice_probabilities.sum() == pytest.approx(1, abs=1e-5)
        rts = np.linspace(0, 25, 60)
        assert np.isfinite(density.evaluate(rts, np.ones(60))).all()
    monkeypatch.setattr(variable, "_PER_FOLD", 60)
    for names, n in ((("_STARTS", "_START_WEIGHTS"), 48), (("_NODES", "_WEIGHTS"), 60)):
        for each, values in zip(names, quadrature(n), strict=True):
            monkeypatch.setattr(variable, each, values)
    off = []
    for theta, each, label in zip(thetas, rows, labels, strict=True):
        finer = variable_of(model, theta, 20.0)
        better = Density(finer.log_density, np.array([0.0, 1.0]), 0.0, 20.0).evaluate(**each)
        off.append(np.abs(label - better))
    assert np.mean(off) < 1e-4
    assert np.max(off) < 5e-3


def test_those_who_start_outside_answer_after_their_non_decision_time() -> None:
    model = find_model("full_ddm")
    theta = {"v": 1.0, "a": 0.3, "z": 0.3, "t": 0.5, "sz": 0.2, "sv": 0.5, "st": 0.2}
    density = make_density("analytic", model, theta, 20.0)
    rts, choices = simulate(model, theta, 40_000, seed=7, delta_t=1e-4)
    assert (rts < 0.305).mean() > 0.001  # 5 % start below, and answer from t - st on
    for last in (0.4, 0.6, 1.0):
        shares = [((rts < last) & (choices == choice)).mean() for choice in CHOICES]
        np.testing.assert_allclose(density.mass(last).ravel(), shares, atol=0.02)


CASES = {
    "full_ddm": {"sz": 0.2, "sv": 0.8, "st": 0.1},
    "full_ddm_rv": {"sz": 0.15, "sv": 0.8, "st": 0.1},
    "ddm_truncnormt": {"mt": 0.3, "st": 0.15},
}


@pytest.mark.parametrize("name", CASES)
def test_ssm_simulators_simulates_this_density(name: str) -> None:
    # Its particles are looked at after each step: to the next order the boundaries are 0.5826
    # sqrt(step) further away (Siegmund 1979).
    model, step = find_model(name), 1e-3
    theta = {"v": 1.5, "a": 0.9, "z": 0.45, "t": 0.3, **CASES[name]}
    theta = {parameter: theta[parameter] for parameter in model.parameters}
    rts, choices = simulate(model, theta, 100_000, seed=6, delta_t=step)
    a = theta["a"] + 0.5826 * np.sqrt(step)
    moved = theta | {"a": a, "z": (theta["a"] * (2 * theta["z"] - 1) / a + 1) / 2}
    if name == "full_ddm_rv":
        moved["sz"] = theta["sz"] * theta["a"] / a
    assert_simulated(make_density("analytic", model, moved, 20.0), rts, choices)


def test_all_that_vary_in_their_non_decision_time_are_recognised_and_nothing_else() -> None:
    found = {name for name in model_names() if is_variable(find_model(name))}
    assert found == set(NAMES)
