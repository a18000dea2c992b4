import json
from pathlib import Path
from typing import Any

import pytest

from lanflow.cli import main
from lanflow.data_source import freeze
from lanflow.errors import UserError
from lanflow.lineage import Places
from lanflow.verification import verify_manifest


@pytest.fixture
def manifest(folder_of_files: Path) -> dict[str, Any]:
    return freeze(query=None, places=Places(folder=folder_of_files), model="ddm")


def test_files_as_they_were_frozen_are_accepted_each_counted(manifest: dict[str, Any]) -> None:
    calls: list[int] = []
    verify_manifest(manifest, on_file=lambda: calls.append(1))
    assert len(calls) == 3


def test_everything_that_differs_is_listed_in_one_message(
    manifest: dict[str, Any], folder_of_files: Path
) -> None:
    a, b, c = sorted(folder_of_files.iterdir())
    a.unlink()
    size = b.stat().st_size
    b.write_bytes(b.read_bytes() + b"x")
    content = bytearray(c.read_bytes())
    content[-10] ^= 1
    c.write_bytes(bytes(content))
    with pytest.raises(UserError) as caught:
        verify_manifest(manifest)
    head, *lines = str(caught.value).split("\n")
    assert head == "3 difference(s) to the manifest of 3 file(s):"
    assert lines[0] == f"  {a}: missing"
    assert lines[1] == f"  {b}: {size + 1} bytes, frozen are {size}"
    assert lines[2].startswith(f"  {c}: sha256 ")


def test_a_folder_in_the_place_of_a_file_is_told(
    manifest: dict[str, Any], folder_of_files: Path
) -> None:
    path = folder_of_files / "training_data_0.pickle"
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"training_data_0\.pickle: not a file"):
        verify_manifest(manifest)


@pytest.mark.parametrize("key", ["model", "bounds", "files"])
def test_a_manifest_that_was_changed_itself_is_told(manifest: dict[str, Any], key: str) -> None:
    changes: dict[str, Any] = {"model": "angle", "bounds": {}, "files": manifest["files"][:2]}
    with pytest.raises(UserError, match=r"^1 difference\(s\).*\n  the digest is not that of"):
        verify_manifest({**manifest, key: changes[key]})


def test_many_differences_are_cut_and_counted(manifest: dict[str, Any]) -> None:
    gone = [{**manifest["files"][0], "path": f"/gone/{i}"} for i in range(120)]
    with pytest.raises(UserError) as caught:
        verify_manifest({**manifest, "files": gone})
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("121 difference(s)")
    assert lines[-1] == "  and 21 more"
    assert len(lines) == 102


def test_the_command_tells_what_it_checked_and_fails_on_a_difference(
    manifest: dict[str, Any], folder_of_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_of_files.parent / "manifest.json"
    path.write_text(json.dumps(manifest))
    assert main(["verify", str(path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["digest"] == manifest["digest"]
    assert result["n_files"] == 3
    (folder_of_files / "training_data_2.pickle").unlink()
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().out == ""
