import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run

from lanflow.core.errors import StoreError, UserError
from lanflow.core.locks import locked
from lanflow.data.generation import generate as generation_generate
from lanflow.data.generation.config import read_generation_file
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.generation.run import generate
from lanflow.tracking.client import connect
from lanflow.tracking.delivery import FAILURE_TAG
from lanflow.tracking.recorder import RunRecorder
from lanflow.tracking.store import INVENTORY_NAME, Store
from tests.conftest import sha256

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 3, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 300, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 20},
    "ESTIMATOR": {"TYPE": "kde"},
}


def make_plan(folder: Path, *, chunk: int = 0, **sections: Any) -> ChunkPlan:
    path = folder / "generation.yaml"
    path.write_text(yaml.safe_dump({**GENERATION_YAML, **sections}))
    return ChunkPlan(config=read_generation_file(path), seed=5, chunk=chunk, n_files=2)


def run_chunk(plan: ChunkPlan, folder: Path, store: Store | None, **keys: Any) -> dict[str, Any]:
    names = {"experiment_name": "ddm-data-generation", **keys}
    return generate(plan, folder, n_processes=1, store=store, **names)


def runs_of(store: Store) -> list[Run]:
    client = connect(store)
    experiment = client.get_experiment_by_name("ddm-data-generation")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_chunk_is_one_run_that_says_what_was_made_and_where(tmp_path: Path, store: Store) -> None:
    plan = make_plan(tmp_path, chunk=3)
    folder = tmp_path / "chunk"
    shown = run_chunk(plan, folder, store, run_name="third")
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "third"
    params = run.data.params
    expected = {
        "data_output_folder": str(folder / "training_data"),
        "model": "ddm",
        "generator_approach": "lan",
        "label_source": plan.config.estimator.type,
        "n_files": "2",
        "chunk": "3",
        "seed": "5",
        "config_sha256": plan.config.digest,
        "ssm_simulators_version": version("ssm-simulators"),
    }
    assert {key: params[key] for key in expected} == expected
    assert params["data_simulator"] == str(plan.config.settings_dict()["simulator"])
    tags = run.data.tags
    assert tags["phase"] == "datagen"
    assert tags["schema_version"] == "1"
    assert tags["generation_batch_id"] == plan.batch_id == shown["batch_id"]
    assert run.data.metrics["num_files_generated"] == 2
    client = connect(store)
    paths = {
        name: Path(client.download_artifacts(run.info.run_id, name, str(tmp_path)))
        for name in (INVENTORY_NAME, "data_config.json")
    }
    inventory = json.loads(paths[INVENTORY_NAME].read_text())
    assert inventory == json.loads((folder / INVENTORY_NAME).read_text())
    assert json.loads(paths["data_config.json"].read_text()) == plan.config.settings_dict()
    for file in inventory["files"]:
        path = folder / "training_data" / file["filename"]
        assert file["relative_path"] == str(path)
        assert file["size_bytes"] == path.stat().st_size
        assert file["sha256"] == sha256(path)


def test_the_record_in_the_folder_names_the_run_and_the_files(tmp_path: Path, store: Store) -> None:
    plan = make_plan(tmp_path)
    shown = run_chunk(plan, tmp_path / "chunk", store)
    (run,) = runs_of(store)
    assert run.info.run_name == "ddm-chunk-0"
    record = json.loads((tmp_path / "chunk" / "chunk.json").read_text())
    inventory = json.loads((tmp_path / "chunk" / INVENTORY_NAME).read_text())
    assert record.pop("files") == inventory["files"]
    assert shown.pop("n_parameter_sets") == 6
    assert record == shown
    assert shown == {
        "model": "ddm",
        "chunk": 0,
        "seed": 5,
        "batch_id": plan.batch_id,
        "run_id": run.info.run_id,
        "folder": str(tmp_path / "chunk" / "training_data"),
        "n_files": 2,
        "mlflow_pending": None,
    }


def test_without_a_store_the_same_files_are_made_and_no_run(tmp_path: Path, store: Store) -> None:
    plan = make_plan(tmp_path)
    shown = run_chunk(plan, tmp_path / "untracked", None)
    run_chunk(plan, tmp_path / "tracked", store)
    assert shown["run_id"] is None
    untracked, tracked = (
        {path.name: sha256(path) for path in (tmp_path / name / "training_data").iterdir()}
        for name in ("untracked", "tracked")
    )
    assert untracked == tracked
    assert len(untracked) == 2


def test_chunks_of_a_study_share_a_batch_and_no_file(tmp_path: Path, store: Store) -> None:
    for chunk in (0, 1):
        run_chunk(make_plan(tmp_path, chunk=chunk), tmp_path / str(chunk), store)
    first, second = runs_of(store)
    assert first.data.tags["generation_batch_id"] == second.data.tags["generation_batch_id"]
    names = [
        {path.name for path in (tmp_path / str(chunk) / "training_data").iterdir()}
        for chunk in (0, 1)
    ]
    assert not names[0] & names[1]


def test_an_unknown_model_ends_before_a_run_is_started(tmp_path: Path, store: Store) -> None:
    plan = make_plan(tmp_path, MODEL="ddn")
    with pytest.raises(UserError, match=r"model 'ddn' is not one of .*'ddm'"):
        run_chunk(plan, tmp_path / "chunk", store)
    assert connect(store).get_experiment_by_name("ddm-data-generation") is None


@pytest.mark.usefixtures("without_ssms")
def test_a_generator_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^generating data needs ssms\S*; install lanflow\[gen"):
        run_chunk(make_plan(tmp_path), tmp_path / "chunk", None)


def test_a_chunk_that_fails_is_a_failed_run_with_the_reason(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(generation_generate, "write_bytes", fail)
    with pytest.raises(OSError, match="chunk"):
        run_chunk(make_plan(tmp_path), tmp_path / "chunk", store)
    (run,) = runs_of(store)
    assert run.info.status == "FAILED"
    assert "chunk" in run.data.tags[FAILURE_TAG]
    assert not (tmp_path / "chunk" / "unsent_runs").exists()


def test_a_folder_with_other_files_is_refused_before_a_run_is_begun(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "chunk").mkdir()
    (tmp_path / "chunk" / "training_data.partial").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"\(training_data.partial\)"):
        run_chunk(make_plan(tmp_path), tmp_path / "chunk", store)
    assert connect(store).get_experiment_by_name("ddm-data-generation") is None
    assert [path.name for path in (tmp_path / "chunk").iterdir()] == ["training_data.partial"]


def interrupt_chunk(plan: ChunkPlan, folder: Path, store: Store) -> None:
    """Stop a chunk at its first file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation_generate, "write_bytes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_chunk(plan, folder, store)


def test_an_interrupted_chunk_is_a_killed_run_and_is_gone_on_with(
    tmp_path: Path, store: Store
) -> None:
    plan, folder = make_plan(tmp_path), tmp_path / "chunk"
    interrupt_chunk(plan, folder, store)
    assert not (folder / "chunk.json").exists()
    (killed,) = runs_of(store)
    assert killed.info.status == "KILLED"
    shown = run_chunk(plan, folder, store)
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == killed.info.run_id == shown["run_id"]
    assert not (folder / "unfinished.json").exists()


@pytest.mark.parametrize("change", ["other files", "deleted"])
def test_a_chunk_of_other_files_or_whose_run_was_deleted_is_another_run(
    tmp_path: Path, store: Store, change: str
) -> None:
    plan, folder = make_plan(tmp_path), tmp_path / "chunk"
    interrupt_chunk(plan, folder, store)
    (killed,) = runs_of(store)
    if change == "deleted":
        connect(store).delete_run(killed.info.run_id)
    else:
        plan = dataclasses.replace(plan, n_files=plan.n_files + 1)
    shown = run_chunk(plan, folder, store)
    assert shown["run_id"] != killed.info.run_id


def test_a_store_that_cannot_be_opened_ends_before_anything_is_simulated(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("not a database" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        run_chunk(make_plan(tmp_path), tmp_path / "chunk", Store(f"sqlite:///{tmp_path}/bad.db"))
    assert not (tmp_path / "chunk").exists()


def test_a_chunk_whose_results_were_removed_is_made_again_under_its_own_run(
    tmp_path: Path, store: Store
) -> None:
    """As Snakemake does with a job that outlived it."""
    plan, folder = make_plan(tmp_path), tmp_path / "chunk"
    first = run_chunk(plan, folder, store)
    for name in ("chunk.json", INVENTORY_NAME):
        (folder / name).unlink()
    shutil.rmtree(folder / "training_data")
    assert run_chunk(plan, folder, store)["run_id"] == first["run_id"]
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    # One that is asked for though it is there is a run of its own.
    assert run_chunk(plan, folder, store)["run_id"] != first["run_id"]


def upload_and_die(plan: ChunkPlan, folder: Path, store: Store) -> None:
    """Make a chunk in a process that is killed when it begins to upload the files."""
    RunRecorder.log_files = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    run_chunk(plan, folder, store, log_files=True)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", ["kept", "removed by Snakemake"])
def test_a_chunk_that_is_killed_while_it_uploads_simulates_nothing_again(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, outputs: str
) -> None:
    plan, folder = make_plan(tmp_path), tmp_path / "chunk"
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=upload_and_die, args=(plan, folder, store))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / "chunk.json").exists()
    made = {path.name: sha256(path) for path in (folder / "training_data").iterdir()}
    if outputs != "kept":
        shutil.rmtree(folder / "training_data")
        (folder / INVENTORY_NAME).unlink()
    monkeypatch.setattr(generation_generate, "_file_content", pytest.fail)
    run_chunk(plan, folder, store, log_files=True)
    assert {path.name: sha256(path) for path in (folder / "training_data").iterdir()} == made
    assert [run.info.status for run in runs_of(store)] == ["FINISHED"]
    assert not (folder / "training_data.partial").exists()


def test_a_chunk_that_another_process_makes_is_refused_and_left_alone(
    tmp_path: Path, store: Store
) -> None:
    plan, folder = make_plan(tmp_path), tmp_path / "chunk"
    with (
        locked(folder / ".lock", "it is being made"),
        pytest.raises(UserError, match=r"/chunk is being generated by process \d+ on .* since"),
    ):
        run_chunk(plan, folder, store)
    assert not folder.exists()
    assert connect(store).get_experiment_by_name("ddm-data-generation") is None
