"""JSON that lanflow wrote, read back."""

import json
from pathlib import Path
from typing import Any

from lanflow.errors import UserError


def read_json(path: Path, *, hint: str = "") -> dict[str, Any]:
    """The content of a JSON file of keys and values.

    Parameters
    ----------
    path
        The file.
    hint
        What to say of a file that cannot be read.

    Raises
    ------
    UserError
        If it is missing, damaged, or holds anything else.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}){hint and '; ' + hint}") from e
    except ValueError as e:
        raise UserError(f"{path}: damaged, not valid JSON ({e})") from e
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def read_record(path: Path, version_key: str, version: int) -> dict[str, Any]:
    """The content of a record that has a version.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another version.
    """
    content = read_json(path)
    found = content.get(version_key)
    if found != version:
        raise UserError(f"{path}: {version_key} is {found!r}, this lanflow reads {version}")
    return content
