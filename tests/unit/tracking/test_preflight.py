"""Checks of the store before the first job."""

import sqlite3
from pathlib import Path
from typing import Literal

import pytest

from lanflow.cli.cluster import check_node
from lanflow.core.errors import UserError
from lanflow.networks.types import BackendName
from lanflow.tracking import preflight
from lanflow.tracking.client import connect
from lanflow.tracking.preflight import (
    check_first_contact,
    check_location,
    file_system_of,
    prepare,
    sqlite_warnings,
)
from lanflow.tracking.store import Store, resolve_store

MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb /home/local ext4 rw 0 0
scratch /mnt/two\040words lustre rw 0 0
user@host: /mnt/ssh fuse.sshfs rw 0 0
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/mlflow.db", "ext4"),
        ("/home/me/mlflow.db", "nfs4"),
        ("/home/local/mlflow.db", "ext4"),
        ("/mnt/two words/mlflow.db", "lustre"),
        ("/homely/mlflow.db", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_the_deepest_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("path", ["/home/me/mlflow.db", "/mnt/ssh/mlflow.db"])
def test_sqlite_on_a_network_file_system_is_warned_of(path: str) -> None:
    (warning,) = sqlite_warnings(Store(f"sqlite:///{path}"), MOUNTS)
    assert "MLflow server" in warning
    assert "--jobs 1" in warning


@pytest.mark.parametrize(
    "uri", ["sqlite:////home/local/mlflow.db", "http://host:5000", "sqlite:///:memory:"]
)
def test_other_stores_are_not_warned_of(uri: str) -> None:
    assert sqlite_warnings(Store(uri), MOUNTS) == []


def test_the_warning_is_told_and_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preflight, "read_mounts", lambda: "server:/ / nfs rw 0 0\n")
    record = prepare(store, ["one"])
    assert "network file system (nfs)" in record.warnings[0]
    assert "network file system (nfs)" in caplog.text


@pytest.mark.parametrize("location", ["mlruns/1", "./mlruns/1", "file:mlruns/1", "file:./mlruns"])
def test_a_relative_artifact_location_is_refused(location: str) -> None:
    with pytest.raises(UserError, match=r"'one'.*relative path.*--artifacts-destination"):
        check_location("one", location)


@pytest.mark.parametrize("location", ["/a/b", "file:///a/b", "s3://bucket", "mlflow-artifacts:/1"])
def test_other_artifact_locations_are_not_refused(location: str) -> None:
    check_location("one", location)


def test_an_experiment_with_a_relative_location_is_found_in_the_store(store: Store) -> None:
    connect(store).create_experiment("one", artifact_location="mlruns/1")
    with sqlite3.connect(store.sqlite_path) as database:
        database.execute("UPDATE experiments SET artifact_location = 'mlruns/1'")
    with pytest.raises(UserError, match="relative path"):
        prepare(store, ["one"])


def test_an_artifact_location_that_cannot_be_written_stops_before_the_first_job(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, where a folder is needed\n")
    location = str(tmp_path / "taken" / "artifacts")
    with pytest.raises(UserError, match=f"written to the artifact location {location}"):
        prepare(Store(store.uri, artifact_location=location), ["one"])


def test_nothing_is_left_of_the_check(store: Store, tmp_path: Path) -> None:
    location = tmp_path / "artifacts"
    prepare(Store(store.uri, artifact_location=str(location)), ["one", "two"])
    assert [path for path in location.rglob("*") if path.is_file()] == []


def test_a_database_of_an_older_mlflow_is_upgraded_once_and_kept(store: Store) -> None:
    from mlflow.store.db import utils

    current = utils._get_latest_schema_revision()
    _downgrade(store)
    assert prepare(store, ["one"]).experiments
    with sqlite3.connect(store.sqlite_path) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == (current,)
    (kept,) = Path(store.sqlite_path).parent.glob("mlflow.db.before-*")
    assert kept.stat().st_size > 0


def _downgrade(store: Store) -> None:
    """Undo the last migration of MLflow."""
    from alembic import command
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(store.uri)
    config = utils._get_alembic_config(store.uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    engine.dispose()


def test_a_store_that_a_node_does_not_reach_names_the_node(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    store = resolve_store(uri=f"sqlite:///{tmp_path}/taken/mlflow.db")
    with pytest.raises(UserError, match=r"from node .*: MLflow store sqlite"):
        check_node(store, ["one"])


@pytest.mark.parametrize(("backend", "name"), [("jax", "JAX"), ("torch", "Torch")])
def test_a_gpu_that_was_asked_for_and_is_not_seen_is_an_error(
    store: Store, backend: BackendName, name: str
) -> None:
    prepare(store, ["one"])
    with pytest.raises(UserError, match=rf"from node .*{name} sees no GPU.*device: gpu"):
        check_node(store, ["one"], backend=backend)
    assert check_node(store, ["one"])["gpu"] is None


@pytest.fixture
def contacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of contacts, set as the workflow sets it for its jobs."""
    monkeypatch.setenv("LANFLOW_STORE_CONTACTS", str(tmp_path / "contacts"))
    return tmp_path / "contacts"


def test_the_first_job_must_reach_the_store_and_later_ones_need_not(
    store: Store, contacts: Path
) -> None:
    away = resolve_store(uri="http://ada:pa55word@127.0.0.1:1")
    with pytest.raises(UserError, match=r"^from node .*\*\*\*@127.0.0.1:1: cannot be opened"):
        check_first_contact(away, "one", "try")
    assert not contacts.exists()
    check_first_contact(store, "one", "try")
    assert len(list(contacts.iterdir())) == 1
    Path(store.sqlite_path).write_text("no database any more")
    check_first_contact(store, "one", "try")
    with pytest.raises(UserError, match="from node"):
        check_first_contact(store, "two", "try")


@pytest.mark.parametrize("send_mode", ["now", "later"])
def test_contact_is_not_made_where_the_store_must_answer_anyway_or_is_left_alone(
    contacts: Path, send_mode: Literal["now", "later"]
) -> None:
    check_first_contact(resolve_store(uri="http://127.0.0.1:1"), "one", send_mode)
    assert not contacts.exists()


def test_a_command_that_is_typed_by_hand_makes_no_contact_of_its_own() -> None:
    check_first_contact(resolve_store(uri="http://127.0.0.1:1"), "one", "try")
