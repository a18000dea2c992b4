from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.study.config import StudyConfig, load_study
from lanflow.study.trainings import list_trainings
from tests.conftest import TRAINING_YAML


def study_of(networks: Any, *, models: tuple[str, ...] = ("ddm",), **keys: Any) -> StudyConfig:
    data = {"folder": "f"}
    content = {model: {"data": data, "networks": networks} for model in models}
    return load_study({"models": content, **keys}, [])


@pytest.fixture(autouse=True)
def study_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two = {"LAYER_SIZES": [[8, 1], [9, 9, 1]], "ACTIVATIONS": [["tanh"], ["relu", "relu"]]}
    Path("training.yaml").write_text(yaml.safe_dump(TRAINING_YAML))
    Path("two.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, **two}))


def test_every_network_is_listed_on_each_backend_with_its_effective_settings() -> None:
    networks = {
        "small": {"config": "training.yaml"},
        "second": {"config": "two.yaml", "network_id": 1, "backends": ["torch"], "seed": 9},
    }
    study = study_of(networks, models=("ddm", "angle"), seed=4)
    trainings = list(list_trainings(study))
    listed = [(t.model, t.key, t.seed) for t in trainings]
    assert listed == [
        ("ddm", "small_jax", 4),
        ("ddm", "small_torch", 4),
        ("ddm", "second_torch", 9),
        ("angle", "small_jax", 4),
        ("angle", "small_torch", 4),
        ("angle", "second_torch", 9),
    ]
    second = trainings[2]
    assert (second.config.layer_sizes, second.config.seed) == ((9, 9, 1), 9)
    assert (second.config_path, second.network_id) == ("two.yaml", 1)
    assert {t.config.model for t in trainings if t.model == "angle"} == {"angle"}


def test_the_same_place_in_a_study_has_the_same_run_uuid() -> None:
    def uuids(**keys: Any) -> list[str]:
        networks = {"lan": {"config": "training.yaml"}}
        return [t.run_uuid for t in list_trainings(study_of(networks, **keys))]

    first = uuids()
    assert uuids() == first
    assert len(set(first)) == 2
    assert not set(uuids(seed=2)) & set(first)
    assert not set(uuids(study="other")) & set(first)


def test_a_missing_training_yaml_is_named() -> None:
    networks = {"lan": {"config": "gone.yaml"}}
    with pytest.raises(UserError, match=r"^gone\.yaml: no such file"):
        list(list_trainings(study_of(networks)))


def test_a_network_id_out_of_range_names_the_training_yaml() -> None:
    networks = {"lan": {"config": "two.yaml", "network_id": 2}}
    with pytest.raises(UserError, match=r"^two\.yaml: network id 2 is out of range"):
        list(list_trainings(study_of(networks)))
