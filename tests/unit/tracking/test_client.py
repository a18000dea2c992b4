import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import resolve_store
from tests.mlflow_runs import made_run


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
