"""Labels of existing data, computed anew from the density of its model.

Parameters, rts and choices of a training file are all that labels depend on. So a file whose labels
are a kernel density of simulations, of any version of ssm-simulators, gets the exact ones
(``analytic``) or those of the Fokker-Planck equation (``solver``) without a new simulation. Labels
of cpn, opn and gonogo are of the same density, so all of a file's labels belong together.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from lanflow.core.errors import UserError, explain_import_error
from lanflow.core.processes import one_core, worker_pool
from lanflow.data.training_file import TrainingFileContent
from lanflow.models.definition import Definition
from lanflow.models.density import FLOOR, labels
from lanflow.models.model import Model
from lanflow.models.models_file import ModelsFile
from lanflow.models.simulators import resolve_model
from lanflow.models.sources import label_source, make_density
from lanflow.networks.types import NETWORK_TYPES

Source = Literal["analytic", "solver"]
# Work on some rows of one parameter set: the vector, and rt and choice of each row or nothing.
_Task = tuple[np.ndarray, np.ndarray | None]
Relabel = Callable[[TrainingFileContent, Path], TrainingFileContent]

# How long a decision may take in ssm-simulators, seconds, where a file does not say.
_MAX_T = 20.0
_TASKS_AT_A_TIME = 16


def relabel_source(
    asked: str,
    model: str,
    *,
    definition: Definition | None = None,
    models_file: ModelsFile | None = None,
) -> Source:
    """The source that ``relabel`` means for a model.

    Parameters
    ----------
    asked
        ``auto``, ``analytic`` or ``solver``.
    model
        Its name in ssm-simulators, or in the models file.
    definition
        What a manifest says of it beside its name.
    models_file
        A file of the user's that defines it.

    Raises
    ------
    UserError
        If the model has no such source, or ssm-simulators, which describes it, is not installed.
    """
    try:
        wish = cast("Literal['auto', 'analytic', 'solver']", asked)  # as the options accept it
        known = resolve_model(
            model,
            parameters=None,
            definition=definition,
            models_file=models_file,
            where="relabel",
        )
        source = label_source(wish, known, key="relabel")
    except ImportError as e:
        raise UserError(explain_import_error(e, "relabelling data", extra="generate")) from e
    if source not in ("analytic", "solver"):
        raise UserError(
            f"relabel: model {model!r} has neither an analytic likelihood nor one that the solver "
            "finds; leave relabel out to train on the labels in the files"
        )
    return source


@contextmanager
def relabeller(
    source: Source | None, *, n_processes: int, models_file: ModelsFile | None = None
) -> Iterator[Relabel]:
    """A function that gives files their labels, on ``n_processes`` processes at a time.

    With ``None`` for the source, the files keep theirs. ``models_file`` defines their model, where
    ssm-simulators does not.
    """
    if source is None:
        yield lambda file, _: file
    elif n_processes == 1:
        with one_core():
            yield partial(_relabel, source, models_file, map)
    else:
        with worker_pool(n_processes) as pool:
            run = partial(pool.map, chunksize=_TASKS_AT_A_TIME)
            yield partial(_relabel, source, models_file, run)


def _relabel(
    source: Source,
    models_file: ModelsFile | None,
    run: Callable[..., Any],
    file: TrainingFileContent,
    path: Path,
) -> TrainingFileContent:
    """The file with labels from the source.

    Raises
    ------
    UserError
        If its parameters, choices or labels are not those of the model, or outside of what it is
        defined for.
    """
    model = resolve_model(
        file.model,
        parameters=None,
        definition=file.definition,
        models_file=models_file,
        where=str(path),
    )
    labelling = _Labelling.of(file, source, model, path)
    arrays = {}
    for name, (features, old) in file.arrays.items():
        expected = labelling.n_labels(name)
        if old.shape[1] != expected:
            raise UserError(
                f"{path}: {name}_labels has {old.shape[1]} columns; to relabel it, it must have "
                f"{expected}"
            )
        arrays[name] = features, _labels_of(labelling, run, name, features, path)
    return replace(file, arrays=arrays)


@dataclass(frozen=True)
class _Labelling:
    """Everything that a file's labels depend on beside its rows; it can be sent to a process."""

    source: Source
    model: Model
    parameters: tuple[str, ...]
    max_t: float
    floor: float

    @classmethod
    def of(
        cls, file: TrainingFileContent, source: Source, model: Model, path: Path
    ) -> "_Labelling":
        expected = model.parameters
        if sorted(file.parameters) != sorted(expected):
            raise UserError(
                f"{path}: parameters {', '.join(file.parameters)}; to relabel it they must be "
                f"those of {file.model}: {', '.join(expected)}"
            )
        return cls(
            source=source,
            model=model,
            parameters=file.parameters,
            max_t=_setting(file.generator, "simulator", "max_t", _MAX_T),
            floor=_setting(file.generator, "training", "negative_rt_log_likelihood", FLOOR),
        )

    def n_labels(self, name: str) -> int:
        """Columns of the labels of a network type: of several choices, a cpn has one for each."""
        n_choices = len(self.model.choices)
        return n_choices if name.startswith("cpn") and n_choices > 2 else 1


def _setting(generator: Mapping[str, Any], section: str, key: str, default: float) -> float:
    """A number among a generator's settings, which newer versions have in sections."""
    inside = generator.get(section)
    value = (inside if isinstance(inside, dict) else generator).get(key, default)
    return float(value) if isinstance(value, int | float) else default


def _labels_of(
    labelling: _Labelling, run: Callable[..., Any], name: str, features: np.ndarray, path: Path
) -> np.ndarray:
    """Labels (rows, columns) of one network type."""
    n_parameters = len(labelling.parameters)
    has_trial = NETWORK_TYPES[name].has_trial
    if has_trial:
        _check_choices(features, labelling.model.choices, path)
    rows_of_sets = list(group_by_vector(features[:, :n_parameters]))
    tasks: list[_Task] = [
        (features[rows[0], :n_parameters], features[rows, n_parameters:] if has_trial else None)
        for rows in rows_of_sets
    ]
    out = np.empty((len(features), labelling.n_labels(name)), np.float32)
    made = run(partial(_label_set, labelling, f"{name}_labels"), tasks)
    for rows, values in zip(rows_of_sets, made, strict=True):
        out[rows] = values
    if not np.isfinite(out).all():
        vector = features[np.flatnonzero(~np.isfinite(out).all(axis=1))[0], :n_parameters]
        theta = ", ".join(f"{p} {x:g}" for p, x in zip(labelling.parameters, vector, strict=True))
        raise UserError(
            f"{path}: {labelling.model.name} has no {labelling.source} density at {theta}"
        )
    return out


def _check_choices(features: np.ndarray, choices: tuple[int, ...], path: Path) -> None:
    """Refuse answers that the density does not know; before time zero there is none anyway."""
    rts, made = features[:, -2], features[:, -1]
    strange = np.unique(made[(rts >= 0) & ~np.isin(made, choices)])
    if len(strange):
        raise UserError(
            f"{path}: lan_data holds the choice {strange[0]:g}; to relabel it, choices must be "
            f"{' and '.join(map(str, choices))}"
        )


def group_by_vector(theta: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of each distinct parameter vector; rows of one mostly stand together."""
    starts = np.flatnonzero(np.r_[True, np.any(theta[1:] != theta[:-1], axis=1)])
    _, which = np.unique(theta[starts], axis=0, return_inverse=True)
    which = np.repeat(which.ravel(), np.diff(np.r_[starts, len(theta)]))
    order = np.argsort(which, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(which[order])) + 1)


def _label_set(labelling: _Labelling, key: str, task: _Task) -> Any:
    """The labels of the rows of one parameter set; not finite where there is no density."""
    vector, trials = task
    theta = dict(zip(labelling.parameters, vector.astype(float).tolist(), strict=True))
    with np.errstate(all="ignore"):
        try:
            density = make_density(labelling.source, labelling.model, theta, labelling.max_t)
            if trials is None:
                return labels(density, n_samples=1)[key]
            rts, choices = trials.T
            made = np.where(rts < 0, labelling.floor, density.evaluate(rts, choices))
            return made[:, None]
        except (ArithmeticError, IndexError, ValueError):  # of a vector outside of the model
            return np.nan
