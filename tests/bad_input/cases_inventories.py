"""Inventories, params and tags of generation runs that somebody else recorded in the store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from tests.bad_input.case import BASE, Case, lanflow

STORE = "inventories.db"
_FILE = {"filename": "a.pickle", "size_bytes": 1}


@dataclass(frozen=True)
class Inventory:
    """What one run of an experiment recorded, and the pattern of the message."""

    name: str
    expected: str
    text: str
    tags: Mapping[str, str] = field(default_factory=dict)


def _listing(name: str, expected: str, *files: Any, **tags: str) -> Inventory:
    return Inventory(name, expected, json.dumps({"num_files": 1, "files": files}), tags)


INVENTORIES = [
    _listing("a file above its folder", "plain file name", {**_FILE, "filename": "../a.pickle"}),
    _listing("an absolute file", "plain file name", {**_FILE, "filename": "/etc/passwd"}),
    _listing("a name with a NUL", "plain file name", {**_FILE, "filename": "a\0b"}),
    _listing("a number as a name", "plain file name", {**_FILE, "filename": 5}),
    _listing("no name", "plain file name", {**_FILE, "filename": ""}),
    _listing("a text as an entry", "names a file None", "a.pickle"),
    _listing("a text as a size", "size", {**_FILE, "size_bytes": "5"}),
    _listing("a negative size", "size", {**_FILE, "size_bytes": -5}),
    _listing("a size of an exabyte", "size", {**_FILE, "size_bytes": 10**30}),
    _listing("a digest of letters", "sha256", {**_FILE, "sha256": "x"}),
    _listing("artifacts above their run", "data_artifact_path", _FILE, data_artifact_path="../x"),
    _listing("artifacts of the machine", "data_artifact_path", _FILE, data_artifact_path="/etc"),
    _listing("no file", "no run with files"),
    Inventory("no JSON", "inventory", "{"),
    Inventory("a list", "inventory", "[]"),
    Inventory("files as a mapping", "inventory", '{"files": {}}'),
    Inventory("brackets by the thousand", "inventory", "[" * 100_000),
    Inventory(
        "a size that is no number", "size", '{"files": [{"filename": "a", "size_bytes": NaN}]}'
    ),
    Inventory(
        "a number of 5,000 digits",
        "inventory",
        f'{{"files": [{{"filename": "a", "size_bytes": {"9" * 5000}}}]}}',
    ),
]


def write_store(folder: Path) -> None:
    """A store with an experiment for each inventory."""
    client = MlflowClient(f"sqlite:///{folder / STORE}")
    for number, inventory in enumerate(INVENTORIES):
        place = folder / "inventories" / str(number)
        experiment = client.create_experiment(f"e{number}", artifact_location=str(place))
        run = client.create_run(experiment, tags=dict(inventory.tags)).info.run_id
        client.log_param(run, "data_output_folder", str(folder / "files"))
        client.log_param(run, "model", "ddm")
        client.log_text(run, inventory.text, "generated_files_inventory.json")
        client.set_terminated(run)


CASES: list[Case] = [
    lanflow(
        inventory.name,
        inventory.expected,
        *("query", f"e{number}", "--output", "q.json"),
        *("--mlflow-tracking-uri", f"sqlite:///{BASE}/{STORE}"),
    )
    for number, inventory in enumerate(INVENTORIES)
]
