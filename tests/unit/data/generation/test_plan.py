from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.core.settings import parse_settings
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan, n_even_files
from lanflow.data.training_file import read_training_file
from lanflow.models.simulators import find_model

N_SETS = 3
GENERATION_YAML: dict[str, Any] = {
    "MODEL": "angle",
    "PIPELINE": {"N_PARAMETER_SETS": N_SETS},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
    "ESTIMATOR": {"TYPE": "kde"},
}
SOBOL = {"N_PARAMETER_SETS": N_SETS, "PARAMETER_SAMPLING": "sobol"}


def plan_of(*, seed: int = 1, chunk: int = 0, n_files: int = 2, **keys: Any) -> ChunkPlan:
    config = parse_settings(GenerationConfig, {**GENERATION_YAML, **keys}, "generation.yaml")
    return ChunkPlan(config=config, seed=seed, chunk=chunk, n_files=n_files)


def test_every_parameter_set_of_a_study_has_seeds_of_its_own() -> None:
    seeds = [
        (tuple(parameters), simulator)
        for plan in (
            *(plan_of(chunk=chunk) for chunk in range(5)),
            plan_of(seed=2),
            plan_of(MODEL="ddm"),
        )
        for index in range(10)
        for parameters, simulator in plan.set_seeds(index)
    ]
    assert len({parameters for parameters, _ in seeds}) == len(seeds)
    assert len({simulator for _, simulator in seeds}) == len(seeds)
    assert all(0 <= simulator < 2**31 for _, simulator in seeds)


def test_more_files_or_sets_do_not_change_those_before_them() -> None:
    more = plan_of(n_files=9, PIPELINE={"N_PARAMETER_SETS": 7})
    assert more.set_seeds(1)[:N_SETS] == plan_of().set_seeds(1)


def test_a_file_is_named_after_what_decides_its_content() -> None:
    plan = plan_of()
    names = {
        plan.file_name(0),
        plan.file_name(1),
        plan_of(seed=2).file_name(0),
        plan_of(chunk=1).file_name(0),
        plan_of(MODEL="ddm").file_name(0),
        plan_of(TRAINING={"N_SAMPLES_PER_PARAM": 11}).file_name(0),
    }
    assert len(names) == 6
    assert plan_of(n_files=7).file_name(0) == plan.file_name(0)


def test_the_chunks_of_a_build_share_a_batch_id() -> None:
    plan = plan_of()
    assert replace(plan, chunk=4, n_files=9).batch_id == plan.batch_id
    assert plan_of(seed=2).batch_id != plan.batch_id
    assert plan_of(MODEL="ddm").batch_id != plan.batch_id


def test_chunks_and_seeds_have_sobol_sequences_of_their_own() -> None:
    plans = [
        plan_of(PIPELINE=SOBOL),
        plan_of(PIPELINE=SOBOL, chunk=1),
        plan_of(PIPELINE=SOBOL, seed=2),
    ]
    points = [tuple(point or ()) for plan in plans for _, point in plan.set_draws(0)]
    assert len(set(points)) == 3 * N_SETS


def test_a_uniform_draw_has_no_point() -> None:
    plan = plan_of()
    assert plan.set_draws(1) == [(seeds, None) for seeds in plan.set_seeds(1)]


@pytest.mark.parametrize("sampling", ["uniform", "sobol"])
def test_bounds_of_a_known_model_can_be_changed(sampling: str, tmp_path: Path) -> None:
    pipeline = {"N_PARAMETER_SETS": 20, "PARAMETER_SAMPLING": sampling}
    plan = plan_of(PARAM_BOUNDS={"v": [-0.5, 0.25], "t": ["exp(-3)", 0.1]}, PIPELINE=pipeline)
    assert plan.model.bounds["v"] == (-0.5, 0.25)
    assert plan.model.bounds["a"] == find_model("angle").bounds["a"]
    generate_chunk(plan, tmp_path, n_processes=1)
    path = tmp_path / "training_data" / plan.file_name(0)
    file = read_training_file(path.read_bytes(), path)
    assert dict(file.bounds) == dict(plan.model.bounds)
    drawn = file.arrays["cpn"][0][:, 0]
    assert drawn.min() >= -0.5
    assert drawn.max() <= 0.25
    # It is recorded, and another build; without it nothing is another.
    assert plan.config.settings_dict()["param_bounds"]["v"] == [-0.5, 0.25]
    assert plan.batch_id != plan_of(PIPELINE=pipeline).batch_id
    assert plan_of(PARAM_BOUNDS={}).batch_id == plan_of().batch_id


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"w": [0, 1]}, "PARAM_BOUNDS: model 'angle' has no parameter 'w' (accepted: v, a, z, t"),
        ({"v": [1, 1]}, "PARAM_BOUNDS: v: 1 is not below 1"),
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        _ = plan_of(PARAM_BOUNDS=bounds).model
    assert str(caught.value).startswith(said)


def test_files_have_another_name_when_auto_means_another_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auto, named = {"TYPE": "auto"}, {"TYPE": "kde"}
    before = plan_of(ESTIMATOR=auto).file_name(0), plan_of(ESTIMATOR=named).file_name(0)
    monkeypatch.setattr("lanflow.data.generation.plan.label_source", lambda *_: "another")
    after = plan_of(ESTIMATOR=auto).file_name(0), plan_of(ESTIMATOR=named).file_name(0)
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("n_sets", "n_files"), [(1, 1), (40, 1), (2_000, 2), (10_000, 10), (1_500, 2), (10_007, 1)]
)
def test_parameter_sets_are_shared_evenly_by_few_files(n_sets: int, n_files: int) -> None:
    assert n_even_files(n_sets) == n_files
