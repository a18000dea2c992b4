from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from lanflow.models.analytic import choice_probability, diffusion
from lanflow.models.density import FLOOR, Density, labels

THETA = {"v": 0.6, "a": 1.1, "z": 0.45, "t": 0.3}
PARTICLE = diffusion("ddm", THETA)
DENSITY = Density(PARTICLE.log_density, PARTICLE.grid(20.0), THETA["t"], 20.0)


def test_labels_are_the_log_density_at_the_rt_that_the_file_holds() -> None:
    rts = np.linspace(0.31, 9, 500)
    stored = rts.astype(np.float32).astype(float)
    for choice in (-1, 1):
        expected = PARTICLE.log_density(stored - 0.3, choice)
        taken = DENSITY.evaluate(rts, np.full(500, choice))
        np.testing.assert_array_equal(taken, np.maximum(expected, FLOOR))


def test_what_cannot_happen_is_labelled_with_the_floor() -> None:
    density = replace(DENSITY, deadline=1.0)
    taken = density.evaluate([-0.5, 0.2, 0.3, 0.300001, 0.9, 1.0, 5.0], [1] * 7)
    assert (taken[[0, 1, 2, 3, 5, 6]] == FLOOR).all()
    assert taken[4] > -5


def test_rows_are_drawn_from_the_density() -> None:
    drawn = DENSITY.sample(20_000, random_state=1)
    upper = drawn["choices"] == 1
    assert set(drawn["choices"]) == {-1, 1}
    assert upper.mean() == pytest.approx(choice_probability(0.6, 1.1, 0.45), abs=0.012)
    for choice, row in ((1, 1), (-1, 0)):
        rts = drawn["rts"][drawn["choices"] == choice]
        end = DENSITY.cumulative[row, -1]
        assert kstest(rts, lambda x, row=row, end=end: DENSITY.mass(x)[row] / end).pvalue > 0.001


def test_rows_are_drawn_before_the_deadline() -> None:
    rts = replace(DENSITY, deadline=0.8).sample(2000, random_state=1)["rts"]
    assert rts.min() > 0.3
    assert 0.75 < rts.max() < 0.8


def test_rows_are_uniform_where_nobody_answers_in_time() -> None:
    density = replace(DENSITY, deadline=0.1)
    drawn = density.sample(2000, random_state=1)
    assert drawn["rts"].min() < 0.1
    assert drawn["rts"].max() > 19.9
    assert np.abs(drawn["choices"].mean()) < 0.1
    assert (density.evaluate(drawn["rts"], drawn["choices"]) == FLOOR).all()


def test_rows_follow_the_seed_but_are_not_the_strategys_own_draws() -> None:
    first, again, other = (DENSITY.sample(100, random_state=seed)["rts"] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    same_stream = np.random.default_rng(1).uniform(0, 1, 100)
    lower, upper = DENSITY.cumulative[:, -1]
    ours = np.random.default_rng([1, 1]).uniform(0, lower + upper, 100)
    assert np.abs(np.corrcoef(same_stream, ours)[0, 1]) < 0.4
    assert np.isfinite(DENSITY.sample(3)["rts"]).all()


def test_masses_grow_to_the_choice_probabilities() -> None:
    grid = np.linspace(0, 20, 200)
    masses = DENSITY.mass(grid)
    assert (np.diff(masses, axis=1) >= 0).all()
    assert (masses[:, grid < 0.3] == 0).all()
    probabilities = DENSITY.choice_probabilities
    np.testing.assert_allclose(masses[:, -1], probabilities, atol=1e-6)
    assert probabilities.sum() == pytest.approx(1)


def test_the_undecided_go_where_those_go_who_decide_last() -> None:
    particle = diffusion("ddm", {"v": 0.1, "a": 2.5, "z": 0.2})
    density = Density(particle.log_density, particle.grid(12.0), 0.0, 20.0)
    assert density.cumulative[:, -1].sum() < 0.97
    upper = choice_probability(0.1, 2.5, 0.2)
    np.testing.assert_allclose(density.choice_probabilities, [1 - upper, upper], atol=2e-4)


def test_boundaries_that_meet_leave_nobody_undecided() -> None:
    particle = diffusion("angle", {"v": 1.0, "a": 1.0, "z": 0.5, "theta": 1.2})
    density = Density(particle.log_density, particle.grid(20.0), 0.0, 20.0)
    assert density.choice_probabilities.sum() == pytest.approx(1, abs=1e-9)
    ended = replace(density, times=np.append(density.times, particle.collapse_time * 2))
    np.testing.assert_allclose(ended.choice_probabilities, density.choice_probabilities, atol=1e-6)


def test_labels_without_a_deadline_omit_nothing() -> None:
    made = labels(DENSITY, n_samples=100)
    upper = choice_probability(0.6, 1.1, 0.45)
    assert made["cpn_labels"].shape == (1, 1)
    assert made["cpn_labels"].item() == pytest.approx(upper, abs=1e-6)
    assert made["cpn_no_omission_labels"].item() == pytest.approx(upper, abs=1e-6)
    assert made["gonogo_labels"].item() == pytest.approx(1 - upper, abs=1e-6)
    assert made["opn_labels"].item() == 0


def test_labels_with_a_deadline_count_who_answered_in_time() -> None:
    made = labels(replace(DENSITY, deadline=0.9), n_samples=100)
    lower, upper = DENSITY.mass(0.9)
    assert 0.2 < lower + upper < 0.8
    assert made["cpn_labels"].item() == pytest.approx(upper)
    assert made["opn_labels"].item() == pytest.approx(1 - lower - upper)
    assert made["cpn_no_omission_labels"].item() == pytest.approx(upper / (lower + upper))
    assert made["gonogo_labels"].item() == pytest.approx(1 - upper)


def test_labels_where_nobody_answers_are_all_omission() -> None:
    made = labels(replace(DENSITY, deadline=0.2), n_samples=100)
    assert made["opn_labels"].item() == made["gonogo_labels"].item() == 1
    assert made["cpn_labels"].item() == 0
    assert made["cpn_no_omission_labels"].item() == 0.5


@pytest.mark.parametrize("n_bins", [128, 256])
def test_histograms_count_what_would_have_been_simulated(n_bins: int) -> None:
    name, width = f"binned_{n_bins}", 20 / n_bins
    histogram = labels(DENSITY, n_samples=1000)[name]
    assert histogram.shape == (1, n_bins, 2)
    assert histogram.sum() == pytest.approx(1000, abs=0.1)
    expected = 1000 * np.diff(DENSITY.mass([4 * width, 5 * width]), axis=1)[:, 0]
    np.testing.assert_allclose(histogram[0, 4], expected)
    cut = labels(replace(DENSITY, deadline=0.9), n_samples=1000)[name]
    assert cut.sum() == pytest.approx(1000 * DENSITY.mass(0.9).sum())


def test_it_is_an_estimator_in_ssm_simulators_terms() -> None:
    DENSITY.fit({})
    assert DENSITY.get_metadata()["possible_choices"] == [-1, 1]
    assert DENSITY.get_metadata()["max_t"] == 20.0
