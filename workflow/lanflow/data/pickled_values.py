"""Values that a pickle may make: numpy arrays, bytes, sets, dicts and complex numbers.

The opcodes of :mod:`lanflow.data.unpickling` make them by the functions here, which stand for the
names that a file calls. Every other name is an inert :class:`Placeholder`.
"""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Files of ssm-simulators have fewer than 5,000 opcodes, however large their arrays.
MAX_OPCODES = 200_000
# Size of an integer that is a key; the hash of a smaller one is itself.
_MAX_KEY = 2**60
_MAX_DIMENSIONS = 32
# Characters that a message shows of what a file says.
SHOWN = 100
# Booleans, integers, floats, complex numbers, texts, objects; of no more than 4096 bytes each.
_ACCEPTED_DTYPE = re.compile(r"[<>|=]?(?:[?biufcSU]\d{0,3}|O8?)")


@dataclass(frozen=True)
class Placeholder:
    """Stands for a function, class or object that a training file names; does nothing."""

    qualified_name: str

    def __repr__(self) -> str:
        return f"<placeholder for {self.qualified_name}>"


class RefusedError(ValueError):
    """A file holds something that no training file needs."""


# Arrays. A pickle names a dtype and an empty array first, and gives each of them its state later.


@dataclass
class Dtype:
    """A numpy dtype being read: its code, and its byte order, which comes with its state."""

    code: str
    order: str = ""

    def set_state(self, state: Any) -> None:
        """Take the byte order from a state; a dtype with fields is refused."""
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise RefusedError("arrays of records are not accepted")
        if state[1] not in ("<", ">", "|", "="):
            raise RefusedError("a dtype has no order of bytes")
        self.order = str(state[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        made = np.dtype(self.code)
        if made.itemsize == 0:
            raise RefusedError("arrays of nothing are not accepted")
        return made if self.order in ("", "|") else made.newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass
class EmptyArray:
    """An array whose state comes later, and the places in the memo that refer to it."""

    places: list[int] = field(default_factory=list)


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> Dtype:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if not isinstance(code, str) or not _ACCEPTED_DTYPE.fullmatch(code):
        raise RefusedError(f"arrays of {_shown(code)} are not accepted")
    return Dtype(code)


def _empty_array(*_arguments: Any) -> EmptyArray:
    return EmptyArray()


def make_array(shape: Any, dtype: Any, is_fortran: Any, content: Any) -> np.ndarray:
    """Make an array of the bytes, or the list of objects, that the file holds."""
    if not (
        isinstance(dtype, Dtype)
        and isinstance(shape, tuple)
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in shape)
    ):
        raise RefusedError("an array has no shape or no dtype")
    kind = dtype.dtype
    size = 1
    for n in shape:
        size *= n
    # Zero rows of a million columns are no training data, and take forever to write out.
    if size == 0 and max(shape) > MAX_OPCODES:
        raise RefusedError(f"an array of shape {shape} holds nothing")
    if kind.hasobject:
        if not isinstance(content, list) or len(content) != size:
            raise RefusedError("an array of objects has not as many as its shape says")
        array = np.empty(size, kind)
        array[:] = [_inert(item) for item in content]
    else:
        if not isinstance(content, bytes | bytearray) or len(content) != size * kind.itemsize:
            raise RefusedError(f"an array of shape {shape} has not the bytes of its shape")
        array = np.frombuffer(content, kind, count=size)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _inert(item: Any) -> Any:
    """An item of an array of objects; what is not plain becomes a placeholder."""
    return item if isinstance(item, str | int | float | Placeholder | None) else Placeholder("?")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if isinstance(dtype, Dtype) and dtype.dtype.hasobject:
        raise RefusedError("an array of objects has no buffer")
    return make_array(shape, dtype, order == "F", content)


def _scalar(dtype: Any, content: Any = None) -> Any:
    if isinstance(content, str):  # as protocol 2 of Python 2 had it
        content = content.encode("latin1")
    if isinstance(dtype, Dtype) and dtype.dtype.hasobject:
        raise RefusedError("a scalar is no object")
    return make_array((), dtype, False, content)[()]


# Bytes, sets, dicts and numbers that a file may ask for by the name of a function.


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """``_codecs.encode`` as protocol 2 uses it for bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("only latin1 text is accepted")
    return text.encode("latin1")


def _bytes(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    if isinstance(content, str) and encoding == "latin-1":
        return content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise RefusedError("bytes are made of bytes only")
    return bytes(content)


def _bytearray(*arguments: Any) -> bytearray:
    return bytearray(_bytes(*arguments))


def _set(items: Any = ()) -> set[Hashable]:
    if not isinstance(items, list | tuple):
        raise RefusedError("a set is made of a list only")
    return {check_key(item) for item in items}


def make_frozenset(items: Any = ()) -> frozenset[Hashable]:
    """A frozen set of the items of a list."""
    return frozenset(_set(items))


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise RefusedError("a complex number is made of numbers only")
    return complex(real, imaginary)


def make_dict(pairs: Any = ()) -> dict[Hashable, Any]:
    """A dict of a list of pairs."""
    if not isinstance(pairs, list | tuple):
        raise RefusedError("an ordered dict is made of a list only")
    made: dict[Hashable, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RefusedError("an ordered dict is made of pairs only")
        made[check_key(pair[0])] = pair[1]
    return made


# The names that a file may call -> the function here that is called instead.
CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": make_dict,
}
for _module in ("builtins", "__builtin__"):  # the second is what protocol 2 and below write
    CONSTRUCTORS |= {
        f"{_module}.set": _set,
        f"{_module}.frozenset": make_frozenset,
        f"{_module}.complex": _complex,
        f"{_module}.bytes": _bytes,
        f"{_module}.bytearray": _bytearray,
    }
for _package in ("numpy.core", "numpy._core"):
    CONSTRUCTORS |= {
        f"{_package}.multiarray._reconstruct": _empty_array,
        f"{_package}.multiarray.scalar": _scalar,
        f"{_package}.numeric._frombuffer": _array_of_buffer,
    }


def check_key(value: Any) -> Hashable:
    """Refuse a key of a dict, or an item of a set, whose hash or comparison could take time."""
    if isinstance(value, str | bytes | float | Placeholder) or value is None:
        return value
    if isinstance(value, int) and abs(value) < _MAX_KEY:
        return value
    raise RefusedError(f"a {type(value).__name__} as a key is not accepted")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text[:SHOWN])
