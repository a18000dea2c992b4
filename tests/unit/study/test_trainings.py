from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.study.config import StudyConfig, load_study
from lanflow.study.trainings import list_trainings, trained_beside
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


def names_of(networks: Any, **keys: Any) -> list[tuple[str, int, int, str]]:
    trainings = list_trainings(study_of(networks, **keys))
    return [(t.network, t.network_id, t.seed, t.family) for t in trainings if t.backend == "jax"]


def test_seeds_make_a_network_each() -> None:
    networks = {"lan": {"config": "training.yaml", "seeds": [3, 1, 7]}}
    assert names_of(networks) == [
        ("lan-seed3", 0, 3, "lan"),
        ("lan-seed1", 0, 1, "lan"),
        ("lan-seed7", 0, 7, "lan"),
    ]
    assert len({t.run_uuid for t in list_trainings(study_of(networks))}) == 6


def test_all_network_ids_are_those_of_the_training_file() -> None:
    networks = {"lan": {"config": "two.yaml", "network_ids": "all", "seeds": [1, 2]}}
    assert [name for name, *_ in names_of(networks)] == [
        *("lan-id0-seed1", "lan-id0-seed2", "lan-id1-seed1", "lan-id1-seed2")
    ]
    assert names_of({"lan": {"config": "two.yaml", "network_ids": [1]}}, seed=5) == [
        ("lan-id1", 1, 5, "lan")
    ]


def test_a_list_of_training_files_makes_a_network_of_each() -> None:
    Path("wide_net.yaml").write_text(Path("two.yaml").read_text())
    networks = {"lan": {"config": ["training.yaml", "wide_net.yaml"], "network_id": 0}}
    assert [name for name, *_ in names_of(networks)] == ["lan-training", "lan-wide-net"]


def test_a_network_of_its_own_keeps_its_name_and_files() -> None:
    (name,) = names_of({"lan": {"config": "training.yaml", "seed": 2}})
    assert name == ("lan", 0, 2, "lan")


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"lan": {"config": "training.yaml", "seed": 1, "seeds": [1]}}, "'seed' or 'seeds'"),
        (
            {"lan": {"config": "two.yaml", "network_id": 1, "network_ids": "all"}},
            "'network_id' or 'network_ids'",
        ),
        ({"lan": {"config": "training.yaml", "seeds": [1, 1]}}, "listed twice"),
        ({"lan": {"config": "training.yaml", "seeds": []}}, "seeds"),
        ({"lan": {"config": "two.yaml", "network_ids": "some"}}, "network_ids"),
        ({"lan": {"config": "two.yaml", "network_ids": [2]}}, "network id 2 is out of range"),
        (
            {
                "lan": {"config": "training.yaml", "seeds": [1]},
                "lan-seed1": {"config": "training.yaml"},
            },
            "'lan' and 'lan-seed1' both make a network 'lan-seed1'",
        ),
        ({"lan": {"config": ["two.yaml", "./two.yaml"]}}, "two of its training files"),
        ({"lan": {"config": []}}, "config"),
    ],
)
def test_a_family_that_makes_no_sense_is_refused(networks: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(list_trainings(study_of(networks)))
    assert "\n" not in str(caught.value)


def beside(networks: Any, **keys: Any) -> dict[str, list[str]]:
    """By network, those that a GPU may train beside it."""
    found = trained_beside(list_trainings(study_of(networks, **keys)))
    return {key: [other.name for other in others] for (_, _, key), others in found.items()}


def test_networks_that_differ_in_seed_and_learning_rate_are_trained_beside_each_other() -> None:
    fast = {**TRAINING_YAML, "LEARNING_RATE": 0.5, "LR_SCHEDULER": "cosine"}
    Path("fast.yaml").write_text(yaml.safe_dump(fast))
    gpu = {"backends": ["torch"], "device": "gpu"}
    networks = {
        "lan": {"config": ["training.yaml", "fast.yaml"], "seed": 5, **gpu},
        "more": {"config": "training.yaml", "seeds": [1], **gpu},
    }
    assert beside(networks) == {
        "lan-training_torch": ["lan-fast_torch", "more-seed1_torch"],
        "lan-fast_torch": ["lan-training_torch", "more-seed1_torch"],
        "more-seed1_torch": ["lan-training_torch", "lan-fast_torch"],
    }


def test_no_networks_of_other_models_shapes_and_devices_are_trained_beside_each_other() -> None:
    wide = {**TRAINING_YAML, "LAYER_SIZES": [[99, 1]], "ACTIVATIONS": [["tanh"]]}
    Path("wide.yaml").write_text(yaml.safe_dump(wide))
    gpu = {"backends": ["torch"], "device": "gpu"}
    networks = {
        "lan": {"config": "training.yaml", **gpu},
        "wide": {"config": "wide.yaml", **gpu},
        "slow": {"config": "training.yaml", "backends": ["torch"], "device": "cpu"},
        "other": {"config": "training.yaml", "backends": ["jax"], "device": "gpu"},
        "later": {"config": "training.yaml", "start_from": "before", **gpu},
    }
    found = trained_beside(list_trainings(study_of(networks, models=("ddm", "angle"))))
    assert len(found) == 6
    assert not any(found.values())


def test_many_networks_are_trained_in_groups() -> None:
    networks = {
        "lan": {
            "config": "training.yaml",
            "seeds": list(range(70)),
            "device": "gpu",
            "backends": ["jax"],
        }
    }
    sizes = [1 + len(others) for others in beside(networks).values()]
    assert sizes == 64 * [32] + 6 * [6]
