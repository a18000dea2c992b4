import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.core.settings import parse_settings
from lanflow.training.config import (
    DEFAULT_PATH,
    TrainingFile,
    read_training_file,
    select_network,
)
from tests.conftest import REPOSITORY, TRAINING_YAML, training_config

# As LANfactory's own template has it, text and all.
PEER_YAML = """
NETWORK_TYPE: "lan" # Options: ["lan", "cpn", "opn", "gonogo"]
CPU_BATCH_SIZE: 1000
GPU_BATCH_SIZE: 50000
GENERATOR_APPROACH: "lan"
OPTIMIZER_: "adam"
N_EPOCHS: 20
TRAINING_DATA_FOLDER: "data/lan_mlp/"
MODEL: "ddm"
SHUFFLE: True
LAYER_SIZES: [[100, 100, 100, 1], [100, 100, 100, 100, 1]]
ACTIVATIONS: [['tanh', 'tanh', 'tanh'], ['tanh', 'tanh', 'tanh', 'tanh']]
WEIGHT_DECAY: 0.0
TRAIN_VAL_SPLIT: 0.9
N_TRAINING_FILES: 10000
LABELS_LOWER_BOUND: np.log(1e-7)
LEARNING_RATE: 1e-3
LR_SCHEDULER: "reduce_on_plateau"
LR_SCHEDULER_PARAMS:
  factor: 0.1
  patience: 2
  threshold: 0.001
  min_lr: 0.00000001
  verbose: True
"""


def write(folder: Path, **keys: Any) -> Path:
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump({**TRAINING_YAML, **keys}))
    return path


def error_of(folder: Path, **keys: Any) -> str:
    path = write(folder, **keys)
    with pytest.raises(UserError) as caught:
        read_training_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


def test_lanfactorys_own_training_yaml_is_read_with_its_slips(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(PEER_YAML)
    file = read_training_file(path)
    assert file.labels_lower_bound == math.log(1e-7)
    assert file.learning_rate == 1e-3
    assert file.optimizer == "adam"
    assert file.training_data_folder == "data/lan_mlp/"
    assert file.lr_scheduler_params.min_lr == 1e-8
    assert [len(sizes) for sizes in file.layer_sizes] == [4, 5]


def test_a_comment_that_yaml_does_not_know_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(PEER_YAML.replace("10000", "10000 // can be list"))
    with pytest.raises(UserError) as caught:
        read_training_file(path)
    assert str(caught.value) == (
        f"{path}: N_TRAINING_FILES: '10000 // can be list' is not a number that can be read; "
        "accepted are numbers and expressions such as np.log(1e-7)"
    )


@pytest.mark.parametrize(
    ("key", "text", "number"),
    [
        ("LEARNING_RATE", "1e-3", 1e-3),
        ("WEIGHT_DECAY", "1e-5", 1e-5),
        ("TRAIN_VAL_SPLIT", "9/10", 0.9),
        ("N_EPOCHS", "20", 20),
        ("N_TRAINING_FILES", "1e4", 10_000),
        ("CPU_BATCH_SIZE", "2**10", 1024),
        ("LABELS_LOWER_BOUND", "-16.1", -16.1),
    ],
)
def test_number_like_text_is_understood(tmp_path: Path, key: str, text: str, number: float) -> None:
    file = read_training_file(write(tmp_path, **{key: text}))
    assert getattr(file, key.lower()) == number


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("NETWORK_TYPE", "lstm", "NETWORK_TYPE: input should be 'lan', 'cpn', 'opn' or 'gonogo'"),
        ("OPTIMIZER_", "lion", "OPTIMIZER_: input should be 'adam', 'muon' or 'sgd', got 'lion'"),
        ("LR_SCHEDULER", "step", "'reduce_on_plateau', 'multiply', 'cosine' or 'warmup_cosine'"),
        ("N_EPOCHS", 0, "N_EPOCHS: input should be greater than or equal to 1, got 0"),
        ("N_EPOCHS", 2.5, "N_EPOCHS: input should be a valid integer"),
        ("N_EPOCHS", True, "N_EPOCHS: True is not a number"),
        ("N_EPOCHS", [20], "N_EPOCHS: input should be a valid integer"),
        ("N_EPOCHS", None, "N_EPOCHS: input should be a valid integer"),
        ("CPU_BATCH_SIZE", -5, "CPU_BATCH_SIZE: input should be greater than or equal to 1"),
        ("LEARNING_RATE", 0, "LEARNING_RATE: input should be greater than 0"),
        ("LEARNING_RATE", "fast", "LEARNING_RATE: 'fast' is not a number"),
        ("LEARNING_RATE", float("inf"), "LEARNING_RATE: input should be a finite number"),
        ("LABELS_LOWER_BOUND", "lowest", "LABELS_LOWER_BOUND: 'lowest' is not a number"),
        ("TRAIN_VAL_SPLIT", 1, "TRAIN_VAL_SPLIT: input should be less than 1"),
        ("TRAIN_VAL_SPLIT", 0, "TRAIN_VAL_SPLIT: input should be greater than 0"),
        ("SHUFFLE", "sometimes", "SHUFFLE: input should be a valid boolean"),
        ("WEIGHT_DECAY", -1, "WEIGHT_DECAY: input should be greater than or equal to 0"),
        ("LAYER_SIZES", [], "LAYER_SIZES: list should have at least 1 item"),
        ("LAYER_SIZES", [[]], "LAYER_SIZES.0: list should have at least 1 item"),
        ("LAYER_SIZES", [[16, 16, 1], 16], "LAYER_SIZES.1: input should be a valid list"),
        ("LAYER_SIZES", [[16, 0, 1]], "LAYER_SIZES.0.1: input should be greater than"),
        ("ACTIVATIONS", [["tanh", "gelu"]], "ACTIVATIONS.0.1: input should be 'relu', 'tanh' or"),
        ("MODEL", 5, "MODEL: input should be a valid string, got 5"),
        ("LR_SCHEDULER_PARAMS", {"facter": 1}, "'LR_SCHEDULER_PARAMS.facter'; did you mean 'fac"),
        ("LR_SCHEDULER_PARAMS", {"factor": 0}, "LR_SCHEDULER_PARAMS.factor: input should be gr"),
        ("LR_SCHEDULER_PARAMS", {"patience": -1}, "LR_SCHEDULER_PARAMS.patience: input should"),
        ("HUBER_DELTA", 0, "HUBER_DELTA: input should be greater than 0"),
        ("HUBER_DELTA", "small", "HUBER_DELTA: "),
        ("LEARNIN_RATE", 1, "unknown key 'LEARNIN_RATE'; did you mean 'LEARNING_RATE'?"),
        ("learning_rate", 1, "unknown key 'learning_rate'; did you mean 'LEARNING_RATE'?"),
        ("DROPOUT", 1, "unknown key 'DROPOUT'"),
    ],
)
def test_a_wrong_value_names_file_key_and_what_is_accepted(
    tmp_path: Path, key: str, value: Any, said: str
) -> None:
    assert said in error_of(tmp_path, **{key: value})


@pytest.mark.parametrize("key", sorted(set(TRAINING_YAML) - {"MODEL", "LR_SCHEDULER_PARAMS"}))
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    content = {name: value for name, value in TRAINING_YAML.items() if name != key}
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        read_training_file(path)
    assert str(caught.value) == f"{path}: missing key {key!r}"


@pytest.mark.parametrize(
    ("sizes", "activations", "said"),
    [
        ([[16, 16, 1]], [["tanh"]], "network 0 has 3 layers in LAYER_SIZES and 1 entries"),
        ([[16, 1], [16, 16, 1]], [["tanh"], ["tanh"] * 3], "network 1 has 3 layers"),
        ([[16, 1], [16, 16, 1]], [["tanh"]], "LAYER_SIZES lists 2 networks and ACTIVATIONS 1"),
    ],
)
def test_layers_and_activations_that_disagree_are_refused(
    tmp_path: Path, sizes: list[list[int]], activations: list[list[str]], said: str
) -> None:
    assert said in error_of(tmp_path, LAYER_SIZES=sizes, ACTIVATIONS=activations)


def test_the_bend_of_a_loss_that_a_network_has_not_is_refused(tmp_path: Path) -> None:
    said = error_of(tmp_path, NETWORK_TYPE="opn", HUBER_DELTA=0.1)
    assert (
        "HUBER_DELTA is 0.1, but the loss of opn networks has no such place; leave it out" in said
    )


def test_a_plateau_schedule_that_would_not_reduce_is_refused(tmp_path: Path) -> None:
    message = error_of(tmp_path, LR_SCHEDULER_PARAMS={"factor": 1.5})
    assert "LR_SCHEDULER_PARAMS.factor is 1.5; reduce_on_plateau needs one below 1" in message
    growing = write(tmp_path, LR_SCHEDULER="multiply", LR_SCHEDULER_PARAMS={"factor": 1.5})
    assert read_training_file(growing).lr_scheduler_params.factor == 1.5


def test_the_schedules_settings_have_lanfactorys_defaults(tmp_path: Path) -> None:
    params = read_training_file(write(tmp_path, LR_SCHEDULER_PARAMS={})).lr_scheduler_params
    assert (params.factor, params.patience, params.threshold) == (0.1, 2, 0.001)


def test_the_network_id_picks_sizes_and_activations() -> None:
    keys = {"LAYER_SIZES": [[8, 1], [9, 7, 1]], "ACTIVATIONS": [["relu"], ["tanh", "sigmoid"]]}
    config = training_config(network_id=1, **keys)
    assert config.layer_sizes == (9, 7, 1)
    assert config.activations == ("tanh", "sigmoid")
    assert config.network_id == 1


@pytest.mark.parametrize("network_id", [-1, 2, 99])
def test_a_network_id_out_of_range_is_refused(network_id: int) -> None:
    keys = {"LAYER_SIZES": [[8, 1], [9, 1]], "ACTIVATIONS": [["relu"], ["relu"]]}
    with pytest.raises(UserError) as caught:
        training_config(network_id=network_id, **keys)
    assert str(caught.value) == (
        f"training.yaml: network id {network_id} is out of range; LAYER_SIZES lists 2 network(s), "
        "so 0 to 1"
    )


def test_a_model_given_takes_the_place_of_the_files() -> None:
    file = parse_settings(TrainingFile, TRAINING_YAML, "t.yaml")
    given = select_network(file, network_id=0, model="angle", seed=3, where="t.yaml")
    assert (given.model, given.seed) == ("angle", 3)
    own = select_network(file, network_id=0, model=None, seed=3, where="t.yaml")
    assert own.model == "ddm"


def test_no_model_anywhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"^training\.yaml: missing key 'MODEL'"):
        training_config(MODEL=None)


def test_the_config_in_lanfactorys_words() -> None:
    config = training_config(NETWORK_TYPE="cpn", SHUFFLE=False)
    words = config.to_lanfactory(batch_size=7)
    assert words["train_batch_size"] == 7
    assert words["loss"] == "bcelogit"
    assert words["train_output_type"] == "logits"
    assert (words["features_key"], words["label_key"]) == ("cpn_data", "cpn_labels")
    assert words["shuffle_files"] is False
    assert words["activations"] == ["tanh", "tanh", "linear"]
    assert config.to_lanfactory_network() == {
        "layer_sizes": [16, 16, 1],
        "activations": ["tanh", "tanh", "linear"],
        "train_output_type": "logits",
        "network_type": "cpn",
    }


CHANGED: dict[str, Any] = {
    "NETWORK_TYPE": "cpn",
    "CPU_BATCH_SIZE": 63,
    "GPU_BATCH_SIZE": 63,
    "OPTIMIZER_": "sgd",
    "N_EPOCHS": 4,
    "MODEL": "angle",
    "SHUFFLE": False,
    "LAYER_SIZES": [[16, 15, 1]],
    "ACTIVATIONS": [["tanh", "relu"]],
    "WEIGHT_DECAY": 0.1,
    "TRAIN_VAL_SPLIT": 0.7,
    "N_TRAINING_FILES": 99,
    "LABELS_LOWER_BOUND": -3,
    "LEARNING_RATE": 0.02,
    "LR_SCHEDULER": "multiply",
    "LR_SCHEDULER_PARAMS": {"factor": 0.2},
}


@pytest.mark.parametrize("key", sorted(TRAINING_YAML))
def test_every_key_is_part_of_what_is_digested(key: str) -> None:
    changed = training_config(**{key: CHANGED[key]})
    assert changed.canonical_json() != training_config().canonical_json()


def test_a_key_of_ours_is_digested_where_it_is_given_and_nowhere_else() -> None:
    """Trainings of before there was the key stay the same."""
    plain = training_config()
    assert plain.huber_delta == 1
    assert "huber_delta" not in plain.canonical_json()
    assert training_config(HUBER_DELTA=1.0) == plain
    given = training_config(HUBER_DELTA=0.1)
    assert json.loads(given.canonical_json())["huber_delta"] == 0.1
    assert given.deciding_settings()["huber_delta"] == 0.1


def test_the_seed_is_part_of_what_is_digested_and_spelling_is_not() -> None:
    plain = training_config().canonical_json()
    assert training_config(seed=2).canonical_json() != plain
    assert training_config(LABELS_LOWER_BOUND=math.log(1e-7)).canonical_json() == plain
    assert json.loads(plain)["learning_rate"] == 0.01


@pytest.mark.parametrize(
    "path",
    [DEFAULT_PATH, *sorted((REPOSITORY / "config" / "training").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_every_training_yaml_that_we_ship_is_sound(path: Path) -> None:
    file = read_training_file(path)
    for network_id in range(len(file.layer_sizes)):
        select_network(file, network_id=network_id, model="ddm", seed=1, where=str(path))


@pytest.mark.parametrize("nothing", ["None", "", None])
def test_lanfactorys_words_for_nothing_are_understood(tmp_path: Path, nothing: str | None) -> None:
    path = write(tmp_path, TRAINING_DATA_FOLDER=nothing, LR_SCHEDULER=nothing)
    file = read_training_file(path)
    assert file.training_data_folder is None
    assert file.lr_scheduler is None


@pytest.mark.parametrize(("scheduler", "has_ours"), [("multiply", False), ("warmup_cosine", True)])
def test_lanfactorys_dictionary_holds_our_key_only_where_it_is_used(
    scheduler: str, has_ours: bool
) -> None:
    config = training_config(LR_SCHEDULER=scheduler)
    assert (
        "warmup_epochs" in config.to_lanfactory(batch_size=8)["lr_scheduler_params"]
    ) == has_ours


OF_2023 = {
    "LOSS": "huber",
    "FEATURES_KEY": "lan_data",
    "LABEL_KEY": "lan_labels",
    "SAVE_HISTORY": True,
    "TRAIN_OUTPUT_TYPE": "logprob",
    "LAYER_SIZES": [16, 16, 1],
    "ACTIVATIONS": ["tanh", "tanh", "linear"],
}


@pytest.mark.parametrize("keys", [{}, {"LOSS": None}, {"FEATURES_KEY": "data"}])
def test_a_file_of_2023_is_that_of_today(tmp_path: Path, keys: dict[str, Any]) -> None:
    today = {"LAYER_SIZES": [[16, 16, 1]], "ACTIVATIONS": [["tanh", "tanh"]]}
    old = read_training_file(write(tmp_path, **{**OF_2023, **keys}))
    assert old == read_training_file(write(tmp_path, **today))


@pytest.mark.parametrize(
    ("key", "value", "own"),
    [
        ("LOSS", "mse", "huber"),
        ("LABEL_KEY", "cpn_labels", "lan_labels"),
        ("TRAIN_OUTPUT_TYPE", "logits", "logprob"),
        ("SAVE_HISTORY", False, "True"),
    ],
)
def test_a_key_of_2023_that_asks_for_something_else_is_refused(
    tmp_path: Path, key: str, value: object, own: str
) -> None:
    message = error_of(tmp_path, **{key: value})
    assert f"{key} is {value!r}" in message
    assert own in message


def test_the_length_of_lanfactorys_cosine_is_the_trainings(tmp_path: Path) -> None:
    params = {"t_max": TRAINING_YAML["N_EPOCHS"], "min_lr": 1e-5}
    file = read_training_file(write(tmp_path, LR_SCHEDULER="cosine", LR_SCHEDULER_PARAMS=params))
    assert (file.lr_scheduler, file.lr_scheduler_params.min_lr) == ("cosine", 1e-5)
    message = error_of(tmp_path, LR_SCHEDULER="cosine", LR_SCHEDULER_PARAMS={"t_max": 999})
    assert "t_max is 999" in message
