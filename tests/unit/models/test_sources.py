import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.generation.generate import make_pipeline
from lanflow.models.analytic import choice_probability, diffusion
from lanflow.models.density import FLOOR
from lanflow.models.generation import default_generator_config
from lanflow.models.simulators import find_model
from lanflow.models.sources import Source, best_source, label_source, make_density

N_ROWS = 500


def generator_config(model: str, *, n_samples: int = 500) -> dict[str, Any]:
    config = default_generator_config(find_model(model))
    config["simulator"] |= {"n_samples": n_samples, "delta_t": 0.005}
    config["training"] |= {"n_samples_per_param": N_ROWS}
    return config


def made(model: str, source: Any, *, seed: int = 1, point: Any = None) -> dict[str, Any]:
    """Data of one parameter set."""
    pipeline = make_pipeline(source, generator_config(model), find_model(model))
    pipeline._param_sampler.start_set([seed], point)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pipeline.generate_for_parameter_set(seed, seed)
    assert result["success"]
    data: dict[str, Any] = result["data"]
    return data


@pytest.mark.parametrize(
    ("model", "best"),
    [
        ("ddm", "analytic"),
        ("ddm_deadline", "analytic"),
        ("ddm_sdv", "analytic"),
        ("angle", "analytic"),
        ("angle_deadline", "analytic"),
        ("weibull", "solver"),
        ("ornstein_angle_deadline", "solver"),
        ("conflict_ds", "solver"),
        ("conflict_stimflexrel1_leak2_deadline", "solver"),
        ("lba3", "analytic"),
        ("lba_angle_3_deadline", "analytic"),
        ("dev_rlwm_lba_pw_v1", "analytic"),
        ("racing_diffusion_3", "analytic"),
        ("poisson_race", "analytic"),
        ("race_3", "solver"),
        ("race_no_z_angle_4_deadline", "solver"),
        ("ddm_mic2_ornstein_deadline", "solver"),
        ("tradeoff_weibull_no_bias", "solver"),
        ("ddm_mic2_multinoise_conflict_gamma_no_bias", "kde"),
        ("ddm_mic2_leak_conflict_gamma_no_bias_no_lowdim_noise", "solver"),
        ("full_ddm", "analytic"),
        ("ddm_st", "analytic"),
        ("ddm_seq2", "analytic"),
        ("ddm_par2_angle_no_bias_deadline", "analytic"),
        ("ddm_seq2_weibull_no_bias", "solver"),
        ("ddm_par2_conflict_gamma_no_bias", "solver"),
        ("lca_3", "kde"),
        ("levy", "solver"),
        ("levy_angle_deadline", "solver"),
    ],
)
def test_auto_takes_the_best_there_is(model: str, best: str) -> None:
    assert label_source("auto", find_model(model)) == best


def test_the_same_process_under_another_name_has_its_density() -> None:
    # As angle_extended of ssm-simulators 0.15.
    angle = find_model("angle_deadline")
    extended = replace(angle.with_bounds({"v": (-6, 6)}, "here"), name="angle_extended_deadline")
    assert best_source(extended) == "analytic"
    theta = {"v": 5.0, "a": 1.4, "z": 0.4, "t": 0.4, "theta": 0.3, "deadline": 1.5}
    rows = {"rts": np.linspace(0.5, 1.4, 9), "choices": np.ones(9)}
    known, same = (make_density("analytic", one, theta, 20.0) for one in (angle, extended))
    np.testing.assert_array_equal(same.evaluate(**rows), known.evaluate(**rows))
    own = extended.definition.model_copy(update={"own": ["boundary"]})
    assert best_source(replace(extended, definition=own)) != "analytic"
    assert best_source(replace(find_model("weibull"), name="angle_2")) == "solver"


@pytest.mark.parametrize("source", ["analytic", "solver", "kde", "exact_kde", "pyddm"])
def test_a_source_that_is_named_is_taken(source: Source) -> None:
    assert label_source(source, find_model("ddm")) == source


def test_an_analytic_likelihood_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        label_source("analytic", find_model("race_3"))
    assert str(caught.value) == (
        "ESTIMATOR.TYPE: no analytic likelihood is known for model 'race_3', only for ddm, "
        "ddm_legacy, ddm_sdv, angle, particles that vary over trials, two decisions between "
        "straight boundaries, ballistic accumulators, and races of diffusions without a floor or "
        "of Poisson processes; 'auto' takes the best there is"
    )


@pytest.mark.parametrize("model", ["lca_3", "lba2", "full_ddm_rv", "ddm_par2"])
def test_a_model_that_is_not_one_particle_is_refused(model: str) -> None:
    with pytest.raises(UserError) as caught:
        label_source("solver", find_model(model))
    assert str(caught.value).startswith(
        "ESTIMATOR.TYPE: the solver is for one particle between two boundaries that does not vary "
        "over trials, for two decisions between boundaries that are not straight, for a high "
        "decision that drives a low one, for races of diffusions to a straight bound, and for "
        f"stable noise between straight boundaries; model {model!r} is none of them"
    )


def test_the_solver_and_the_exact_likelihood_make_the_same_labels() -> None:
    middle = [0.7, 0.4, 0.4, 0.2, 0.5, 0.3]
    exact, solved = (
        make_density(source, find_model("angle_deadline"), theta, 20.0)
        for theta in [{"v": 1.2, "a": 1.4, "z": 0.4, "t": 0.4, "theta": 0.3, "deadline": 1.5}]
        for source in ("analytic", "solver")
    )
    rows = exact.sample(300, random_state=1)
    np.testing.assert_allclose(solved.evaluate(**rows), exact.evaluate(**rows), atol=3e-3)
    assert solved.deadline == exact.deadline == 1.5
    labels_of = [
        made("angle_deadline", source, point=middle)["opn_labels"].item()
        for source in ("analytic", "solver")
    ]
    assert labels_of[0] == pytest.approx(labels_of[1], abs=1e-3)


def all_models() -> list[str]:
    from ssms.config import model_config as known

    return [*known, "ddm_deadline", "weibull_deadline", "race_3_deadline"]


@pytest.mark.parametrize("model", all_models())
def test_every_model_of_ssm_simulators_has_data(model: str) -> None:
    description = find_model(model)
    config = generator_config(model, n_samples=50)
    config["training"] |= {"n_samples_per_param": 20}
    config["simulator"] |= {"delta_t": 0.02}
    pipeline = make_pipeline(label_source("auto", description), config, description)
    pipeline._param_sampler.start_set([1], None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pipeline.generate_for_parameter_set(1, 1)
    data = result["data"]
    n_parameters = len(description.parameters)
    assert data["lan_data"].shape[1] == n_parameters + 2
    assert np.isfinite(data["lan_labels"]).all()
    assert data["theta"].shape == (1, n_parameters)
    assert {"cpn_labels", "opn_labels", "gonogo_labels"} <= data.keys()


@pytest.mark.parametrize(
    "name",
    [
        *("ddm_mic2_adj", "ddm_seq2", "lba3", "racing_diffusion_3", "poisson_race", "levy"),
        *("ddm_legacy", "conflict_ds", "gamma_drift_angle", "shrink_spot_simple_deadline"),
    ],
)
def test_pyddm_is_for_one_particle_with_the_same_drift_at_all_times(name: str) -> None:
    model = find_model(name)
    said = f"pyddm is for one particle .* model '{model.base_name}' is none; 'auto'"
    with pytest.raises(UserError, match=said):
        label_source("pyddm", model)


@pytest.mark.parametrize("name", ["ddm", "angle", "weibull", "ornstein_angle", "ddm_deadline"])
def test_pyddms_labels_are_close_to_ours_where_it_is_taken(name: str) -> None:
    model = find_model(name)
    assert label_source("pyddm", model) == "pyddm"
    off = []
    for seed in (1, 2, 3):
        data = made(name, "pyddm", seed=seed)
        rows, labels = data["lan_data"], data["lan_labels"].ravel()
        theta = dict(zip(model.parameters, rows[0, :-2].tolist(), strict=True))
        source: Any = best_source(model)
        truth = make_density(source, model, theta, 20.0).evaluate(rows[:, -2], rows[:, -1])
        off.append(np.abs(labels - truth)[truth > -8])
    assert np.median(np.concatenate(off)) < 0.02


def test_a_solver_that_cannot_solve_the_model_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        make_pipeline("pyddm", generator_config("levy"), find_model("levy"))
    assert str(caught.value).startswith("model levy, ESTIMATOR.TYPE pyddm: Model 'levy' not compat")


@pytest.mark.parametrize(
    ("model", "shifted"),
    [("ddm", True), ("race_3", True), ("ddm_st", False), ("full_ddm", False), ("lba3", False)],
)
def test_a_fixed_non_decision_time_is_known(model: str, shifted: bool) -> None:
    assert find_model(model).has_shift == shifted


def test_every_source_makes_the_same_keys_and_shapes() -> None:
    shapes = {
        source: {
            key: None if value is None else np.shape(value)
            for key, value in made("ddm", source).items()
        }
        for source in ("analytic", "solver", "kde", "exact_kde")
    }
    assert shapes["analytic"] == shapes["solver"] == shapes["kde"] == shapes["exact_kde"]
    several = [
        {key: np.shape(value) for key, value in made("race_3_deadline", source).items()}
        for source in ("solver", "kde")
    ]
    assert several[0] == several[1]
    assert several[0]["cpn_labels"] == (1, 3)
    assert shapes["analytic"]["lan_data"] == (N_ROWS, 6)
    assert shapes["analytic"]["lan_labels"] == (N_ROWS,)


@pytest.mark.parametrize("model", ["ddm", "ddm_sdv", "angle", "ddm_deadline"])
def test_analytic_labels_are_the_likelihood_of_their_rows(model: str) -> None:
    data = made(model, "analytic", seed=3)
    parameters = find_model(model).parameters
    theta = dict(zip(parameters, data["theta"][0].astype(float), strict=True))
    rts, choices = data["lan_data"][:, -2].astype(float), data["lan_data"][:, -1]
    particle = diffusion(model.removesuffix("_deadline"), theta)
    for choice in (-1, 1):
        rows = (choices == choice) & (rts > 1e-3)
        expected = particle.log_density(rts[rows] - theta["t"], choice)
        expected[rts[rows] >= theta.get("deadline", np.inf)] = FLOOR
        np.testing.assert_allclose(
            data["lan_labels"][rows], np.maximum(expected, FLOOR), atol=1e-5, rtol=1e-5
        )


def test_rows_are_the_mixture_of_ssm_simulators() -> None:
    data = made("ddm", "analytic", point=[0.7, 0.3, 0.5, 0.2])
    rts, labels = data["lan_data"][:, -2], data["lan_labels"]
    assert (rts <= 1e-4).sum() == N_ROWS // 10
    assert (labels[rts <= 0] == np.float32(FLOOR)).all()
    # Of rows uniform up to 20 s most are behind all that the density gives.
    assert N_ROWS * 0.02 < (rts > 10).sum() < N_ROWS * 0.1
    assert ((rts > 1e-4) & (rts < 10)).sum() > 0.8 * N_ROWS


def test_labels_of_choices_come_from_the_density() -> None:
    data = made("ddm", "analytic")
    v, a, z, _ = data["theta"][0].astype(float)
    assert data["cpn_labels"].item() == pytest.approx(choice_probability(v, a, z), abs=1e-5)
    assert data["gonogo_labels"].item() == pytest.approx(1 - choice_probability(v, a, z), abs=1e-5)
    assert data["opn_labels"].item() == 0
    assert data["binned_128"].sum() == pytest.approx(500, rel=0.03)


def test_simulated_and_analytic_labels_agree() -> None:
    middle = [0.6, 0.4, 0.5, 0.2, 0.12]  # v, a, z, t, deadline: some answers come too late
    analytic, simulated = (
        made("ddm_deadline", source, point=middle) for source in ("analytic", "kde")
    )
    np.testing.assert_array_equal(analytic["theta"], simulated["theta"])
    assert 0.1 < analytic["opn_labels"].item() < 0.9
    for kind in ("cpn", "opn", "gonogo", "cpn_no_omission"):
        assert simulated[f"{kind}_labels"].item() == pytest.approx(
            analytic[f"{kind}_labels"].item(), abs=0.1
        )


def test_kernel_labels_are_of_decision_times() -> None:
    data = made("ddm", "kde")
    t = data["theta"][0, 3]
    before = data["lan_data"][:, 4] < t
    assert before.any()
    assert (data["lan_labels"][before] == np.float32(FLOOR)).all()


@pytest.mark.parametrize("source", ["analytic", "solver", "kde", "exact_kde", "pyddm"])
def test_every_source_follows_its_seeds(source: str) -> None:
    first, again, other = (made("ddm", source, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["lan_data"], again["lan_data"])
    np.testing.assert_array_equal(first["lan_labels"], again["lan_labels"])
    assert (first["theta"] != other["theta"]).all()
