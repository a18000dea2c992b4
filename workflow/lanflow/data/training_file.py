"""One training file of ssm-simulators, checked: arrays, parameters, generator settings.

A training file is a pickle of a dict: pairs of arrays for each network type (``lan_data`` and
``lan_labels``, and so on), the description of the model, and the settings of the generator. It is
read by :mod:`lanflow.data.unpickling`, which runs nothing; here its shapes, types and values are
checked before anything is trained on it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.processes import require_memory
from lanflow.core.settings import parse_settings
from lanflow.data.pickled_values import Placeholder
from lanflow.data.unpickling import read_pickle
from lanflow.models.catalogue import catalogue_entry
from lanflow.models.definition import Definition, ModelsFileRecord, choices_of, define
from lanflow.models.density import FLOOR
from lanflow.models.parameters import Bounds
from lanflow.networks.types import NETWORK_TYPES, NetworkType, NetworkTypeName

# The logarithm of a density that no trial has: e^100 per second.
_MOST_LABEL = 100.0
_MOST_ROWS_NAMED = 10
# By how much rounding can lead a probability out of its range.
_ROUNDING = 1e-5
# Keys of ssm-simulators before 0.8, whose files had the arrays of one network.
_OLD_KEYS = {"data": "lan_data", "labels": "lan_labels"}

# Limits on the settings of a generator: parts and characters together, and depth of nesting.
_MAX_SETTINGS, _MAX_DEPTH = 1_000_000, 50


@dataclass(frozen=True)
class TrainingFileContent:
    """Content of a training file that lanflow uses.

    Attributes
    ----------
    model
        The cognitive model's name.
    parameters
        Its parameters, in the order of the columns.
    bounds
        Parameter -> (lower, upper) bound of the values it was drawn from; of a bound that depends
        on another parameter, that one's.
    generator
        The generator's settings, plain values only.
    definition
        What the file says of the model beside that: its functions and choices.
    arrays
        Network type -> features (rows, inputs) and labels (rows, outputs), both float32.
    n_dropped
        Network type -> rows that were left out, of the types of which there are any.
    """

    model: str
    parameters: tuple[str, ...]
    bounds: Bounds
    definition: Definition
    generator: Mapping[str, Any]
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]
    n_dropped: Mapping[NetworkTypeName, int] = field(default_factory=dict)


def require_file_memory(size_bytes: int, what: str) -> None:
    """Refuse to read a training file that cannot fit in memory: its bytes, and its arrays.

    Raises
    ------
    UserError
        With the estimate and the limit.
    """
    require_memory(
        f"{what} of {size_bytes / 2**20:,.0f} MiB",
        2 * size_bytes,
        advice="generate more files with fewer parameter sets each, or use more memory",
    )


def read_training_file(
    content: bytes, path: Path, *, drop_invalid: bool = False
) -> TrainingFileContent:
    """Read and check the bytes of a training file.

    Parameters
    ----------
    content
        The file's bytes.
    path
        The file's name, for errors.
    drop_invalid
        Leave rows out that hold a value which cannot be; else the file is refused.

    Raises
    ------
    UserError
        If it is not a training file, or its arrays have wrong shapes, types or values.
    """
    data = read_pickle(content, path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a training file (a {type(data).__name__}, expected a dict)")
    config = data.get("model_config")
    if not isinstance(config, dict):
        raise UserError(f"{path}: key 'model_config' is missing or not a dict")
    model, parameters, bounds = _model_of(config, path)
    definition = _definition_of(config, path)
    for old, key in _OLD_KEYS.items():
        data.setdefault(key, data.get(old))
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    n_dropped: dict[NetworkTypeName, int] = {}
    for network_type in NETWORK_TYPES.values():
        pair = _arrays_of(data, network_type, len(parameters), path)
        if pair is None:
            continue
        keep = _valid_rows(*pair, network_type, path, drop_invalid=drop_invalid)
        if not keep.all():
            n_dropped[network_type.name] = int((~keep).sum())
            pair = pair[0][keep], pair[1][keep]
        if keep.any():
            arrays[network_type.name] = pair
    if n_dropped and not arrays:
        raise UserError(f"{path}: holds no row whose values can all be")
    if not arrays:
        expected = ", ".join(t.features_key for t in NETWORK_TYPES.values())
        raise UserError(f"{path}: holds none of {expected} with its labels")
    if "lan" in arrays:
        _check_choices(arrays["lan"][0], definition.choices, path)
    settings = data.get("generator_config")
    plain = _PlainSettings("generator_config", path)
    return TrainingFileContent(
        model=model,
        parameters=parameters,
        bounds=bounds,
        definition=definition,
        generator=plain(settings) if isinstance(settings, dict) else {},
        arrays=arrays,
        n_dropped=n_dropped,
    )


def _model_of(config: Mapping[str, Any], path: Path) -> tuple[str, tuple[str, ...], Bounds]:
    """Name, parameters and bounds of the model."""
    name, parameters = config.get("name"), config.get("params")
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: model_config['name'] is missing or not text")
    if not isinstance(parameters, list) or not all(isinstance(p, str) for p in parameters):
        raise UserError(f"{path}: model_config['params'] is missing or not a list of names")
    return name, tuple(parameters), _bounds_of(config, parameters)


def _definition_of(config: Mapping[str, Any], path: Path) -> Definition:
    """Names of the model's functions, its choices, and the models file that it came from."""
    record = None
    if config.get("models_file") is not None:
        where = f"{path}: model_config['models_file']"
        content = config["models_file"]
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise UserError(f"{where}: expected keys and values")
        record = parse_settings(ModelsFileRecord, content, where)
    return define(config, _qualified_name, models_file=record)


def _qualified_name(value: object) -> str | None:
    """Name of a function in a file: one that it refers to, or a text that names one."""
    if isinstance(value, Placeholder):
        return value.qualified_name
    return value if isinstance(value, str) and "." in value else None


def _bounds_of(config: Mapping[str, Any], parameters: list[str]) -> Bounds:
    """Bounds by name, or as rows of lower and of upper bounds; what is neither is left out.

    A bound that is another parameter's name is that one's own bound.
    """
    by_name = config.get("param_bounds_dict")
    if not isinstance(by_name, dict):
        rows = config.get("param_bounds")
        if not _is_pair(rows) or not all(isinstance(row, list | tuple) for row in rows):
            return Bounds({})
        by_name = dict(zip(parameters, zip(*rows, strict=False), strict=False))
    bounds = {}
    for name in parameters:
        pair = _numeric_pair(by_name, name)
        if _is_pair(pair) and all(isinstance(v, int | float) and math.isfinite(v) for v in pair):
            bounds[name] = (float(pair[0]), float(pair[1]))
    return Bounds(bounds)


def _numeric_pair(by_name: Mapping[Any, Any], name: str) -> Any:
    """The bounds of a parameter, with those of the parameters that they name in their place."""
    pair = by_name.get(name)
    if not _is_pair(pair):
        return None
    others = [by_name.get(side) if isinstance(side, str) else None for side in pair]
    return [
        other[i] if _is_pair(other) else side
        for i, (side, other) in enumerate(zip(pair, others, strict=True))
    ]


def _is_pair(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple) and len(value) == 2


def _arrays_of(
    data: Mapping[str, Any], network_type: NetworkType, n_parameters: int, path: Path
) -> tuple[np.ndarray, np.ndarray] | None:
    """Features and labels of one network type, or None where the file has none."""
    features, labels = data.get(network_type.features_key), data.get(network_type.labels_key)
    if features is None or labels is None:
        return None
    features = _numbers(features, network_type.features_key, path)
    labels = _labels(labels, network_type, path)
    n_inputs = n_parameters + (2 if network_type.has_trial else 0)
    if features.ndim != 2 or features.shape[1] != n_inputs:
        raise UserError(
            f"{path}: {network_type.features_key} has shape {features.shape}, expected "
            f"(rows, {n_inputs}): {n_parameters} parameters"
            f"{', rt, choice' if network_type.has_trial else ''}"
        )
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.ndim != 2 or len(labels) != len(features) or labels.shape[1] == 0:
        raise UserError(
            f"{path}: {network_type.labels_key} has shape {labels.shape}, expected one row for "
            f"each of the {len(features)} rows of {network_type.features_key}"
        )
    if len(features) == 0:
        raise UserError(f"{path}: {network_type.features_key} has no rows")
    return features, labels


def _labels(array: object, network_type: NetworkType, path: Path) -> np.ndarray:
    """Labels as float32: log-densities, of which -inf is the least, or probabilities."""
    if network_type.has_trial and isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = np.where(np.isneginf(array), FLOOR, array)
    return _numbers(array, network_type.labels_key, path)


def _valid_rows(
    features: np.ndarray,
    labels: np.ndarray,
    network_type: NetworkType,
    path: Path,
    *,
    drop_invalid: bool,
) -> np.ndarray:
    """The rows (bool) whose values can all be; unless asked to leave others out, all must be.

    Raises
    ------
    UserError
        Naming what cannot be, and in which rows.
    """
    keep = np.ones(len(features), dtype=bool)
    for said, wrong in _find_invalid(features, labels, network_type):
        rows = np.flatnonzero(wrong.any(axis=1))
        if not drop_invalid:
            raise UserError(
                f"{path}: {said}, in {_name_rows(rows)}; --drop-invalid (study key drop_invalid) "
                "leaves such rows out"
            )
        keep[rows] = False
    return keep


def _find_invalid(
    features: np.ndarray, labels: np.ndarray, network_type: NetworkType
) -> Iterator[tuple[str, np.ndarray]]:
    """Find impossible values of a network type: in words, and their places (rows, columns)."""
    for key, array in ((network_type.features_key, features), (network_type.labels_key, labels)):
        if (wrong := ~np.isfinite(array)).any():
            yield f"{key} holds {int(wrong.sum())} value(s) that are not finite (NaN or inf)", wrong
    has_trial = network_type.has_trial
    least, most = (-np.inf, _MOST_LABEL) if has_trial else (-_ROUNDING, 1 + _ROUNDING)
    if (wrong := (labels < least) | (labels > most)).any():
        what = "log-densities" if has_trial else "probabilities, from 0 to 1"
        yield (
            f"{network_type.labels_key} holds {int(wrong.sum())} value(s) that cannot be, such as "
            f"{labels[wrong][0]:g} (expected {what})",
            wrong,
        )


def _name_rows(rows: np.ndarray) -> str:
    named = ", ".join(map(str, rows[:_MOST_ROWS_NAMED].tolist()))
    return f"row(s) {named}{', ...' if len(rows) > _MOST_ROWS_NAMED else ''} (counted from 0)"


def _check_choices(features: np.ndarray, choices: Sequence[float] | None, path: Path) -> None:
    """Refuse choices that the model does not have: all rows of such a file mean something else."""
    if choices is None:
        return
    foreign = ~np.isin(features[:, -1], [float(choice) for choice in choices])
    if foreign.any():
        seen = np.unique(features[:, -1])
        raise UserError(
            f"{path}: lan_data has the choices {', '.join(f'{c:g}' for c in seen[:10])}, but the "
            f"model those of {', '.join(f'{float(c):g}' for c in choices)}, in "
            f"{_name_rows(np.flatnonzero(foreign))}"
        )


def _numbers(array: object, key: str, path: Path) -> np.ndarray:
    """An array of numbers as float32."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise UserError(f"{path}: {key} is {kind}, expected an array of numbers")
    with np.errstate(over="ignore"):  # too large for float32 is inf, which is not finite
        return np.asarray(array, dtype=np.float32)


class _PlainSettings:
    """Turns settings into what JSON can hold; placeholders become their names.

    A pickle can refer to one part from many places, and a part can contain itself, so the size and
    the depth of what is written out are bounded.
    """

    def __init__(self, key: str, path: Path) -> None:
        self._where = f"{path}: {key}"
        self._left = _MAX_SETTINGS

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self._spend(1, depth)
        match value:
            case dict():
                items = sorted(value.items(), key=lambda item: self._text(item[0]))
                return {self._text(key): self(item, depth + 1) for key, item in items}
            case list() | tuple():
                return [self(item, depth + 1) for item in value]
            case set() | frozenset():
                return sorted((self(item, depth + 1) for item in value), key=str)
            case bool() | int() | float() | None:
                return value
            case np.ndarray():
                self._spend(value.nbytes, depth)
                return self(self._listed(value), depth + 1)
            case np.generic():
                item = value.item()
                return repr(value) if isinstance(item, np.generic) else self(item, depth + 1)
        return self._text(value)

    def _text(self, value: Any) -> str:
        """A key, or a value that is no container, as text."""
        if isinstance(value, Placeholder):
            value = value.qualified_name
        if isinstance(value, str | bytes | bytearray):
            self._spend(len(value), 0)
        return value if isinstance(value, str) else repr(value)

    def _listed(self, array: np.ndarray) -> Any:
        try:
            return array.tolist()
        except (ValueError, SystemError) as e:  # bytes that are no text
            raise UserError(f"{self._where} holds an array that cannot be read ({e})") from e

    def _spend(self, amount: int, depth: int) -> None:
        self._left -= amount
        if self._left < 0 or depth > _MAX_DEPTH:
            raise UserError(f"{self._where} is larger or deeper than settings are")


def own_definition(file: TrainingFileContent) -> Definition | None:
    """Definition of a model that is not as ssm-simulators' catalogue has it; else None.

    Without ssm-simulators, only what the file itself shows to be of somebody's own.
    """
    definition = file.definition
    if definition.models_file is None and _is_in_catalogue(file):
        return None
    if definition.choices is None and "lan" in file.arrays:
        seen = np.unique(file.arrays["lan"][0][:, -1]).tolist()
        definition = definition.model_copy(update={"choices": choices_of({"choices": seen})})
    return definition


def _is_in_catalogue(file: TrainingFileContent) -> bool:
    """True if the model is the one that ssm-simulators has by its name, as far as the file says."""
    try:
        known = catalogue_entry(file.model)
    except ImportError:
        return not file.definition.own
    if known is None or tuple(file.parameters) != known.parameters:
        return False
    return not file.definition.differences(known.definition)
