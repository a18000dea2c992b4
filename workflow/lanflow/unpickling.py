"""Reading training files without running them.

A training file is a cloudpickle that names functions; ``pickle.load`` would import and could call
anything. This reader builds numpy arrays and plain containers only. Every other name in the file
becomes an inert placeholder: nothing is imported, nothing is called.
"""

import collections
import io
import pickle
from pathlib import Path
from types import FunctionType
from typing import Any, Self

import numpy as np
from numpy._core import multiarray, numeric

from lanflow.errors import UserError


class Placeholder:
    """Stands for a function, class or object of a training file; does nothing."""

    qualified_name = "?"

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Accept whatever the file passes."""
        return super().__new__(cls)

    def __call__(self, *_args: object, **_kwargs: object) -> "Placeholder":
        """Give another placeholder instead of calling anything."""
        return Placeholder()

    def __setstate__(self, _state: object) -> None:
        """Drop the state."""

    def __setitem__(self, _key: object, _value: object) -> None:
        """Drop the item."""

    def append(self, _item: object) -> None:
        """Drop the item."""

    def extend(self, _items: object) -> None:
        """Drop the items."""

    def add(self, _item: object) -> None:
        """Drop the item."""

    def __repr__(self) -> str:
        return f"<placeholder for {self.qualified_name}>"


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """``_codecs.encode`` as protocol 2 uses it for bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("only latin1 text is accepted")
    return text.encode("latin1")


_ACCEPTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
for _module in ("builtins", "__builtin__"):  # the second is what protocol 2 and below write
    for _type in (set, frozenset, complex, bytes, bytearray):
        _ACCEPTED[_module, _type.__name__] = _type
for _package in ("numpy.core", "numpy._core"):
    _ACCEPTED[f"{_package}.multiarray", "_reconstruct"] = multiarray._reconstruct
    _ACCEPTED[f"{_package}.multiarray", "scalar"] = multiarray.scalar
    _ACCEPTED[f"{_package}.numeric", "_frombuffer"] = numeric._frombuffer  # type: ignore[attr-defined]


class _Reader(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the accepted constructor of that name, or an inert placeholder class."""
        accepted = _ACCEPTED.get((module, name))
        if isinstance(accepted, FunctionType):
            # A file can set attributes of what it names; those of this wrapper serve it alone.
            return lambda *arguments: accepted(*arguments)
        if accepted is not None:
            return accepted
        return type("Placeholder", (Placeholder,), {"qualified_name": f"{module}.{name}"})

    def persistent_load(self, _pid: Any) -> Any:
        """Refuse references to things outside the file."""
        raise pickle.UnpicklingError("references to things outside the file are not accepted")


def read_pickle(content: bytes, path: Path | str) -> Any:
    """Read the bytes of a pickle without importing or calling anything it names.

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
        return _Reader(io.BytesIO(content)).load()
    # A damaged pickle can raise nearly any exception; each means the same to the reader of it.
    except Exception as e:
        reason = str(e) or type(e).__name__
        raise UserError(f"{path}: not a readable training file ({reason})") from e
