import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.data_set import DataSet, open_data_set
from lanflow.errors import UserError
from lanflow.lineage import list_folder
from lanflow.manifest import build_manifest
from lanflow.packing import materialise
from tests.conftest import training_file_content, write_training_file


@pytest.fixture
def packed(tmp_path: Path) -> DataSet:
    content = training_file_content(n_sets=4, n_per_set=5)
    for key in ("opn_data", "opn_labels"):
        del content[key]
    write_training_file(tmp_path / "files/1.pickle", content)
    manifest = build_manifest(list_folder(tmp_path / "files"), query=None, model="ddm")
    return materialise(manifest, tmp_path / "packed")


def test_arrays_are_mapped_float32_with_the_index_of_the_set_of_each_row(packed: DataSet) -> None:
    for kind, dtype, shape in (
        ("features", np.float32, (20, 6)),
        ("labels", np.float32, (20, 1)),
        ("sets", np.int32, (20,)),
    ):
        array = packed.array("lan", kind)
        assert isinstance(array, np.memmap)
        assert (array.dtype, array.shape) == (dtype, shape)
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_a_network_type_that_the_files_do_not_hold_is_refused_with_those_they_do(
    packed: DataSet,
) -> None:
    with pytest.raises(UserError) as caught:
        packed.array("opn", "features")
    assert str(caught.value) == (
        f"{packed.folder}/data_set.json: no opn data in these training files "
        "(they hold: lan, cpn, gonogo)"
    )


def test_an_array_that_is_gone_or_damaged_is_named(packed: DataSet) -> None:
    path = packed.folder / "arrays" / "lan_labels.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \(.*materialise the data again"):
        packed.array("lan", "labels")
    path.unlink()
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \(.*materialise the data again"):
        packed.array("lan", "labels")


def test_a_data_set_can_be_moved(packed: DataSet, tmp_path: Path) -> None:
    packed.folder.rename(tmp_path / "moved")
    moved = open_data_set(tmp_path / "moved")
    assert moved.array("cpn", "labels").shape == (4, 1)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", "\x00"])
def test_a_folder_without_a_readable_record_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "data_set.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}: not a packed data set"):
        open_data_set(tmp_path)


def change_record(packed: DataSet, **keys: Any) -> None:
    path = packed.folder / "data_set.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize("version", [0, 1, None, "2"])
def test_a_record_of_another_version_is_refused(packed: DataSet, version: Any) -> None:
    change_record(packed, data_set_version=version)
    with pytest.raises(UserError, match=r"data_set\.json: version .*, this lanflow reads 2"):
        open_data_set(packed.folder)


@pytest.mark.parametrize(
    "keys",
    [{"more": 1}, {"files": [{"name": "x"}]}, {"bounds": {"v": [1]}}, {"shapes": 3}, {"files": 3}],
    ids=str,
)
def test_a_record_that_was_edited_is_named(packed: DataSet, keys: dict[str, Any]) -> None:
    change_record(packed, **keys)
    with pytest.raises(UserError, match=r"data_set\.json: damaged .*materialise it again"):
        open_data_set(packed.folder)


def test_a_record_without_a_key_is_named(packed: DataSet) -> None:
    path = packed.folder / "data_set.json"
    record = json.loads(path.read_text())
    del record["files"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"data_set\.json: damaged .*materialise it again"):
        open_data_set(packed.folder)
