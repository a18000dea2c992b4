import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.data.generation.config import GenerationConfig, read_generation_file
from tests.conftest import REPOSITORY

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 6, "N_SUBRUNS": 2},
    "SIMULATOR": {"N_SAMPLES": 500, "DELTA_T": 0.005},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 100},
    "ESTIMATOR": {"TYPE": "kde"},
}


def read(folder: Path, *, model: str | None = None, **keys: Any) -> GenerationConfig:
    content = {**GENERATION_YAML, **keys}
    path = folder / "generation.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v != "absent"}))
    return read_generation_file(path, model=model)


def test_ssm_simulators_own_yaml_is_read(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.model_name == "ddm"
    assert config.pipeline.n_parameter_sets == 6
    assert config.simulator.delta_t == 0.005
    assert config.training.n_samples_per_param == 100


@pytest.mark.parametrize("spelling", ["pyddm", "PyDDM", "PYDDM"])
def test_the_estimator_may_be_spelt_in_any_case(tmp_path: Path, spelling: str) -> None:
    assert read(tmp_path, ESTIMATOR={"TYPE": spelling}).estimator.type == "pyddm"


def test_sections_with_defaults_may_be_left_out(tmp_path: Path) -> None:
    config = read(tmp_path, ESTIMATOR="absent", GENERATOR_APPROACH="absent")
    assert config.estimator.type == "auto"
    assert config.pipeline.parameter_sampling == "uniform"
    assert config.generator_approach == "lan"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"SIMULATER": {}}, "unknown key 'SIMULATER'; did you mean 'SIMULATOR'?"),
        (
            {"PIPELINE": {"N_PARAMETER_SET": 3}},
            "unknown key 'PIPELINE.N_PARAMETER_SET'; did you mean 'N_PARAMETER_SETS'?",
        ),
        ({"PIPELINE": "absent"}, "missing key 'PIPELINE'"),
        ({"SIMULATOR": {"N_SAMPLES": 5}}, "missing key 'SIMULATOR.DELTA_T'"),
        ({"SIMULATOR": {"N_SAMPLES": "x", "DELTA_T": 1}}, "SIMULATOR.N_SAMPLES: 'x' is not a num"),
        ({"SIMULATOR": {"N_SAMPLES": 5, "DELTA_T": 0}}, "SIMULATOR.DELTA_T: input should be great"),
        ({"TRAINING": [1]}, "TRAINING: expected keys and values, got [1]"),
        ({"ESTIMATOR": {"TYPE": "magic"}}, "ESTIMATOR.TYPE: input should be 'auto', 'analytic'"),
        ({"ESTIMATOR": {"TYPE": 3}}, "ESTIMATOR.TYPE: input should be 'auto', 'analytic'"),
        (
            {"PIPELINE": {"N_PARAMETER_SETS": 6, "PARAMETER_SAMPLING": "halton"}},
            "PIPELINE.PARAMETER_SAMPLING: input should be 'uniform' or 'sobol'",
        ),
        ({"GENERATOR_APPROACH": "nle"}, "GENERATOR_APPROACH: input should be 'lan', 'cpn' or"),
        ({"MODEL": "absent"}, "missing key 'MODEL' (or give --model)"),
    ],
)
def test_a_wrong_key_names_file_key_and_what_is_accepted(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, **keys)
    assert str(caught.value).startswith(f"{tmp_path / 'generation.yaml'}: ")
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml: no such file"):
        read_generation_file(tmp_path / "gone.yaml")


def test_a_model_given_takes_the_place_of_the_files(tmp_path: Path) -> None:
    assert read(tmp_path, model="angle").model_name == "angle"
    assert read(tmp_path, model="angle", MODEL="absent").model_name == "angle"


@pytest.mark.parametrize(
    "keys",
    [
        {"MODEL": "angle"},
        {"GENERATOR_APPROACH": "cpn"},
        {"PIPELINE": {"N_PARAMETER_SETS": 8}},
        {"PIPELINE": {"N_PARAMETER_SETS": 6, "PARAMETER_SAMPLING": "sobol"}},
        {"SIMULATOR": {"N_SAMPLES": 501, "DELTA_T": 0.005}},
        {"SIMULATOR": {"N_SAMPLES": 500, "DELTA_T": 0.004}},
        {"TRAINING": {"N_SAMPLES_PER_PARAM": 101}},
        {"ESTIMATOR": {"TYPE": "pyddm"}},
    ],
    ids=str,
)
def test_the_digest_follows_every_setting_that_decides_numbers(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    assert read(tmp_path, **keys).digest != read(tmp_path).digest


def test_the_digest_does_not_follow_how_sets_are_spread(tmp_path: Path) -> None:
    pipeline = {"N_PARAMETER_SETS": 6, "N_SUBRUNS": 3}
    assert read(tmp_path, PIPELINE=pipeline).digest == read(tmp_path).digest


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "config" / "generation").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_every_generation_yaml_that_we_ship_is_sound(path: Path) -> None:
    assert len(read_generation_file(path, model="ddm").digest) == 64


def test_flat_keys_of_before_0_12_are_read(tmp_path: Path) -> None:
    path = tmp_path / "flat.yaml"
    path.write_text(
        "MODEL: ddm\nGENERATOR_APPROACH: lan\nN_SAMPLES: 300\nDELTA_T: 0.001\n"
        "N_PARAMETER_SETS: 4\nN_SUBRUNS: 2\nN_TRAINING_SAMPLES_BY_PARAMETER_SET: 20\n"
    )
    config = read_generation_file(path)
    assert config.pipeline.n_parameter_sets == 4
    assert config.training.n_samples_per_param == 20
    path.write_text(path.read_text() + "DETLA: 3\n")
    with pytest.raises(UserError, match="unknown key 'DETLA'"):
        read_generation_file(path)


def test_a_flat_key_beside_its_section_is_not_chosen_between(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    sections = {**GENERATION_YAML, "N_SAMPLES": 300}
    path.write_text(yaml.safe_dump(sections))
    with pytest.raises(UserError, match="unknown key 'N_SAMPLES'"):
        read_generation_file(path)


def test_a_number_of_cores_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cores.yaml"
    path.write_text(
        yaml.safe_dump({**GENERATION_YAML, "PIPELINE": {"N_PARAMETER_SETS": 4, "N_CPUS": 0}})
    )
    with pytest.raises(UserError, match=r"PIPELINE\.N_CPUS") as caught:
        read_generation_file(path)
    assert "\n" not in str(caught.value)


def test_how_a_job_is_run_is_no_difference_of_data(tmp_path: Path) -> None:
    text = (
        "MODEL: ddm\nPIPELINE: {N_PARAMETER_SETS: 4%s}\nSIMULATOR: {N_SAMPLES: 300, DELTA_T: 0.001}"
        "\nTRAINING: {N_SAMPLES_PER_PARAM: 20}\n"
    )
    digests = set()
    for keys in ("", ", N_CPUS: all", ", N_CPUS: 4", ", PARAMETER_SAMPLER_INDEX_OFFSET: 8"):
        (tmp_path / "g.yaml").write_text(text % keys)
        digests.add(read_generation_file(tmp_path / "g.yaml").digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "config" / "generation").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_our_files_are_files_of_ssm_simulators_generate(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of typer, at its import
        from ssms.cli.generate import collect_data_generator_config
    from ssms.dataset_generators.estimator_builders import create_estimator_builder

    theirs = collect_data_generator_config(path, base_path="data")
    ours = read_generation_file(path)
    data = theirs["data_config"]
    assert data["model"] == ours.model
    assert data["pipeline"]["n_parameter_sets"] == ours.pipeline.n_parameter_sets
    assert data["simulator"]["n_samples"] == ours.simulator.n_samples
    create_estimator_builder(data, theirs["model_config"])
