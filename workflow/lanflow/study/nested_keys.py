"""Nested keys as users write them by mistake, and as YAML and ``snakemake --config`` need them."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lanflow.core.errors import UserError

# Keys inside these are folders, whose names may hold dots and colons.
_FREE_KEYS = {"path_map"}
# Keys of a study that have keys inside them.
_OUTER_KEYS = ("tracking", "evaluation", "recovery", "models")
_READ_AS_IT_IS = re.compile(r"[-+]?\d[\d.e+-]*|true|false|null|[\[{].*", re.IGNORECASE)


def explain_nesting(path: Sequence[str], value: str) -> str:
    """Explain how a nested key is written in a file and on the command line.

    Parameters
    ----------
    path
        The keys, outermost first.
    value
        The value, as text.
    """
    text = value if _READ_AS_IT_IS.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    for key in reversed(path[1:]):
        text = f"{{{key}: {text}}}"
    return (
        f"a key inside another is written {path[0]}: {text} in a file and "
        f"--config {shlex.quote(f'{path[0]}={text}')} on the command line"
    )


def check_nested_keys(content: Mapping[str, Any], where: Callable[[Sequence[Any]], str]) -> None:
    """Raise, with the right form, for keys and texts of a study that are meant as nested keys.

    Parameters
    ----------
    content
        The study's keys and values.
    where
        Returns the file of a key, for errors.

    Raises
    ------
    UserError
        With the right form of the key.
    """
    check_nesting(content, where)
    for key in _OUTER_KEYS:
        text = content.get(key)
        if isinstance(text, str) and (right_form := _explain_text(key, text)):
            message = f"{key}: expected keys and values, got {text!r}; {right_form}"
            raise UserError(f"{where([key])}: {message}")


def check_nesting(
    content: Mapping[Any, Any],
    where: Callable[[Sequence[Any]], str],
    path: tuple[str, ...] = (),
) -> None:
    """Raise for keys such as ``tracking.uri``, ``uri:x`` and ``uri=x``.

    Parameters
    ----------
    content
        Keys and values.
    where
        Returns the file of a key, for errors.
    path
        The keys above ``content``.

    Raises
    ------
    UserError
        With the right form of the key.
    """
    for key, value in content.items():
        place = (*path, str(key))
        if parts := _split(place[-1]):
            inner, rest = parts
            wanted = [*path, *inner]
            text = rest if rest is not None else "..." if value is None else str(value)
            raise UserError(f"{where(place)}: unknown key {key!r}; {explain_nesting(wanted, text)}")
        if isinstance(value, Mapping) and key not in _FREE_KEYS:
            check_nesting(value, where, place)


def _explain_text(key: str, text: str) -> str | None:
    """Explain the right form of ``key: "inner:value"``; None if the text is no such thing."""
    parts = _split(text)
    if parts is None:
        return None
    return explain_nesting([key, *parts[0]], "..." if parts[1] is None else parts[1])


def _split(text: str) -> tuple[list[str], str | None] | None:
    """Split texts such as ``a.b=x`` and ``a:b`` into keys and value; None for other texts."""
    found = re.fullmatch(r"(\w[\w-]*(?:\.\w[\w-]*)*)(?:\s*[:=]\s*(.*))?", text)
    if found is None or ("." not in found[1] and found[2] is None):
        return None
    return found[1].split("."), found[2]


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Exit with a message for a ``--config`` entry on which Snakemake would print a traceback.

    Profiles call this, because Snakemake reads them before its options.

    Parameters
    ----------
    arguments
        Snakemake's arguments; those of this process when left out.
    """
    is_config = False
    for word in sys.argv[1:] if arguments is None else arguments:
        if word.startswith("-"):
            option, _, entry = word.partition("=")
            is_config = option in ("--config", "-C")
        else:
            entry = word
        keys, equals, value = entry.partition("=")
        if is_config and equals and re.fullmatch(r"\w[\w-]*([.:]\w[\w-]*)+", keys):
            path = re.split("[.:]", keys)
            raise SystemExit(f"snakemake: error: --config {entry}: {explain_nesting(path, value)}")
