import builtins
import codecs
import collections
import contextlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy._core import numeric

from lanflow.core.errors import UserError
from lanflow.data.pickled_values import Placeholder
from lanflow.data.unpickling import read_pickle
from tests.conftest import training_file_content


class Calls:
    """An object whose pickle calls a function with arguments when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


class Keeps:
    """An ordinary object with state."""

    def __init__(self) -> None:
        self.secret = "state"


class GrowingList(list[int]):
    """Pickled with its items after it is made."""


class GrowingDict(dict[str, int]):
    """Pickled with its items after it is made."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_are_read_from_every_protocol(protocol: int) -> None:
    content = {
        "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "integers": np.arange(3),
        "scalar": np.float64(2.5),
        "single": np.float32(0.5),
        "empty": np.zeros((0, 2), dtype=np.float32),
        "plain": [1, 2.5, "text", b"bytes", None, True, (1, 2), {3}, frozenset({4}), 1j],
        "bytes": bytearray(b"xy"),
        "ordered": collections.OrderedDict(a=1),
    }
    read = read_pickle(pickle.dumps(content, protocol=protocol), "f.pickle")
    assert list(read) == list(content)
    for key in ("floats", "fortran", "integers", "empty"):
        np.testing.assert_array_equal(read[key], content[key])
        assert read[key].dtype == content[key].dtype
    assert read["plain"] == content["plain"]
    assert (read["scalar"], read["single"]) == (2.5, 0.5)
    assert read["bytes"] == b"xy"
    assert read["ordered"] == {"a": 1}


def test_functions_classes_and_objects_become_placeholders() -> None:
    def boundary(t: float) -> float:
        return t

    content = {
        "of a module": os.path.join,
        "local": boundary,
        "class": Keeps,
        "object": Keeps(),
        "list": GrowingList([1, 2, 3]),
        "dict": GrowingDict(a=1),
        "path": Path("data"),
        "method": "text".upper,
        "key": {Keeps: 1},
        "array": np.ones(2),
    }
    read = read_pickle(cloudpickle.dumps(content), "f.pickle")
    assert isinstance(read["of a module"], Placeholder)
    assert read["of a module"].qualified_name == "posixpath.join"
    assert isinstance(read["class"], Placeholder)
    for key in ("local", "object", "list", "dict", "path", "method"):
        assert isinstance(read[key], Placeholder), key
    assert not hasattr(read["object"], "secret")
    assert next(iter(read["key"])).qualified_name.endswith("Keeps")
    assert read["array"].tolist() == [1, 1]


def dangerous(marker: Path) -> dict[str, Any]:
    """Objects whose pickle would leave a file at ``marker`` when loaded."""
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {marker}"),
        "builtins.eval": Calls(builtins.eval, touch),
        "builtins.exec": Calls(builtins.exec, touch),
        "builtins.open": Calls(builtins.open, str(marker), "w"),
        "builtins.__import__": Calls(builtins.__import__, "this"),
        "subprocess": Calls(subprocess.Popen, ["touch", str(marker)]),
        "shutil": Calls(shutil.copy, __file__, str(marker)),
        "getattr": Calls(builtins.getattr, Calls(builtins.__import__, "os"), "system"),
        "nested": {"a": [{"b": (1, Calls(os.system, f"touch {marker}"))}]},
        "in an array": np.array([Calls(os.system, f"touch {marker}")], dtype=object),
        "as a key": {Calls(os.system, f"touch {marker}"): 1},
        "through map": Calls(list, Calls(builtins.map, os.system, [f"touch {marker}"])),
        "argument of an accepted one": Calls(
            set, Calls(builtins.map, os.system, [f"touch {marker}"])
        ),
        "pickled again": Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {marker}"))),
    }


@pytest.mark.parametrize("name", sorted(dangerous(Path("x"))))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_code_runs_nothing(
    tmp_path: Path, name: str, protocol: int
) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps({"lan_data": dangerous(marker)[name]}, protocol=protocol)
    modules = set(sys.modules)
    with contextlib.suppress(UserError):
        read_pickle(content, "f.pickle")
    assert not marker.exists()
    assert set(sys.modules) == modules


def test_the_dangerous_pickles_of_these_tests_do_run_when_loaded_plainly(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(dangerous(marker)["nested"]))
    assert marker.exists()


def test_a_module_that_a_file_names_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for content in (
        b"ctrap_module\nthing\n.",
        b"(itrap_module\nthing\n.",
        b"ctrap_module\na.b\n)R.",
    ):
        read_pickle(content, "f.pickle")
    assert "trap_module" not in sys.modules


def test_references_to_things_outside_the_file_are_refused() -> None:
    with pytest.raises(UserError, match="outside the file are not accepted"):
        read_pickle(b"\x80\x04K\x01Q.", "f.pickle")


WHOLE = pickle.dumps(training_file_content(n_sets=2, n_per_set=3), protocol=4)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_pickle_names_the_file(length: int) -> None:
    with pytest.raises(UserError, match=r"^cut\.pickle: not a readable training file \(.+\)$"):
        read_pickle(WHOLE[:length], "cut.pickle")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle at all",
        b"PK\x03\x04",
        b"\x80\x63.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x0f.",
        b"\x80\x04\x82\x01.",
        b"cnumpy\ndtype\n(X\x04\x00\x00\x00nonetR.",
    ],
    ids=["empty", "text", "zip", "protocol", "huge", "extension", "dtype"],
)
def test_what_is_no_pickle_names_the_file(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^f\.pickle: not a readable training file \(.+\)$"):
        read_pickle(content, "f.pickle")


@pytest.fixture(scope="module")
def real_model_config() -> dict[str, Any]:
    from ssms.config import ModelConfigBuilder

    return dict(ModelConfigBuilder.from_model("angle"))


@pytest.mark.parametrize("dumps", [cloudpickle.dumps, pickle.dumps], ids=["cloudpickle", "pickle"])
def test_a_model_config_of_ssm_simulators_is_read_with_its_functions_inert(
    real_model_config: dict[str, Any], dumps: Callable[[Any], bytes]
) -> None:
    assert callable(real_model_config["boundary"])
    read = read_pickle(dumps({"model_config": real_model_config}), "f.pickle")["model_config"]
    assert set(read) == set(real_model_config)
    assert (read["name"], read["params"]) == ("angle", ["v", "a", "z", "t", "theta"])
    assert read["param_bounds"] == real_model_config["param_bounds"]
    assert isinstance(read["boundary"], Placeholder)
    assert read["boundary"].qualified_name.startswith("ssms.")


def test_reading_imports_nothing_even_where_ssm_simulators_is_installed(
    tmp_path: Path, real_model_config: dict[str, Any]
) -> None:
    path = tmp_path / "f.pickle"
    path.write_bytes(cloudpickle.dumps({"model_config": real_model_config}))
    program = (
        "import sys; from pathlib import Path; from lanflow.data.unpickling import read_pickle; "
        "path = Path(sys.argv[1]); read_pickle(path.read_bytes(), path); "
        "sys.exit(any(name.split('.')[0] in ('ssms', 'cloudpickle') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == 0


def test_names_of_numpy_before_version_2_are_read() -> None:
    array = np.arange(4, dtype=np.float32)
    content = pickle.dumps({"x": array, "y": np.float32(1)}, protocol=2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in old
    read = read_pickle(old, "f.pickle")
    np.testing.assert_array_equal(read["x"], array)
    assert read["y"] == 1


def test_out_of_band_array_constructors_of_protocol_5_are_read() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = pickle.dumps(array, protocol=5)
    assert b"_frombuffer" in content
    np.testing.assert_array_equal(read_pickle(content, "f.pickle"), array)


def test_a_placeholder_can_do_nothing_but_say_what_it_stands_for() -> None:
    read = read_pickle(pickle.dumps(os.getcwd), "f.pickle")
    assert not callable(read)
    assert repr(read) == "<placeholder for posix.getcwd>"


def test_a_file_cannot_change_the_constructors_it_may_call() -> None:
    buffer = io.BytesIO()
    pickler = pickle._Pickler(buffer, protocol=4)
    pickler.save_global(numeric._frombuffer, name="_frombuffer")  # type: ignore[attr-defined]
    state = pickle.dumps((None, {"__defaults__": (7,)}), protocol=2)[2:-1]
    read_pickle(buffer.getvalue() + state + b"b.", "f.pickle")
    assert numeric._frombuffer.__defaults__ == (None,)  # type: ignore[attr-defined]


def test_text_is_encoded_as_latin1_only() -> None:
    content = pickle.dumps(b"\xffbytes", protocol=2)
    assert read_pickle(content, "f.pickle") == b"\xffbytes"
    with pytest.raises(UserError, match="only latin1 text is accepted"):
        read_pickle(content.replace(b"latin1", b"rot_13"), "f.pickle")


class Rebuilt:
    """An array of objects whose pickle refers to a list that others refer to, too."""

    def __init__(self, items: list[int]) -> None:
        self.items = items

    def __reduce__(self) -> tuple[Any, ...]:
        state = (1, (len(self.items),), np.dtype(object), False, self.items)
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state


ITEMS, PAIRS = list(range(10_000)), [(i, i) for i in range(10_000)]
LONG = b"x" * 500_000
TEXT = LONG.decode()


@pytest.mark.parametrize(
    "repeated",
    [
        lambda: Calls(frozenset, ITEMS),
        lambda: Calls(set, ITEMS),
        lambda: Calls(collections.OrderedDict, PAIRS),
        lambda: Calls(bytearray, LONG),
        lambda: Calls(codecs.encode, TEXT, "latin1"),
        lambda: Rebuilt(ITEMS),
    ],
    ids=["frozenset", "set", "dict", "bytearray", "latin1", "array"],
)
def test_a_value_that_is_named_often_is_not_made_often(repeated: Callable[[], Any]) -> None:
    """A file of 0.8 MB could take 59 GB and ten minutes by naming one list 30,000 times."""
    once = read_pickle(pickle.dumps([repeated()]), "f.pickle")
    assert len(once[0]) in (10_000, 500_000)
    content = pickle.dumps([repeated() for _ in range(2_000)])
    assert len(content) < 2**20
    begun = time.process_time()
    with pytest.raises(UserError, match="it makes more of its values than it holds"):
        read_pickle(content, "f.pickle")
    assert time.process_time() - begun < 20  # a hang, not a measurement
