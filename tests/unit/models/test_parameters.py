import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.models.generation import drawing_order
from lanflow.models.parameters import MAX_CORNERS, Bounds, sobol_points
from lanflow.models.simulators import draw_parameters, find_model

DDM = find_model("ddm")


def test_bounds_are_the_networks_own_or_the_models() -> None:
    assert DDM.bounds == {"v": (-3, 3), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0, 2)}
    bounds = DDM.bounds.overlaid({"t": (0.1, 0.5), "a": (1.0, 2.0)})
    assert list(bounds) == ["v", "a", "z", "t"]
    assert (bounds["t"], bounds["a"]) == ((0.1, 0.5), (1.0, 2.0))


def test_bounds_come_back_from_json_as_they_went() -> None:
    assert Bounds.from_json(DDM.bounds.to_json(), "card.json: bounds") == DDM.bounds
    assert DDM.bounds.to_json()["v"] == [-3.0, 3.0]
    assert DDM.bounds.centre() == {"v": 0.0, "a": 1.4, "z": 0.5, "t": 1.0}


@pytest.mark.parametrize(
    "content",
    [
        3,
        None,
        [["v", 1]],
        {"v": 1},
        {"v": [1]},
        {"v": [2, 1]},
        {"v": [0, float("nan")]},
        {"v": [0, float("inf")]},
        {"v": ["a", "b"]},
        {"v": [True, 2]},
    ],
)
def test_what_is_no_bounds_is_refused_with_its_place(content: object) -> None:
    with pytest.raises(UserError, match=r"^card\.json: bounds: "):
        Bounds.from_json(content, "card.json: bounds")


def test_a_bound_that_names_a_parameter_is_that_parameters() -> None:
    model = find_model("full_ddm_rv")
    assert model.bounds["st"] == (0.001, model.bounds["t"][1])
    drawn = draw_parameters(model, model.bounds, 50, seed=1)
    names = model.parameters
    assert (drawn[:, names.index("st")] <= drawn[:, names.index("t")]).all()


def test_draws_lie_within_bounds_and_are_decided_by_the_seed() -> None:
    bounds = DDM.bounds.overlaid({"v": (0.5, 0.6)})
    drawn = draw_parameters(DDM, bounds, 200, seed=5)
    low, up = np.transpose(list(bounds.values()))
    assert ((drawn >= low - 1e-6) & (drawn <= up + 1e-6)).all()
    assert (np.ptp(drawn, axis=0) > 0.9 * (up - low)).all()
    np.testing.assert_array_equal(drawn[:20], draw_parameters(DDM, bounds, 20, seed=5))
    assert not np.array_equal(drawn, draw_parameters(DDM, bounds, 200, seed=6))


def test_corners_are_all_of_them_or_as_many_as_can_be_looked_at() -> None:
    found = DDM.bounds.corners(seed=1)
    assert len(np.unique(found, axis=0)) == 16
    many = Bounds({str(i): (0.0, float(i + 1)) for i in range(9)})
    drawn = many.corners(seed=1)
    assert drawn.shape == (MAX_CORNERS, 9)
    for index, (low, up) in enumerate(many.values()):
        assert set(drawn[:, index]) == {low, up}


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
