"""A models file: Python of the user's own that defines models in ssm-simulators' terms.

The file runs where its user names it (``--models-file``, ``models_file:``), and nowhere else: a
copy that comes with data or a network is text. What it defines is checked in
:mod:`lanflow.models.own.model`.
"""

import hashlib
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError

# The names under which a file holds one model, or several.
ONE, SEVERAL = "MODEL", "MODELS"
EXPECTED = (
    f"expected {ONE} = {{...}}, or {SEVERAL} = [{{...}}, {{...}}], with a model's keys in "
    "ssm-simulators' terms"
)
_LARGEST = 10**6  # bytes
# Ending of the variant of a model whose deadline is its last parameter.
DEADLINE = "_deadline"

# Files that this process has run, by sha256: named by the user once, they are at hand.
_run_here: dict[str, "ModelsFile"] = {}


def base_name(model: str) -> str:
    """A model's name without the ending for a deadline."""
    return model.removesuffix(DEADLINE)


@dataclass(frozen=True)
class ModelsFile:
    """A models file as it was when it was read.

    Attributes
    ----------
    name
        Without its folder.
    text
        Its content.
    path
        Where it was read, for messages.
    """

    name: str
    text: str = field(repr=False)
    path: str = field(default="", compare=False)

    @classmethod
    def read(cls, path: Path | str) -> "ModelsFile":
        """Read a models file; nothing of it runs yet.

        Raises
        ------
        UserError
            If it cannot be read, or is no text.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as e:
            raise UserError(f"{path}: cannot be read ({e.strerror}); expected a models file") from e
        if len(content) > _LARGEST:
            raise UserError(f"{path}: {len(content):,} bytes; a models file has at most {_LARGEST}")
        try:
            text = content.decode()
        except UnicodeDecodeError as e:
            raise UserError(f"{path}: not a text file (UTF-8); expected a models file") from e
        return cls(Path(path).name, text, str(path))

    @cached_property
    def sha256(self) -> str:
        """Sha256 (hex) of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def mentions(self, model: str) -> bool:
        """Tell whether a model's name stands in the text, with or without that ending.

        What the file really defines is known once it has run; until then this says which models
        may be its own.
        """
        name = re.escape(base_name(model))
        return re.search(rf"(?<![\w-]){name}(?![\w-])", self.text) is not None

    def __str__(self) -> str:
        return self.path or self.name

    def run(self) -> list[Mapping[str, Any]]:
        """Run the file, and return the models that it holds under :data:`ONE` and :data:`SEVERAL`.

        Raises
        ------
        UserError
            If it raises, or what it holds there are no models.
        """
        found: list[Mapping[str, Any]] = []
        content = self._execute()
        for place, value in _entries(content):
            made = _call(value, f"{self}: {place}") if callable(value) else value
            if not isinstance(made, Mapping):
                raise UserError(f"{self}: {place} is {made!r:.100}; {EXPECTED}")
            found.append(made)
        _run_here[self.sha256] = self
        return found

    def _execute(self) -> Mapping[str, Any]:
        # Dataclasses look their module up by its name.
        module = types.ModuleType(f"lanflow_models_file_{self.sha256[:16]}")
        module.__file__ = self.path or self.name
        sys.modules[module.__name__] = module
        try:
            exec(compile(self.text, str(self), "exec"), module.__dict__)  # noqa: S102 the user's own
        except (Exception, SystemExit) as e:  # whatever a file of a user's raises
            raise UserError(f"{self}{_line_of(e, str(self))}: {_said(e)}") from e
        return module.__dict__


def at_hand(sha256: str) -> ModelsFile | None:
    """The models file of a digest, if the user has named it in this process."""
    return _run_here.get(sha256)


def _entries(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """List what stands under the two names: place and value of each model."""
    found = [(ONE, content[ONE])] if ONE in content else []
    several = content.get(SEVERAL, ())
    if isinstance(several, Mapping) and "params" not in several:
        several = list(several.values())
    if isinstance(several, Mapping) or not isinstance(several, list | tuple):
        several = [several]
    return found + [(f"{SEVERAL}[{i}]", value) for i, value in enumerate(several)]


def _call(function: Callable[[], Any], where: str) -> Any:
    try:
        return function()
    except Exception as e:  # whatever a function of a user's raises
        raise UserError(f"{where}: {_said(e)}") from e


def _said(error: BaseException) -> str:
    """An error of the user's code in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _line_of(error: BaseException, name: str) -> str:
    """The last line of the file that was running, as ``:12``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    numbers, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            numbers.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{numbers[-1]}" if numbers else ""
