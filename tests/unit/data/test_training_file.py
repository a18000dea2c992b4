import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.training_file import TrainingFileContent, read_training_file
from tests.conftest import training_file_content

PATH = Path("data/training_data_x.pickle")


def read(content: Any) -> TrainingFileContent:
    return read_training_file(pickle.dumps(content, protocol=4), PATH)


def with_keys(**keys: Any) -> dict[str, Any]:
    """A sound training file with keys replaced; an Ellipsis takes one out."""
    content = {**training_file_content(n_sets=3, n_per_set=4), **keys}
    return {key: value for key, value in content.items() if value is not ...}


def with_model_config(**keys: Any) -> dict[str, Any]:
    content = training_file_content(n_sets=3, n_per_set=4)
    config = {**content["model_config"], **keys}
    content["model_config"] = {key: value for key, value in config.items() if value is not ...}
    return content


def changed(array: np.ndarray, *, at: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.copy()
    copy[at] = value
    return copy


def test_a_training_file_gives_model_parameters_bounds_and_arrays() -> None:
    content = training_file_content(n_sets=3, n_per_set=4)
    file = read(content)
    assert file.model == "ddm"
    assert file.parameters == ("v", "a", "z", "t")
    assert file.bounds == {"v": (-3, 3), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0, 2)}
    assert file.generator == {"model": "ddm", "estimator": {"type": "kde"}}
    assert set(file.arrays) == {"lan", "cpn", "opn", "gonogo"}
    features, labels = file.arrays["lan"]
    np.testing.assert_array_equal(features, content["lan_data"])
    np.testing.assert_array_equal(labels, content["lan_labels"][:, None])
    for features, labels in file.arrays.values():
        assert features.dtype == labels.dtype == np.float32
        assert len(features) == len(labels)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, ">f8"])
def test_numbers_of_other_types_become_float32(dtype: Any) -> None:
    labels = np.ones(12).astype(dtype)
    _, read_labels = read(with_keys(lan_labels=labels)).arrays["lan"]
    assert read_labels.dtype == np.float32
    assert (read_labels == 1).all()


def test_a_file_may_hold_the_data_of_one_network_type_only() -> None:
    content = {
        key: value
        for key, value in training_file_content().items()
        if not key.startswith(("lan", "opn", "gonogo"))
    }
    assert set(read(content).arrays) == {"cpn"}


def test_a_network_type_without_labels_is_left_out() -> None:
    assert set(read(with_keys(lan_labels=None)).arrays) == {"cpn", "opn", "gonogo"}


def test_labels_of_several_columns_are_kept() -> None:
    labels = np.full((3, 4), 0.25, dtype=np.float32)
    assert read(with_keys(cpn_labels=labels)).arrays["cpn"][1].shape == (3, 4)


LAN = training_file_content(n_sets=3, n_per_set=4)["lan_data"]
LABELS = training_file_content(n_sets=3, n_per_set=4)["lan_labels"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "not a training file (a list, expected a dict)"),
        (LAN, "not a training file (a ndarray, expected a dict)"),
        ({}, "key 'model_config' is missing or not a dict"),
        (with_keys(model_config=...), "key 'model_config' is missing or not a dict"),
        (with_keys(model_config=dict), "key 'model_config' is missing or not a dict"),
        (with_model_config(name=...), "model_config['name'] is missing or not text"),
        (with_model_config(name=5), "model_config['name'] is missing or not text"),
        (with_model_config(name=""), "model_config['name'] is missing or not text"),
        (with_model_config(params=...), "model_config['params'] is missing or not a list of"),
        (with_model_config(params=[1, 2]), "model_config['params'] is missing or not a list of"),
        (
            {"model_config": training_file_content()["model_config"]},
            "holds none of lan_data, cpn_data, opn_data, gonogo_data with its labels",
        ),
        (with_keys(lan_data=LAN.tolist()), "lan_data is list, expected an array of numbers"),
        (with_keys(lan_data=np.sum), "lan_data is Placeholder, expected an array of numbers"),
        (with_keys(lan_data=LAN.astype(object)), "lan_data is object, expected an array of num"),
        (with_keys(lan_data=LAN.astype(str)), "lan_data is <U32, expected an array of numbers"),
        (with_keys(lan_data=LAN > 0), "lan_data is bool, expected an array of numbers"),
        (with_keys(lan_data=LAN.astype(complex)), "lan_data is complex128, expected an array"),
        (with_keys(lan_labels=LABELS.astype(object)), "lan_labels is object, expected an array"),
        (with_keys(lan_data=LAN[:, :5]), "lan_data has shape (12, 5), expected (rows, 6): 4 par"),
        (with_keys(lan_data=LAN[:, 0]), "lan_data has shape (12,), expected (rows, 6)"),
        (with_keys(lan_data=np.array(1.0)), "lan_data has shape (), expected (rows, 6)"),
        (with_keys(cpn_data=LAN), "cpn_data has shape (12, 6), expected (rows, 4): 4 parameters"),
        (with_keys(lan_data=LAN[:0], lan_labels=LABELS[:0]), "lan_data has no rows"),
        (with_keys(lan_labels=LABELS[:5]), "lan_labels has shape (5, 1), expected one row for e"),
        (with_keys(lan_labels=np.ones(())), "lan_labels has shape (), expected one row for each"),
        (with_keys(lan_labels=np.ones((12, 0))), "lan_labels has shape (12, 0), expected one row"),
        (with_keys(lan_labels=np.ones((12, 1, 1))), "lan_labels has shape (12, 1, 1), expected"),
        (
            with_keys(lan_labels=changed(LABELS, at=(3,), value=np.nan)),
            "lan_labels holds 1 value(s) that are not finite (NaN or inf)",
        ),
        (
            with_keys(lan_data=changed(LAN, at=(3, 1), value=-np.inf)),
            "lan_data holds 1 value(s) that are not finite",
        ),
        (
            with_keys(lan_labels=np.full(12, -1e300)),
            "lan_labels holds 12 value(s) that are not finite",
        ),
        (
            with_keys(gonogo_labels=np.full((3, 1), np.nan)),
            "gonogo_labels holds 3 value(s) that are not finite",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(content: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{PATH}: {said}")


def test_a_file_cut_short_is_named() -> None:
    whole = pickle.dumps(training_file_content(), protocol=4)
    with pytest.raises(UserError, match=rf"^{PATH}: not a readable training file"):
        read_training_file(whole[: len(whole) // 2], PATH)


@pytest.mark.parametrize(
    ("keys", "bounds"),
    [
        ({"param_bounds_dict": {"v": (-1, 1), "a": (0, 2)}}, {"v": (-1, 1), "a": (0, 2)}),
        ({"param_bounds": ...}, {}),
        ({"param_bounds": [1, 2]}, {}),
        ({"param_bounds": [[0, 0, 0, 0]]}, {}),
        ({"param_bounds": "ab"}, {}),
        ({"param_bounds": [[0, "a", 0, 0], [1, 5, float("inf"), 2]]}, {"v": (0, 1), "t": (0, 2)}),
        ({"param_bounds_dict": {"v": 3, "a": None, "z": (1,), "t": (0, 2)}}, {"t": (0, 2)}),
    ],
)
def test_bounds_are_taken_where_they_are_pairs_of_numbers(
    keys: dict[str, Any], bounds: dict[str, tuple[float, float]]
) -> None:
    assert read(with_model_config(**keys)).bounds == bounds


def test_generator_settings_are_plain_enough_for_json() -> None:
    settings = {
        "path": Path("data"),
        "function": np.sum,
        "object": slice(1, 2),
        "array": np.arange(3),
        "objects": np.array([np.sum, 1], dtype=object),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "long": np.longdouble(2),
        "complex": 1j,
        "names": {"b", "a"},
        "pair": (1, None),
        3: "number as a key",
        "deep": {"b": 1, "a": [b"bytes"]},
    }
    generator = read(with_keys(generator_config=settings)).generator
    assert json.loads(json.dumps(generator)) == generator
    assert generator["array"] == [0, 1, 2]
    assert generator["names"] == ["a", "b"]
    assert generator["pair"] == [1, None]
    assert generator["scalar"] == 0.5
    assert generator["flag"] is True
    assert generator["function"].endswith(".sum")
    assert generator["objects"][0].endswith(".sum")
    assert generator["3"] == "number as a key"
    assert list(generator["deep"]) == ["a", "b"]


@pytest.mark.parametrize("value", [..., None, "text", dict])
def test_a_file_without_generator_settings_is_read(value: Any) -> None:
    assert read(with_keys(generator_config=value)).generator == {}


def test_arrays_that_do_not_fit_the_models_parameters_are_refused() -> None:
    content = with_model_config(params=["v", "a", "z", "t", "theta"])
    with pytest.raises(UserError, match=r"lan_data has shape \(12, 6\), expected \(rows, 7\)"):
        read(content)
