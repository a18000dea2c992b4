"""Finished runs that are recorded in another store after a change of store."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.entities import Run

from lanflow.cli.main import main
from lanflow.core.names import SENT_RUNS
from lanflow.data.prepare import PackedData
from lanflow.evaluation.record import Evaluation
from lanflow.evaluation.track import track_evaluation
from lanflow.networks.network import Network
from lanflow.tracking.client import connect
from lanflow.tracking.recorder import record_run
from lanflow.tracking.store import Store, resolve_store
from lanflow.tracking.sync import move_runs
from lanflow.training.run import train
from tests.conftest import content_of_run, training_options


@pytest.fixture
def other(_prepared_database: Path, tmp_path: Path) -> Store:
    """A second, empty store."""
    path = tmp_path / "other" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(_prepared_database, path)
    return resolve_store(uri=f"sqlite:///{path}")


def runs_of(store: Store, experiment: str = "ddm-training") -> list[Run]:
    client = connect(store)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


@pytest.fixture
def trained(tmp_path: Path, store: Store, packed: PackedData) -> Path:
    """The folder of a network whose run is in ``store``."""
    options = training_options(
        tmp_path, packed, mlflow_on=True, mlflow_tracking_uri=store.uri, run_uuid="0a1b"
    )
    train(options)
    return options.networks_path_base / "lan" / "ddm" / "net"


def test_a_run_is_in_the_other_store_what_it_was_in_the_first(
    trained: Path, store: Store, other: Store, tmp_path: Path
) -> None:
    (before,) = runs_of(store)
    card_time = (trained / "card.json").stat().st_mtime_ns
    moved = move_runs([tmp_path / "networks"], other)
    (run,) = runs_of(other)
    assert moved == {str(trained): run.info.run_id}
    expected = content_of_run(connect(store), before.info.run_id)
    found = content_of_run(connect(other), run.info.run_id)
    assert found == {**expected, "experiment": run.info.experiment_id}
    assert [r.info.run_id for r in runs_of(store)] == [before.info.run_id]
    for name in ("card.json", "run.json"):
        assert json.loads((trained / name).read_text())["mlflow_run_id"] == run.info.run_id
    record = json.loads((trained / "run.json").read_text())
    assert record["mlflow_tracking_uri"] == other.shown_uri
    assert (trained / "card.json").stat().st_mtime_ns == card_time


def test_moving_again_changes_nothing_and_moving_back_finds_the_run_that_was_there(
    trained: Path, store: Store, other: Store, tmp_path: Path
) -> None:
    (first,) = runs_of(store)
    moved = move_runs([tmp_path / "networks"], other)
    assert move_runs([tmp_path / "networks"], other) == {}
    assert [run.info.run_id for run in runs_of(other)] == list(moved.values())
    assert move_runs([tmp_path / "networks"], store) == {str(trained): first.info.run_id}
    assert len(runs_of(store)) == 1


def test_an_evaluation_moves_with_its_training(
    trained: Path, store: Store, other: Store, tmp_path: Path
) -> None:
    path = trained / "evaluation.json"
    path.write_text("{}")
    evaluation = Evaluation.model_construct(gates=[], scores=None, verdict="passed")
    track_evaluation(Network.from_folder(trained), evaluation, path, store)
    move_runs([tmp_path / "networks"], other)
    (run,) = runs_of(other)
    assert run.data.tags["evaluation_verdict"] == "passed"
    assert run.data.metrics["cost.n_rows"] > 0
    files = connect(other).list_artifacts(run.info.run_id)
    assert "evaluation.json" in [file.path for file in files]


def test_trainings_name_the_experiment_of_their_simulations_in_the_new_store(
    store: Store, other: Store, tmp_path: Path
) -> None:
    connect(other).create_experiment("so that ids differ")
    with record_run(
        *(store, tmp_path / "chunk"),
        experiment="ddm-data-generation",
        name="c",
        send_mode="now",
        tags={"phase": "datagen"},
    ) as chunk:
        chunk.begin()
    with record_run(
        *(store, tmp_path / "a_network"),
        experiment="ddm-training",
        name="n",
        send_mode="now",
        tags={"data_generation_experiment_id": chunk.experiment_id},
    ) as network:
        network.begin()
    move_runs([tmp_path / "a_network", tmp_path / "chunk"], other)
    (run,) = runs_of(other)
    (simulations,) = runs_of(other, "ddm-data-generation")
    moved_to = simulations.info.experiment_id
    assert moved_to != chunk.experiment_id
    assert run.data.tags["data_generation_experiment_id"] == moved_to


def test_a_run_whose_files_are_gone_stays_where_it_is_and_is_told(
    trained: Path, other: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (trained / "model.onnx").unlink()
    assert move_runs([tmp_path / "networks"], other) == {}
    assert "model.onnx is missing" in caplog.text
    assert runs_of(other) == []


def test_the_results_of_a_new_run_are_no_longer_those_of_the_old(
    store: Store, tmp_path: Path
) -> None:
    keys = []
    for name in ("first", "second"):
        with record_run(
            store, tmp_path / "net", experiment="e", name=name, tags={}, send_mode="now"
        ) as run:
            run.begin()
            keys.append(run.key)
    kept = [path.name for path in (tmp_path / "net" / SENT_RUNS).iterdir()]
    assert kept == keys[1:]


def test_a_run_that_failed_leaves_no_record(store: Store, tmp_path: Path) -> None:
    def fail() -> None:
        with record_run(
            store, tmp_path / "net", experiment="e", name="n", tags={}, send_mode="now"
        ) as run:
            run.begin()
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert not list((tmp_path / "net").rglob("run.json"))


def test_the_command_says_what_it_moved(
    trained: Path, other: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "recorded.json"
    command = ["sync", str(tmp_path / "networks"), "--moved", "--json"]
    command += ["--output", str(output)]
    assert main([*command, "--mlflow-tracking-uri", other.uri]) == 0
    (run,) = runs_of(other)
    assert json.loads(capsys.readouterr().out)["moved"] == {str(trained): run.info.run_id}
    assert json.loads(output.read_text())["tracking_uri"] == other.shown_uri


def lose_runs(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database:
        for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
            database.execute(f"DELETE FROM {table}")
        database.commit()


def test_a_store_that_was_lost_is_built_again_from_the_results(
    trained: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a backup of last week; twice changes nothing."""
    (before,) = runs_of(store)
    lose_runs(store)
    assert runs_of(store) == []
    command = ["sync", str(tmp_path / "networks"), "--mlflow-tracking-uri", store.uri, "--json"]
    assert main([*command, "--moved"]) == 0
    assert json.loads(capsys.readouterr().out)["moved"] == {}
    assert main([*command, "--all"]) == 0
    (run,) = runs_of(store)
    assert json.loads(capsys.readouterr().out)["moved"] == {str(trained): run.info.run_id}
    assert run.data.params == before.data.params
    assert run.data.metrics == before.data.metrics
    assert json.loads((trained / "card.json").read_text())["mlflow_run_id"] == run.info.run_id
    assert main([*command, "--all"]) == 0
    assert json.loads(capsys.readouterr().out)["moved"] == {}
    (again,) = runs_of(store)
    assert again.to_dictionary() == run.to_dictionary()


def test_a_run_that_somebody_deleted_is_not_built_again(
    trained: Path, store: Store, tmp_path: Path
) -> None:
    (run,) = runs_of(store)
    connect(store).delete_run(run.info.run_id)
    assert move_runs([tmp_path / "networks"], store, all_runs=True) == {}
