"""Stands in for torch, so that LANfactory's JAX part runs where there is no small build of torch.

LANfactory 0.9 imports torch everywhere. Of it, its JAX part uses the loader of files, which is
``utils/data.py`` here; every other name is an empty class.
"""

from typing import Any


class _Empty(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return __getattr__(name)


def _made_of_anything(self: Any, *args: Any, **kwargs: Any) -> None:
    pass


def _decorate(self: Any, function: Any) -> Any:
    return function


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Empty(name, (), {"__init__": _made_of_anything, "__call__": _decorate})
