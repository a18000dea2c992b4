import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.errors import StoreError, UserError
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import (
    Experiment,
    ensure_experiment,
    find_experiment,
    prepare_experiments,
)
from lanflow.tracking.store import Store


def test_an_artifact_location_that_no_run_could_write_to_makes_no_experiment(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    for location in (str(tmp_path / "taken" / "artifacts"), "/proc/artifacts", "foo://x"):
        place = replace(store, artifact_location=location)
        client = connect(place)
        with pytest.raises(StoreError, match=rf"artifact location {location} \(.*name"):
            ensure_experiment(client, place, "x")
        assert client.get_experiment_by_name("x") is None


def test_an_experiment_is_created_with_the_artifact_location_asked_for(
    client: MlflowClient, store: Store, tmp_path: Path
) -> None:
    given = Store(uri=store.uri, artifact_location=str(tmp_path / "artifacts"))
    created = ensure_experiment(client, given, "with")
    assert client.get_experiment_by_name("with").artifact_location == str(tmp_path / "artifacts")
    assert ensure_experiment(client, given, "with") == created
    beside = ensure_experiment(client, store, "without")
    assert beside.artifact_location == str(tmp_path / "mlartifacts")


def test_another_artifact_location_is_warned_of_and_not_used(
    client: MlflowClient, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ensure_experiment(client, Store(store.uri, str(tmp_path / "first")), "x")
    assert not caplog.records
    again = ensure_experiment(client, Store(store.uri, "s3://ada:secret@bucket/second"), "x")
    assert again == first
    assert f"artifact location {tmp_path / 'first'}, which is used" in caplog.text
    assert "secret" not in caplog.text


def test_jobs_that_create_an_experiment_at_once_get_the_same(store: Store) -> None:
    clients = [connect(store) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda client: ensure_experiment(client, store, "x"), clients))
    assert len(set(found)) == 1
    assert [e.name for e in clients[0].search_experiments()] == ["x", "Default"]


def test_a_deleted_experiment_is_refused_with_the_way_back(
    client: MlflowClient, store: Store, experiment: Experiment
) -> None:
    client.delete_experiment(experiment.id)
    messages = []
    for look in (ensure_experiment, find_experiment):
        with pytest.raises(UserError) as caught:
            look(client, store, experiment.name)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    (command,) = re.findall("restore it with '(.*)' or use another name", messages[0])
    assert f"MLFLOW_TRACKING_URI={store.uri} " in command
    mlflow = shlex.join([sys.executable, "-m", "mlflow"])
    command = command.replace(" mlflow ", f" {mlflow} ")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert find_experiment(client, store, experiment.name) == experiment


def test_the_command_that_restores_an_experiment_holds_no_password(
    client: MlflowClient, store: Store, experiment: Experiment
) -> None:
    client.delete_experiment(experiment.id)
    with pytest.raises(UserError) as caught:
        ensure_experiment(client, Store("http://ada:secret@host"), experiment.name)
    assert "secret" not in str(caught.value)
    assert "(and the credentials in place of ***)" in str(caught.value)


def test_an_experiment_is_found_by_name_and_by_id(
    client: MlflowClient, store: Store, experiment: Experiment
) -> None:
    assert find_experiment(client, store, "ddm-training") == experiment
    assert find_experiment(client, store, experiment.id) == experiment


@pytest.mark.parametrize("wanted", ["angle-training", "4711"])
def test_an_unknown_experiment_lists_those_there_are(
    client: MlflowClient, store: Store, experiment: Experiment, wanted: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_experiment(client, store, wanted)
    assert str(caught.value) == (
        f"experiment {wanted!r} is not in {store.shown_uri}; it has: Default (id 0), "
        f"ddm-training (id {experiment.id})"
    )


def test_an_experiment_that_cannot_be_created_is_one_message(
    client: MlflowClient, store: Store
) -> None:
    with pytest.raises(StoreError, match=r"opening the experiment failed \(.* maximum length"):
        ensure_experiment(client, store, "x" * 600)


def test_preparing_a_store_makes_its_experiments_once(store: Store, tmp_path: Path) -> None:
    names = ["ddm-data-generation", "ddm-training"]
    prepared = prepare_experiments(store, names)
    assert [experiment.name for experiment in prepared] == names
    assert {experiment.artifact_location for experiment in prepared} == {
        str(tmp_path / "mlartifacts")
    }
    assert prepare_experiments(store, names) == prepared
    client = connect(store)
    assert sorted(e.name for e in client.search_experiments()) == ["Default", *names]
