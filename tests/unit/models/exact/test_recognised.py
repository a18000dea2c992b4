from dataclasses import replace

import numpy as np
import pytest

from lanflow.models.exact.recognised import is_closed_race, is_reflected_race, race_of
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters, find_model, model_names
from lanflow.models.sources import make_density

FAMILIES = ("lba", "dev_rlwm_lba", "race_", "racing_diffusion", "poisson_race")
NAMES = [name for name in model_names() if name.startswith(FAMILIES)]


def test_all_of_the_families_are_recognised_and_nothing_else() -> None:
    found = {
        name
        for name in model_names()
        if is_closed_race(find_model(name)) or is_reflected_race(find_model(name))
    }
    assert found == set(NAMES)
    assert len(found) >= 25  # at ssm-simulators 0.12.5; later ones have lba4


def changed(name: str, **parts: object) -> Model:
    model = find_model(name)
    return replace(model, definition=model.definition.model_copy(update=parts))


def test_a_model_is_told_by_what_it_is_and_not_by_its_name() -> None:
    assert is_reflected_race(replace(find_model("race_3"), name="mine"))
    assert not is_reflected_race(changed("race_3", simulator="lca"))
    assert not is_reflected_race(changed("race_3", own=["simulator"]))
    assert not is_reflected_race(changed("race_3", boundary="weibull_cdf"))
    assert not is_closed_race(changed("lba3", own=["simulator"]))
    with_noise = replace(find_model("lba3"), parameters=("A", "b", "v0", "v1", "v2", "sd"))
    assert not is_closed_race(with_noise)
    assert not is_closed_race(replace(find_model("poisson_race"), choices=(0, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_densities_are_finite_whole_and_quick_everywhere_in_the_bounds(name: str) -> None:
    model = find_model(name + "_deadline")
    vectors = draw_parameters(model, model.bounds, 6, seed=8, is_even=True)
    source = "solver" if name.startswith("race_") else "analytic"
    rts = np.concatenate([np.linspace(1e-3, 25, 60), [np.nextafter(0, 1), 2.0]])
    for vector in vectors:
        theta = model.bounds.named(vector)
        density = make_density(source, model, theta, 20.0)  # type: ignore[arg-type]
        assert density.choices == model.choices
        assert density.choice_probabilities.sum() == pytest.approx(1, abs=1e-4)
        assert (np.diff(density.cumulative, axis=1) >= 0).all()
        rows = density.sample(50, random_state=1)
        assert rows["rts"].max() < max(theta["deadline"], 20.0)
        assert np.isfinite(density.evaluate(**rows)).all()
        for choice in model.choices:
            assert np.isfinite(density.evaluate(rts, np.full(len(rts), choice))).all()


def test_several_models_are_one_race() -> None:
    theta = {"v0": 1.0, "v1": 0.5, "v2": 0.2, "a": 1.5, "t": 0.3}
    rows = {"rts": np.linspace(0.4, 5, 30), "choices": np.arange(30) % 3}
    logs = [
        make_density("solver", find_model(name), theta | more, 20.0).evaluate(**rows)
        for name, more in [
            ("race_no_z_3", {}),
            ("race_no_bias_3", {"z": 0.0}),
            ("race_3", {"z0": 0.0, "z1": 0.0, "z2": 0.0}),
            ("race_no_z_angle_3", {"theta": 0.0}),
        ]
    ]
    for other in logs[1:]:
        np.testing.assert_allclose(other, logs[0], atol=1e-9)


def test_a_start_above_the_bound_is_refused() -> None:
    theta = {"v0": 1.0, "v1": 0.5, "a": 1.5, "t": 0.3, "z": 1.1}
    with pytest.raises(ValueError, match="starts above its bound"):
        race_of(find_model("race_no_bias_2"), theta, 20.0)
