from typing import Any

import numpy as np
import pytest

from lanflow.evaluation.recovery.posterior import Posterior
from lanflow.evaluation.recovery.record import agreement, posterior_record
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.parameters import Bounds
from tests.made_networks import exact_choice, made


def test_ranks_are_told_apart_from_values() -> None:
    true = np.array([1.0, 2.0, 3.0, 4.0])
    cubed = agreement(true, true**3)
    assert cubed.spearman == pytest.approx(1)
    assert cubed.rank_shift == 0
    assert cubed.pearson == pytest.approx(0.9514, abs=1e-3)
    assert cubed.bias == pytest.approx(22.5)
    assert cubed.rmse == pytest.approx(np.sqrt((6**2 + 24**2 + 60**2) / 4))
    turned = agreement(true, true[::-1])
    assert turned.spearman == pytest.approx(-1)
    assert turned.rank_shift == pytest.approx(0.5)


def test_without_ranks_there_is_no_correlation() -> None:
    for true, found in (([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])):
        result = agreement(np.array(true), np.array(found))
        assert {result.pearson, result.spearman, result.rank_shift} == {None}


def record(*, off: float = 0.0, sd: float = 1.0, r_hat: float = 1.0) -> dict[str, Any]:
    """Subjects whose posterior is normal around an estimate of standard error one.

    Each true value is a draw of it, so this posterior is right; a shifted or another width is not.
    """
    rng = np.random.default_rng(1)
    subjects, found = [], []
    for i in range(200):
        estimate = rng.uniform(-20, 20)
        true = np.array([rng.normal(estimate)])
        draws = rng.normal(estimate + off, sd, (2, 500, 1))
        subjects.append(Subject(true, np.ones(9), np.ones(9), 1, i))
        whole = np.ones(1)
        found.append(Posterior(draws, r_hat * whole, 800 * whole, i % 2, "9.9"))
    network = made("ddm", "lan", exact_choice().outputs, Bounds({"v": (-30.0, 30.0)}))
    recovery = posterior_record(network, subjects, found, n_trials=10, seed=1)
    return recovery.model_dump(mode="json")


def test_a_right_posterior_has_even_ranks_and_covers_as_often_as_it_says() -> None:
    made = record()
    assert made["method"] == "NUTS (HSSM 9.9)"
    assert made["summary"]["v"]["rank_uniformity_p"] > 0.05
    assert made["summary"]["v"]["coverage"] == pytest.approx(0.9, abs=0.05)
    assert made["summary"]["v"]["rmse"] == pytest.approx(1, abs=0.15)
    ranks = np.array(made["posterior"]["ranks"])
    assert ranks.shape == (200, 1)
    assert ranks.min() >= 0
    assert ranks.max() <= made["posterior"]["n_ranked"] == 99
    assert (made["n_undecided"], made["n_not_converged"]) == (200, 0)
    assert sum(made["posterior"]["n_divergent"]) == 100
    assert (made["summary"]["v"]["max_r_hat"], made["summary"]["v"]["min_ess"]) == (1, 800)


@pytest.mark.parametrize(("off", "sd"), [(0.5, 1.0), (0.0, 0.6), (0.0, 1.7)])
def test_a_posterior_that_is_off_too_sure_or_too_vague_has_uneven_ranks(
    off: float, sd: float
) -> None:
    assert record(off=off, sd=sd)["summary"]["v"]["rank_uniformity_p"] < 0.01


def test_chains_that_disagree_are_counted() -> None:
    assert record(r_hat=1.2)["n_not_converged"] == 200
