import io
import os
import pickle

import numpy as np
import pytest
from numpy._core import numeric

from lanflow.errors import UserError
from lanflow.unpickling import read_pickle


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
