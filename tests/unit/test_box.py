import numpy as np

from lanflow.box import MAX_CORNERS, box_of, corners, draw_parameters
from lanflow.simulators import model_config

DDM = model_config("ddm")


def test_the_box_is_the_networks_own_or_the_models() -> None:
    assert box_of(DDM) == {"v": (-3, 3), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0, 2)}
    box = box_of(DDM, {"t": (0.1, 0.5), "a": (1.0, 2.0)})
    assert list(box) == ["v", "a", "z", "t"]
    assert (box["t"], box["a"]) == ((0.1, 0.5), (1.0, 2.0))


def test_a_bound_that_names_a_parameter_is_that_parameters() -> None:
    model = model_config("full_ddm_rv")
    assert box_of(model)["st"] == (0.001, box_of(model)["t"][1])
    drawn = draw_parameters(model, box_of(model), 50, seed=1)
    names = model["params"]
    assert (drawn[:, names.index("st")] <= drawn[:, names.index("t")]).all()


def test_draws_lie_in_the_box_and_are_decided_by_the_seed() -> None:
    box = box_of(DDM, {"v": (0.5, 0.6)})
    drawn = draw_parameters(DDM, box, 200, seed=5)
    low, up = np.transpose(list(box.values()))
    assert ((drawn >= low - 1e-6) & (drawn <= up + 1e-6)).all()
    assert (np.ptp(drawn, axis=0) > 0.9 * (up - low)).all()
    np.testing.assert_array_equal(drawn[:20], draw_parameters(DDM, box, 20, seed=5))
    assert not np.array_equal(drawn, draw_parameters(DDM, box, 200, seed=6))


def test_corners_are_all_of_them_or_as_many_as_can_be_looked_at() -> None:
    found = corners(box_of(DDM), seed=1)
    assert len(np.unique(found, axis=0)) == 16
    many = {str(i): (0.0, float(i + 1)) for i in range(9)}
    drawn = corners(many, seed=1)
    assert drawn.shape == (MAX_CORNERS, 9)
    for index, (low, up) in enumerate(many.values()):
        assert set(drawn[:, index]) == {low, up}
