"""Training files with values that cannot be, and files of other versions."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.core.files import write_json
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.lineage import describe_lineage
from lanflow.data.locate import Places
from lanflow.data.manifest import read_manifest
from lanflow.data.packing import materialise
from lanflow.data.prepare import freeze, open_packed
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.models.density import FLOOR
from tests.conftest import training_file_content, write_training_file

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
    with pytest.raises(UserError, match=r"2 value\(s\) .*NaN or inf\), in row\(s\) 2, 5 .*--drop-"):
        read(content)


def test_rows_with_values_that_cannot_be_are_left_out_and_counted_where_that_is_wanted() -> None:
    content = training_file_content()
    content["lan_data"][[2, 5], 1] = np.nan
    content["lan_labels"][[5, 7]] = np.inf, 1e6
    content["cpn_labels"][0] = 1.5
    content["opn_labels"][:] = np.nan
    sound = training_file_content()
    file = read_training_file(pickle.dumps(content, protocol=4), PATH, drop_invalid=True)
    assert file.n_dropped == {"lan": 3, "cpn": 1, "opn": 10}
    assert set(file.arrays) == {"lan", "cpn", "gonogo"}
    expected = np.delete(sound["lan_data"], [2, 5, 7], axis=0)
    np.testing.assert_array_equal(file.arrays["lan"][0], expected)
    np.testing.assert_array_equal(file.arrays["cpn"][1][:, 0], sound["cpn_labels"][1:, 0])


def test_a_file_without_a_sound_row_is_refused_all_the_same() -> None:
    content = training_file_content()
    old = {"model_config": content["model_config"], "lan_data": content["lan_data"]}
    old["lan_labels"] = np.full(len(content["lan_data"]), np.nan)
    with pytest.raises(UserError, match="holds no row whose values can all be"):
        read_training_file(pickle.dumps(old, protocol=4), PATH, drop_invalid=True)


def test_choices_that_mean_something_else_are_no_rows_to_leave_out() -> None:
    content = with_choices(training_file_content())
    content["lan_data"][3, -1] = 0
    with pytest.raises(UserError, match=r"choices -1, 0, 1, but .* in row\(s\) 3"):
        read_training_file(pickle.dumps(content, protocol=4), PATH, drop_invalid=True)


def test_rows_left_out_are_counted_in_manifest_data_set_audit_and_lineage(tmp_path: Path) -> None:
    for i in range(2):
        content = training_file_content(seed=i)
        content["lan_labels"][:i] = np.nan
        write_training_file(tmp_path / f"files/{i}.pickle", content)
    places = Places(folder=tmp_path / "files")
    with pytest.raises(
        UserError, match=r"1\.pickle: lan_labels holds 1 value\(s\) that are not fin"
    ):
        materialise(freeze(query=None, places=places, model=None), tmp_path / "refused")
    frozen = freeze(query=None, places=places, model=None, drop_invalid=True)
    assert [file.dropped_rows for file in frozen.files] == [{}, {"lan": 1}]
    assert frozen.digest != freeze(query=None, places=places, model=None).digest
    write_json(tmp_path / "manifest.json", frozen.model_dump())
    assert read_manifest(tmp_path / "manifest.json") == frozen
    materialise(frozen, tmp_path / "packed")
    packed = open_packed(tmp_path / "packed", tmp_path / "manifest.json")
    assert packed.data_set.dropped_rows == {"lan": 1}
    assert packed.data_set.shapes["lan"][0] == 399
    audit = audit_data_set(packed.data_set, frozen)
    assert audit.dropped_rows == {"lan": 1}
    assert "1 of 400 lan rows were left out" in " ".join(audit.warnings)
    sides = {"train_files": [], "val_files": [], "n_train_sets": 1, "n_val_sets": 1}
    assert describe_lineage(frozen, **sides)["dropped_rows"] == {"lan": 1}


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
