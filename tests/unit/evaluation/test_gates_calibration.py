from collections.abc import Callable, Mapping

import numpy as np
import pytest

from lanflow.evaluation.gates import judge
from lanflow.evaluation.gates_calibration import (
    Cells,
    calibration_numbers,
    cells_of,
    share_out,
    spread_over_steps,
)
from lanflow.evaluation.implied import ImpliedDensity
from lanflow.evaluation.published import accuracy_limits
from lanflow.evaluation.reference import Reference, choose_reference
from lanflow.evaluation.scores import score_likelihood
from lanflow.models.density import Array
from lanflow.models.simulators import draw_parameters, find_model

EXACT = choose_reference(find_model("ddm"))
MODEL = EXACT.model
BOUNDS = MODEL.bounds
LIMITS = accuracy_limits("ddm")
N_SETS = 10

Theta = Mapping[str, float]


class Sampled(Reference):
    """Judged as if the ddm had no density; its trials have no error of a time step."""

    def simulate(self, theta: Theta, n_trials: int, *, seed: int) -> tuple[Array, Array]:
        drawn = EXACT.density(theta).sample(n_trials, random_state=seed)
        return drawn["rts"], drawn["choices"]


SAMPLED = Sampled("kde", MODEL)


def network_of(log_density: Callable[[Theta, Array, Array], Array]) -> Callable[[Array], Array]:
    """A network from a log-density of (theta, rts, choices)."""

    def network(rows: Array) -> Array:
        out = np.empty((len(rows), 1))
        vectors, which = np.unique(rows[:, :4].astype(float), axis=0, return_inverse=True)
        for index, vector in enumerate(vectors):
            of = which.ravel() == index
            trials = rows[of, -2:].astype(float).T
            out[of, 0] = log_density(BOUNDS.named(vector), *trials)
        return out

    return network


def exact(theta: Theta, rts: Array, choices: Array) -> Array:
    return EXACT.density(theta).evaluate(rts, choices)


def blurred(seconds: float) -> Callable[[Theta, Array, Array], Array]:
    """The density of rts to which normal noise of a standard deviation is added."""
    places, weights = np.polynomial.hermite_e.hermegauss(15)
    weights /= weights.sum()

    def log_density(theta: Theta, rts: Array, choices: Array) -> Array:
        density = EXACT.density(theta)
        parts = [
            w * np.exp(density.evaluate(rts - seconds * x, choices))
            for x, w in zip(places, weights, strict=True)
        ]
        return np.log(np.maximum(np.sum(parts, axis=0), 1e-29))

    return log_density


def numbers_of(log_density: Callable[[Theta, Array, Array], Array]) -> dict[str, float]:
    network = network_of(log_density)
    return calibration_numbers(network, SAMPLED, BOUNDS, n_sets=N_SETS, seed=1)


def test_the_right_density_has_no_error_beyond_the_noise() -> None:
    numbers = numbers_of(exact)
    assert judge("calibration", numbers, LIMITS).verdict == "passed", numbers
    assert numbers["mean_abs_error"] < 0.02
    assert numbers["abs_mean_difference"] < 0.002
    # Of cells of 400 trials 1/20 nats, whose mean size is 0.8 of that; of larger ones less.
    assert 0.02 < numbers["noise_mean_abs"] < 0.045


def test_a_log_likelihood_that_is_too_high_is_as_much_too_high_in_each_cell() -> None:
    numbers = numbers_of(lambda *trial: exact(*trial) + 0.2)
    for key in ("mean_abs_error", "median_abs_error", "mean_difference"):
        assert numbers[key] == pytest.approx(0.2, abs=0.02), key


@pytest.mark.parametrize(
    ("log_density", "verdict"),
    [
        (exact, "passed"),
        (blurred(0.05), "failed"),
        (lambda theta, rts, choices: exact(theta, rts - 0.03, choices), "failed"),
    ],
    ids=["exact", "blurred", "late"],
)
def test_it_judges_as_the_exact_density_does(
    log_density: Callable[[Theta, Array, Array], Array], verdict: str
) -> None:
    fast = BOUNDS.overlaid({"a": (0.5, 1.0)})
    network, given = network_of(log_density), {"n_sets": N_SETS, "seed": 1}
    calibrated = calibration_numbers(network, SAMPLED, fast, **given)
    compared = score_likelihood(network, EXACT, fast, rows=200, **given).numbers()
    compared["abs_mean_difference"] = abs(compared["mean_difference"])
    for numbers in (calibrated, compared):
        assert judge("calibration", numbers, LIMITS).verdict == verdict, numbers


def test_a_network_with_the_choices_swapped_fails_by_its_choice_probabilities() -> None:
    numbers = numbers_of(lambda theta, rts, choices: exact(theta, rts, -choices))
    assert numbers["mean_abs_error"] > 1


def test_the_seed_decides_trials_and_noise() -> None:
    found = [
        calibration_numbers(network_of(exact), SAMPLED, BOUNDS, n_sets=2, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_cells_have_the_networks_probabilities_and_the_trials_shares() -> None:
    vector = draw_parameters(MODEL, BOUNDS, 1, seed=3)[0]
    cells = cells_of(network_of(exact), SAMPLED, BOUNDS, vector, seed=3)
    assert cells.n_trials == EXACT.n_simulations // 5
    assert cells.predicted.sum() == pytest.approx(1, abs=5e-3)
    assert cells.counts.sum() == pytest.approx(cells.n_trials, abs=20)
    expected = cells.predicted * cells.n_trials
    chi_squared = float(((cells.counts - expected) ** 2 / expected).sum())
    n = len(cells.counts)
    assert abs(chi_squared - n) < 5 * (2 * n) ** 0.5


def test_ranks_of_each_choice_are_shared_out_evenly() -> None:
    """Choice 1 is uniform over two seconds with probability 0.8, choice -1 over one with 0.2."""
    densities = np.array([[0.2, 0.2, 0.0, 0.0], [0.4, 0.4, 0.4, 0.4]])
    implied = ImpliedDensity(np.array([0.0, 1.0, 1.0, 2.0]), densities)
    rts, choices = np.array([0.5, 0.01, 1.99, 1.98]), np.array([-1, 1, 1, 1])
    cells = share_out(implied, rts, choices, (-1, 1), n_trials=2000)
    assert len(cells.counts) == 5  # one for 400 trials, four for 1600
    np.testing.assert_allclose(cells.predicted, 0.2)
    np.testing.assert_array_equal(cells.counts, [1, 1, 0, 0, 2])
    shares = np.array([1, 1, 2]) / 2000
    np.testing.assert_allclose(cells.differences[[0, 1, 4]], np.log(0.2 / shares))
    assert (cells.differences[[2, 3]] == 0).all()


def test_trials_of_a_choice_that_a_network_never_gives_are_a_large_finite_error() -> None:
    implied = ImpliedDensity(np.array([0.0, 1.0]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    cells = share_out(implied, np.array([0.5]), np.array([-1]), (-1, 1), n_trials=10)
    assert -30 < cells.differences[0] < -20


def test_trials_drawn_from_a_network_have_its_probabilities_and_no_answer_for_the_rest() -> None:
    cells = Cells(np.array([0.5, 0.25]), np.zeros(2), 100_000)
    drawn = cells.drawn(np.random.default_rng(1))
    np.testing.assert_allclose(drawn.counts / 100_000, [0.5, 0.25], atol=0.01)
    high = Cells(np.array([1.5, 0.5]), np.zeros(2), 100_000).drawn(np.random.default_rng(1))
    assert high.counts.sum() == 100_000
    assert np.abs(high.differences).max() < 0.02  # noise alone


def test_rts_of_counted_steps_are_spread_over_a_step() -> None:
    rng = np.random.default_rng(1)
    steps = rng.geometric(0.01, 5000)
    spread = spread_over_steps(0.3 + steps * 0.001, seed=1)
    assert len(np.unique(spread)) > 4900
    assert np.abs(spread - (0.3 + steps * 0.001)).max() < 0.00051
    smooth = rng.exponential(size=100)
    np.testing.assert_array_equal(spread_over_steps(smooth, seed=1), smooth)
