"""YAML files read into frozen, typed settings; the only reader of YAML.

An unknown key, a value of the wrong type or a missing file raises one
:class:`~lanflow.core.errors.UserError` that names the file and the key and says what is accepted.
"""

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from lanflow.core.errors import UserError, short
from lanflow.core.names import LARGEST_COUNT, LARGEST_SEED, check_name

S = TypeVar("S", bound="Settings")

_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "exp": math.exp,
    "sqrt": math.sqrt,
}


# Patterns of a path and a word that reach every command unchanged. Snakemake takes braces for
# wildcards, a command takes a leading dash for an option, and ~ and $ are not expanded.
_BEGINNING = r"^(?![-~\s])(?!.*\s$)"
_PATH = _BEGINNING + r"(?!.*[^/]{256})[^{}$\x00-\x1f\x7f]{1,1000}$"
_WORD = _BEGINNING + r"[^\x00-\x1f\x7f]{1,1000}$"

Name = Annotated[str, AfterValidator(check_name)]


def _check_path(value: str) -> str:
    if not (re.fullmatch(_PATH, value) and value.isprintable()):
        raise ValueError(
            f"{short(value)} cannot be a path here; it must not be empty, begin with '-' or '~', "
            "begin or end with a space, or hold '{', '}', '$', a line break or another control "
            "character (each name 255 characters at most, all together 1000)"
        )
    return value


def _check_word(value: str) -> str:
    if not (re.fullmatch(_WORD, value) and value.isprintable()):
        raise ValueError(
            f"{short(value)} cannot be used here; it must not be empty, begin with '-' or '~', "
            "begin or end with a space, or hold a line break or another control character (1000 "
            "characters at most)"
        )
    return value


# PathText: a path, or part of one, in the workflow. Word: a text that is one word of a command.
PathText = Annotated[str, AfterValidator(_check_path), Field(json_schema_extra={"pattern": _PATH})]
Word = Annotated[str, AfterValidator(_check_word), Field(json_schema_extra={"pattern": _WORD})]


class Settings(BaseModel):
    """Base class of all settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# A study of a thousand networks has 200 kB; nothing that a person writes is nested as deeply.
_MOST_BYTES, _MOST_LEVELS, _MOST_VALUES = 2**20, 50, 100_000


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        The mapping, empty for an empty file.

    Raises
    ------
    UserError
        If the file is missing, is not YAML, holds something else than a mapping or a key twice, or
        is too large or too deeply nested for a file of settings.
    """
    try:
        size = Path(path).stat().st_size
        if size > _MOST_BYTES:
            raise UserError(f"{path}: {size:,} bytes are too many for a file of settings")
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: cannot be read ({e})") from e
    content = _parse_yaml(text, path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def _parse_yaml(text: str, path: Path | str) -> Any:
    """Parse a YAML text; aliases that expand to more than anybody writes are refused."""
    import yaml

    safe_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_levels(yaml.parse(text, Loader=safe_loader), path)
        loader = safe_loader(text)
        node = loader.get_single_node()
        _check_node(node, path, {})
        return None if node is None else loader.construct_document(node)
    except RecursionError as e:
        raise UserError(f"{path}: nested too deeply for a file of settings") from e
    except yaml.YAMLError as e:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(e).split())[:500]}") from e
    except ValueError as e:  # a date such as 2026-13-99, or a number of thousands of digits
        raise UserError(f"{path}: not valid YAML: {str(e)[:200]}") from e


def _check_levels(events: Iterable[Any], path: Path | str) -> None:
    """Refuse what is nested too deeply, before anything walks it."""
    level = 0
    for event in events:
        name = type(event).__name__
        level += name.endswith("StartEvent") - name.endswith("EndEvent")
        if level > _MOST_LEVELS:
            raise UserError(
                f"{path}: line {event.start_mark.line + 1} is nested more than {_MOST_LEVELS} "
                "levels deep, too deeply for a file of settings"
            )


def _check_node(node: Any, path: Path | str, sizes: dict[int, int]) -> int:
    """Refuse keys that stand twice and aliases that expand too far; the number of values."""
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) in sizes:
        if sizes[id(node)] == 0:
            raise UserError(f"{path}: line {node.start_mark.line + 1} holds itself by an alias")
        return sizes[id(node)]
    sizes[id(node)] = 0  # while it is counted
    lines: dict[str, int] = {}
    n_values = 1
    for part in node.value:
        key, value = part if isinstance(part, tuple) else (None, part)
        if key is not None and isinstance(key.value, str):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise UserError(
                    f"{path}: key {short(key.value)} stands twice, in lines {lines[key.value]} "
                    f"and {line}; leave one of them out"
                )
            lines[key.value] = line
        n_values += _check_node(key, path, sizes) + _check_node(value, path, sizes)
        if n_values > _MOST_VALUES:
            raise UserError(
                f"{path}: its aliases stand for more than {_MOST_VALUES:,} values, too many for a "
                "file of settings"
            )
    sizes[id(node)] = n_values
    return n_values


def parse_settings(
    cls: type[S], content: Mapping[str, Any], where: str | Callable[[Sequence[Any]], str]
) -> S:
    """Validate a mapping as settings of type ``cls``.

    Parameters
    ----------
    cls
        The settings' class.
    content
        Keys and values as read.
    where
        The file of the content, for errors; or a function that returns the file of a key.

    Raises
    ------
    UserError
        With one line for each fault: the file, the key, and what is accepted.
    """
    try:
        return cls.model_validate(content)
    except ValidationError as e:
        lines = []
        for error in e.errors():
            file = where if isinstance(where, str) else where(error["loc"])
            lines.append(f"{file}: {_explain(cls, error)}")
        raise UserError("\n".join(lines)) from e


def _explain(cls: type[BaseModel], error: Any) -> str:
    """Describe one of pydantic's errors in words that name the key."""
    location = [str(part) for part in error["loc"] if not _is_mark(part)]
    key = ".".join(location) or "(top level)"
    match error["type"]:
        case "extra_forbidden":
            accepted = _accepted_keys(cls, error["loc"][:-1])
            return f"unknown key {short(key)}{suggest(location[-1], accepted)}"
        case "missing":
            return f"missing key {key!r}"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
        case "model_type" | "dict_type":
            return f"{key}: expected keys and values, got {short(error['input'])}"
        case _:
            message = error["msg"][0].lower() + error["msg"][1:]
            return f"{key}: {message}, got {short(error['input'])}"


def _is_mark(part: object) -> bool:
    """Tell whether part of an error's location is a mark of pydantic and not a key of the file."""
    return isinstance(part, str) and part.startswith(("function-", "["))


def _accepted_keys(cls: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Return the keys that the settings class at ``location`` accepts."""
    parts = iter(location)
    for part in parts:
        if isinstance(part, int):  # index of a list
            continue
        annotation = _fields_by_key(cls)[part].annotation
        cls = next(_settings_in(annotation), cls)
        if get_origin(annotation) is dict:
            next(parts, None)  # a name that the user chose
    return list(_fields_by_key(cls))


def _fields_by_key(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def _settings_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings classes inside ``X | None`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def suggest(word: str, accepted: Sequence[str]) -> str:
    """Make the end of an error message: the nearest accepted word, and all accepted words."""
    return f"{nearest(word, accepted)} (accepted: {', '.join(accepted)})" if accepted else ""


def nearest(word: str, accepted: Sequence[str]) -> str:
    """Ask, in an error message, about the accepted word that is nearest, if one is near."""
    in_lower_case = {name.lower(): name for name in accepted}
    near = difflib.get_close_matches(word.lower(), in_lower_case, n=1)
    return f"; did you mean {in_lower_case[near[0]]!r}?" if near else ""


def parse_number(value: object) -> object:
    """Convert a number, or a text such as ``np.log(1e-7)``, to a float without running code.

    Accepted are numbers, ``+ - * / **``, brackets, and log, log2, log10, exp and sqrt, alone or
    after ``np.`` or ``math.``. Values of other types are returned unchanged, for pydantic to check.

    Raises
    ------
    ValueError
        If the text is anything else, or the value is a boolean, which pydantic would take for 0
        or 1.
    """
    accepted = "accepted are numbers and expressions such as np.log(1e-7)"
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number; {accepted}")
    if not isinstance(value, str):
        return value
    if len(value) > 200:
        raise ValueError(f"the expression is longer than 200 characters; {accepted}")
    try:
        return _evaluate(ast.parse(value.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError) as e:
        raise ValueError(f"{value!r} is not a number that can be read; {accepted}") from e


Count = Annotated[int, BeforeValidator(parse_number), Field(ge=1, le=LARGEST_COUNT)]
# Numbers from 0: an index, a patience.
Index = Annotated[int, BeforeValidator(parse_number), Field(ge=0, le=LARGEST_COUNT)]
Seed = Annotated[int, BeforeValidator(parse_number), Field(ge=0, le=LARGEST_SEED)]

Number = Annotated[float, BeforeValidator(parse_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]


def _evaluate(node: ast.expr) -> float:
    """Compute an arithmetic expression; raises ValueError for any other expression."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case ast.Call(func=function, args=[argument], keywords=[]):
            return _FUNCTIONS[_function_name(function)](_evaluate(argument))
    raise ValueError(f"{type(node).__name__} is not accepted")


def _function_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) if name in _FUNCTIONS:
            return name
        case ast.Attribute(value=ast.Name(id="np" | "numpy" | "math"), attr=name) if (
            name in _FUNCTIONS
        ):
            return name
    raise ValueError("unknown function")
