"""Definition of a model beside its name: its boundary, drift, simulator and choices.

A model is not known by its name alone: a variant of angle that kept its name has another density.
So names of functions are compared with ssm-simulators' catalogue, in training files and networks,
and stand in the records of those whose model is another than the catalogue's.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lanflow.core.settings import Settings
from lanflow.models.models_file import ModelsFile

Part = Literal["boundary", "drift", "simulator"]
PARTS: tuple[Part, ...] = ("boundary", "drift", "simulator")
# Packages of ssm-simulators' own functions.
THEIRS = ("ssms", "cssm")
_BY_VALUE = "cloudpickle"
_LONGEST = 200  # characters of a name
_MOST_CHOICES = 1000
# Its keys of each function, and of the function's name.
_KEYS: dict[Part, tuple[tuple[str, ...], str | None]] = {
    "boundary": (("boundary",), "boundary_name"),
    "drift": (("drift", "drift_fun"), "drift_name"),
    "simulator": (("simulator",), None),
}


class ModelsFileRecord(Settings):
    """A models file in a record: text that is not run."""

    model_config = ConfigDict(extra="ignore")

    name: str
    sha256: str = Field(description="of the text")
    text: str

    @model_validator(mode="after")
    def _digest_is_of_the_text(self) -> Self:
        if hashlib.sha256(self.text.encode()).hexdigest() != self.sha256:
            raise ValueError("the sha256 is not that of the text")
        return self

    @classmethod
    def of(cls, file: ModelsFile) -> Self:
        """The record of a file."""
        return cls(name=file.name, sha256=file.sha256, text=file.text)


class Definition(Settings):
    """Functions and choices of a model; null where they are not known, or there are none."""

    model_config = ConfigDict(extra="ignore")

    boundary: str | None = Field(description="name of the function of time")
    drift: str | None = Field(description="name of the function of time")
    simulator: str | None = Field(description="name of the function")
    own: list[Part] = Field(description="those that are no functions of ssm-simulators")
    choices: list[int] | None = Field(description="as data code them, ascending")
    models_file: ModelsFileRecord | None = Field(
        default=None, description="the file of the user's that defines the model"
    )

    def identity(self) -> dict[str, object]:
        """The part that decides the model: a models file by its digest."""
        content = self.model_dump(mode="json", exclude={"models_file"})
        file = self.models_file
        return content | {"models_file": None if file is None else file.sha256}

    def differences(self, known: "Definition") -> list[str]:
        """List differences from a known model, for people; what is not known is left out."""
        found = []
        for part in PARTS:
            name, other = getattr(self, part), getattr(known, part)
            is_new = part in self.own and part not in known.own
            if is_new or (name is not None and name != other):
                said = f"{name!r}" if name else "a function"
                of_its_own = " of its own" if is_new else ""
                found.append(f"{part} {said}{of_its_own} instead of {other!r}")
        if self.choices is not None and self.choices != known.choices:
            found.append(f"choices {self.choices} instead of {known.choices}")
        return found


def define(
    config: Mapping[str, Any],
    qualified_name: Callable[[Any], str | None],
    *,
    models_file: ModelsFileRecord | None = None,
) -> Definition:
    """The definition in a description of a model that is in ssm-simulators' form.

    Parameters
    ----------
    config
        The description.
    qualified_name
        Gives a function's module and name, ``ssms.basic_simulators.boundary_functions.angle``;
        None for what is no function.
    models_file
        The file that the description came from, if it is one of a user's.
    """
    names: dict[str, str | None] = {}
    own: list[Part] = []
    for part, (keys, name_key) in _KEYS.items():
        functions = [qualified_name(config[key]) for key in keys if config.get(key) is not None]
        full = next((name for name in functions if name), None)
        named = config.get(name_key) if name_key else None
        package, last = ("", "") if full is None else _parts(full)
        # cloudpickle's own functions stand for one whose code is in the file.
        called = last if package != _BY_VALUE else ""
        names[part] = (named if isinstance(named, str) else called)[:_LONGEST] or None
        if full is not None and package not in THEIRS:
            own.append(part)
    choices = choices_of({"choices": config.get("choices")})
    return Definition(own=own, choices=choices, models_file=models_file, **names)


def _parts(full: str) -> tuple[str, str]:
    """Package and name of a function."""
    return full.partition(".")[0], full.rpartition(".")[2]


def choices_of(config: Mapping[str, Any]) -> list[int] | None:
    """The choices in ssm-simulators' description of a model; None where there are none.

    Some models give only the number of their choices, and count them from 0.
    """
    choices, number = config.get("choices"), config.get("nchoices")
    if choices is None and isinstance(number, int) and 0 < number <= _MOST_CHOICES:
        choices = range(number)
    if not isinstance(choices, list | tuple | range) or len(choices) > _MOST_CHOICES:
        return None
    if not all(
        isinstance(choice, int | float) and float(choice).is_integer() for choice in choices
    ):
        return None
    return sorted(int(choice) for choice in choices)
