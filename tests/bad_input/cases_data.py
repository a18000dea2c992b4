"""Training files, manifests, packed data sets, queries: damaged, of the wrong kind, or hostile."""

import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.data.manifest import Manifest
from tests.bad_input.case import BASE, Case, Content, lanflow, train
from tests.conftest import training_file_content

_GOOD = training_file_content()
_BYTES = pickle.dumps(_GOOD, protocol=4)
_FEATURES, _LABELS = _GOOD["lan_data"], _GOOD["lan_labels"]
_MODEL = _GOOD["model_config"]


class _Touch:
    """Would make a file if it were unpickled by pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch unpickled",)


def _dumped(**changes: Any) -> bytes:
    kept = {k: v for k, v in {**_GOOD, **changes}.items() if v is not KeyError}
    return pickle.dumps(kept, protocol=4)


def _spoilt(array: np.ndarray, value: float) -> np.ndarray:
    copy = array.copy()
    copy[3] = value
    return copy


_ONLY_LAN = {
    f"{kind}_{part}": KeyError for kind in ("cpn", "opn", "gonogo") for part in ("data", "labels")
}
_FILES: list[tuple[str, str, bytes]] = [
    ("cut in the middle", "", _BYTES[: len(_BYTES) // 2]),
    ("cut by a byte", "", _BYTES[:-1]),
    ("empty", "", b""),
    ("a text", "", b"hello"),
    ("compressed", "", gzip.compress(_BYTES)),
    ("a list", "a list, expected a dict", pickle.dumps([1])),
    ("no labels", "lan_data.* with its labels", _dumped(lan_labels=KeyError, **_ONLY_LAN)),
    ("fewer labels than rows", "lan_labels", _dumped(lan_labels=_LABELS[:-1])),
    ("NaN among labels", "lan_labels holds 1 value", _dumped(lan_labels=_spoilt(_LABELS, np.nan))),
    ("inf among features", "lan_data holds", _dumped(lan_data=_spoilt(_FEATURES, np.inf))),
    (
        "labels that float32 has not",
        "lan_labels",
        _dumped(lan_labels=_LABELS.astype(float) * 1e300),
    ),
    ("an array of objects", "", _dumped(lan_labels=np.array([_Touch()] * len(_LABELS)))),
    ("an object that runs a command", "", _dumped(lan_labels=_Touch())),
    ("no rows", "lan_data has no rows", _dumped(lan_data=_FEATURES[:0], lan_labels=_LABELS[:0])),
    ("a column less", "lan_data has shape", _dumped(lan_data=_FEATURES[:, :-1])),
    ("three dimensions", "lan_data has shape", _dumped(lan_data=_FEATURES[None])),
    ("numbers as texts", "lan_data is <U", _dumped(lan_data=_FEATURES.astype(str))),
    ("complex numbers", "lan_data is complex", _dumped(lan_data=_FEATURES.astype(complex))),
    ("labels of yes and no", "lan_labels is bool", _dumped(lan_labels=_LABELS > 0)),
    ("dates", "arrays of 'M8'", _dumped(lan_data=_FEATURES.astype("M8[s]"))),
    ("no model", "'model_config'", _dumped(model_config=KeyError)),
    ("a model that is a number", "name", _dumped(model_config={**_MODEL, "name": 5})),
    ("a model with a path", r"'\.\./x'", _dumped(model_config={**_MODEL, "name": "../x"})),
    ("parameters that are numbers", "params", _dumped(model_config={**_MODEL, "params": [1]})),
    (
        "one parameter set",
        "distinct parameter set",
        _dumped(
            lan_data=np.repeat(_FEATURES[:1], 50, 0),
            lan_labels=np.repeat(_LABELS[:1], 50),
            **_ONLY_LAN,
        ),
    ),
]


def _files(name: str, expected: str, files: dict[str, Content]) -> Case:
    """A training from a folder of files; what they are packed into may stay, complete."""
    words = (
        *("torchtrain", "--config-path", f"{BASE}/training.yaml", "--device", "cpu"),
        *("--threads", "1", "--training-data-folder", "data", "--data-cache", "cache"),
        *("--networks-path-base", "networks", "--network-name", "n"),
    )
    return Case(name, words, expected, files, may_write=frozenset({"cache"}))


def _loop(path: Path, base: Path) -> None:
    path.symlink_to(path.name)


def _names_of_two_models(path: Path, base: Path) -> None:
    path.write_bytes(_BYTES)
    path.with_name("other.pickle").write_bytes(_dumped(model_config={**_MODEL, "name": "angle"}))


_SPECIAL: list[tuple[str, str, Content]] = [
    ("a folder that is called a file", "data", lambda path, _: path.mkdir()),
    ("a link to itself", "data", _loop),
    ("a link to nothing", "data", lambda path, _: path.symlink_to("nothing")),
    ("a pipe", "data", lambda path, _: os.mkfifo(path)),
    ("a device without an end", "data", lambda path, _: path.symlink_to("/dev/zero")),
    ("files of two models", "model angle", _names_of_two_models),
]


def _manifest(**changes: Any) -> Content:
    """Makes a manifest, which is the sound one with some keys changed."""

    def write(path: Path, base: Path) -> None:
        content = json.loads((base / "manifest.json").read_text())
        content |= {key: value for key, value in changes.items() if value is not KeyError}
        for key in (key for key, value in changes.items() if value is KeyError):
            del content[key]
        path.write_text(json.dumps(content))

    return write


def _manifest_of(row: dict[str, Any]) -> Content:
    """Makes a manifest of one other file, with the digest that it would have."""

    def write(path: Path, base: Path) -> None:
        content = json.loads((base / "manifest.json").read_text()) | {"files": [row]}
        manifest = Manifest.model_validate(content)
        path.write_text(json.dumps({**content, "digest": manifest.content_digest()}))

    return write


_ROW = {
    "name": "x.pickle",
    "path": "/nowhere/x.pickle",
    "size_bytes": 5,
    "sha256": "0" * 64,
    "run_id": None,
}
_MANIFESTS: list[tuple[str, str, Content]] = [
    ("cut", r"m\.json: damaged", "{"),
    ("a list", r"m\.json: expected keys", "[]"),
    ("of version 9", r"m\.json: manifest_version is 9", _manifest(manifest_version=9)),
    ("without files", "missing key 'files'", _manifest(files=KeyError)),
    ("of no file", r"m\.json: files", _manifest(files=[])),
    ("with a number of files", r"m\.json: files", _manifest(files=5)),
    ("with files of null", r"m\.json: files\.0\.name", _manifest(files=[{"name": None}])),
    ("of a file that is gone", "/nowhere/x.pickle", _manifest_of(_ROW)),
    (
        "of a file of an exabyte",
        "GiB of memory|/nowhere",
        _manifest_of({**_ROW, "size_bytes": 10**18}),
    ),
    ("with a list of settings", r"m\.json: generator", _manifest(generator=[])),
    ("with a number as digest", r"m\.json: digest", _manifest(digest=5)),
    ("with bounds upside down", r"m\.json: bounds", _manifest(bounds={"v": [3, -3]})),
    ("with an unknown key", r"m\.json: unknown key 'dijest'", _manifest(dijest="x")),
    ("nested too deeply", r"m\.json: damaged", "[" * 100_000),
    ("of bytes that are no text", r"m\.json: ", b"\xff\xfe{"),
]


def _data_set(change: Callable[[Path], object]) -> dict[str, Content]:
    """A copy of the sound data set with one thing wrong."""

    def write(path: Path, base: Path) -> None:
        shutil.copytree(base / "data_set", path)
        change(path)

    return {"ds": write}


def _record(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "data_set.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _array(name: str, content: bytes | np.ndarray) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "arrays" / f"{name}.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)

    return change


_DATA_SETS: list[tuple[str, str, Callable[[Path], object]]] = [
    ("record cut", "not a packed data set", lambda d: os.truncate(d / "data_set.json", 50)),
    ("of version 7", "version 7", _record(data_set_version=7)),
    ("with a text as count", "n_sets", _record(n_sets="x")),
    ("with a number as model", "model", _record(model=5)),
    ("with bounds of texts", "bounds", _record(bounds={"v": ["a", "b"]})),
    ("with shapes of texts", "shapes", _record(shapes={"lan": ["a", 6, 1]})),
    ("of no network type", "lan", _record(shapes={})),
    ("features a text", "lan_features", _array("lan_features", b"x")),
    ("features as objects", "lan_features", _array("lan_features", np.array([_Touch()]))),
    ("features cut", "lan_features", lambda d: os.truncate(d / "arrays/lan_features.npy", 300)),
    ("sets cut", "lan_sets", lambda d: os.truncate(d / "arrays/lan_sets.npy", 20)),
]

CASES: list[Case] = [
    *(
        _files(f"a training file {name}", expected or "f.pickle", {"data/f.pickle": content})
        for name, expected, content in _FILES
    ),
    *(
        _files(f"data is {name}", expected, {"data/f.pickle": content})
        for name, expected, content in _SPECIAL
    ),
    _files("data of no folder", "data", {}),
    _files("data with no file of its kind", "data", {"data/readme.txt": "nothing here"}),
    *(
        train(
            f"a manifest {name}: train", expected, "--manifest", "m.json", files={"m.json": content}
        )
        for name, expected, content in _MANIFESTS
        if name not in ("of a file that is gone", "of a file of an exabyte")
    ),
    *(
        lanflow(
            f"a manifest {name}: materialise",
            expected,
            "materialise",
            "m.json",
            "--output",
            "d",
            files={"m.json": content},
        )
        for name, expected, content in _MANIFESTS
    ),
    lanflow("a manifest that is missing: verify", "none.json", "verify", "none.json"),
    lanflow(
        "a manifest of other files: verify",
        "missing",
        "verify",
        "m.json",
        files={"m.json": _manifest(files=[_ROW])},
    ),
    lanflow(
        "a manifest of another data set: audit",
        "digest|data set",
        "audit",
        f"{BASE}/data_set",
        "--manifest",
        "m.json",
        "--output",
        "a.json",
        files={"m.json": _manifest(digest="0" * 64)},
    ),
    *(
        train(f"a data set {name}", expected, "--data-set", "ds", files=_data_set(change))
        for name, expected, change in _DATA_SETS
    ),
    *(
        lanflow(
            f"a query {name}",
            expected,
            "manifest",
            "--query",
            "q.json",
            "--output",
            "m.json",
            files={"q.json": content},
        )
        for name, expected, content in [
            ("cut", r"q\.json: damaged", "x"),
            ("of version 1", r"q\.json: query_version", '{"query_version": 1}'),
            ("of nothing", r"q\.json: missing key", '{"query_version": 3}'),
            ("of a list", r"q\.json: expected keys", "[]"),
        ]
    ),
]
