from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.core.settings import parse_settings
from lanflow.data.experiment import RunSelection
from lanflow.study.config import DataConfig, StudyConfig, load_study, read_generations
from lanflow.study.trainings import list_trainings
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
        ({"models": {"ddm": 3}}, "models.ddm: expected keys and values, got 3"),
        ({"models": ["ddm"]}, "models: expected keys and values, got ['ddm']"),
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


# What Snakemake, a shell or a command would take for something else, or no file system takes.
NO_PATHS = {
    "empty": "",
    "blank": "  ",
    "space at the end": "a ",
    "newline": "a\nb",
    "newline at the end": "a\n",
    "nul": "a\0b",
    "control": "a\x1bb",
    "direction": "a\u202eb",
    "wildcard": "{x}",
    "half a wildcard": "a{",
    "variable": "$SCRATCH/x",
    "home": "~/x",
    "option": "-x",
    "long": "a/" * 600,
    "long name": "a" * 256,
}
NO_WORDS = {"", "  ", "a\nb", "a\0b", "-x", "a" * 1001}


def at(key: str, value: Any) -> dict[str, Any]:
    """Return a valid study with another value of one key."""
    experiment = {"experiment": "e"}
    content: dict[str, Any] = {
        "models": {"ddm": {"data": experiment, "networks": {"lan": {"config": "t.yaml"}}}}
    }
    if key == "models.ddm.data.generate.config":
        content["models"]["ddm"]["data"] = {}
    *outer, last = key.split(".")
    node = content
    for part in outer:
        node = node.setdefault(part, {})
    node[last] = value
    return content


@pytest.mark.parametrize(
    "key",
    [
        "results",
        "evaluation.hssm_python",
        "models.ddm.data.generate.config",
        "models.ddm.data.folder",
        "models.ddm.data.root",
        "models.ddm.networks.lan.config",
    ],
)
@pytest.mark.parametrize("value", NO_PATHS.values(), ids=NO_PATHS.keys())
def test_what_cannot_be_a_path_is_refused_and_its_key_named(key: str, value: str) -> None:
    message = error_of(at(key, value))
    assert message.count("\n") == 0
    assert len(message) < 700
    assert f"{key}: '" in message
    assert "cannot be a path here; it must not be empty, begin with '-' or '~'" in message


@pytest.mark.parametrize(
    "key",
    [
        "tracking.uri",
        "tracking.artifact_location",
        "models.ddm.data.experiment",
        "models.ddm.data.batch_id",
        "models.ddm.data.filter",
    ],
)
def test_what_cannot_be_a_word_of_a_command_is_refused_and_its_key_named(key: str) -> None:
    for value in NO_WORDS:
        assert f"{key}: '" in error_of(at(key, value))
        assert "cannot be used here" in error_of(at(key, value))


def test_folders_recorded_and_here_and_runs_are_looked_at_too() -> None:
    data = "models.ddm.data"
    assert f"{data}.path_map./a: '' cannot be a path" in error_of(
        at(f"{data}.path_map", {"/a": ""})
    )
    assert f"{data}.path_map.: '' cannot be used" in error_of(at(f"{data}.path_map", {"": "/a"}))
    assert "should match pattern" in error_of(at(f"{data}.path_map", {"a=b": "/a"}))
    assert f"{data}.run_ids.0: '-x' cannot be used" in error_of(at(f"{data}.run_ids", ["-x"]))


@pytest.mark.parametrize("value", ["/", "//", "/.", "/a/.."])
def test_results_do_not_go_to_the_root_of_the_disk(value: str) -> None:
    assert "is the root of the disk; name a folder" in error_of(at("results", value))


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("results", "results"),
        ("./results/", "results"),
        ("/scratch//me/results", "/scratch/me/results"),
        ("../shared/my results", "../shared/my results"),
        ("Ergebnisse/für mich", "Ergebnisse/für mich"),
    ],
)
def test_other_folders_are_taken_as_snakemake_writes_them(value: str, taken: str) -> None:
    assert load_study(at("results", value), []).results == taken


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-x", "a\n", "{x}", "$(x)", "é", "x" * 65])
def test_names_that_become_parts_of_paths_are_plain_and_short(name: str) -> None:
    for content in (
        at(f"models.ddm.networks.{name}", {"config": "t.yaml"}),
        at(f"models.{name}", at("seed", 1)["models"]["ddm"]),
        at("study", name),
    ):
        assert "string should" in error_of(content)


@pytest.mark.parametrize(
    ("key", "value", "number"),
    [
        ("seed", 1000.0, 1000),
        ("evaluation.rows", "1e2", 100),
        ("recovery.n_subjects", "5", 5),
        ("models.ddm.networks.lan.memory_mb", "2*1000", 2000),
        ("models.ddm.data.max_repeated_sets", "1e-3", 0.001),
    ],
)
def test_numbers_may_be_texts_as_snakemakes_command_line_makes_them(
    key: str, value: Any, number: float
) -> None:
    node: Any = load_study(at(key, value), []).model_dump()
    for part in key.split("."):
        node = node[part]
    assert node == number


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", 0.001, "seed: input should be a valid integer, got a number with a fractional"),
        ("evaluation.rows", "1e-3", "evaluation.rows: input should be a valid integer"),
        ("evaluation.rows", 10**30, "evaluation.rows: input should be less than or equal to"),
        ("models.ddm.data.max_repeated_sets", True, "max_repeated_sets: True is not a number"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(key: str, value: Any, said: str) -> None:
    assert said in error_of(at(key, value))


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


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"seed": "many"}, "--config: seed: 'many' is not a number"),
        ({"tracking": "uri:x"}, "--config: tracking: expected keys and values, got 'uri:x'"),
        ({"tracking": {"uri": ""}}, "--config: tracking.uri: '' cannot be used"),
        ({"study": ""}, "{path}: study: string should match"),
    ],
)
def test_a_value_that_is_in_no_file_came_from_the_command_line(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "my.yaml", {"study": "", "seed": 1, "tracking": {"uri": None}})
    assert error_of({"study": "s", "seed": 1, **keys}, path).startswith(said.format(path=path))


def test_a_file_without_the_wrong_part_of_a_list_is_named(tmp_path: Path) -> None:
    content = {"models": {"ddm": {"data": {"experiment": "e", "run_ids": ["a", "-b"]}}}}
    path = write(tmp_path / "my.yaml", content)
    assert error_of(content, path).startswith(f"{path}: models.ddm.data.run_ids.1: '-b' cannot")


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


def data_of(content: dict[str, Any]) -> DataConfig:
    return parse_settings(DataConfig, content, "study.yaml")


@pytest.mark.parametrize(
    ("data", "source"),
    [
        ({"generate": {"config": "g.yaml"}}, "generate"),
        ({"experiment": "ddm-data-generation"}, "mlflow"),
        ({"experiment": "e", "root": "/shared"}, "mlflow"),
        ({"experiment": "e", "path_map": {"/old": "/new"}}, "mlflow"),
        ({"experiment": "e", "folder": "data"}, "validation"),
        ({"folder": "data"}, "traditional"),
    ],
)
def test_what_is_given_chooses_the_source(data: dict[str, Any], source: str) -> None:
    assert data_of(data).source == source


def test_an_experiment_id_may_be_a_number_to_yaml() -> None:
    assert data_of({"experiment": 123}).experiment == "123"


def test_which_runs_of_an_experiment_to_take_is_said_with_it() -> None:
    keys = {"policy": "salvage", "batch_id": "b", "run_ids": ["r"], "filter": "params.x = 'y'"}
    data = data_of({"experiment": "e", **keys})
    assert vars(data.run_selection) == keys
    assert data_of({"experiment": "e"}).run_selection == RunSelection()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"folder": "f", "policy": "salvage"}, "only go with 'experiment'"),
        ({"generate": {"config": "g"}, "batch_id": "b"}, "only go with 'experiment'"),
        ({"folder": "f", "run_ids": ["r"]}, "only go with 'experiment'"),
        ({"folder": "f", "filter": "x"}, "only go with 'experiment'"),
        ({}, "give one of 'generate', 'experiment', 'folder'"),
        ({"folder": ""}, "folder: '' cannot be a path here"),
        ({"experiment": ""}, "experiment: '' cannot be used here"),
        ({"generate": {"config": "g"}, "experiment": "e"}, "give either 'generate', or"),
        ({"generate": {"config": "g"}, "folder": "f"}, "give either 'generate', or"),
        ({"generate": {"config": "g"}, "root": "/r"}, "only go with 'experiment'"),
        ({"folder": "f", "root": "/r"}, "only go with 'experiment'"),
        ({"folder": "f", "path_map": {"a": "b"}}, "only go with 'experiment'"),
        ({"experiment": "e", "folder": "f", "root": "/r"}, "'folder' already says where"),
        ({"experiment": "e", "folder": "f", "path_map": {"a": "b"}}, "'folder' already says"),
    ],
)
def test_contradictory_sources_are_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        data_of(data)
    assert str(caught.value).startswith("study.yaml: ")
    assert said in str(caught.value)
