"""Training files with values that cannot be, and files of other versions."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.models.density import FLOOR
from tests.conftest import training_file_content

PATH = Path("x.pickle")


def read(content: dict[str, Any]) -> TrainingFileContent:
    return read_training_file(pickle.dumps(content, protocol=4), PATH)


def with_choices(content: dict[str, Any]) -> dict[str, Any]:
    content["model_config"] = {**content["model_config"], "choices": [-1, 1]}
    return content


@pytest.mark.parametrize("kind", ["cpn", "opn", "gonogo"])
@pytest.mark.parametrize("value", [1.5, -0.2])
def test_a_label_that_is_no_probability_is_refused(kind: str, value: float) -> None:
    content = training_file_content()
    content[f"{kind}_labels"][3] = value
    with pytest.raises(UserError, match=rf"{kind}_labels holds 1 .*such as {value:g}.*probabil"):
        read(content)


def test_a_probability_may_be_one_and_a_rounding_more() -> None:
    content = training_file_content()
    content["cpn_labels"][0] = np.float32(1 + 1e-6)
    assert read(content).arrays["cpn"][1].max() > 1


def test_a_log_density_that_no_trial_has_is_refused() -> None:
    content = training_file_content()
    content["lan_labels"][0] = 1e6
    with pytest.raises(UserError, match=r"lan_labels holds 1 value\(s\) that cannot be"):
        read(content)


def test_minus_infinity_is_the_least_log_density() -> None:
    content = training_file_content()
    content["lan_labels"][3] = -np.inf
    labels = read(content).arrays["lan"][1]
    assert labels[3, 0] == np.float32(FLOOR)
    content["cpn_labels"][3] = -np.inf
    with pytest.raises(UserError, match="cpn_labels holds 1 value"):
        read(content)


def test_values_that_are_not_finite_are_named_by_their_rows() -> None:
    content = training_file_content()
    content["lan_data"][[2, 5], 1] = np.nan
    with pytest.raises(UserError, match=r"2 value\(s\) .*NaN or inf\), in row\(s\) 2, 5$"):
        read(content)


def test_choices_that_the_model_does_not_have_are_refused() -> None:
    content = with_choices(training_file_content())
    read(content)
    content["lan_data"][:, -1] = (content["lan_data"][:, -1] + 1) / 2
    with pytest.raises(UserError, match="choices 0, 1, but the model those of -1, 1"):
        read(content)


def test_the_keys_of_before_0_8_are_those_of_a_likelihood_network() -> None:
    content = training_file_content()
    old = {
        "data": content["lan_data"],
        "labels": content["lan_labels"],
        "model_config": content["model_config"],
    }
    arrays = read(old).arrays
    assert list(arrays) == ["lan"]
    np.testing.assert_array_equal(arrays["lan"][0], content["lan_data"])
