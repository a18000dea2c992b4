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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.data.pickled_values import (
    CONSTRUCTORS,
    MAX_OPCODES,
    SHOWN,
    Dtype,
    EmptyArray,
    Placeholder,
    RefusedError,
    check_key,
    make_array,
    make_dict,
    make_frozenset,
)

# Bits of an integer: a seed has 128.
_MAX_BITS = 512
# Bytes that may be made of other values beside those of the file's own size; and of one item.
_SPARE_BYTES, _ITEM_BYTES = 2**20, 8


def read_pickle(content: bytes, path: Path | str, *, what: str = "training file") -> Any:
    """Read the bytes of a pickle without importing or calling anything that it names.

    Parameters
    ----------
    content
        The file's bytes.
    path, what
        The file's name, and what is expected in it, for errors.

    Raises
    ------
    UserError
        If the bytes are not a whole pickle of plain data.
    """
    try:
        return _Unpickler(budget=len(content) + _SPARE_BYTES).run(content)
    # A damaged pickle can raise nearly any exception, and each means that it is damaged.
    except Exception as e:
        reason = (str(e) or type(e).__name__)[:SHOWN]
        raise UserError(f"{path}: not a readable {what} ({reason})") from e


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
    "FROZENSET": make_frozenset,
    "DICT": lambda items: make_dict(list(zip(items[::2], items[1::2], strict=True))),
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
                raise RefusedError(f"it has more than {MAX_OPCODES:,} parts")
            self._do(opcode.name, argument)
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise RefusedError("its end leaves no single object")
        return self._stack[0]

    def _do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                raise RefusedError("an integer is too large")
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
            raise RefusedError(f"{name}: references to things outside the file are not accepted")

    def _remember(self, place: int) -> None:
        value = self._top()
        self._memo[place] = value
        if isinstance(value, EmptyArray):
            value.places.append(place)

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedError("an opcode finds nothing to work on")
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
        raise RefusedError("a mark is missing")

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
            raise RefusedError(f"a {type(target).__name__} is appended to")

    def _setitem(self) -> None:
        self._update(self._pop_many(2))

    def _setitems(self) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[check_key(key)] = value
        elif not isinstance(target, Placeholder):
            raise RefusedError(f"items of a {type(target).__name__} are set")

    def _additems(self) -> None:
        items, target = self._pop_to_mark(), self._top()
        if isinstance(target, set):
            target.update(map(check_key, items))
        elif not isinstance(target, Placeholder):
            raise RefusedError(f"a {type(target).__name__} is added to")

    def _global(self, name: str) -> None:
        self._stack.append(Placeholder(name.replace(" ", ".", 1)))

    def _stack_global(self) -> None:
        module, name = self._pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("a name is no text")
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
            raise RefusedError(f"a {type(function).__name__} is called")
        accepted = CONSTRUCTORS.get(function.qualified_name)
        if accepted is None:
            self._stack.append(function)
            return
        if not isinstance(arguments, tuple):
            raise RefusedError(f"{function.qualified_name} is called without arguments")
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
            raise RefusedError("it makes more of its values than it holds")

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Dtype):
            target.set_state(state)
        elif isinstance(target, EmptyArray):
            if not isinstance(state, tuple) or len(state) not in (4, 5):
                raise RefusedError("an array has no state")
            if isinstance(state[-1], list):
                self._spend([state[-1]])
            array = make_array(*state[-4:])
            self._stack[-1] = array
            self._memo |= dict.fromkeys(target.places, array)
