"""Many commands start at once on a store that does not exist; each is a process of its own."""

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.preflight import prepare
from lanflow.tracking.store import Store, resolve_store
from tests.first_start import command_lines, race, start_all

N_STARTERS = 8
N_RACERS = 8


@pytest.mark.slow
def test_commands_of_every_kind_make_one_store_and_log_all_their_runs(
    tmp_path: Path, packed: PackedData
) -> None:
    lines = command_lines(tmp_path, packed.data_set.folder, N_STARTERS)
    store = resolve_store(uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    start_all(lines, tmp_path, store.uri)
    assert states_of(store) == {
        ("ddm-data-generation", "FINISHED", "num_files_generated"): N_STARTERS // 4,
        ("ddm-training", "FINISHED", "train_loss"): N_STARTERS // 2,
    }
    assert names_in(tmp_path / "store") == ["mlartifacts", "mlflow.db"]
    assert not list(tmp_path.rglob("unsent_runs"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states_of(store: Store) -> Counter[tuple[str, str, str]]:
    """How many runs there are of each experiment and status, by a metric that they have."""
    client = connect(store)
    states: Counter[tuple[str, str, str]] = Counter()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            (metric,) = run.data.metrics.keys() & {"num_files_generated", "train_loss"}
            states[experiment.name, run.info.status, metric] += 1
    return states


@pytest.mark.parametrize("exists", [False, True], ids=["absent", "empty"])
def test_processes_that_race_for_a_new_store_all_get_the_same_whole_one(
    tmp_path: Path, exists: bool
) -> None:
    """Forked after the imports, so that they arrive within milliseconds."""
    path = tmp_path / "store" / "mlflow.db"
    if exists:
        path.parent.mkdir()
        path.touch()
    race(f"sqlite:///{path}", N_RACERS)
    check_whole(path)
    assert names_in(path.parent) == ["mlartifacts", "mlflow.db"]
    # MLflow itself finds nothing to do.
    before = path.read_bytes()
    program = (
        f"from mlflow import MlflowClient; MlflowClient('sqlite:///{path}').get_experiment('1')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert path.read_bytes() == before


def check_whole(path: Path, *, n_runs: int = N_RACERS) -> None:
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = database.execute("SELECT name FROM experiments ORDER BY name").fetchall()
        assert names == [("Default",), ("x",)]
        for table, n_rows in (("metrics", n_runs), ("inputs", 5 * n_runs), ("datasets", 5)):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (n_rows,)


def make_old_store(path: Path) -> Store:
    """A store as MLflow made it some twenty changes of its schema ago."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    store = resolve_store(uri=f"sqlite:///{path}")
    engine = utils.create_sqlalchemy_engine(store.uri)
    utils.InitialBase.metadata.create_all(engine)
    config = utils._get_alembic_config(store.uri)
    revisions = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revisions[20])
    engine.dispose()
    return store


def test_a_store_of_an_older_mlflow_is_brought_up_by_one_of_those_that_race(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    race(make_old_store(path).uri, N_RACERS)
    check_whole(path)


def test_a_killed_start_leaves_nothing_that_the_next_would_trip_over(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lanflow.core.files import create_once\n"
        "def make(path):\n"
        "    Path(f'{path}-journal').write_text('half')\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "create_once(Path(sys.argv[1]), make)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    assert len(names_in(tmp_path)) == 2
    connect(resolve_store(uri=f"sqlite:///{path}"))
    assert names_in(tmp_path) == ["mlflow.db"]


@pytest.fixture
def broken(tmp_path: Path) -> Store:
    """What several starts at once left before they took turns: copies of tables, half way."""
    path = tmp_path / "mlflow.db"
    store = make_old_store(path)
    with sqlite3.connect(path) as database:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (name,) in database.execute(tables).fetchall():
            database.execute(f"CREATE TABLE _alembic_tmp_{name} (x INTEGER)")
    return store


@pytest.mark.slow
@pytest.mark.parametrize("command", [connect, lambda store: prepare(store, ["x"])])
def test_a_store_that_an_earlier_start_broke_is_recognised_with_the_way_out(
    broken: Store, tmp_path: Path, command: Any
) -> None:
    path = Path(broken.sqlite_path)
    with pytest.raises(UserError) as caught:
        command(broken)
    message = str(caught.value)
    assert f"MLflow store {broken.shown_uri}: " in message
    assert "making or upgrading its schema was begun and did not end" in message
    assert f"Move it away (mv {path} {path}.broken) and " in message
    kept = list(tmp_path.glob("mlflow.db.before-*"))
    instead = f"put {kept[0]} in its place" if kept else "run the command again, which makes anew"
    assert instead in message
    path.rename(f"{path}.broken")
    race(broken.uri, 1)  # in a process of its own, as MLflow keeps what it has opened
    check_whole(path, n_runs=1)


def test_a_copy_from_before_an_upgrade_that_failed_is_not_written_over(
    broken: Store, tmp_path: Path
) -> None:
    before = Path(broken.sqlite_path).read_bytes()
    for _ in range(2):
        with pytest.raises(UserError):
            prepare(broken, ["x"])
        with sqlite3.connect(broken.sqlite_path) as database:
            database.execute("CREATE TABLE IF NOT EXISTS later (x INTEGER)")
    (kept,) = tmp_path.glob("*mlflow.db.before-*")
    assert kept.read_bytes() == before


def make_newer_store(path: Path) -> None:
    """Give a store a version of the schema that this MLflow does not know."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")


def make_foreign_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE thesis (chapter TEXT)")


def make_text(path: Path) -> None:
    path.write_text("not a database " * 100)


def make_damaged_store(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"x" * (len(content) - 4096))


@pytest.mark.parametrize("command", [connect, lambda store: prepare(store, ["x"])])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (make_newer_store, r"a newer MLflow than this one .* \(pip install --upgrade mlflow\)"),
        (make_foreign_database, "a database of another program, with the table 'thesis'; name an"),
        (make_text, r"not an SQLite database\. Name another file, or move it away \(mv "),
        (make_damaged_store, r"it is damaged\. Move it away \(mv .*lanflow sync --all"),
    ],
)
def test_a_file_that_is_no_store_of_this_mlflow_is_left_alone_with_the_way_out(
    store: Store, tmp_path: Path, make: Any, told: str, command: Any
) -> None:
    path = Path(store.sqlite_path)
    make(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=told) as caught:
        command(store)
    message = str(caught.value)
    assert message.startswith(f"MLflow store sqlite:///{path}: ")
    assert "\n" not in message
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["mlflow.db"]
