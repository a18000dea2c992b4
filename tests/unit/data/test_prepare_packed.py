"""Packed data that is not what its record and its manifest say is refused before a training."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.dataset import open_data_set
from lanflow.data.manifest import read_manifest
from lanflow.data.prepare import PackedData, materialise_once, open_packed
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from lanflow.training.run import train
from tests.conftest import training_options

Change = Callable[[Path], object]


@pytest.fixture
def folder(packed: PackedData, tmp_path: Path) -> Path:
    """A copy of a data set with its manifest, to change."""
    place = tmp_path / "data_set"
    shutil.copytree(packed.data_set.folder, place)
    return place


def record(**keys: Any) -> Change:
    """Replace keys of ``data_set.json``."""
    return lambda folder: edit(folder / "data_set.json", keys)


def manifest(**keys: Any) -> Change:
    """Replace keys of ``manifest.json``."""
    return lambda folder: edit(folder / "manifest.json", keys)


def edit(path: Path, keys: dict[str, Any]) -> None:
    content = json.loads(path.read_text())
    for key, value in keys.items():
        content[key] = value(content[key]) if callable(value) else value
    path.write_text(json.dumps(content))


def without_key(name: str, key: str) -> Change:
    """Remove a key of a document."""

    def act(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))

    return act


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Replace an array."""

    def act(folder: Path) -> None:
        path = folder / "arrays" / f"{name}.npy"
        np.save(path, change(np.load(path)))

    return act


def cut(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / "arrays" / f"{name}.npy", size)


def without(name: str) -> Change:
    return lambda folder: (folder / "arrays" / f"{name}.npy").unlink()


def is_text(name: str) -> Change:
    return lambda folder: (folder / "arrays" / f"{name}.npy").write_text("features")


def is_archive(folder: Path) -> None:
    with (folder / "arrays" / "lan_labels.npy").open("wb") as file:
        np.savez(file, np.zeros(3))


def objects(_: np.ndarray) -> np.ndarray:
    return np.array([{}], dtype=object)


DAMAGES: dict[str, tuple[Change, str]] = {
    "features missing": (without("lan_features"), r"lan_features.npy: cannot be read"),
    "sets missing": (without("cpn_sets"), r"cpn_sets.npy: cannot be read"),
    "header cut": (cut("lan_features", 20), r"lan_features.npy: cannot be read"),
    "rows cut": (cut("lan_features", 5000), r"lan_features.npy: cannot be read"),
    "empty file": (cut("lan_labels", 0), r"lan_labels.npy: cannot be read"),
    "text": (is_text("lan_features"), r"lan_features.npy: cannot be read"),
    "archive": (is_archive, r"lan_labels.npy: cannot be read"),
    "objects": (array("lan_features", objects), r"lan_features.npy: cannot be read"),
    "float64": (array("lan_features", np.float64), r"lan_features.npy: holds float64 \(600, 6\)"),
    "big-endian": (array("lan_labels", lambda a: a.astype(">f4")), r"lan_labels.npy: holds >f4"),
    "fewer labels": (array("lan_labels", lambda a: a[:10]), r"lan_labels.npy: .* \(10, 1\)"),
    "flat labels": (array("lan_labels", np.ravel), r"lan_labels.npy: holds float32 \(600,\)"),
    "fewer columns": (array("lan_features", lambda a: a[:, :3]), r"holds float32 \(600, 3\)"),
    "more rows": (array("lan_sets", lambda a: np.r_[a, a]), r"lan_sets.npy: holds int32 \(1200,\)"),
    "shapes too large": (record(shapes=lambda s: {**s, "lan": [10**9, 6, 1]}), "1000000000 rows"),
    "shapes of 3 inputs": (record(shapes=lambda s: {**s, "lan": [600, 3, 1]}), "3 inputs"),
    "shapes of a new type": (record(shapes=lambda s: {**s, "rnn": [1, 1, 1]}), "'rnn' is no"),
    "no shapes": (record(shapes={}), "must not be empty"),
    "no files": (record(files=[]), "must not be empty"),
    "n_sets of all rows": (record(n_sets=10**12), "n_sets is 1000000000000"),
    "n_sets 0": (record(n_sets=0), "n_sets is 0"),
    "n_sets a text": (record(n_sets="x"), "n_sets: .* integer"),
    "model a number": (record(model=5), "model: .* string"),
    "another model": (record(model="angle"), r"was not packed from .*\(model: 'angle'"),
    "another digest": (record(digest="1" * 64), "was not packed from"),
    "another label source": (record(label_source="analytic"), "label_source: 'analytic'"),
    "bounds upside down": (record(bounds=lambda b: {**b, "v": [3, -3]}), "bounds: "),
    "bounds of others": (record(bounds={"x": [0, 1]}), "bounds are not those"),
    "file names": (record(files=lambda f: [{**f[0], "name": "x"}, *f[1:]]), "files: "),
    "files in another order": (record(files=lambda f: f[::-1]), "do not follow"),
    "unknown key": (record(colour="red"), "colour: "),
    "manifest's digest": (manifest(digest="0" * 64), r"manifest.json: .* the manifest was changed"),
    "manifest's model": (manifest(model="angle"), r"manifest.json: .* the manifest was changed"),
    "manifest's sha256": (
        manifest(files=lambda f: [{**f[0], "sha256": "0" * 64}, *f[1:]]),
        r"manifest.json: .* the manifest was changed",
    ),
    "manifest's names": (
        manifest(files=lambda f: [{**f[0], "name": "x"}, *f[1:]]),
        "was not packed from .*manifest.json .files",
    ),
    "manifest's generator": (manifest(generator=[]), r"manifest.json: generator"),
    "record without files": (without_key("data_set.json", "files"), "files: "),
    "manifest without files": (
        without_key("manifest.json", "files"),
        r"manifest.json: missing key 'files'",
    ),
    "manifest of numbers": (manifest(digest=5), r"manifest.json: digest"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_changed_data_is_one_message(folder: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    change(folder)
    with pytest.raises(UserError, match=message) as raised:
        open_packed(folder, folder / "manifest.json")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("change", [lambda sets: sets + 10**6, lambda sets: sets - 5])
def test_rows_of_sets_that_are_not_there_are_refused(
    folder: Path, tmp_path: Path, store: Store, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """They are read when the data is split or audited, since they may be very many."""
    array("lan_sets", lambda sets: change(sets).astype("i4"))(folder)
    data = open_packed(folder, folder / "manifest.json")
    with pytest.raises(UserError, match=r"lan_sets.npy: holds parameter sets"):
        audit_data_set(data.data_set, data.manifest)
    options = training_options(
        tmp_path, data, mlflow_on=True, mlflow_tracking_uri=store.uri, network_name="net"
    )
    with pytest.raises(UserError, match=r"lan_sets.npy: holds parameter sets"):
        train(options)
    assert not list((tmp_path / "networks").rglob("*.json"))
    assert connect(store).get_experiment_by_name("ddm-training") is None


def test_a_cached_data_set_that_was_changed_is_packed_again(
    packed: PackedData, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = materialise_once(packed.manifest, cache)
    cut("lan_features", 100)(first.data_set.folder)
    (first.data_set.folder / "manifest.json").unlink()  # as if killed before it was written
    again = materialise_once(packed.manifest, cache)
    again.data_set.check_arrays()
    assert read_manifest(again.data_set.folder / "manifest.json") == packed.manifest


def test_a_copy_that_a_killed_process_left_is_removed(folder: Path) -> None:
    beside = folder.with_name(f".{folder.name}.again")
    shutil.copytree(folder, beside)
    open_packed(folder, folder / "manifest.json")
    assert not beside.exists()
    assert open_data_set(folder).shapes
