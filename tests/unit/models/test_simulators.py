import warnings
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from packaging.version import Version
from ssms.basic_simulators.simulator import simulator

from lanflow.core.errors import UserError
from lanflow.models.analytic import choice_probability
from lanflow.models.density import Density
from lanflow.models.generation import (
    default_generator_config,
    make_sampler,
    own_pipeline,
    simulation_pipeline,
)
from lanflow.models.kde import OMISSION, KernelDensity
from lanflow.models.simulators import (
    covariates_remark,
    find_model,
    has_times,
    is_one_particle,
    model_names,
    process_of,
    simulate,
)
from lanflow.models.solver import Solution


class Builder:
    def build(self, theta: dict[str, Any], simulations: dict[str, Any]) -> KernelDensity:
        estimator = KernelDensity()
        estimator.fit(simulations)
        return estimator


def generator_config(model: str) -> dict[str, Any]:
    config = default_generator_config(find_model(model))
    config["simulator"] |= {"n_samples": 300, "delta_t": 0.01}
    config["training"] |= {"n_samples_per_param": 20}
    return config


def drawn(model: str, *, seed: int, point: list[float] | None = None) -> dict[str, float]:
    sampler = make_sampler(find_model(model))
    sampler.start_set([seed], point)
    return {name: float(value[0]) for name, value in sampler.sample(1).items()}


def test_a_known_model_is_described() -> None:
    assert find_model("angle").parameters == ("v", "a", "z", "t", "theta")
    assert find_model("angle_deadline").parameters[-1] == "deadline"


@pytest.mark.parametrize(
    ("model", "theta"),
    [
        ("weibull", {"v": 0.5, "alpha": 1.5, "beta": 1.2}),
        ("ornstein", {"v": 0.5, "g": 0.8}),
        ("gamma_drift", {"v": 0.2, "shape": 3.0, "scale": 0.2, "c": 2.0}),
    ],
)
def test_a_particle_is_that_of_its_simulator(model: str, theta: dict[str, float]) -> None:
    theta = {"a": 1.2, "z": 0.4, "t": 0.3, **theta}
    out = simulator(theta=theta, model=model, n_samples=5000, delta_t=0.0005, random_state=2)
    solution = Solution(process_of(find_model(model), theta, 20.0))
    density = Density(solution.log_density, solution.times, 0.3, 20.0)
    for q in np.quantile(out["rts"], [0.1, 0.5, 0.9]):
        simulated = [((out["rts"] <= q) & (out["choices"] == c)).mean() for c in (-1, 1)]
        np.testing.assert_allclose(density.mass(q), simulated, atol=0.03)


def test_particles_are_of_the_simulators_that_are_understood() -> None:
    from ssms.config import model_config as known

    ones = {name for name in known if is_one_particle(find_model(name))}
    assert {"ddm", "angle", "weibull", "ornstein", "shrink_spot", "conflict_ds_angle"} <= ones
    assert not {"full_ddm", "ddm_sdv", "levy", "race_2", "ddm_par2", "lba2"} & ones


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'angle'"):
        find_model("angel")


def test_a_point_of_the_unit_cube_is_a_place_in_the_box() -> None:
    theta = drawn("ddm", seed=1, point=[0.0, 0.5, 1.0, 0.25])
    assert theta == pytest.approx({"v": -3, "a": 1.4, "z": 0.9, "t": 0.5})


def test_a_bound_that_is_another_parameter_is_kept_by_a_point() -> None:
    space = find_model("full_ddm_rv").bounds
    theta = drawn("full_ddm_rv", seed=1, point=[1.0] * len(space))
    assert theta["st"] == pytest.approx(theta["t"])


def test_draws_follow_the_sets_seed_and_stay_in_the_box() -> None:
    first, again, other = (drawn("angle", seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for name, (low, high) in find_model("angle").bounds.items():
        assert low <= first[name] <= high


def test_what_takes_the_place_of_a_rejected_point_is_uniform() -> None:
    sampler = make_sampler(find_model("ddm"))
    sampler.start_set([3], [0.5] * 4)
    sampler.sample(1)
    assert {name: float(value[0]) for name, value in sampler.sample(1).items()} == drawn(
        "ddm", seed=3
    )


def labels_of_late_answers(pipeline: Any) -> tuple[np.ndarray, dict[str, Any]]:
    simulations = {
        "rts": np.array([0.4, 0.5, -999, -999])[:, None],
        "choices": np.array([1, -1, 1, 1])[:, None],
        "metadata": {"possible_choices": [-1, 1], "max_t": 20.0},
    }
    made = pipeline._compute_auxiliary_labels(simulations)
    return simulations["choices"], made


def test_an_answer_behind_the_deadline_is_an_omission() -> None:
    model = find_model("ddm_deadline")
    pipeline = simulation_pipeline(generator_config("ddm_deadline"), model, Builder())
    choices, made = labels_of_late_answers(pipeline)
    assert made["omission_p"].item() == 0.5
    assert made["choice_p"].tolist() == [[0.25, 0.25]]
    assert made["choice_p_no_omission"].tolist() == [[0.5, 0.5]]
    assert made["nogo_p"].item() == 0.75
    assert choices.ravel().tolist() == [1, -1, 1, 1]  # not changed under the caller


def test_ssm_simulators_own_pipeline_took_it_for_an_answer_before_0_14() -> None:
    pipeline = own_pipeline(generator_config("ddm_deadline"), find_model("ddm_deadline"))
    is_mended = Version(version("ssm-simulators")) >= Version("0.14")
    omission = labels_of_late_answers(pipeline)[1]["omission_p"].item()
    assert omission == (0.5 if is_mended else 0)


def test_simulations_with_an_estimator_of_ours_make_rows() -> None:
    model = find_model("race_no_bias_angle_4")
    pipeline = simulation_pipeline(generator_config(model.name), model, Builder())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = pipeline.generate_for_parameter_set([1], 1)
    assert made["success"]
    assert made["data"]["lan_data"].shape == (20, len(model.parameters) + 2)
    assert set(np.unique(made["data"]["lan_data"][:, -1])) <= {0, 1, 2, 3}


def test_simulated_trials_follow_the_seed_and_the_density() -> None:
    theta = {"v": 0.8, "a": 1.2, "z": 0.45, "t": 0.3}
    model = find_model("ddm")
    rts, choices = simulate(model, theta, 4000, seed=3)
    again, _ = simulate(model, theta, 4000, seed=3)
    np.testing.assert_array_equal(rts, again)
    assert not np.array_equal(rts, simulate(model, theta, 4000, seed=4)[0])
    assert rts.shape == choices.shape == (4000,)
    assert rts.min() > theta["t"]
    expected = choice_probability(theta["v"], theta["a"], theta["z"])
    assert (choices == 1).mean() == pytest.approx(expected, abs=4 * 0.5 / 4000**0.5 + 0.01)


def test_a_simulated_trial_behind_its_deadline_is_an_omission() -> None:
    theta = {"v": 0.0, "a": 2.0, "z": 0.5, "t": 0.3, "deadline": 1.0}
    rts, choices = simulate(find_model("ddm_deadline"), theta, 500, seed=1)
    late = rts == OMISSION
    assert 0 < late.sum() < 500
    assert (choices[late] == OMISSION).all()
    assert rts[~late].max() <= 1.0
    assert set(choices[~late]) <= {-1, 1}


def test_a_simulator_that_draws_covariates_is_told() -> None:
    model = find_model("ddm")
    assert covariates_remark(model) is None
    drawing = replace(model, definition=model.definition.model_copy(update={"simulator": "addm"}))
    remark = covariates_remark(drawing)
    assert remark is not None
    assert remark.startswith("each trial's fixations and values are drawn")
    if "addm" in model_names():  # since ssm-simulators 0.15
        assert covariates_remark(find_model("addm_deadline")) == remark


@pytest.mark.parametrize("name", ["ddm", "race_no_bias_3", "lba_3_vs_constraint"])
def test_a_model_with_times_has_them(name: str) -> None:
    assert has_times(find_model(name))
