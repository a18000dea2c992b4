"""Pickles made to take memory or time, and mutated ones: each is one message, at no cost."""

import json
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.core.errors import UserError
from lanflow.data.pickled_values import MAX_OPCODES
from lanflow.data.training_file import read_training_file
from lanflow.data.unpickling import read_pickle
from tests.conftest import REPOSITORY, training_file_content

HONEST = pickle.dumps(training_file_content(n_sets=2, n_per_set=3), protocol=3)
# What the process may take beyond what it has when it starts, for all of them.
EXTRA_MB = 400


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    content = pickle.encode_long(value)
    return b"\x8b" + struct.pack("<i", len(content)) + content


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + tuple_of(*arguments) + b"R"


def dtype(code: str, *state: bytes) -> bytes:
    made = call("numpy", "dtype", text(code), b"\x89", b"\x88")
    return made + (tuple_of(*state) + b"b" if state else b"")


def array(shape: bytes, kind: bytes, content: bytes) -> bytes:
    made = call(
        "numpy.core.multiarray",
        "_reconstruct",
        name("numpy", "ndarray"),
        tuple_of(number(0)),
        raw(b"b"),
    )
    return made + tuple_of(number(1), shape, kind, b"\x89", content) + b"b"


def as_settings(body: bytes) -> bytes:
    """A sound training file with a generator_config of these opcodes."""
    return HONEST[:-1] + text("generator_config") + b"}" + text("x") + body + b"ss."


FLOATS = array(tuple_of(number(10**5)), dtype("f4"), raw(b"\0" * 4 * 10**5))


def bombs() -> Iterator[tuple[str, bytes]]:
    """Names and contents of files that cost a careless reader gigabytes, or for ever."""
    large = struct.pack("<Q", 2**40)
    yield "bytes of a declared terabyte", b"\x80\x04\x8e" + large + b"."
    yield "text of a declared terabyte", b"\x80\x04\x8d" + large + b"."
    yield "bytearray of a declared terabyte", b"\x80\x05\x96" + large + b"."
    yield "frame of a declared terabyte", b"\x80\x04\x95" + large + b"N."
    yield "bytes of declared gigabytes", b"B\xff\xff\xff\xff."
    yield "text of declared gigabytes", b"X\xff\xff\xff\xff."
    yield "integer of declared gigabytes", b"\x8b\xff\xff\xff\x7f."
    yield "integer of a megabyte", number(1 << 8 * 10**6) + b"."
    yield "integer of a million digits", b"I" + b"9" * 10**6 + b"\n."
    yield "long of a million digits", b"L" + b"9" * 10**6 + b"L\n."
    yield "memo at a far place", b"\x80\x02Nr\xff\xff\xff\x7f."
    yield "memo at a far place, as text", b"Np99999999999\n."
    for kind in ("bytes", "bytearray", "set"):
        yield f"{kind} of a number", call("builtins", kind, number(10**12)) + b"."
        yield f"__builtin__ {kind}", call("__builtin__", kind, number(10**12)) + b"."
        yield (
            f"{kind}, made as an object",
            (b"\x80\x02" + name("builtins", kind) + tuple_of(number(10**12)) + b"\x81."),
        )
    yield "set of an array", call("builtins", "frozenset", FLOATS) + b"."
    yield "bytes of an array", call("builtins", "bytes", FLOATS) + b"."
    yield (
        "array by its class",
        (call("numpy", "ndarray", tuple_of(number(10**10)), text("O")) + b"."),
    )
    yield (
        "array of a far shape",
        array(tuple_of(number(10**12)), dtype("f4"), raw(b"\0" * 4)) + b".",
    )
    yield "objects of a far shape", array(tuple_of(number(10**9)), dtype("O"), b"]") + b"."
    yield (
        "array of nothing, often",
        array(tuple_of(number(10**12), number(0)), dtype("f4"), raw(b"")) + b".",
    )
    yield "array of empty texts", array(tuple_of(number(10**12)), dtype("S0"), raw(b"")) + b"."
    yield "array of a negative shape", array(tuple_of(number(-1)), dtype("f4"), raw(b"")) + b"."
    yield (
        "array of many dimensions",
        (array(b"(" + number(1) * 1000 + b"t", dtype("f4"), raw(b"\0" * 4)) + b"."),
    )
    yield (
        "buffer of a far shape",
        (
            call(
                "numpy.core.numeric",
                "_frombuffer",
                raw(b""),
                dtype("f4"),
                tuple_of(number(10**12)),
                text("C"),
            )
            + b"."
        ),
    )
    yield (
        "scalar of objects",
        call("numpy.core.multiarray", "scalar", dtype("O"), raw(b"x" * 8)) + b".",
    )
    for code in (
        "V1000000000",
        "S1000000000",
        "1000000000i4",
        "i4," * 1000,
        "(9999999,)f8",
        "M8[ns]",
    ):
        yield f"dtype {code[:12]}", dtype(code) + b"."
    fields = tuple_of(text("a")), b"}" + text("a") + tuple_of(dtype("O"), number(0)) + b"s"
    state = number(3), text("<"), b"N", *fields, number(8), number(1), number(27)
    yield (
        "numbers that would be taken for objects",
        (array(tuple_of(number(1)), dtype("S8", *state), raw(b"\1" * 8)) + b"."),
    )
    doubled = b"))\x86" + b"2\x86" * 60
    yield "tuple of tuples as a key", b"}" + doubled + b"Ns."
    yield "tuple of tuples in a set", b"\x8f(" + doubled + b"\x90."
    yield "tuple of tuples in a frozenset", b"(" + doubled + b"\x91."
    yield "tuple of tuples to a set", call("builtins", "set", b"](" + doubled + b"e") + b"."
    yield (
        "tuple of tuples in an ordered dict",
        (call("collections", "OrderedDict", b"](](" + doubled + b"Nee") + b"."),
    )
    prime = 2**61 - 1  # whose multiples all have the hash 0
    yield (
        "keys of one hash",
        b"}(" + b"".join(number(i * prime) + b"N" for i in range(20_000)) + b"u.",
    )
    yield (
        "keys of one hash, complex",
        (
            b"}("
            + b"".join(
                call("builtins", "complex", number(-1000003 * i), number(i)) + b"N"
                for i in range(9)
            )
            + b"u."
        ),
    )
    yield "sets without end", b"\x8f" * 10**7 + b"."
    yield "lists in lists", b"]" * 150_000 + b"a" * 149_999 + b"."
    yield "names without end", b"cA\nB\n" * 10**6 + b"."
    yield "marks without end", b"(" * 10**7 + b"."
    # In a training file that is sound elsewhere.
    yield "settings nested by reference", as_settings(b"]" + _doubled_lists(60))
    yield "settings nested deeply", as_settings(b"]" * 50_000 + b"a" * 49_999)
    yield "settings that hold themselves", as_settings(b"]q\xf0h\xf0a")
    yield (
        "a text, often",
        as_settings(text("x" * 10**6) + b"q\xf0" + b"0](" + b"h\xf0" * 50_000 + b"e"),
    )
    yield "an array, often", as_settings(FLOATS + b"q\xf00](" + b"h\xf0" * 50_000 + b"e")
    yield (
        "texts that are none",
        as_settings(array(tuple_of(number(2)), dtype("U1"), raw(b"\xff" * 8))),
    )
    yield (
        "a large array",
        as_settings(array(tuple_of(number(10**7)), dtype("b1"), raw(b"\0" * 10**7))),
    )


def _doubled_lists(n: int) -> bytes:
    """A list of two references to a list of two references, and so on."""
    return b"".join(b"q\xf00](h\xf0h\xf0e" for _ in range(n))


BOMBS = dict(bombs())

LIMITED = """
import json, resource, sys, time
from pathlib import Path
from tests.unit.data.test_unpickling_limits import BOMBS, EXTRA_MB
from lanflow.core.errors import UserError
from lanflow.data.training_file import read_training_file

(line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmSize" in x]
limit = int(line.split()[1]) * 1024 + EXTRA_MB * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {}
for name, content in BOMBS.items():
    start = time.process_time()
    try:
        read_training_file(content, Path("f.pickle"))
        said = "nothing"
    except UserError as e:
        said = str(e)
    found[name] = said, time.process_time() - start
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"found": found, "taken_mb": taken / 1024}))
"""


@pytest.fixture(scope="module")
def outcome() -> dict[str, Any]:
    """What a process of limited memory says to each of the bombs."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_made_to_take_memory_or_time_is_one_message(
    outcome: dict[str, Any], bomb: str
) -> None:
    said, seconds = outcome["found"][bomb]
    assert said.startswith("f.pickle: ")
    assert "\n" not in said
    assert len(said) < 300
    assert "MemoryError" not in said
    assert "Unable to allocate" not in said
    assert seconds < 10  # of the process alone; the longest takes less than one


def test_all_of_them_take_little_memory(outcome: dict[str, Any]) -> None:
    assert outcome["taken_mb"] < 200


def test_more_parts_than_any_training_file_has_are_refused() -> None:
    assert read_pickle(b"N0" * (MAX_OPCODES // 2 - 1) + b"N.", "f.pickle") is None
    with pytest.raises(UserError, match="it has more than 200,000 parts"):
        read_pickle(b"N0" * (MAX_OPCODES // 2) + b"N.", "f.pickle")


def read_or_refuse(content: bytes) -> None:
    """Read it, or refuse it with one message that names the file, soon and without imports."""
    modules = set(sys.modules)
    start = time.process_time()
    said = "f.pickle: "
    try:
        read_training_file(content, Path("f.pickle"))
    except UserError as e:
        said = str(e)
    assert said.startswith("f.pickle: ")
    assert len(said) < 2000
    assert time.process_time() - start < 10
    assert set(sys.modules) == modules


@settings(deadline=None, max_examples=400)
@given(
    protocol=st.sampled_from([0, 2, 3, 4, 5]),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=5
    ),
)
def test_mutated_files_are_read_or_refused(
    protocol: int, edits: list[tuple[float, int, bytes]]
) -> None:
    content = WHOLE[protocol]
    for place, n_removed, added in edits:
        at = int(place * len(content))
        content = content[:at] + added + content[at + n_removed :]
    read_or_refuse(content)


WHOLE = {
    protocol: pickle.dumps(training_file_content(n_sets=2, n_per_set=3), protocol=protocol)
    for protocol in (0, 2, 3, 4, 5)
}

OPCODES = [
    *(b"(", b")", b"]", b"}", b"\x8f", b"N", b"\x88", b"\x89", b"0", b"1", b"2", b"a", b"e", b"s"),
    *(b"u", b"\x90", b"\x91", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"R", b"o", b"\x81"),
    *(b"\x92", b"\x93", b"b", b"\x94", b"q\x01", b"h\x01", b"q\x00", b"h\x00", b"K\x03", b"Q"),
    *(number(10**9), number(2**70), text("lan_data"), text("numpy"), text("dtype"), raw(b"\0" * 8)),
    *(name("numpy", "ndarray"), name("os", "system"), name("builtins", "set"), b"ios\nsystem\n"),
    *(name("numpy.core.multiarray", "_reconstruct"), name("numpy.core.multiarray", "scalar")),
    *(name("numpy.core.numeric", "_frombuffer"), name("collections", "OrderedDict"), dtype("f4")),
    *(dtype("O"), dtype("U1"), tuple_of(number(2)), b"\x82\x01", b"\x97", b"\x98", b"P1\n"),
    *(array(tuple_of(number(2)), dtype("f4"), raw(b"\0" * 8)), name("builtins", "bytearray")),
]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(OPCODES), max_size=30))
def test_any_opcodes_are_read_or_refused(opcodes: list[bytes]) -> None:
    read_or_refuse(b"".join(opcodes) + b".")
    read_or_refuse(as_settings(b"".join(opcodes)))


def test_arrays_that_a_file_refers_to_twice_are_one() -> None:
    content = np.arange(3.0)
    read = read_pickle(pickle.dumps([content, {"again": content}]), "f.pickle")
    assert read[0] is read[1]["again"]
