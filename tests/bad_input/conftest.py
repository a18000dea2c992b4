"""Sound inputs, beside which each case puts one that is bad."""

import shutil
from pathlib import Path

import pytest
import yaml

from lanflow.core.files import write_json
from lanflow.data.locate import Places
from lanflow.data.prepare import freeze, materialise_once
from lanflow.tracking.client import connect
from lanflow.tracking.store import resolve_store
from tests.bad_input import cases_inventories
from tests.bad_input.case import STORE
from tests.bad_input.cases_generation import GENERATION_YAML
from tests.conftest import TRAINING_YAML, write_training_file
from tests.evaluated import write_network


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two YAMLs, training files, their manifest and data set, and a network with an evaluation."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, "N_EPOCHS": 1}))
    (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
    for i in range(2):
        write_training_file(folder / "files" / f"training_data_{i}.pickle", seed=i)
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    packed = materialise_once(manifest, folder / "cache")
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    shutil.copytree(packed.data_set.folder, folder / "data_set")
    write_network(folder / "network")
    connect(resolve_store(uri=f"sqlite:///{folder / STORE}"))
    shutil.copy(folder / STORE, folder / cases_inventories.STORE)
    cases_inventories.write_store(folder)
    return folder
