"""Reading a pickle without running it.

A training file is a cloudpickle that names functions; ``pickle.load`` would import them and could
call anything. This reader interprets the opcodes of a pickle itself (protocols 0 to 5). It makes
numpy arrays of numbers, texts or plain values, and plain containers. Every other name in the file
becomes an inert placeholder: nothing is imported, nothing is called.

What a file can make this reader do is bounded by the file's size and by the limits below. The
number of opcodes limits time and the memory of small objects. Whatever is larger is a part of the
file's own bytes, and its length is checked against them before anything is made of it. What the
file makes of other values (sets, dicts, bytes, arrays of objects) may together not be larger than
the file, so that naming one long list a thousand times costs nothing. Keys of dicts and items of
sets are of kinds whose hash and comparison take no time, so deeply nested tuples cannot stall the
reader.
"""

import pickletools
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.core.errors import UserError

# Files of ssm-simulators have fewer than 5,000 opcodes, however large their arrays.
MAX_OPCODES = 200_000
# Bits of an integer: a seed has 128.
_MAX_BITS = 512
# Size of an integer that is a key; the hash of a smaller one is itself.
_MAX_KEY = 2**60
_MAX_DIMENSIONS = 32
# Bytes that may be made of other values beside those of the file's own size; and of one item.
_SPARE_BYTES, _ITEM_BYTES = 2**20, 8
# Characters that a message shows of what a file says.
_SHOWN = 100
# Booleans, integers, floats, complex numbers, texts, objects; of no more than 4096 bytes each.
_ACCEPTED_DTYPE = re.compile(r"[<>|=]?(?:[?biufcSU]\d{0,3}|O8?)")


@dataclass(frozen=True)
class Placeholder:
    """Stands for a function, class or object that a training file names; does nothing."""

    qualified_name: str

    def __repr__(self) -> str:
        return f"<placeholder for {self.qualified_name}>"


class _RefusedError(ValueError):
    """A file holds something that no training file needs."""


def read_pickle(content: bytes, path: Path | str) -> Any:
    """Read the bytes of a pickle without importing or calling anything that it names.

    Parameters
    ----------
    content
        The file's bytes.
    path
        The file's name, for errors.

    Raises
    ------
    UserError
        If the bytes are not a whole pickle of plain data.
    """
    try:
        return _Unpickler(budget=len(content) + _SPARE_BYTES).run(content)
    # A damaged pickle can raise nearly any exception, and each means that it is damaged.
    except Exception as e:
        reason = (str(e) or type(e).__name__)[:_SHOWN]
        raise UserError(f"{path}: not a readable training file ({reason})") from e


# Arrays. A pickle names a dtype and an empty array first, and gives each of them its state later.


@dataclass
class _Dtype:
    """A numpy dtype being read: its code, and its byte order, which comes with its state."""

    code: str
    order: str = ""

    def set_state(self, state: Any) -> None:
        """Take the byte order from a state; a dtype with fields is refused."""
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise _RefusedError("arrays of records are not accepted")
        if state[1] not in ("<", ">", "|", "="):
            raise _RefusedError("a dtype has no order of bytes")
        self.order = str(state[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        made = np.dtype(self.code)
        if made.itemsize == 0:
            raise _RefusedError("arrays of nothing are not accepted")
        return made if self.order in ("", "|") else made.newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass
class _EmptyArray:
    """An array whose state comes later, and the places in the memo that refer to it."""

    places: list[int] = field(default_factory=list)


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> _Dtype:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if not isinstance(code, str) or not _ACCEPTED_DTYPE.fullmatch(code):
        raise _RefusedError(f"arrays of {_shown(code)} are not accepted")
    return _Dtype(code)


def _empty_array(*_arguments: Any) -> _EmptyArray:
    return _EmptyArray()


def _make_array(shape: Any, dtype: Any, is_fortran: Any, content: Any) -> np.ndarray:
    """Make an array of the bytes, or the list of objects, that the file holds."""
    if not (
        isinstance(dtype, _Dtype)
        and isinstance(shape, tuple)
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in shape)
    ):
        raise _RefusedError("an array has no shape or no dtype")
    kind = dtype.dtype
    size = 1
    for n in shape:
        size *= n
    # Zero rows of a million columns are no training data, and take forever to write out.
    if size == 0 and max(shape) > MAX_OPCODES:
        raise _RefusedError(f"an array of shape {shape} holds nothing")
    if kind.hasobject:
        if not isinstance(content, list) or len(content) != size:
            raise _RefusedError("an array of objects has not as many as its shape says")
        array = np.empty(size, kind)
        array[:] = [_inert(item) for item in content]
    else:
        if not isinstance(content, bytes | bytearray) or len(content) != size * kind.itemsize:
            raise _RefusedError(f"an array of shape {shape} has not the bytes of its shape")
        array = np.frombuffer(content, kind, count=size)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _inert(item: Any) -> Any:
    """An item of an array of objects; what is not plain becomes a placeholder."""
    return item if isinstance(item, str | int | float | Placeholder | None) else Placeholder("?")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if isinstance(dtype, _Dtype) and dtype.dtype.hasobject:
        raise _RefusedError("an array of objects has no buffer")
    return _make_array(shape, dtype, order == "F", content)


def _scalar(dtype: Any, content: Any = None) -> Any:
    if isinstance(content, str):  # as protocol 2 of Python 2 had it
        content = content.encode("latin1")
    if isinstance(dtype, _Dtype) and dtype.dtype.hasobject:
        raise _RefusedError("a scalar is no object")
    return _make_array((), dtype, False, content)[()]


# Bytes, sets, dicts and numbers that a file may ask for by the name of a function.


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """``_codecs.encode`` as protocol 2 uses it for bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("only latin1 text is accepted")
    return text.encode("latin1")


def _bytes(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    if isinstance(content, str) and encoding == "latin-1":
        return content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise _RefusedError("bytes are made of bytes only")
    return bytes(content)


def _bytearray(*arguments: Any) -> bytearray:
    return bytearray(_bytes(*arguments))


def _set(items: Any = ()) -> set[Hashable]:
    if not isinstance(items, list | tuple):
        raise _RefusedError("a set is made of a list only")
    return {_check_key(item) for item in items}


def _make_frozenset(items: Any = ()) -> frozenset[Hashable]:
    """A frozen set of the items of a list."""
    return frozenset(_set(items))


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise _RefusedError("a complex number is made of numbers only")
    return complex(real, imaginary)


def _make_dict(pairs: Any = ()) -> dict[Hashable, Any]:
    """A dict of a list of pairs."""
    if not isinstance(pairs, list | tuple):
        raise _RefusedError("an ordered dict is made of a list only")
    made: dict[Hashable, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _RefusedError("an ordered dict is made of pairs only")
        made[_check_key(pair[0])] = pair[1]
    return made


# The names that a file may call -> the function here that is called instead.
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": _make_dict,
}
for _module in ("builtins", "__builtin__"):  # the second is what protocol 2 and below write
    _CONSTRUCTORS |= {
        f"{_module}.set": _set,
        f"{_module}.frozenset": _make_frozenset,
        f"{_module}.complex": _complex,
        f"{_module}.bytes": _bytes,
        f"{_module}.bytearray": _bytearray,
    }
for _package in ("numpy.core", "numpy._core"):
    _CONSTRUCTORS |= {
        f"{_package}.multiarray._reconstruct": _empty_array,
        f"{_package}.multiarray.scalar": _scalar,
        f"{_package}.numeric._frombuffer": _array_of_buffer,
    }


def _check_key(value: Any) -> Hashable:
    """Refuse a key of a dict, or an item of a set, whose hash or comparison could take time."""
    if isinstance(value, str | bytes | float | Placeholder) or value is None:
        return value
    if isinstance(value, int) and abs(value) < _MAX_KEY:
        return value
    raise _RefusedError(f"a {type(value).__name__} as a key is not accepted")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text[:_SHOWN])


# The opcodes of a pickle, and what each does.

_MARK = object()

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TO_MARK: dict[str, Callable[[list[Any]], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "FROZENSET": _make_frozenset,
    "DICT": lambda items: _make_dict(list(zip(items[::2], items[1::2], strict=True))),
}
# Opcodes whose argument is the value.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME", "STOP"}
# Opcodes that have a method of :class:`_Unpickler` each.
_METHODS = {
    *("POP", "POP_MARK", "DUP", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "GLOBAL"),
    *("STACK_GLOBAL", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD"),
}


class _Unpickler:
    """Runs the opcodes of one pickle on a stack and a memo of its own.

    Parameters
    ----------
    budget
        Bytes that may be made of other values in all.
    """

    def __init__(self, *, budget: int) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._budget = budget

    def run(self, content: bytes) -> Any:
        """The object that a pickle describes."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MAX_OPCODES:
                raise _RefusedError(f"it has more than {MAX_OPCODES:,} parts")
            self._do(opcode.name, argument)
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise _RefusedError("its end leaves no single object")
        return self._stack[0]

    def _do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                raise _RefusedError("an integer is too large")
            self._stack.append(bytearray(argument) if name == "BYTEARRAY8" else argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _PUTS or name == "MEMOIZE":
            self._remember(len(self._memo) if name == "MEMOIZE" else argument)
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop_many(_TUPLES[name])))
        elif name in _TO_MARK:
            self._stack.append(_TO_MARK[name](self._pop_to_mark()))
        elif name in _METHODS:
            method = getattr(self, f"_{name.lower()}")
            method() if argument is None else method(argument)
        elif name not in _IGNORED:
            raise _RefusedError(f"{name}: references to things outside the file are not accepted")

    def _remember(self, place: int) -> None:
        value = self._top()
        self._memo[place] = value
        if isinstance(value, _EmptyArray):
            value.places.append(place)

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise _RefusedError("an opcode finds nothing to work on")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_many(self, n: int) -> list[Any]:
        values = [self._pop() for _ in range(n)]
        return values[::-1]

    def _pop_to_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                items = self._stack[place + 1 :]
                del self._stack[place:]
                return items
        raise _RefusedError("a mark is missing")

    def _pop_mark(self) -> None:
        self._pop_to_mark()

    def _dup(self) -> None:
        self._stack.append(self._top())

    def _append(self) -> None:
        self._extend([self._pop()])

    def _appends(self) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Placeholder):
            raise _RefusedError(f"a {type(target).__name__} is appended to")

    def _setitem(self) -> None:
        self._update(self._pop_many(2))

    def _setitems(self) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_check_key(key)] = value
        elif not isinstance(target, Placeholder):
            raise _RefusedError(f"items of a {type(target).__name__} are set")

    def _additems(self) -> None:
        items, target = self._pop_to_mark(), self._top()
        if isinstance(target, set):
            target.update(map(_check_key, items))
        elif not isinstance(target, Placeholder):
            raise _RefusedError(f"a {type(target).__name__} is added to")

    def _global(self, name: str) -> None:
        self._stack.append(Placeholder(name.replace(" ", ".", 1)))

    def _stack_global(self) -> None:
        module, name = self._pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _RefusedError("a name is no text")
        self._stack.append(Placeholder(f"{module}.{name}"))

    def _reduce(self) -> None:
        function, arguments = self._pop_many(2)
        self._call(function, arguments)

    _newobj = _reduce

    def _newobj_ex(self) -> None:
        function, arguments, more = self._pop_many(3)
        self._call(function, arguments if more == {} else None)

    def _inst(self, name: str) -> None:
        self._call(Placeholder(name.replace(" ", ".", 1)), tuple(self._pop_to_mark()))

    def _obj(self) -> None:
        function, *arguments = self._pop_to_mark()
        self._call(function, tuple(arguments))

    def _call(self, function: Any, arguments: Any) -> None:
        """Call the function that stands for an accepted name; any other stays a placeholder."""
        if not isinstance(function, Placeholder):
            raise _RefusedError(f"a {type(function).__name__} is called")
        accepted = _CONSTRUCTORS.get(function.qualified_name)
        if accepted is None:
            self._stack.append(function)
            return
        if not isinstance(arguments, tuple):
            raise _RefusedError(f"{function.qualified_name} is called without arguments")
        self._spend(arguments)
        self._stack.append(accepted(*arguments))

    def _spend(self, values: Iterable[Any]) -> None:
        """Take what is made of some values off the budget."""
        for value in values:
            if isinstance(value, str | bytes | bytearray):
                self._budget -= len(value)
            elif isinstance(value, list | tuple):
                self._budget -= _ITEM_BYTES * len(value)
        if self._budget < 0:
            raise _RefusedError("it makes more of its values than it holds")

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, _Dtype):
            target.set_state(state)
        elif isinstance(target, _EmptyArray):
            if not isinstance(state, tuple) or len(state) not in (4, 5):
                raise _RefusedError("an array has no state")
            if isinstance(state[-1], list):
                self._spend([state[-1]])
            array = _make_array(*state[-4:])
            self._stack[-1] = array
            self._memo |= dict.fromkeys(target.places, array)
