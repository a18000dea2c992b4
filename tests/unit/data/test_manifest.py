import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.core.progress import Progress
from lanflow.data.experiment import GenerationExperiment, Query
from lanflow.data.lineage import common_folder, describe_lineage
from lanflow.data.locate import Places, locate_files
from lanflow.data.manifest import (
    Manifest,
    ManifestFile,
    build_manifest,
    verify_manifest,
)
from lanflow.models.parameters import Bounds
from tests.conftest import sha256, training_file_content, write_training_file


def manifest_of(folder: Path, *, model: str | None = None) -> Manifest:
    located = locate_files(None, Places(folder=folder))
    return build_manifest(located, query=None, model=model)


def tracked_manifest_of(query: Query, *, extra: Sequence[str] = ()) -> Manifest:
    located = replace(locate_files(query, Places()), extra=list(extra))
    return build_manifest(located, query=query, model="ddm")


def query_of(folders: list[Path], *, digests: bool = False, **keys: Any) -> Query:
    """A query as read back from disk: one run for each folder."""
    content = {
        "query_version": 3,
        "experiment": {"id": "7", "name": "ddm-data-generation"},
        "runs": [
            {
                "run_id": f"r{i}",
                "run_name": f"worker {i}",
                "status": "FINISHED",
                "data_output_folder": str(folder),
                "batch_id": None,
                "artifact_path": None,
                "files": [
                    {
                        "name": path.name,
                        "size_bytes": path.stat().st_size,
                        "sha256": sha256(path) if digests else None,
                    }
                    for path in sorted(folder.glob("*.pickle"))
                ],
            }
            for i, folder in enumerate(folders)
        ],
        "policy": "complete",
        "selection": {"batch_id": None, "run_ids": None, "filter": None},
        "left_out": [],
    }
    return Query.model_validate({**content, **keys})


def test_a_manifest_freezes_what_a_folder_holds(folder_of_files: Path) -> None:
    manifest = manifest_of(folder_of_files, model="ddm")
    assert Manifest.model_validate(json.loads(json.dumps(manifest.model_dump()))) == manifest
    assert manifest.model == "ddm"
    assert manifest.parameters == ["v", "a", "z", "t"]
    assert manifest.bounds["z"] == (0.1, 0.9)
    assert manifest.generator == {"model": "ddm", "estimator": {"type": "kde"}}
    assert (manifest.experiment, manifest.runs, manifest.extra_files) == (None, [], [])
    paths = sorted(folder_of_files.iterdir())
    assert manifest.files == [
        ManifestFile(
            name=path.name,
            path=str(path),
            size_bytes=path.stat().st_size,
            sha256=sha256(path),
            run_id=None,
        )
        for path in paths
    ]


def test_a_manifest_of_an_experiment_holds_its_runs_and_who_made_each_file(
    folder_of_files: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_training_file(other / "more.pickle", seed=8)
    query = query_of([folder_of_files, other], digests=True)
    manifest = tracked_manifest_of(query, extra=["x.pickle"])
    assert manifest.experiment == GenerationExperiment(id="7", name="ddm-data-generation")
    assert [(run.run_id, run.n_files) for run in manifest.runs] == [("r0", 3), ("r1", 1)]
    assert all("files" not in run for run in manifest.model_dump()["runs"])
    run_of_file = {file.name: file.run_id for file in manifest.files}
    assert run_of_file["more.pickle"] == "r1"
    assert run_of_file["training_data_0.pickle"] == "r0"
    assert manifest.extra_files == ["x.pickle"]


def test_relative_paths_are_frozen_as_absolute_ones(
    folder_of_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_of_files.parent)
    manifest = manifest_of(Path(folder_of_files.name))
    assert manifest.files[0].path == str(folder_of_files / "training_data_0.pickle")


def test_the_digest_does_not_follow_paths_file_names_or_runs(
    folder_of_files: Path, tmp_path: Path
) -> None:
    original = manifest_of(folder_of_files)
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for new, path in zip("zyx", sorted(folder_of_files.iterdir()), strict=True):
        shutil.copy(path, renamed / f"{new}.pickle")
    assert manifest_of(renamed).digest == original.digest
    query = query_of([folder_of_files])
    assert tracked_manifest_of(query).digest == original.digest


def test_the_digest_follows_the_content(folder_of_files: Path) -> None:
    digests = {manifest_of(folder_of_files).digest}
    write_training_file(folder_of_files / "training_data_1.pickle", seed=77)
    digests.add(manifest_of(folder_of_files).digest)
    write_training_file(folder_of_files / "training_data_9.pickle", seed=78)
    digests.add(manifest_of(folder_of_files).digest)
    (folder_of_files / "training_data_0.pickle").unlink()
    digests.add(manifest_of(folder_of_files).digest)
    assert len(digests) == 4


def test_a_touch_changes_nothing(folder_of_files: Path) -> None:
    before = manifest_of(folder_of_files)
    for path in folder_of_files.iterdir():
        path.touch()
    assert manifest_of(folder_of_files) == before


def test_copies_of_a_file_count_once(folder_of_files: Path) -> None:
    before = manifest_of(folder_of_files)
    shutil.copy(folder_of_files / "training_data_0.pickle", folder_of_files / "z_copy.pickle")
    after = manifest_of(folder_of_files)
    assert after.files == before.files
    assert after.digest == before.digest


def test_a_file_that_changed_since_it_was_generated_is_refused(folder_of_files: Path) -> None:
    query = query_of([folder_of_files], digests=True)
    path = folder_of_files / "training_data_1.pickle"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        tracked_manifest_of(query)
    recorded = query.runs[0].files[1].sha256
    assert recorded is not None
    assert str(caught.value) == (
        f"{path}: its content changed since it was generated (sha256 {sha256(path)[:12]}..., "
        f"recorded {recorded[:12]}...)"
    )


def test_files_of_another_model_are_refused(folder_of_files: Path) -> None:
    with pytest.raises(UserError) as caught:
        manifest_of(folder_of_files, model="angle")
    assert str(caught.value) == (
        f"{folder_of_files}/training_data_0.pickle: simulated from model 'ddm', but 'angle' is to "
        "be trained"
    )


def test_a_file_that_is_no_training_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pickle").write_bytes(b"not a pickle")
    with pytest.raises(UserError, match=rf"^{tmp_path}/a\.pickle: not a readable training file"):
        manifest_of(tmp_path)


def test_a_file_that_vanishes_meanwhile_is_named(folder_of_files: Path) -> None:
    located = locate_files(None, Places(folder=folder_of_files))
    (folder_of_files / "training_data_1.pickle").unlink()
    with pytest.raises(UserError, match=r"training_data_1\.pickle: cannot be read \(No such file"):
        build_manifest(located, query=None, model=None)


def test_progress_is_told_after_each_file(
    folder_of_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(Progress, "advance", lambda _: calls.append(1))
    manifest_of(folder_of_files)
    assert len(calls) == 3


def test_a_file_larger_than_a_block_has_its_whole_content_digested(tmp_path: Path) -> None:
    content = {**training_file_content(), "padding": b"x" * 2**23}
    path = write_training_file(tmp_path / "a.pickle", content)
    assert manifest_of(tmp_path).files[0].sha256 == sha256(path)


# What LANfactory 0.7.0 writes into training_data_lineage.json.
PEER_KEYS = {
    "data_generation_experiment_id",
    "expected_files",
    "expected_num_runs",
    "training_data_folder",
    "actual_files_found",
    "actual_files_used",
    "num_files_used",
    "missing_files",
    "extra_files",
    "data_gen_runs_info",
}


def test_the_lineage_tells_the_files_really_used_on_each_side(folder_of_files: Path) -> None:
    query = query_of([folder_of_files])
    manifest = tracked_manifest_of(query, extra=["extra.pickle"])
    lineage = describe_lineage(
        manifest,
        train_files=["training_data_0.pickle", "training_data_2.pickle"],
        val_files=["training_data_2.pickle"],
        n_train_sets=8,
        n_val_sets=2,
    )
    assert set(lineage) >= PEER_KEYS
    assert json.loads(json.dumps(lineage)) == lineage
    assert lineage["data_generation_experiment_id"] == "7"
    assert lineage["data_generation_experiment_name"] == "ddm-data-generation"
    assert lineage["expected_num_runs"] == 1
    assert lineage["expected_files"] == [f"training_data_{i}.pickle" for i in range(3)]
    assert lineage["training_files"] == ["training_data_0.pickle", "training_data_2.pickle"]
    assert lineage["validation_files"] == ["training_data_2.pickle"]
    assert lineage["actual_files_used"] == ["training_data_0.pickle", "training_data_2.pickle"]
    assert lineage["num_files_used"] == 2
    assert lineage["training_data_folder"] == str(folder_of_files)
    assert lineage["extra_files"] == ["extra.pickle"]
    assert lineage["data_digest"] == manifest.digest
    assert (lineage["n_training_parameter_sets"], lineage["n_validation_parameter_sets"]) == (8, 2)
    assert [file["run_id"] for file in lineage["files"]] == ["r0"] * 3


def test_the_lineage_of_a_folder_alone_names_no_experiment(folder_of_files: Path) -> None:
    lineage = describe_lineage(
        manifest_of(folder_of_files), train_files=[], val_files=[], n_train_sets=1, n_val_sets=1
    )
    assert lineage["data_generation_experiment_id"] is None
    assert lineage["data_generation_experiment_name"] is None
    assert lineage["expected_num_runs"] == 0


def test_several_folders_are_named_behind_commas(folder_of_files: Path, tmp_path: Path) -> None:
    write_training_file(tmp_path / "another" / "more.pickle", seed=8)
    query = query_of([folder_of_files, tmp_path / "another"])
    assert common_folder(tracked_manifest_of(query)) == f"{tmp_path / 'another'}, {folder_of_files}"


@pytest.fixture
def manifest(folder_of_files: Path) -> Manifest:
    return manifest_of(folder_of_files, model="ddm")


def test_files_as_they_were_frozen_are_accepted_each_counted(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(Progress, "advance", lambda _: calls.append(1))
    verify_manifest(manifest)
    assert len(calls) == 3


def test_everything_that_differs_is_listed_in_one_message(
    manifest: Manifest, folder_of_files: Path
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


def test_a_folder_in_the_place_of_a_file_is_told(manifest: Manifest, folder_of_files: Path) -> None:
    path = folder_of_files / "training_data_0.pickle"
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"training_data_0\.pickle: not a file"):
        verify_manifest(manifest)


@pytest.mark.parametrize("key", ["model", "bounds", "files"])
def test_a_manifest_that_was_changed_itself_is_told(manifest: Manifest, key: str) -> None:
    changes: dict[str, Any] = {"model": "angle", "bounds": Bounds({}), "files": manifest.files[:2]}
    with pytest.raises(UserError, match=r"^1 difference\(s\).*\n  the digest is not that of"):
        verify_manifest(manifest.model_copy(update={key: changes[key]}))


def test_many_differences_are_cut_and_counted(manifest: Manifest) -> None:
    gone = [manifest.files[0].model_copy(update={"path": f"/gone/{i}"}) for i in range(120)]
    with pytest.raises(UserError) as caught:
        verify_manifest(manifest.model_copy(update={"files": gone}))
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("121 difference(s)")
    assert lines[-1] == "  and 21 more"
    assert len(lines) == 102


def test_the_command_tells_what_it_checked_and_fails_on_a_difference(
    manifest: Manifest, folder_of_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_of_files.parent / "manifest.json"
    path.write_text(json.dumps(manifest.model_dump()))
    assert main(["verify", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["digest"] == manifest.digest
    assert result["n_files"] == 3
    (folder_of_files / "training_data_2.pickle").unlink()
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().out == ""
