import json
import logging
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.core.locks import lock_path, locked
from lanflow.data.dataset import open_data_set
from lanflow.data.experiment import GenerationExperiment, Query, QueryFile, RunSelection
from lanflow.data.locate import LeftOut, Places
from lanflow.data.manifest import Manifest, read_manifest
from lanflow.data.packing import materialise
from lanflow.data.prepare import (
    MANIFEST_NAME,
    freeze,
    materialise_once,
    open_packed,
    query_experiment,
)
from lanflow.tracking import client as tracking_client
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import INVENTORY_NAME, Store
from tests.conftest import write_training_file
from tests.mlflow_runs import made_run


def freeze_folder(folder: Path) -> Manifest:
    return freeze(query=None, places=Places(folder=folder), model="ddm")


def write_manifest(path: Path, manifest: Manifest) -> Path:
    path.write_text(json.dumps(manifest.model_dump()))
    return path


def query_of(folder: Path, *files: QueryFile, policy: str = "complete") -> Query:
    run = {
        "run_id": "r1",
        "run_name": "worker",
        "status": "FINISHED",
        "data_output_folder": str(folder),
        "batch_id": None,
        "artifact_path": None,
        "files": files,
    }
    content = {
        "query_version": 3,
        "experiment": {"id": "7", "name": "e"},
        "policy": policy,
        "selection": {"batch_id": None, "run_ids": None, "filter": None},
        "runs": [run],
        "left_out": [],
    }
    return Query.model_validate(content)


def tracked(path: Path, sha256: str | None = None) -> QueryFile:
    return QueryFile(name=path.name, size_bytes=path.stat().st_size, sha256=sha256)


def test_a_folder_is_frozen_without_lineage(folder_of_files: Path) -> None:
    manifest = freeze_folder(folder_of_files)
    assert len(manifest.files) == 3
    assert manifest.experiment is None


def test_a_query_is_frozen_from_where_its_runs_wrote(folder_of_files: Path) -> None:
    paths = sorted(folder_of_files.iterdir())[:2]
    query = query_of(folder_of_files, *map(tracked, paths))
    manifest = freeze(query=query, places=Places(), model="ddm")
    assert [file.path for file in manifest.files] == [str(path) for path in paths]
    assert manifest.experiment == GenerationExperiment(id="7", name="e")


def test_files_that_no_run_tracks_are_left_out_and_told(
    folder_of_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(12):
        write_training_file(folder_of_files / f"x{i:02}.pickle", seed=20 + i, n_sets=2)
    query = query_of(folder_of_files, tracked(folder_of_files / "training_data_0.pickle"))
    with caplog.at_level(logging.WARNING, logger="lanflow"):
        manifest = freeze(query=query, places=Places(folder=folder_of_files), model="ddm")
    assert [file.name for file in manifest.files] == ["training_data_0.pickle"]
    assert len(manifest.extra_files) == 14
    assert f"{folder_of_files} holds 14 file(s) that the experiment does not track" in caplog.text
    assert "x07.pickle ..." in caplog.text
    assert "x08.pickle" not in caplog.text


def test_a_query_tells_what_it_left_out_and_what_did_not_end(
    store: Store, folder_of_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = tracking_client.connect(store)
    experiment = ensure_experiment(client, store, "e")
    files = [
        {"filename": path.name, "size_bytes": path.stat().st_size}
        for path in folder_of_files.iterdir()
    ]
    with made_run(client, experiment, name="whole") as run:
        run.log_params({"data_output_folder": folder_of_files})
        client.log_dict(run.id, {"files": files}, INVENTORY_NAME)
    run.end("KILLED")
    with made_run(client, experiment, name="crashed"):
        pass
    with made_run(client, experiment, name="dry", tags={"phase": "datagen_dry_run"}):
        pass
    with pytest.raises(UserError, match=r"\(crashed, FINISHED\): it left no inventory"):
        query_experiment(store, "e")
    with caplog.at_level(logging.WARNING, logger="lanflow"):
        query = query_experiment(store, "e", RunSelection(policy="salvage"))
    assert [run.run_name for run in query.runs] == ["whole"]
    assert "(whole) reads KILLED, but left an inventory of all its files: taken" in caplog.text
    assert re.search(r"left out, a dry run: 1 run\(s\): \w+ \(dry\)", caplog.text)
    assert re.search(r"left out, it left no inventory .*: 1 run\(s\): \w+ \(crashed", caplog.text)
    chosen = query_experiment(store, "e", RunSelection(filter="attributes.run_name = 'whole'"))
    assert chosen.left_out == []


def test_a_salvaged_manifest_says_which_files_were_left_out(
    folder_of_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = sorted(folder_of_files.iterdir())
    names = [path.name for path in paths]
    files = [tracked(path, sha) for path, sha in zip(paths, (None, "0" * 64, None), strict=True)]
    query = query_of(folder_of_files, *files, policy="salvage")
    paths[2].unlink()
    with caplog.at_level(logging.WARNING, logger="lanflow"):
        manifest = freeze(query=query, places=Places(), model="ddm")
    assert [file.name for file in manifest.files] == names[:1]
    reasons = {"missing here": names[2:], "not of the recorded sha256": names[1:2]}
    assert manifest.left_out == [
        LeftOut(run_id="r1", run_name="worker", reason=reason, files=files)
        for reason, files in reasons.items()
    ]
    assert f"left out, not of the recorded sha256: 1 run(s): r1 (worker): {names[1]}" in caplog.text


def test_what_was_packed_can_be_opened_with_its_manifest(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = freeze_folder(folder_of_files)
    write_manifest(tmp_path / "manifest.json", manifest)
    materialise(manifest, tmp_path / "packed")
    data = open_packed(tmp_path / "packed", tmp_path / "manifest.json")
    assert data.manifest == manifest
    assert data.data_set.digest == manifest.digest


def test_packing_tells_what_came_of_it(
    folder_of_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="lanflow"):
        materialise(freeze_folder(folder_of_files), tmp_path / "packed")
    assert "packed 3 file(s), 30 parameter sets; rows: 600 lan, 30 cpn" in caplog.text


def test_a_data_set_and_a_manifest_that_do_not_belong_together_are_refused(
    folder_of_files: Path, tmp_path: Path
) -> None:
    materialise(freeze_folder(folder_of_files), tmp_path / "packed")
    write_training_file(folder_of_files / "more.pickle", seed=9)
    path = write_manifest(tmp_path / "manifest.json", freeze_folder(folder_of_files))
    with pytest.raises(UserError) as caught:
        open_packed(tmp_path / "packed", path)
    assert str(caught.value).startswith(f"{tmp_path / 'packed'} was not packed from {path}")


def test_a_missing_data_set_or_manifest_is_named(folder_of_files: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a packed data set"):
        open_packed(tmp_path / "gone", tmp_path / "manifest.json")
    materialise(freeze_folder(folder_of_files), tmp_path / "packed")
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read \(No such file"):
        open_packed(tmp_path / "packed", tmp_path / "manifest.json")


def test_the_same_content_is_packed_once(folder_of_files: Path, tmp_path: Path) -> None:
    manifest = freeze_folder(folder_of_files)
    first = materialise_once(manifest, tmp_path / "cache")
    arrays = first.data_set.folder / "arrays"
    inode = arrays.stat().st_ino
    again = materialise_once(manifest, tmp_path / "cache")
    assert again.data_set.folder == first.data_set.folder
    assert arrays.stat().st_ino == inode
    assert read_manifest(first.data_set.folder / MANIFEST_NAME) == manifest
    write_training_file(folder_of_files / "more.pickle", seed=9)
    other = materialise_once(freeze_folder(folder_of_files), tmp_path / "cache")
    assert other.data_set.folder != first.data_set.folder


def test_the_same_content_under_other_names_is_another_data_set(
    folder_of_files: Path, tmp_path: Path
) -> None:
    first = materialise_once(freeze_folder(folder_of_files), tmp_path / "cache")
    (folder_of_files / "training_data_0.pickle").rename(folder_of_files / "z.pickle")
    manifest = freeze_folder(folder_of_files)
    assert manifest.digest == first.manifest.digest
    renamed = materialise_once(manifest, tmp_path / "cache")
    assert [file.name for file in renamed.data_set.files] == [
        "training_data_1.pickle",
        "training_data_2.pickle",
        "z.pickle",
    ]


def test_a_packed_data_set_that_was_damaged_is_packed_again(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = freeze_folder(folder_of_files)
    folder = materialise_once(manifest, tmp_path / "cache").data_set.folder
    (folder / "data_set.json").write_text("{")
    materialise_once(manifest, tmp_path / "cache")
    assert open_data_set(folder).digest == manifest.digest


def test_of_processes_that_need_the_same_data_one_packs_and_others_wait(
    folder_of_files: Path, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "manifest.json", freeze_folder(folder_of_files))
    program = """
import logging, sys
from pathlib import Path
from lanflow.data.manifest import read_manifest
from lanflow.data.prepare import materialise_once
logging.basicConfig(level=logging.INFO, format="%(message)s")
folder = Path(sys.argv[1])
data = materialise_once(read_manifest(folder / "manifest.json"), folder / "cache")
print(data.data_set.array("lan", "features").sum())
"""

    def run(_: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(run, range(3)))
    assert [process.returncode for process in done] == [0, 0, 0], [p.stderr for p in done]
    assert len({process.stdout for process in done}) == 1
    assert sum("packed 3 file(s)" in process.stderr for process in done) == 1


def test_a_data_set_that_another_process_packs_is_refused(
    folder_of_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_manifest(tmp_path / "manifest.json", freeze_folder(folder_of_files))
    output = tmp_path / "data_set"
    command = ["materialise", str(tmp_path / "manifest.json"), "--output", str(output)]
    with locked(lock_path(output), "it is being packed"):
        assert main(command) == 1
    (told,) = caplog.messages
    assert told.startswith(f"lanflow materialise: error: {output} is being packed by process ")
    assert not output.exists()
    assert main(command) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"files", "manifest.json", "data_set"}


def test_the_cache_is_safe_to_share_between_different_data(tmp_path: Path) -> None:
    sums = []
    for seed in (1, 2):
        folder = tmp_path / f"files{seed}"
        write_training_file(folder / "a.pickle", seed=seed)
        data = materialise_once(freeze_folder(folder), tmp_path / "cache")
        sums.append(float(np.sum(data.data_set.array("lan", "features"))))
    assert sums[0] != sums[1]


def test_arrays_that_were_removed_are_packed_again_and_the_record_stays(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = freeze_folder(folder_of_files)
    write_manifest(tmp_path / "manifest.json", manifest)
    materialise(manifest, tmp_path / "packed")
    arrays = tmp_path / "packed" / "arrays"
    before = {path.name: path.read_bytes() for path in arrays.iterdir()}
    written = (tmp_path / "packed" / "data_set.json").stat().st_mtime_ns
    shutil.rmtree(arrays)
    data = open_packed(tmp_path / "packed", tmp_path / "manifest.json")
    assert data.data_set.array("lan", "features").shape[0] > 0
    assert {path.name: path.read_bytes() for path in arrays.iterdir()} == before
    assert (tmp_path / "packed" / "data_set.json").stat().st_mtime_ns == written
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == [
        "arrays",
        "data_set.json",
    ]


def test_arrays_without_files_to_pack_them_from_say_how_to_get_those_back(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = freeze_folder(folder_of_files)
    write_manifest(tmp_path / "manifest.json", manifest)
    materialise(manifest, tmp_path / "packed")
    shutil.rmtree(tmp_path / "packed" / "arrays")
    shutil.rmtree(folder_of_files)
    with pytest.raises(UserError, match=r"removed and cannot be packed again.*--forcerun"):
        open_packed(tmp_path / "packed", tmp_path / "manifest.json")
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["data_set.json"]
