import logging
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.errors import StoreError, UserError
from lanflow.tracking.client import (
    Experiment,
    connect,
    ensure_experiment,
    find_experiment,
    prepare_experiments,
)
from lanflow.tracking.store import Store, resolve_store
from tests.mlflow_runs import made_run


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return connect(store)


@pytest.fixture
def experiment(client: MlflowClient, store: Store) -> Experiment:
    return ensure_experiment(client, store, "ddm-training")


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


def test_a_store_is_created_with_its_folder_and_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new" / "folder" / "mlflow.db"
    with caplog.at_level(logging.INFO):
        connect(resolve_store(uri=f"sqlite:///{path}"))
    assert path.exists()
    assert not [record for record in caplog.records if record.name.startswith("alembic")]


def uri_in_a_file(folder: Path) -> str:
    (folder / "file").write_text("not a folder")
    return f"sqlite:///{folder}/file/mlflow.db"


def uri_of_a_folder(folder: Path) -> str:
    return f"sqlite:///{folder}"


def uri_of_another_file(folder: Path) -> str:
    (folder / "mlflow.db").write_text("not a database " * 100)
    return f"sqlite:///{folder}/mlflow.db"


def uri_of_an_unknown_kind(folder: Path) -> str:
    return "foo://ada:secret@host/mlflow"


@pytest.mark.parametrize(
    ("make_uri", "reason"),
    [
        (uri_in_a_file, "Not a directory|File exists"),
        (uri_of_a_folder, "unable to open database file"),
        (uri_of_another_file, "file is not a database"),
        (uri_of_an_unknown_kind, "unsupported URI"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_message_without_credentials(
    tmp_path: Path, make_uri: Any, reason: str
) -> None:
    store = resolve_store(uri=make_uri(tmp_path))
    with pytest.raises(UserError, match=reason) as caught:
        connect(store)
    message = str(caught.value)
    assert message.startswith(f"MLflow store {store.shown_uri}: cannot be opened")
    assert "\n" not in message
    assert "secret" not in message


def test_a_server_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow store http://\*\*\*@127.0.0.1:1: cannot be op"):
        connect(resolve_store(uri="http://ada:secret@127.0.0.1:1"))


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


def test_a_folder_as_a_store_works_and_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    folder = resolve_store(uri=str(tmp_path / "mlruns"))
    client = connect(folder)
    with made_run(client, ensure_experiment(client, folder, "x")) as run:
        run.log_params({"n_epochs": 3})
    assert list((tmp_path / "mlruns").rglob("n_epochs"))
    (message,) = [text for text in caplog.messages if "mlflow migrate-filestore" in text]
    assert message.startswith(f"{tmp_path / 'mlruns'} is a folder")


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


@pytest.mark.parametrize("module", ["tracking.client", "publish.registry"])
def test_mlflow_is_imported_with_its_telemetry_off(module: str) -> None:
    program = (
        f"import lanflow.{module}; from mlflow.telemetry.client import get_telemetry_client; "
        "raise SystemExit(get_telemetry_client() is not None)"
    )
    # Without the variables by which MLflow recognises tests and CI, where it is off anyway.
    kept = {"PATH", "HOME", "PYTHONPATH", "LANG"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0
