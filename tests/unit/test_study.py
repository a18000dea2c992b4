from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.errors import UserError
from lanflow.study import StudyConfig, load_study, read_generations
from lanflow.trainings import list_trainings
from tests.conftest import REPOSITORY

NETWORKS = {"lan": {"config": "training.yaml"}}


def write(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def study_of(data: Any, **keys: Any) -> StudyConfig:
    content = {"models": {"ddm": {"data": data, "networks": NETWORKS}}, **keys}
    return load_study(content, [])


def error_of(content: Any, *paths: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_study(content, paths)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"modles": {}}, "unknown key 'modles'; did you mean 'models'?"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0"),
        ({"seed": "abc"}, "seed: 'abc' is not a number"),
        ({"seed": True}, "seed: True is not a number"),
        ({"seed": 2**63}, "seed: input should be less than"),
        ({"study": "my study"}, "study: string should match pattern"),
        ({"results": 5}, "results: input should be a valid string, got 5"),
        (
            {"models": {"data": {"data": {"generate": {"config": "g", "chunk": 2}}}}},
            "'models.data.data.generate.chunk'; did you mean 'chunks'?",
        ),
        (
            {"tracking": {"uri": "http://me:secret@host"}},
            "tracking.uri: it holds a password, which Snakemake would write into the command line",
        ),
        ({"tracking": {"url": "x"}}, "unknown key 'tracking.url'; did you mean 'uri'?"),
        ({"models": {"a/b": {}}}, "models.a/b: string should match pattern"),
        (
            {"models": {"ddm": {"data": {}, "networks": NETWORKS}}},
            "models.ddm.data: give one of 'generate', 'experiment', 'folder'",
        ),
        ({"models": {"ddm": {}}}, "missing key 'models.ddm.data'"),
        ({"models": {"ddm": 3}}, "models.ddm: input should be"),
        ({"models": ["ddm"]}, "models: input should be a valid dictionary"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_accepted(keys: dict[str, Any], said: str) -> None:
    content = {"models": {"ddm": {"data": {"folder": "f"}, "networks": NETWORKS}}, **keys}
    assert said in error_of(content)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({}, "missing key 'models.ddm.networks.lan.config'"),
        ({"config": "t", "confg": 1}, "'models.ddm.networks.lan.confg'; did you mean 'config'?"),
        ({"config": "t", "device": "tpu"}, "device: input should be 'auto', 'cpu' or 'gpu'"),
        ({"config": "t", "backends": ["tensorflow"]}, "backends.0: input should be 'jax' or 'tor"),
        ({"config": "t", "backends": []}, "backends: list should have at least 1 item"),
        ({"config": "t", "backends": ["jax", "jax"]}, "backends: a backend is listed twice"),
        ({"config": "t", "backends": "jax"}, "backends: input should be a valid list"),
        ({"config": "t", "network_id": -1}, "network_id: input should be greater than or equal"),
        ({"config": "t", "seed": 1.5}, "seed: input should be a valid integer"),
    ],
)
def test_a_wrong_network_is_named_with_what_is_accepted(network: dict[str, Any], said: str) -> None:
    networks = {"lan": network}
    assert said in error_of({"models": {"ddm": {"data": {"folder": "f"}, "networks": networks}}})


def test_the_name_of_a_network_holds_no_underscore_as_its_folder_adds_one() -> None:
    networks = {"my_lan": {"config": "t"}}
    message = error_of({"models": {"ddm": {"data": {"folder": "f"}, "networks": networks}}})
    assert "models.ddm.networks.my_lan: string should match pattern" in message


def test_a_study_without_models_says_how_to_name_one(tmp_path: Path) -> None:
    message = error_of({}, write(tmp_path / "config.yaml", {"models": {}}))
    assert message.startswith(f"{tmp_path / 'config.yaml'}: 'models' is empty")
    assert "--configfile" in message


def test_the_error_names_the_file_that_holds_the_wrong_key(tmp_path: Path) -> None:
    defaults = {"study": "study", "seed": 1, "models": {}}
    models = {"ddm": {"data": {"folder": "f"}, "networks": NETWORKS}}
    middle = {"seed": "many", "models": models}
    last = {"study": "mine", "models": {"ddm": {"data": {"folder": "g"}}}}
    paths = [
        write(tmp_path / name, content)
        for name, content in (("a.yaml", defaults), ("b.yaml", middle), ("c.yaml", last))
    ]
    message = error_of({"study": "mine", "seed": "many", "models": models}, *paths)
    # Of two files that hold the key, the later one decides.
    assert message.startswith(f"{paths[1]}: seed: 'many' is not a number")


def test_each_of_two_mistakes_in_two_files_names_its_own(tmp_path: Path) -> None:
    one = write(tmp_path / "one.yaml", {"sead": 1})
    models = {"ddm": {"data": {"foldr": "f"}, "networks": NETWORKS}}
    two = write(tmp_path / "two.yaml", {"models": models})
    lines = error_of({"sead": 1, "models": models}, one, two).splitlines()
    assert len(lines) == 2
    assert any(line.startswith(f"{one}: unknown key 'sead'") for line in lines)
    assert any(line.startswith(f"{two}: unknown key 'models.ddm.data.foldr'") for line in lines)


def test_a_key_that_is_in_no_file_came_from_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path / "config.yaml", {"seed": 1})
    message = error_of({"seed": 1, "sead": 2}, path)
    assert message.startswith(f"--config or {path}: unknown key 'sead'")


@pytest.fixture
def study_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_generation_settings_are_read_for_models_that_are_simulated(study_folder: Path) -> None:
    generation = {
        "MODEL": "ddm",
        "PIPELINE": {"N_PARAMETER_SETS": 2},
        "SIMULATOR": {"N_SAMPLES": 5, "DELTA_T": 0.1},
        "TRAINING": {"N_SAMPLES_PER_PARAM": 5},
    }
    write(study_folder / "generation.yaml", generation)
    models = {
        "angle": {"data": {"generate": {"config": "generation.yaml"}}, "networks": NETWORKS},
        "ddm": {"data": {"folder": "f"}, "networks": NETWORKS},
    }
    generations = read_generations(load_study({"models": models}, []))
    assert {model: config.model_name for model, config in generations.items()} == {"angle": "angle"}


def test_a_wrong_generation_yaml_is_named(study_folder: Path) -> None:
    write(study_folder / "generation.yaml", {"MODEL": "ddm"})
    study = study_of({"generate": {"config": "generation.yaml"}})
    with pytest.raises(UserError, match=r"generation\.yaml: missing key 'PIPELINE'"):
        read_generations(study)


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "config" / "examples").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_every_example_is_a_sound_study(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    study = load_study(yaml.safe_load(path.read_text()), [path])
    assert list(list_trainings(study))
    read_generations(study)
