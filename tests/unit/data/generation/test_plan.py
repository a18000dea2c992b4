from dataclasses import replace
from typing import Any

from lanflow.core.settings import parse_settings
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.plan import ChunkPlan

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
