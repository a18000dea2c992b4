import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.tracking.record import RecordFolder, RunRecord, find_records, param_texts, tag_texts


def make_record(**keys: object) -> RunRecord:
    given = {"key": "k1", "tracking_uri": "http://host", "experiment": "e", "start_time": 5}
    return RunRecord.model_validate({**given, **keys})


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    return RecordFolder.of_run(tmp_path / "net", "k1")


def test_a_record_is_read_as_it_was_written(folder: RecordFolder) -> None:
    record = make_record(
        run_id="r",
        name="a name",
        status="KILLED",
        failure="why",
        end_time=9,
        tags={"a": "b"},
        params={"c": "d"},
        metrics=[("val_loss", 0.1 + 0.2, 7, 3)],
        data_set={"name": "n", "digest": "d", "profile": {"x": 1}, "source": {"y": None}},
    )
    folder.save(record)
    assert folder.exists()
    assert folder.read_checked() == record
    assert folder.results == folder.path.parents[1]


def test_params_and_tags_are_texts_of_a_length_that_mlflow_takes() -> None:
    assert param_texts({"a": 1, "b": "x" * 7000}) == {"a": "1", "b": "x" * 6000}
    assert tag_texts({"a": None, "b": "x" * 9000}) == {"a": "None", "b": "x" * 8000}


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def replace_key(path: Path) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "statsu": "FINISHED"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_in_half, "damaged, not valid JSON"),
        (lambda path: path.write_text("[]"), "expected keys and values, found list"),
        (lambda path: path.write_text("{}"), "missing key 'key'"),
        (replace_key, "unknown key 'statsu'; did you mean 'status'?"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
    ids=["cut", "list", "empty", "unknown", "gone"],
)
def test_a_damaged_record_is_an_error_that_names_the_file(
    folder: RecordFolder, damage: Callable[[Path], object], message: str
) -> None:
    folder.save(make_record())
    damage(folder.path / "run.json")
    with pytest.raises(UserError) as caught:
        folder.read_checked()
    assert str(folder.path / "run.json") in str(caught.value)
    assert message in str(caught.value)


def test_a_file_of_a_record_that_is_gone_or_cut_is_an_error_that_names_it(
    folder: RecordFolder,
) -> None:
    folder.results.mkdir()
    (folder.results / "model.onnx").write_bytes(b"network")
    artifact = folder.make_artifact(folder.results / "model.onnx", "training_output/model.onnx")
    folder.save(make_record(artifacts=[artifact]))
    (folder.results / "model.onnx").write_bytes(b"net")
    with pytest.raises(UserError, match=r"model.onnx has 3 bytes; .*run.json recorded 7 bytes"):
        folder.read_checked()
    (folder.results / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"model.onnx is missing"):
        folder.read_checked()


@pytest.mark.parametrize("has_links", [True, False])
def test_a_record_keeps_files_that_later_results_take_the_place_of(
    folder: RecordFolder, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    folder.results.mkdir()
    path = folder.results / "model.onnx"
    path.write_bytes(b"network")
    record = make_record(artifacts=[folder.make_artifact(path, "training_output/model.onnx")])
    record.artifacts.append(folder.write_document({"a": 1}, "lineage.json"))
    for _ in range(2):  # again does no harm
        folder.copy_artifacts(record)
    path.unlink()
    path.write_bytes(b"another network")
    kept = {artifact.name: folder.file_of(artifact) for artifact in folder.read_checked().artifacts}
    assert kept["training_output/model.onnx"].read_bytes() == b"network"
    assert json.loads(kept["lineage.json"].read_text()) == {"a": 1}


def test_a_record_that_moves_with_its_results_is_still_whole(
    folder: RecordFolder, tmp_path: Path
) -> None:
    folder.results.mkdir()
    (folder.results / "model.onnx").write_bytes(b"network")
    folder.save(
        make_record(artifacts=[folder.make_artifact(folder.results / "model.onnx", "model.onnx")])
    )
    folder.results.rename(tmp_path / "moved")
    (found,) = find_records([tmp_path])
    (artifact,) = found.read_checked().artifacts
    assert found.file_of(artifact).read_bytes() == b"network"


def test_a_record_belongs_to_one_process_at_a_time(folder: RecordFolder) -> None:
    other = RecordFolder(folder.path)
    assert folder.lock()
    assert not other.lock()
    folder.unlock()
    assert other.lock()
    other.unlock()


def test_a_removed_record_leaves_nothing_but_other_runs(folder: RecordFolder) -> None:
    other = RecordFolder.of_run(folder.results, "k2")
    for each in (folder, other):
        assert each.lock()
        each.save(make_record())
    folder.remove()
    assert [found.path for found in find_records([folder.results])] == [other.path]
    other.remove()
    assert list(folder.results.iterdir()) == []


def test_records_are_found_in_any_folder_above_them_once(
    folder: RecordFolder, tmp_path: Path
) -> None:
    assert list(find_records([tmp_path])) == []
    folder.save(make_record())
    chunk = RecordFolder.of_run(tmp_path / "chunk_0", "k0")
    chunk.save(make_record())
    (tmp_path / "chunk_0" / "training_data" / "unsent_runs" / "no").mkdir(parents=True)
    places = [tmp_path, folder.results, folder.path.parent, folder.path]
    assert [found.path for found in find_records(places)] == [chunk.path, folder.path]
    assert [found.path for found in find_records([folder.path])] == [folder.path]
    with pytest.raises(UserError, match="nowhere: no such folder of results"):
        list(find_records([tmp_path / "nowhere"]))
