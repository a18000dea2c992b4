"""A network beside its reference, at parameter vectors drawn within its bounds.

Computed once per network: gates judge these numbers, the leaderboard and the report print their
summary, and the figures of errors and calibration draw them. Differences are network less
reference, everywhere.
"""

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.core.files import write_bytes
from lanflow.core.progress import with_progress
from lanflow.evaluation.implied import grid_of, implied_density
from lanflow.evaluation.record import ScoreSummary
from lanflow.evaluation.reference import MAX_T, Reference
from lanflow.models.density import Array
from lanflow.models.parameters import Bounds
from lanflow.models.simulators import draw_parameters
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network, Outputs
from lanflow.networks.runtime import likelihood_rows
from lanflow.networks.types import NetworkTypeName

# Labels are cut off here in training; trials that are less likely under the truth are left out.
LEAST_LOG_DENSITY = float(np.log(1e-7))

# Of the seed: each use has its own stream.
STREAM_SCORES, STREAM_DENSITY, STREAM_EDGES, STREAM_CALIBRATION = 1, 2, 3, 4

# Of progress, in the singular.
_SET = "parameter set"

# A vector at which hardly any trial is answered in time has no likelihoods to compare.
_LEAST_ANSWERED = 0.01


@dataclass(frozen=True)
class Scores:
    """Outputs of a network and the reference's, and where.

    Attributes
    ----------
    unit
        ``nats`` of a log-likelihood, or ``probability``.
    against
        What the reference is, for people.
    parameters
        Vectors, shape (sets, parameters), in the order of the network's inputs.
    sets
        Of each row the vector's index, shape (rows,).
    network, reference
        Log-likelihood of each trial, or probability of each outcome at each vector, shape (rows,).
    rts, choices
        Of each trial, shape (rows,); empty where the network takes no trials.
    choice_probabilities
        The reference's, of each choice in time, shape (sets, choices); (sets, 0) where the network
        takes no trials.
    """

    unit: Literal["nats", "probability"]
    against: str
    parameters: Array
    sets: npt.NDArray[np.int64]
    network: Array
    reference: Array
    rts: npt.NDArray[np.float32]
    choices: npt.NDArray[np.float32]
    choice_probabilities: Array

    @cached_property
    def differences(self) -> Array:
        """Network less reference, shape (rows,)."""
        differences: Array = self.network - self.reference
        return differences

    def per_outcome(self, values: Array) -> Array:
        """Values of rows as a table, shape (sets, outcomes); of networks without trials."""
        table: Array = values.reshape(len(self.parameters), -1)
        return table

    def mean_abs_error_of_sets(self) -> Array:
        """Mean absolute error at each vector, shape (sets,); nan where there are no rows."""
        n_rows = np.bincount(self.sets, minlength=len(self.parameters))
        sums = np.bincount(self.sets, np.abs(self.differences), len(self.parameters))
        means: Array = np.divide(sums, n_rows, out=np.full(len(n_rows), np.nan), where=n_rows > 0)
        return means

    def numbers(self) -> dict[str, float]:
        """Mean and median absolute error, 99th percentile, mean difference; may be not finite."""
        sizes = np.abs(self.differences)
        with np.errstate(invalid="ignore"):
            return {
                "mean_abs_error": float(sizes.mean()),
                "median_abs_error": float(np.median(sizes)),
                "p99_abs_error": float(np.percentile(sizes, 99)),
                "mean_difference": float(self.differences.mean()),
            }

    def summary(self) -> ScoreSummary:
        """The numbers for the record of an evaluation."""
        numbers = {
            key: value if np.isfinite(value) else None for key, value in self.numbers().items()
        }
        return ScoreSummary(
            unit=self.unit, n_sets=len(self.parameters), n_rows=len(self.sets), **numbers
        )


def score_likelihood(
    network: Outputs, reference: Reference, bounds: Bounds, *, n_sets: int, rows: int, seed: int
) -> Scores:
    """Score a likelihood network on simulated trials.

    Parameters
    ----------
    network
        Outputs (rows, 1) of rows of parameters, rt and choice.
    reference
        The truth.
    bounds
        Where parameters are drawn.
    n_sets, rows
        Parameter vectors, and trials of each.
    seed
        Decides both.

    Raises
    ------
    UserError
        If no trial is answered in time anywhere.
    """
    parameters = draw_parameters(reference.model, bounds, n_sets, seed=seed)
    features, truths, sets, probabilities = [], [], [], []
    doing = f"{reference.model.name}: scoring"
    for index, vector in enumerate(with_progress(list(parameters), doing, _SET)):
        rts, choices, truth, in_time = reference.trials(
            bounds.named(vector), rows, seed=seed + index
        )
        kept = truth > LEAST_LOG_DENSITY
        features.append(likelihood_rows(vector, rts[kept], choices[kept]))
        truths.append(truth[kept])
        sets.append(np.full(kept.sum(), index))
        probabilities.append(in_time)
    inputs = np.concatenate(features)
    if len(inputs) == 0:
        raise UserError(
            f"{reference.model.name}: no trial is answered in time anywhere within the bounds"
        )
    return Scores(
        unit="nats",
        against=reference.description,
        parameters=parameters,
        sets=np.concatenate(sets),
        network=network(inputs)[:, 0].astype(float),
        reference=np.concatenate(truths),
        rts=inputs[:, -2],
        choices=inputs[:, -1],
        choice_probabilities=np.array(probabilities),
    )


def score_probability(
    network: Outputs,
    reference: Reference,
    bounds: Bounds,
    network_type: NetworkTypeName,
    *,
    n_sets: int,
    seed: int,
) -> Scores:
    """Score a network without trials.

    ``network`` gives log-probabilities of its outcomes, shape (vectors, outcomes), of parameter
    vectors.
    """
    parameters = draw_parameters(reference.model, bounds, n_sets, seed=seed)
    outputs = np.exp(network(parameters).astype(float))
    n_outputs = outputs.shape[1]
    doing = f"{reference.model.name}: scoring"
    truths = [
        reference.probabilities(
            bounds.named(vector), network_type, n_outputs=n_outputs, seed=seed + index
        )
        for index, vector in enumerate(with_progress(list(parameters), doing, _SET))
    ]
    return Scores(
        unit="probability",
        against=reference.description,
        parameters=parameters,
        sets=np.repeat(np.arange(n_sets), n_outputs),
        network=outputs.ravel(),
        reference=np.concatenate(truths),
        rts=np.empty(0, np.float32),
        choices=np.empty(0, np.float32),
        choice_probabilities=np.empty((n_sets, 0)),
    )


@dataclass(frozen=True)
class Calibration:
    """Probabilities of a likelihood network beside those of its model.

    Attributes
    ----------
    sets
        Indices of the scores' vectors at which trials are answered in time, shape (vectors,).
    masses
        Of each choice: the integral of the network's density, shape (vectors, choices).
    true_masses
        The reference's probability of each choice in time, shape (vectors, choices).
    ranks
        Share of the network's rts of the same choice that are below each trial's, shape (trials,);
        uniform from 0 to 1 for a network that is right.
    """

    sets: npt.NDArray[np.int64]
    masses: Array
    true_masses: Array
    ranks: Array


def calibration(network: Outputs, scores: Scores, reference: Reference) -> Calibration:
    """Integrate a likelihood network's density at the vectors of its scores.

    Parameters
    ----------
    network
        Outputs (rows, 1) of rows of parameters, rt and choice.
    scores
        Of the same network.
    reference
        Of its model.
    """
    model = reference.model
    answered = np.flatnonzero(scores.choice_probabilities.sum(axis=1) >= _LEAST_ANSWERED)
    masses, ranks = [], [np.empty(0)]
    for index in with_progress(answered.tolist(), f"{model.name}: integrating the density", _SET):
        vector = scores.parameters[index]
        theta = dict(zip(model.parameters, vector.tolist(), strict=True))
        grid = grid_of(theta, MAX_T)
        implied = implied_density(network, vector, model.choices, grid).drawable
        masses.append(implied.masses)
        rows = scores.sets == index
        for place, choice in enumerate(model.choices):
            if implied.masses[place] > 0:
                rts = scores.rts[rows & (scores.choices == choice)]
                ranks.append(implied.ranks(place, rts))
    return Calibration(
        answered, np.array(masses), scores.choice_probabilities[answered], np.concatenate(ranks)
    )


_ARRAYS = (
    *("parameters", "sets", "network", "reference", "rts", "choices"),
    "choice_probabilities",
)


def write_scores(path: Path, scores: Scores | None, *, onnx_sha256: str) -> None:
    """Write scores beside their evaluation (``.npz``), with the network that they are of.

    A network that could not be run has none; its file holds the digest alone.
    """
    parts: dict[str, Any] = {"onnx_sha256": onnx_sha256}  # keywords of numpy
    if scores is not None:
        parts |= {name: getattr(scores, name) for name in ("unit", "against", *_ARRAYS)}
    content = io.BytesIO()
    np.savez_compressed(content, **parts)
    write_bytes(path, content.getvalue())


def read_own_scores(network: Network) -> Scores | None:
    """The scores in a network's folder; None where there are none of this network.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if network.folder is None:
        return None
    return read_scores(
        network.folder / network_folder.SCORES,
        onnx_sha256=network.sha256,
        n_parameters=len(network.bounds),
    )


def read_scores(path: Path, *, onnx_sha256: str, n_parameters: int) -> Scores | None:
    """Read a network's scores; None where there are none, or they are of another network.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["onnx_sha256"]) != onnx_sha256 or "unit" not in stored:
                return None
            arrays = {name: np.asarray(stored[name]) for name in _ARRAYS}
            unit, against = str(stored["unit"]), str(stored["against"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise UserError(f"{path}: damaged ({e}); run 'lanflow evaluate' again") from e
    scores = Scores(unit=unit, against=against, **arrays)  # type: ignore[arg-type]
    if not _is_whole(scores, n_parameters):
        raise UserError(f"{path}: damaged (shapes differ); run 'lanflow evaluate' again")
    return scores


def _is_whole(scores: Scores, n_parameters: int) -> bool:
    """True if the shapes are those of one network's scores."""
    n_rows = len(scores.sets)
    of_trials = n_rows if scores.unit == "nats" else 0
    return (
        scores.unit in ("nats", "probability")
        and scores.parameters.ndim == 2
        and scores.parameters.shape[1] == n_parameters
        and scores.network.shape == scores.reference.shape == (n_rows,)
        and scores.rts.shape == scores.choices.shape == (of_trials,)
        and scores.choice_probabilities.ndim == 2
        and len(scores.choice_probabilities) == len(scores.parameters)
        and np.issubdtype(scores.sets.dtype, np.integer)
        and (n_rows == 0 or 0 <= scores.sets.min() <= scores.sets.max() < len(scores.parameters))
    )
