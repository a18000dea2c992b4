"""A cognitive model: what it is called, its parameters and bounds, its choices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lanflow.models.parameters import Bounds


def base_name(name: str) -> str:
    """A model's name without the ending for a deadline."""
    return name.removesuffix("_deadline")


@dataclass(frozen=True, eq=False)
class Model:
    """A model of ssm-simulators; :func:`lanflow.models.simulators.find_model` makes it.

    Attributes
    ----------
    name
        In ssm-simulators' catalogue.
    parameters
        Names, in the order of a network's inputs.
    bounds
        Range of each parameter. Where ssm-simulators' bound is another parameter's name (``st`` of
        ``full_ddm_rv`` is at most ``t``), that parameter's own bound.
    choices
        As data code them, ascending.
    boundary, drift
        Names of the functions of time; None where the simulator has none.
    simulator
        Name of the simulating function.
    config
        ssm-simulators' own description, for its functions and for training files.
    """

    name: str
    parameters: tuple[str, ...]
    bounds: Bounds
    choices: tuple[int, ...]
    boundary: str | None
    drift: str | None
    simulator: str | None
    config: Mapping[str, Any] = field(repr=False)

    @property
    def base_name(self) -> str:
        """The name without the ending for a deadline."""
        return base_name(self.name)

    @property
    def has_deadline(self) -> bool:
        """True if an answer can come too late; then the deadline is a parameter."""
        return "deadline" in self.parameters

    @property
    def has_shift(self) -> bool:
        """True if every trial of a parameter vector has the same non-decision time, its ``t``."""
        return "t" in self.parameters and "st" not in self.parameters
