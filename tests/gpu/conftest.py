"""Trainings on a GPU: enough rows for several batches, layers of a usual size."""

import os

import pytest

from lanflow.data.locate import Places
from lanflow.data.prepare import PackedData, freeze, materialise_once
from tests.conftest import write_training_file

# The commands that tests start share the GPU with the tests' own process.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    """Two files of fifty parameter sets, 10,000 rows."""
    folder = tmp_path_factory.mktemp("packed")
    for i in range(2):
        path = folder / "files" / f"training_data_{i}.pickle"
        write_training_file(path, seed=i, n_sets=50, n_per_set=100)
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    return materialise_once(manifest, folder / "cache")
