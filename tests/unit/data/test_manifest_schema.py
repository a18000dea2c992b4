import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lanflow.core.errors import UserError
from lanflow.data.locate import Places
from lanflow.data.manifest import Manifest, read_manifest
from lanflow.data.prepare import freeze
from tests.conftest import REPOSITORY
from tests.unit.data.test_manifest import query_of

SCHEMA = json.loads((REPOSITORY / "config" / "manifest.schema.json").read_text())


def freeze_folder(folder: Path) -> Manifest:
    return freeze(query=None, places=Places(folder=folder), model="ddm")


@pytest.mark.parametrize("tracked", [False, True])
def test_a_real_manifest_fits_the_schema_of_the_repository(
    folder_of_files: Path, tmp_path: Path, tracked: bool
) -> None:
    if tracked:
        crashed = {"run_id": "c", "run_name": "c", "status": "FINISHED", "reason": "a dry run"}
        query = query_of([folder_of_files], policy="salvage", left_out=[crashed])
        (folder_of_files / "training_data_1.pickle").unlink()
        manifest = freeze(query=query, places=Places(), model="ddm")
        assert [entry.files for entry in manifest.left_out] == [
            [],
            ["training_data_1.pickle"],
        ]
    else:
        manifest = freeze_folder(folder_of_files)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest.model_dump()))
    jsonschema.validate(json.loads(path.read_text()), SCHEMA)
    assert read_manifest(path) == manifest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": []}, "files: "),
        ({"digest": "abc"}, "digest: "),
        ({"more": 1}, "unknown key 'more'"),
        ({"bounds": {"v": [1]}}, "bounds.v"),
    ],
)
def test_what_is_no_manifest_fits_neither_schema_nor_reader(
    folder_of_files: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    manifest = {**freeze_folder(folder_of_files).model_dump(mode="json"), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
