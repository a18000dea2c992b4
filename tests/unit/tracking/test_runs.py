import contextlib
import json
import re
import sqlite3
import threading
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.errors import StoreError, UserError
from lanflow.tracking import client as tracking_client
from lanflow.tracking.delivery import MlflowRun
from lanflow.tracking.experiments import Experiment, ensure_experiment
from lanflow.tracking.runs import find_run, search_runs
from lanflow.tracking.store import INVENTORY_NAME, Store
from tests.mlflow_runs import made_run


def log_inventory(client: MlflowClient, run: MlflowRun, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    client.log_text(run.id, text, INVENTORY_NAME)


def test_runs_are_found_oldest_first_with_their_inventories(
    client: MlflowClient, experiment: Experiment
) -> None:
    with made_run(client, experiment, name="one", tags={"phase": "datagen"}) as one:
        one.log_params({"data_output_folder": "data"})
        log_inventory(client, one, {"files": [{"filename": "a.pickle"}]})
    with made_run(client, experiment, name="two") as two:
        pass
    with made_run(client, experiment, name="deleted") as deleted:
        pass
    client.delete_run(deleted.id)
    found = search_runs(client, experiment)
    assert [run.id for run in found] == [one.id, two.id]
    assert [run.name for run in found] == ["one", "two"]
    assert found[0].inventory == {"files": [{"filename": "a.pickle"}]}
    assert found[0].params == {"data_output_folder": "data"}
    assert found[0].tags["phase"] == "datagen"
    assert found[0].status == "FINISHED"
    assert found[1].inventory is None


def test_runs_can_be_filtered_and_deleted_ones_asked_for(
    client: MlflowClient, experiment: Experiment
) -> None:
    for name in ("one", "two", "gone"):
        with made_run(client, experiment, name=name) as run:
            run.log_params({"delta_t": "0.005" if name == "two" else "0.001"})
            log_inventory(client, run, {"files": []})
    client.delete_run(run.id)
    found = search_runs(client, experiment, filter_string="params.delta_t = '0.005'")
    assert [run.name for run in found] == ["two"]
    found = search_runs(client, experiment, deleted=True)
    assert [(run.name, run.deleted) for run in found] == [
        ("one", False),
        ("two", False),
        ("gone", True),
    ]
    assert found[2].inventory is None


def test_a_filter_that_mlflow_does_not_understand_is_named(
    client: MlflowClient, experiment: Experiment
) -> None:
    with pytest.raises(UserError, match=r"^filter 'nonsense': Invalid clause"):
        search_runs(client, experiment, filter_string="nonsense")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is not an inventory"),
        ("{}", "no list 'files'"),
        ('{"files": 3}', "no list 'files'"),
    ],
)
def test_a_file_that_is_no_inventory_is_a_fault_of_its_run_alone(
    client: MlflowClient, experiment: Experiment, content: str, message: str
) -> None:
    for each in (content, {"files": []}):
        with made_run(client, experiment) as run:
            log_inventory(client, run, each)
    faulty, whole = search_runs(client, experiment)
    assert re.match(f"its {INVENTORY_NAME} .*{message}", faulty.inventory_fault)
    assert faulty.inventory is None
    assert (whole.inventory, whole.inventory_fault) == ({"files": []}, "")


def test_runs_are_chosen_by_mlflows_filters(client: MlflowClient, experiment: Experiment) -> None:
    for phase in ("datagen", "train"):
        with made_run(client, experiment, name=phase, tags={"phase": phase}):
            pass
    found = search_runs(client, experiment, filter_string="tags.phase = 'train'")
    assert [run.name for run in found] == ["train"]
    with pytest.raises(UserError, match=r"^filter 'phase is train': "):
        search_runs(client, experiment, filter_string="phase is train")


def test_deleted_runs_are_given_when_asked_for(
    client: MlflowClient, experiment: Experiment
) -> None:
    with made_run(client, experiment) as run:
        log_inventory(client, run, {"files": []})
    client.delete_run(run.id)
    assert search_runs(client, experiment) == []
    (found,) = search_runs(client, experiment, deleted=True)
    assert (found.id, found.deleted, found.inventory) == (run.id, True, None)


def test_a_database_that_is_damaged_while_in_use_is_one_message(
    client: MlflowClient, experiment: Experiment, store: Store
) -> None:
    break_table(store, "runs")
    for ask in (
        lambda: search_runs(client, experiment),
        lambda: find_run(client, "abc"),
    ):
        with pytest.raises(
            StoreError, match=r"^MLflow store sqlite:.* failed \(.*no such table: r"
        ):
            ask()
    break_table(store, "experiments")
    with pytest.raises(StoreError, match="opening the experiment failed"):
        ensure_experiment(client, store, "another")


def break_table(store: Store, name: str) -> None:
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        database.execute(f"ALTER TABLE {name} RENAME TO gone_{name}")


def test_more_runs_than_one_page_holds_are_all_found(
    client: MlflowClient, experiment: Experiment, store: Store
) -> None:
    with made_run(client, experiment) as run:
        pass
    with contextlib.closing(sqlite3.connect(store.sqlite_path)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        copied = ", ".join("?" if column == "run_uuid" else column for column in columns)
        database.executemany(
            f"INSERT INTO runs SELECT {copied} FROM runs WHERE run_uuid = '{run.id}'",
            [(f"{i:032x}",) for i in range(1100)],
        )
        database.commit()
    found = search_runs(client, experiment)
    assert len({each.id for each in found}) == len(found) == 1101


def test_a_query_is_one_search_and_inventories_are_read_side_by_side(
    client: MlflowClient, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        with made_run(client, experiment, name=str(i)) as run:
            log_inventory(client, run, {"files": [{"filename": f"{i}.pickle"}]})
    together = threading.Barrier(4, timeout=60)
    asked: list[str] = []
    list_artifacts = tracking_client.artifacts.list_artifacts

    def wait(**keys: Any) -> Any:
        together.wait()  # four at a time, or this breaks
        return list_artifacts(**keys)

    monkeypatch.setattr(tracking_client.artifacts, "list_artifacts", wait)
    for name in ("search_runs", "get_run"):
        ask = getattr(client, name)

        def count(*values: Any, name: str = name, ask: Any = ask, **keys: Any) -> Any:
            asked.append(name)
            return ask(*values, **keys)

        monkeypatch.setattr(client, name, count)
    found = search_runs(client, experiment)
    assert [run.inventory["files"][0]["filename"][0] for run in found if run.inventory] == [*"0123"]
    assert asked == ["search_runs"]
