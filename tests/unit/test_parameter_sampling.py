import numpy as np
import pytest

from lanflow.parameter_sampling import drawing_order, sobol_points


def points(seed: int, *, first: int, n_points: int) -> np.ndarray:
    return sobol_points(np.random.SeedSequence(seed), 4, first=first, n_points=n_points)


def test_parameters_are_drawn_in_the_models_order_behind_those_their_bounds_name() -> None:
    space = {"a": (0, "c"), "b": (0, 1), "c": ("d", 1), "d": (0, 1)}
    assert drawing_order(space) == ["d", "c", "a", "b"]
    assert drawing_order({"v": (0, 1), "a": (0, 1)}) == ["v", "a"]


def test_points_fill_every_axis_evenly() -> None:
    for column in points(1, first=0, n_points=64).T:
        assert sorted(np.floor(column * 64)) == list(range(64))


def test_a_stretch_goes_on_where_the_one_before_ends() -> None:
    whole = points(1, first=0, n_points=20)
    np.testing.assert_array_equal(points(1, first=7, n_points=13), whole[7:])


@pytest.mark.parametrize("n_points", [1, 3, 8])
def test_any_number_of_points_can_be_had_without_a_warning(n_points: int) -> None:
    made = points(1, first=0, n_points=n_points)
    assert made.shape == (n_points, 4)
    assert ((made >= 0) & (made < 1)).all()


def test_sequences_of_different_seeds_share_no_point() -> None:
    first, second = points(1, first=0, n_points=200), points(2, first=0, n_points=200)
    assert not {tuple(row) for row in first} & {tuple(row) for row in second}
    np.testing.assert_array_equal(first, points(1, first=0, n_points=200))
