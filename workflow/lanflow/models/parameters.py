"""Bounds of a model's parameters, and parameter vectors inside them."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError

Array = npt.NDArray[np.float64]
# A parameter vector as numbers by name.
Theta = dict[str, float]

MAX_CORNERS = 64


class Bounds(Mapping[str, tuple[float, float]]):
    """The range of each parameter, in the order of a network's inputs.

    Parameters
    ----------
    pairs
        Lowest and highest value by parameter.
    """

    def __init__(self, pairs: Mapping[str, tuple[float, float]]) -> None:
        self._pairs = {name: (float(low), float(high)) for name, (low, high) in pairs.items()}

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Bounds":
        """Bounds as a card, a training file or a configuration holds them.

        Parameters
        ----------
        content
            ``{parameter: [low, high]}``.
        where
            File and key, for errors.

        Raises
        ------
        UserError
            If it is anything else, or a range is not finite or upside down.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"{where}: must be {{parameter: [low, high]}}, not {content!r:.200}")
        pairs = {}
        for name, pair in content.items():
            is_pair = isinstance(pair, Sequence) and len(pair) == 2
            if not is_pair or not all(_is_finite(side) for side in pair) or pair[0] > pair[1]:
                raise UserError(
                    f"{where}: {name} must be [low, high], two finite numbers, not {pair!r:.200}"
                )
            pairs[str(name)] = (float(pair[0]), float(pair[1]))
        return cls(pairs)

    def to_json(self) -> dict[str, list[float]]:
        """The bounds as a card holds them: ``{parameter: [low, high]}``."""
        return {name: list(pair) for name, pair in self.items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: Any) -> Any:
        """Read and write bounds in a settings class as ``{parameter: [low, high]}``."""
        from pydantic_core import core_schema

        pairs = core_schema.no_info_before_validator_function(
            lambda value: dict(value) if isinstance(value, Bounds) else value,
            handler.generate_schema(dict[str, tuple[float, float]]),
        )
        return core_schema.no_info_after_validator_function(
            cls._checked,
            pairs,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json),
        )

    @classmethod
    def _checked(cls, pairs: Mapping[str, tuple[float, float]]) -> "Bounds":
        """Bounds of pairs; raises the error that pydantic expects of a validator."""
        for name, (low, high) in pairs.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(
                    f"{name} must be [low, high], two finite numbers, not {[low, high]}"
                )
        return cls(pairs)

    def __getitem__(self, name: str) -> tuple[float, float]:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Bounds({self._pairs})"

    def __str__(self) -> str:
        return str(self.to_json())

    def overlaid(self, others: Mapping[str, tuple[float, float]]) -> "Bounds":
        """The same parameters with the others' ranges, where the others have one."""
        return Bounds({name: others.get(name, pair) for name, pair in self.items()})

    def centre(self) -> Theta:
        """The middle of every range."""
        return {name: (low + high) / 2 for name, (low, high) in self.items()}

    def corners(self, *, seed: int) -> Array:
        """All corners, or :data:`MAX_CORNERS` drawn ones; shape (corners, parameters)."""
        sides = np.array(list(self.values()), float)
        if 2 ** len(sides) <= MAX_CORNERS:
            return np.array(list(itertools.product(*sides)))
        chosen = np.random.default_rng(seed).integers(0, 2, (MAX_CORNERS, len(sides)))
        return np.asarray(sides[np.arange(len(sides)), chosen])

    def named(self, vector: Array) -> Theta:
        """A parameter vector, shape (parameters,), as numbers by name."""
        return dict(zip(self, vector.tolist(), strict=True))


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def sobol_points(
    seed: np.random.SeedSequence, n_dimensions: int, *, first: int, n_points: int
) -> Array:
    """A stretch of a scrambled Sobol sequence (Owen 1998), shape (points, dimensions), in [0, 1).

    Parameters
    ----------
    seed
        Of the scrambling; sequences of different seeds share no points.
    n_dimensions
        Parameters.
    first, n_points
        Which stretch.
    """
    from scipy.stats import qmc

    engine = qmc.Sobol(n_dimensions, scramble=True, rng=np.random.default_rng(seed))
    if first:
        engine.fast_forward(first)
    # One at a time: a first call for a number that is no power of two warns.
    points = [engine.random(1)[0] for _ in range(n_points)]
    return np.array(points)
