import numpy as np
import pytest

from lanflow.recovery_record import agreement


def test_ranks_are_told_apart_from_values() -> None:
    true = np.array([1.0, 2.0, 3.0, 4.0])
    cubed = agreement(true, true**3)
    assert cubed["spearman"] == pytest.approx(1)
    assert cubed["rank_shift"] == 0
    assert cubed["pearson"] == pytest.approx(0.9514, abs=1e-3)
    assert cubed["bias"] == pytest.approx(22.5)
    assert cubed["rmse"] == pytest.approx(np.sqrt((6**2 + 24**2 + 60**2) / 4))
    turned = agreement(true, true[::-1])
    assert turned["spearman"] == pytest.approx(-1)
    assert turned["rank_shift"] == pytest.approx(0.5)


def test_without_ranks_there_is_no_correlation() -> None:
    for true, found in (([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])):
        result = agreement(np.array(true), np.array(found))
        assert {result[key] for key in ("pearson", "spearman", "rank_shift")} == {None}
