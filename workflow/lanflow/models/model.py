"""A cognitive model: what it is called, its parameters and bounds, its choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.settings import suggest
from lanflow.models.definition import Definition
from lanflow.models.models_file import ModelsFile, base_name
from lanflow.models.parameters import Bounds


class ModelNotAtHandError(UserError):
    """A model that nobody has told this process how to simulate."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model of ssm-simulators or of a models file.

    :func:`lanflow.models.simulators.find_model` makes it.

    Attributes
    ----------
    name
        In ssm-simulators' catalogue, or in the models file.
    parameters
        Names, in the order of a network's inputs.
    bounds
        Range of each parameter. Where ssm-simulators' bound is another parameter's name (``st`` of
        ``full_ddm_rv`` is at most ``t``), that parameter's own bound.
    choices
        As data code them, ascending.
    definition
        Names of its boundary, drift and simulator: with the name and the parameters, what it is.
    config
        ssm-simulators' own description, for its functions.
    record
        The same as training files hold it.
    models_file
        The file of the user's that defines it; None for a model of the catalogue.
    changed_bounds
        Those of the bounds that are not the model's own.
    """

    name: str
    parameters: tuple[str, ...]
    bounds: Bounds
    choices: tuple[int, ...]
    definition: Definition = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)
    models_file: ModelsFile | None = None
    changed_bounds: Bounds = field(default_factory=lambda: Bounds({}))

    @property
    def simulator(self) -> str | None:
        """Name of the simulating function."""
        return self.definition.simulator

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

    def with_bounds(self, changed: Mapping[str, tuple[float, float]], where: str) -> "Model":
        """The same model, drawn from other bounds.

        Parameters
        ----------
        changed
            Lowest and highest value, of some of the parameters.
        where
            File and key, for errors.

        Raises
        ------
        UserError
            If the model has no such parameter, or a range is upside down.
        """
        if not changed:
            return self
        for name, (low, high) in changed.items():
            if name not in self.parameters:
                raise UserError(
                    f"{where}: model {self.name!r} has no parameter {name!r}"
                    f"{suggest(name, self.parameters)}"
                )
            if not low < high:
                raise UserError(f"{where}: {name}: {low:g} is not below {high:g}")
        space = {**self.config["param_bounds_dict"], **changed}
        columns = [[space[name][side] for name in self.parameters] for side in (0, 1)]
        new = {"param_bounds": columns, "param_bounds_dict": space}
        return replace(
            self,
            bounds=self.bounds.overlaid(changed),
            config={**self.config, **new},
            record={**self.record, **new},
            changed_bounds=Bounds(changed),
        )


def outline(
    name: str,
    *,
    parameters: Sequence[str],
    bounds: Bounds,
    definition: Definition | None,
) -> Model:
    """A model that is not at hand, as a record has it: parameters can be drawn, and no more.

    Choices that the record does not give are those of two boundaries, -1 and 1.
    """
    choices = None if definition is None else definition.choices
    config = {"params": list(parameters), "param_bounds_dict": dict(bounds)}
    nothing = Definition(boundary=None, drift=None, simulator=None, own=[], choices=choices)
    return Model(
        name=name,
        parameters=tuple(parameters),
        bounds=bounds,
        choices=tuple(choices or (-1, 1)),
        definition=definition or nothing,
        config=config,
        record=config,
    )
