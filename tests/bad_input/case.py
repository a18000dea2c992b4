"""One case of the catalogue: a command with bad input, and the message that it must end with."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# What a file holds, or what makes it: called with its path and the folder of sound inputs.
Content = str | bytes | Callable[[Path, Path], object]

# Where the sound inputs lie that most cases take beside the bad one; see `conftest.py`.
BASE = "{base}"
# An MLflow store in the working folder, where a case may write it; no run may be in it at the end.
STORE = "m.db"
TRAIN = (
    *("torchtrain", "--config-path", f"{BASE}/training.yaml", "--device", "cpu", "--threads", "1"),
    *("--data-set", f"{BASE}/data_set", "--manifest", f"{BASE}/manifest.json"),
    *("--networks-path-base", "networks", "--network-name", "n"),
)
GENERATE = (
    *("lanflow", "generate", "--config-path", f"{BASE}/generation.yaml", "--output", "chunk"),
    *("--processes", "1"),
)
NETWORK = f"{BASE}/network"


@dataclass(frozen=True)
class Case:
    """A command that must be refused, with nothing written.

    Attributes
    ----------
    name
        Says what is wrong.
    command
        Words of the command line, the program first; ``{base}`` is the folder of sound inputs.
    expected
        Pattern (:mod:`re`) in the message: the key, option, variable or file, and what it says.
    files
        Files of the working folder, made before.
    environment
        Variables.
    may_write
        Names in the working folder that the command may leave: a store that it opened.
    """

    name: str
    command: tuple[str, ...]
    expected: str
    files: Mapping[str, Content] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    may_write: frozenset[str] = frozenset()


def train(name: str, expected: str, *options: str, **keys: Any) -> Case:
    """A training with bad options; of options that are given twice the last counts."""
    return Case(name, (*TRAIN, *options), expected, **keys)


def train_yaml(name: str, expected: str, text: str | bytes) -> Case:
    """A training with a bad YAML."""
    return train(name, expected, "--config-path", "t.yaml", files={"t.yaml": text})


def generate(name: str, expected: str, *options: str, **keys: Any) -> Case:
    """A generation with bad options."""
    return Case(name, (*GENERATE, *options), expected, **keys)


def lanflow(name: str, expected: str, *words: str, **keys: Any) -> Case:
    """Any other command."""
    return Case(name, ("lanflow", *words), expected, **keys)


def dumped(content: Mapping[str, Any], **changes: Any) -> str:
    """YAML of a mapping with some keys changed; ``KeyError`` leaves a key out."""
    merged = {**content, **changes}
    kept = {key: value for key, value in merged.items() if value is not KeyError}
    stream = io.StringIO()
    yaml.safe_dump(kept, stream, sort_keys=False)
    return stream.getvalue()
