import numpy as np
import pytest

from lanflow.evaluation.recovery.fit import Fit, TrialLikelihood, fit
from lanflow.models.density import Array
from lanflow.models.parameters import Bounds
from lanflow.models.simulators import find_model, simulate
from lanflow.networks.runtime import Perceptron
from tests import networks

BOUNDS = Bounds({"v": (-3.0, 3.0), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0.0, 2.0)})
NETWORK = Perceptron((networks.FIXTURES / "ddm_lan.onnx").read_bytes())
TRUE = np.array([0.8, 1.2, 0.45, 0.6])


@pytest.fixture(scope="module")
def trials() -> tuple[Array, Array]:
    theta = dict(zip(BOUNDS, TRUE.tolist(), strict=True))
    return simulate(find_model("ddm"), theta, 400, seed=3)


def found(trials: tuple[Array, Array], seed: int = 1, **bounds: tuple[float, float]) -> Fit:
    return fit(TrialLikelihood(NETWORK, BOUNDS.overlaid(bounds), *trials), seed=seed)


def test_the_slope_of_the_loss_is_that_of_finite_differences(trials: tuple[Array, Array]) -> None:
    likelihood = TrialLikelihood(NETWORK, BOUNDS, *trials)
    place = np.array([0.6, 0.4, 0.5, 0.2])
    loss, slope = likelihood.mean_loss(place)
    theta = likelihood.low + place * likelihood.width
    assert likelihood.at(theta) == pytest.approx(-400 * loss)
    for i in range(4):
        step = 1e-6 * (np.arange(4) == i)
        up, down = likelihood.mean_loss(place + step)[0], likelihood.mean_loss(place - step)[0]
        assert slope[i] == pytest.approx((up - down) / 2e-6, abs=1e-5)


def test_the_maximum_is_near_the_truth_and_likelier(trials: tuple[Array, Array]) -> None:
    best = found(trials)
    assert best.theta == pytest.approx(TRUE, abs=0.15)
    assert best.log_likelihood >= TrialLikelihood(NETWORK, BOUNDS, *trials).at(TRUE)
    assert not (best.at_lower | best.at_upper).any()


def test_where_the_search_begins_does_not_decide_where_it_ends(
    trials: tuple[Array, Array],
) -> None:
    one, other = found(trials), found(trials, seed=2)
    assert other.theta == pytest.approx(one.theta, abs=1e-2)


def test_a_maximum_at_a_bound_is_told(trials: tuple[Array, Array]) -> None:
    best = found(trials, a=(0.3, 0.9), v=(1.5, 3.0))
    assert best.at_upper.tolist() == [False, True, False, False]
    assert best.at_lower.tolist() == [True, False, False, False]
    assert (best.theta[1], best.theta[0]) == pytest.approx((0.9, 1.5))


def test_a_range_of_one_value_is_kept(trials: tuple[Array, Array]) -> None:
    best = found(trials, z=(0.45, 0.45), t=(0.6, 0.6))
    assert best.theta[2:].tolist() == [0.45, 0.6]
    assert best.theta[:2] == pytest.approx(TRUE[:2], abs=0.15)
