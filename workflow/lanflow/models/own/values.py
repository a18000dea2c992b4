"""The names and numbers that a models file gives for a model: checked, and completed."""

import keyword
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.definition import choices_of
from lanflow.models.models_file import ModelsFile

# Names that are columns of the data or the deadline's own, and no parameters.
_TAKEN = ("rt", "choice", "response", "deadline")


class GivenValues:
    """The keys that a models file gives for one model.

    Each method checks a key and returns its value as ssm-simulators needs it, or raises a
    :class:`~lanflow.core.errors.UserError` that names file, model and key.
    """

    def __init__(self, given: Mapping[str, Any], name: str, file: ModelsFile) -> None:
        self._given, self._name, self._file = given, name, file

    def _where(self, key: str) -> str:
        return f"{self._file}: model {self._name!r}: {key}"

    def _refuse(self, key: str, reason: str) -> NoReturn:
        raise UserError(f"{self._where(key)}: {reason}")

    def _parameters(self) -> list[str]:
        params = self._given.get("params")
        if not isinstance(params, list | tuple) or not params:
            self._refuse("params", f"is {params!r:.100}; expected a list of names")
        for name in params:
            is_word = isinstance(name, str) and name.isidentifier()
            if not is_word or keyword.iskeyword(name) or name in _TAKEN:
                self._refuse("params", f"{name!r} cannot be the name of a parameter")
        if len(set(params)) < len(params):
            self._refuse("params", "a name stands twice")
        if self._given.get("n_params", len(params)) != len(params):
            self._refuse("n_params", f"is {self._given['n_params']}, but params has {len(params)}")
        return list(params)

    def _bounds(self, params: list[str]) -> dict[str, tuple[Any, Any]]:
        """Lower and upper bound by parameter; a bound can be the name of another parameter."""
        forms = [self._given[k] for k in ("param_bounds", "param_bounds_dict") if k in self._given]
        spaces = [self._bounds_by_name(form, params) for form in forms]
        if not spaces:
            self._refuse("param_bounds", "is missing; expected {parameter: (lowest, highest)}")
        if spaces[0] != spaces[-1]:
            self._refuse("param_bounds", "differs from param_bounds_dict; leave one of them out")
        for name, pair in spaces[0].items():
            for side in pair:
                is_number = isinstance(side, float) and math.isfinite(side)
                if not is_number and not (side in params and side != name):
                    self._refuse(
                        "param_bounds",
                        f"{name} is {pair}; expected two numbers, or another parameter's name",
                    )
            if all(isinstance(side, float) for side in pair) and pair[0] >= pair[1]:
                self._refuse("param_bounds", f"{name} is {pair}; the first must be the lower")
        return spaces[0]

    def _bounds_by_name(self, form: Any, params: list[str]) -> dict[str, tuple[Any, Any]]:
        if isinstance(form, Mapping):
            if set(form) != set(params):
                missing = ", ".join(sorted(set(params) ^ set(form)))
                self._refuse("param_bounds", f"must have each of params, and no other: {missing}")
            pairs = [form[name] for name in params]
        elif isinstance(form, list | tuple) and [*map(_length, form)] == [len(params)] * 2:
            pairs = list(zip(*form, strict=True))
        else:
            self._refuse(
                "param_bounds",
                "expected {parameter: (lowest, highest)}, or [[lowest, ...], [highest, ...]] with "
                f"{len(params)} numbers each",
            )
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            self._refuse("param_bounds", "expected (lowest, highest) of each parameter")
        return {
            name: (_number(pair[0]), _number(pair[1]))
            for name, pair in zip(params, pairs, strict=True)
        }

    def _defaults(self, params: list[str], space: Mapping[str, tuple[Any, Any]]) -> list[float]:
        given = self._given.get("default_params")
        if given is not None:
            if _length(given) != len(params) or not all(
                isinstance(_number(x), float) for x in given
            ):
                self._refuse("default_params", f"expected {len(params)} numbers")
            return [float(value) for value in given]
        return [float(value) for value in centre(space).values()]

    def _choices(self, *, is_particle: bool) -> list[int]:
        given = {key: self._given[key] for key in ("choices", "nchoices") if key in self._given}
        if "choices" in given:
            given["choices"] = [_number(choice) for choice in _listed(given["choices"])]
        choices = choices_of(given) if given else [-1, 1] if is_particle else None
        if choices is None or len(set(choices)) < max(len(choices), 2):
            self._refuse(
                "choices", "expected a list of at least two different whole numbers, such as [0, 1]"
            )
        if self._given.get("nchoices", len(choices)) != len(choices):
            self._refuse("nchoices", f"is {self._given['nchoices']}, but choices are {choices}")
        if is_particle and choices != [-1, 1]:
            self._refuse("choices", f"are {choices}; this simulator gives -1 (lower) and 1 (upper)")
        return choices

    def _transforms(self) -> dict[str, list[Any]]:
        """ssm-simulators' constraints on draws, and its changes before a simulation."""
        given = self._given.get("parameter_transforms") or {}
        key = "parameter_transforms"
        if not isinstance(given, Mapping) or not set(given) <= {"sampling", "simulation"}:
            self._refuse(key, 'expected {"sampling": [...], "simulation": [...]}')
        for phase, steps in given.items():
            if not all(callable(getattr(step, "apply", None)) for step in _listed(steps)):
                self._refuse(key, f"{phase}: expected a list of ssm-simulators' transforms")
        return {phase: list(given.get(phase, ())) for phase in ("sampling", "simulation")}


def _number(value: Any) -> Any:
    """A number as float; anything else as it is."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple | np.ndarray) else -1


def _listed(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def centre(space: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    """The middle of every range; of one that ends at another parameter, that one's middle."""

    def side(bound: Any, index: int, depth: int = 0) -> float:
        if isinstance(bound, str):
            return side(space[bound][index], index, depth + 1) if depth < len(space) else math.nan
        return float(bound)

    return {name: (side(low, 0) + side(up, 1)) / 2 for name, (low, up) in space.items()}
