import json
import logging
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lanflow.cli.main import main
from lanflow.core.errors import StoreError, UserError
from lanflow.core.settings import parse_settings
from lanflow.data.download import Download, download_files, plan_downloads, runs_to_download
from lanflow.data.experiment import Query, QueryFile, QueryRun
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.generation.run import generate
from lanflow.data.locate import Places
from lanflow.data.prepare import download_absent, freeze, query_experiment
from lanflow.tracking.client import connect
from lanflow.tracking.runs import artifact_fetcher
from lanflow.tracking.store import Store
from tests.conftest import sha256

EXPERIMENT = "ddm-data-generation"
YAML = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 2},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
}


def generated(folder: Path, store: Store, *, chunks: int = 2, log_files: bool = True) -> list[str]:
    """Chunks of two files whose folders are gone; the ids of their runs."""
    config = parse_settings(GenerationConfig, YAML, "generation.yaml")
    ids = []
    for chunk in range(chunks):
        plan = ChunkPlan(config=config, seed=1, chunk=chunk, n_files=2)
        record = generate(
            plan,
            folder / f"chunk_{chunk}",
            n_processes=1,
            store=store,
            experiment_name=EXPERIMENT,
            log_files=log_files,
        )
        ids.append(record["run_id"])
    return ids


@pytest.fixture
def elsewhere(tmp_path: Path, store: Store) -> Query:
    """What another machine gets from a query of runs that logged their files."""
    generated(tmp_path / "there", store)
    (tmp_path / "there").rename(tmp_path / "not_seen")
    return query_experiment(store, EXPERIMENT)


def artifacts_of(store: Store, run_id: str) -> Path:
    return Path(connect(store).get_run(run_id).info.artifact_uri)


def test_files_that_runs_logged_are_downloaded_where_their_folder_is_not_seen(
    tmp_path: Path, store: Store, elsewhere: Query, caplog: pytest.LogCaptureFixture
) -> None:
    assert [run.artifact_path for run in elsewhere.runs] == ["training_data"] * 2
    folder = tmp_path / "downloads"
    with caplog.at_level(logging.INFO, logger="lanflow"):
        places = download_absent(store, elsewhere, Places(), folder)
    assert f"downloaded 4 file(s) of 2 run(s) to {folder}; 0 were there already" in caplog.text
    manifest = freeze(query=elsewhere, places=places, model="ddm")
    for run in elsewhere.runs:
        for file in run.files:
            path = folder / run.run_id / file.name
            assert sha256(path) == file.sha256
            assert str(path) in {entry.path for entry in manifest.files}
    there = tmp_path / "not_seen"
    mapped = Places(path_map={str(tmp_path / "there"): str(there)})
    assert freeze(query=elsewhere, places=mapped, model="ddm").digest == manifest.digest
    assert not list(folder.glob(".downloading-*"))


def test_what_is_there_whole_is_kept_and_the_rest_is_downloaded_again(
    tmp_path: Path, store: Store, elsewhere: Query, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "downloads"
    download_absent(store, elsewhere, Places(), folder)
    kept, cut, changed, gone = sorted(folder.rglob("*.pickle"))
    inode = kept.stat().st_ino
    digests = [sha256(path) for path in (cut, changed, gone)]
    cut.write_bytes(cut.read_bytes()[:-5])
    changed.write_bytes(b"x" + changed.read_bytes()[1:])
    gone.unlink()
    (folder / ".downloading-old").mkdir()
    (folder / ".downloading-old" / gone.name).write_bytes(b"half of it")
    with caplog.at_level(logging.INFO, logger="lanflow"):
        download_absent(store, elsewhere, Places(), folder)
    assert "downloaded 3 file(s) of 2 run(s)" in caplog.text
    assert "1 were there already" in caplog.text
    assert kept.stat().st_ino == inode
    assert [sha256(path) for path in (cut, changed, gone)] == digests
    assert not (folder / ".downloading-old").exists()


def test_a_folder_that_is_seen_is_not_downloaded(tmp_path: Path, store: Store) -> None:
    generated(tmp_path / "here", store, chunks=1)
    query = query_experiment(store, EXPERIMENT)
    assert runs_to_download(query, Places()) == []
    assert download_absent(store, query, Places(), tmp_path / "downloads") == Places()
    shutil.move(tmp_path / "here", tmp_path / "moved")
    assert len(runs_to_download(query, Places())) == 1
    mapped = Places(path_map={str(tmp_path / "here"): str(tmp_path / "moved")})
    assert runs_to_download(query, mapped) == []
    assert runs_to_download(query, Places(folder=tmp_path / "moved")) == []


def test_an_artifact_that_is_not_what_was_recorded_is_refused_and_never_seen(
    tmp_path: Path, store: Store, elsewhere: Query
) -> None:
    run = elsewhere.runs[0]
    file = run.files[0]
    path = artifacts_of(store, run.run_id) / "training_data" / file.name
    content = path.read_bytes()
    folder = tmp_path / "downloads"
    for wrong, said in (
        (content[:-1], f"{len(content) - 1} bytes, recorded are {len(content)}"),
        (b"x" + content[1:], "sha256 "),
    ):
        path.write_bytes(wrong)
        with pytest.raises(UserError) as caught:
            download_absent(store, elsewhere, Places(), folder)
        assert str(caught.value).startswith(
            f"run {run.run_id}: its artifact training_data/{file.name} is not the file that "
            f"was generated ({said}"
        )
        assert not (folder / run.run_id / file.name).exists()
        assert not list(folder.glob(".downloading-*"))


def test_an_artifact_that_is_gone_is_one_message(
    tmp_path: Path, store: Store, elsewhere: Query
) -> None:
    run = elsewhere.runs[1]
    shutil.rmtree(artifacts_of(store, run.run_id) / "training_data")
    with pytest.raises(StoreError, match=f"^run {run.run_id}: training_data/.* cannot be downl"):
        download_absent(store, elsewhere, Places(), tmp_path / "downloads")


@pytest.mark.parametrize("name", ["../out.pickle", "/etc/passwd", "..", "a/b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = QueryFile(name="a.pickle", size_bytes=1, sha256=None)
    run = QueryRun(
        run_id="r1",
        run_name="worker",
        status="FINISHED",
        data_output_folder="x",
        batch_id=None,
        artifact_path="training_data",
        files=[file],
    )
    wrong_file = file.model_copy(update={"name": name})
    for change in ({"files": [wrong_file]}, {"run_id": name}):
        wrong = run.model_copy(update=change)
        with pytest.raises(UserError, match=f"leads out of {tmp_path}"):
            plan_downloads([wrong], tmp_path)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "r1").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of"):
        plan_downloads([run], tmp_path / "downloads")


def some_downloads(folder: Path, n: int) -> list[Download]:
    return [Download("r1", f"d/{i}", folder / "r1" / f"{i}.pickle", 1, None) for i in range(n)]


def test_files_are_downloaded_side_by_side_and_each_counted(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)

    def fetch(_run_id: str, artifact: str, folder: Path) -> Path:
        together.wait()  # three at a time, or this breaks
        (folder / "fetched").write_text(artifact[-1])
        return folder / "fetched"

    calls: list[int] = []
    downloads = some_downloads(tmp_path, 6)
    assert download_files(downloads, tmp_path, fetch, on_file=lambda: calls.append(1)) == 6
    assert [download.path.read_text() for download in downloads] == list("012345")
    assert len(calls) == 6


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "target").write_text("y")
    (download,) = some_downloads(tmp_path / "d", 1)
    download.path.parent.mkdir(parents=True)
    download.path.symlink_to(tmp_path / "target")

    def fetch(_run_id: str, _artifact: str, folder: Path) -> Path:
        (folder / "fetched").write_text("x")
        return folder / "fetched"

    assert download_files([download], tmp_path / "d", fetch) == 1
    assert not download.path.is_symlink()
    assert (download.path.read_text(), (tmp_path / "target").read_text()) == ("x", "y")
    link = replace(download, path=tmp_path / "d" / "r1" / "other")

    def fetch_link(_run_id: str, _artifact: str, folder: Path) -> Path:
        (folder / "link").symlink_to(tmp_path / "target")
        return folder / "link"

    with pytest.raises(UserError, match=r"\(not a file\)"):
        download_files([link], tmp_path / "d", fetch_link)


def test_an_unknown_run_is_one_message(tmp_path: Path, store: Store) -> None:
    with pytest.raises(UserError, match=r"^run 'abc' is not in this MLflow store"):
        artifact_fetcher(connect(store))("abc", "x", tmp_path)


def test_the_commands_log_query_and_download(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generation.yaml").write_text(json.dumps(YAML))
    made = ["generate", "--config-path", "generation.yaml", "--output", "made", "--processes", "1"]
    assert main([*made, "--log-files"]) == 2
    assert "--log-files needs a run" in capsys.readouterr().err
    assert main([*made, "--log-files", "--mlflow-on"]) == 0
    shutil.rmtree("made")
    assert main(["query", EXPERIMENT, "--output", "query.json"]) == 0
    command = ["manifest", "--query", "query.json", "--output", "manifest.json"]
    assert main(command) == 1
    assert main([*command, "--download", "downloads"]) == 0
    assert main(["verify", "manifest.json"]) == 0
    manifest = json.loads(Path("manifest.json").read_text())
    assert manifest["runs"][0]["artifact_path"] == "training_data"


def test_a_folder_that_is_not_seen_is_told_with_the_way_to_download(
    tmp_path: Path, store: Store, elsewhere: Query
) -> None:
    with pytest.raises(UserError, match="; 2 of them logged their files: --download DIR fetches"):
        freeze(query=elsewhere, places=Places(), model="ddm")


def test_files_are_artifacts_only_if_asked(tmp_path: Path, store: Store) -> None:
    (run_id,) = generated(tmp_path / "there", store, chunks=1, log_files=False)
    assert not (artifacts_of(store, run_id) / "training_data").exists()
    query = query_experiment(store, EXPERIMENT)
    assert query.runs[0].artifact_path is None
    (tmp_path / "there").rename(tmp_path / "not_seen")
    assert runs_to_download(query, Places()) == []
