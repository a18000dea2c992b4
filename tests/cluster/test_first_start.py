"""Many processes start at once on an empty PostgreSQL database."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.cluster.services import run_postgres
from tests.first_start import race

# One worker has the servers.
pytestmark = pytest.mark.cluster

N_RACERS = 12


@pytest.fixture
def database(services_folder: Path) -> Iterator[str]:
    with run_postgres(Path(tempfile.mkdtemp(dir=services_folder))) as uri:
        yield uri


def test_processes_that_race_for_an_empty_database_all_get_the_same_whole_one(
    database: str, tmp_path: Path
) -> None:
    race(database, N_RACERS, MLFLOW_ARTIFACT_LOCATION=str(tmp_path))
    connection = psycopg2.connect(database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM experiments ORDER BY experiment_id")
        assert cursor.fetchall() == [("Default",), ("x",)]
        cursor.execute("SELECT count(DISTINCT run_uuid), count(*) FROM metrics")
        assert cursor.fetchall() == [(N_RACERS, N_RACERS)]
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchall() == [(0,)]
    connection.close()
