"""The audit of a data set: repeats, coverage of the bounds, labels, trials, and warnings.

The result is an :class:`Audit`, the content of ``audit.json``. Rows are read a block at a time from
the memory-mapped arrays; what is kept is one byte for each parameter set, and counts.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from lanflow.core.files import read_record
from lanflow.core.progress import Progress
from lanflow.core.settings import Settings, parse_settings
from lanflow.data.dataset import DataSet
from lanflow.data.manifest import Manifest
from lanflow.data.relabel import group_by_vector
from lanflow.models.analytic import MODELS
from lanflow.models.density import FLOOR
from lanflow.models.models_file import DEADLINE, base_name
from lanflow.models.sources import analytic_density
from lanflow.networks.types import NETWORK_TYPES

AUDIT_VERSION = 1
N_BINS = 20
# A corner is where two parameters are both in an outer tenth of their range.
CORNER_SHARE = 0.1
# The 99th percentile of Kolmogorov's statistic of n uniform draws is 1.63 / sqrt(n).
_KOLMOGOROV_99 = 1.63
_BLOCK_ROWS = 2**18
# Seconds; trials outside count in the first or last bin.
_RT_EDGES = np.round(np.arange(-2, 22.05, 0.1), 1)
# A log-likelihood (nats) above which a trial is called likely: kernel densities reach a little
# below time zero. A mean error of labels above which they are another model's, or wrong.
_LIKELY, _FAR_OFF = -5.0, 0.5
# Labels are compared at so many places, spread evenly over the rows, so many rows at each.
_N_PLACES, _N_ROWS = 100, 20
# Training cuts labels off below it.
LEAST_LABEL = float(np.log(1e-7))


class SetCounts(Settings):
    """Parameter sets of all files together."""

    distinct: int = Field(description="equal vectors counted once")
    claimed: int = Field(description="sum over files of the sets in each")
    repeated_share: float = Field(description="share of the claimed sets that repeat others")


class RowCounts(Settings):
    """Rows of one network type."""

    n: int
    min_per_file: int
    max_per_file: int


class ParameterCoverage(Settings):
    """Distinct values of one parameter between its bounds."""

    lower: float
    upper: float
    counts: list[int] = Field(description="histogram of equal bins between the bounds")
    n_outside: int
    distance_from_uniform: float = Field(description="Kolmogorov's, from the histogram")


class CornerCounts(Settings):
    """Parameter sets in the corners, where two parameters are near one of their bounds each."""

    n_corners: int
    n_empty: int
    expected_sets: float = Field(description="in each corner, of uniform draws")
    emptiest: str = Field(description="the corner that holds the fewest")
    emptiest_sets: int


class Coverage(Settings):
    """Coverage of the bounds by the distinct parameter sets."""

    parameters: dict[str, ParameterCoverage]
    uniform_below: float = Field(description="99 of 100 uniform draws are less distant than this")
    corners: CornerCounts | None = Field(description="null with less than two parameters")


class LabelSummary(Settings):
    """Log-likelihoods that are the labels of the trials (nats)."""

    min: float
    max: float
    mean: float
    floor: float = Field(description="label of what cannot happen")
    floor_share: float


class LabelError(Settings):
    """Labels less exact log-likelihoods (nats), of a sample of the rows."""

    n_rows: int
    mean_absolute: float
    median_absolute: float
    percentile_99: float = Field(description="of the absolute difference")
    mean_difference: float


class TrialSummary(Settings):
    """Rts (seconds) and choices."""

    rt_min: float
    rt_max: float
    negative_rt_share: float
    n_likely_before_zero: int = Field(
        0, description="trials before time zero that labels call likely"
    )
    choice_shares: dict[str, float] = Field(
        description="of trials after time zero: before it, choices are drawn at random"
    )
    rt_edges: list[float] = Field(description="of the bins of the histograms")
    rt_counts: dict[str, list[int]] = Field(description="a histogram for each choice")


class Audit(Settings):
    """The content of ``audit.json``."""

    audit_version: Literal[1]
    digest: str = Field(description="the data set's, and its manifest's")
    model: str
    n_files: int
    sets: SetCounts
    rows: dict[str, RowCounts] = Field(description="by network type")
    n_not_finite: int
    mean_probability: dict[str, float] = Field(
        default_factory=dict, description="mean label of each type whose labels are probabilities"
    )
    coverage: Coverage
    labels: LabelSummary | None = Field(description="null without trials")
    label_error: LabelError | None = Field(description="null where the exact one is not known")
    trials: TrialSummary | None = Field(description="null without trials")
    warnings: list[str]


def read_audit(path: Path) -> Audit:
    """Read an ``audit.json``.

    Raises
    ------
    UserError
        If it is missing, damaged or of another version; naming the file and the key.
    """
    return parse_settings(Audit, read_record(path, "audit_version", AUDIT_VERSION), str(path))


def audit_data_set(data_set: DataSet, manifest: Manifest) -> Audit:
    """Measure a data set and the manifest that it was packed from, with a progress bar."""
    coverage, trials = _CoverageCounts(data_set), _TrialCounts()
    labels = _LabelCounts(_floor_of(manifest))
    seen = np.zeros(data_set.n_sets, dtype=bool)
    n_not_finite, sums = 0, dict.fromkeys(data_set.shapes, 0.0)
    with Progress(len(data_set.files), "auditing files", "file") as progress:
        for file in data_set.files:
            for network_type, (start, n_rows) in file.rows.items():
                for features, targets, sets in _blocks(data_set, network_type, start, n_rows):
                    numbers, first = np.unique(sets, return_index=True)
                    data_set.check_sets(network_type, numbers)
                    fresh = ~seen[numbers]
                    seen[numbers] = True
                    coverage.add(features[first[fresh], : len(data_set.parameters)])
                    n_not_finite += sum(int((~np.isfinite(x)).sum()) for x in (features, targets))
                    if NETWORK_TYPES[network_type].has_trial:
                        trials.add(features[:, -2], features[:, -1], targets)
                        labels.add(targets)
                    sums[network_type] += float(targets.mean(axis=1, dtype=np.float64).sum())
            progress.advance()
    has_trials = any(NETWORK_TYPES[name].has_trial for name in data_set.shapes)
    audit = Audit(
        audit_version=AUDIT_VERSION,
        digest=data_set.digest,
        model=data_set.model,
        n_files=len(data_set.files),
        sets=SetCounts(
            distinct=data_set.n_sets,
            claimed=data_set.n_claimed_sets,
            repeated_share=data_set.repeated_share,
        ),
        rows=_rows_per_file(data_set),
        n_not_finite=n_not_finite,
        mean_probability={
            name: total / data_set.shapes[name][0]
            for name, total in sums.items()
            if not NETWORK_TYPES[name].has_trial
        },
        coverage=coverage.summarise(),
        labels=labels.summarise() if has_trials else None,
        # Of a variant that kept its name nothing is known.
        label_error=label_error(data_set) if manifest.definition is None else None,
        trials=trials.summarise() if has_trials else None,
        warnings=[],
    )
    return audit.model_copy(update={"warnings": list(_warnings(audit))})


def _blocks(
    data_set: DataSet, network_type: str, start: int, n_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Features, labels and set numbers of the rows of a file, some at a time."""
    arrays = [data_set.array(network_type, kind) for kind in ("features", "labels", "sets")]
    for first in range(start, start + n_rows, _BLOCK_ROWS):
        rows = slice(first, min(first + _BLOCK_ROWS, start + n_rows))
        features, labels, sets = (np.asarray(array[rows]) for array in arrays)
        yield features, labels, sets


def _floor_of(manifest: Manifest) -> float:
    """The label of trials before time zero that the files were made with."""
    training = manifest.generator.get("training")
    value = training.get("negative_rt_log_likelihood") if isinstance(training, dict) else None
    return float(value) if isinstance(value, int | float) else FLOOR


def _rows_per_file(data_set: DataSet) -> dict[str, RowCounts]:
    rows = {}
    for name, shape in data_set.shapes.items():
        counts = [file.rows[name][1] if name in file.rows else 0 for file in data_set.files]
        rows[name] = RowCounts(n=shape[0], min_per_file=min(counts), max_per_file=max(counts))
    return rows


def _warnings(audit: Audit) -> Iterator[str]:
    """Warnings for a person who is about to train on the data."""
    sets = audit.sets
    if sets.distinct < sets.claimed:
        yield (
            f"the files hold only {sets.distinct:,} distinct parameter sets, not the "
            f"{sets.claimed:,} of each file for itself: {sets.repeated_share:.1%} are repeats "
            "(known of ssm-simulators' own 'generate', whose files repeat one another's sets); a "
            "network learns far less from such data than its number of rows says, and more such "
            "files do not help"
        )
    for name, parameter in audit.coverage.parameters.items():
        if parameter.n_outside:
            yield f"{parameter.n_outside:,} parameter sets have {name} outside of its bounds"
    corners = audit.coverage.corners
    if corners and corners.n_empty and corners.expected_sets >= 10:
        yield (
            f"{corners.n_empty} of {corners.n_corners} corners of the bounds hold no "
            f"parameter set, where {corners.expected_sets:.0f} are expected; for example "
            f"{corners.emptiest}"
        )
    if audit.n_not_finite:
        yield f"{audit.n_not_finite:,} values are not finite"
    yield from _warnings_of_values(audit)


def _warnings_of_values(audit: Audit) -> Iterator[str]:
    """Warnings of rts, labels and probabilities that can be, but hardly mean what they say."""
    trials, error = audit.trials, audit.label_error
    if trials is not None:
        total = sum(map(sum, trials.rt_counts.values()))
        n_long = sum(counts[-1] for counts in trials.rt_counts.values())
        if n_long > total / 2:
            yield (
                f"{n_long / total:.0%} of the rts are above {trials.rt_edges[-2]:g}; rts are in "
                "seconds, and these may be milliseconds"
            )
        if trials.n_likely_before_zero:
            yield (
                f"{trials.n_likely_before_zero:,} trials before time zero have a log-likelihood "
                f"above {_LIKELY:g}, where nothing can happen"
            )
    if error is not None and error.mean_absolute > _FAR_OFF:
        yield (
            f"labels are {error.mean_absolute:.2g} nats off the exact log-likelihood of "
            f"{audit.model} on average: is it this model that was simulated? 'relabel: auto' (or "
            "lanflow manifest --relabel auto) computes them anew"
        )
    for name, mean in audit.mean_probability.items():
        if name == "opn" and mean == 0 and audit.model.endswith(DEADLINE):
            yield (
                f"no trial of {audit.model} is an omission: every label of opn is 0, from which a "
                "network learns nothing"
            )


# Counts that grow block by block.


class _CoverageCounts:
    """Counts the distinct parameter vectors between the bounds."""

    def __init__(self, data_set: DataSet) -> None:
        names = data_set.parameters
        self._names = [name for name in names if name in data_set.bounds]
        self._columns = [names.index(name) for name in self._names]
        bounds = np.array([data_set.bounds[name] for name in self._names], dtype=np.float32)
        self._low, self._high = bounds.reshape(-1, 2).T
        self._n = 0
        self._counts = np.zeros((len(self._names), N_BINS), dtype=np.int64)
        self._outside = np.zeros(len(self._names), dtype=np.int64)
        self._sides = np.zeros((2 * len(self._names),) * 2, dtype=np.int64)

    def add(self, theta: np.ndarray) -> None:
        """Count vectors (sets, parameters) not seen before."""
        theta = theta[:, self._columns]
        self._n += len(theta)
        self._outside += ((theta < self._low) | (theta > self._high)).sum(axis=0)
        width = np.where(self._high > self._low, self._high - self._low, 1)
        share = (theta - self._low) / width
        bins = np.clip((share * N_BINS).astype(np.int64), 0, N_BINS - 1)
        for counts, column in zip(self._counts, bins.T, strict=True):
            counts += np.bincount(column, minlength=N_BINS)
        sides = np.hstack([share < CORNER_SHARE, share > 1 - CORNER_SHARE]).astype(np.int64)
        self._sides += sides.T @ sides

    def summarise(self) -> Coverage:
        uniform = np.arange(1, N_BINS + 1) / N_BINS
        parameters = {}
        for i, name in enumerate(self._names):
            share = np.cumsum(self._counts[i]) / max(self._n, 1)
            parameters[name] = ParameterCoverage(
                lower=float(self._low[i]),
                upper=float(self._high[i]),
                counts=self._counts[i].tolist(),
                n_outside=int(self._outside[i]),
                distance_from_uniform=float(np.abs(share - uniform).max()),
            )
        limit = _KOLMOGOROV_99 / max(self._n, 1) ** 0.5
        return Coverage(parameters=parameters, uniform_below=limit, corners=self._corners())

    def _corners(self) -> CornerCounts | None:
        n = len(self._names)
        if n < 2:
            return None
        corners = [
            (int(self._sides[i + n * i_high, j + n * j_high]), (i, i_high), (j, j_high))
            for i, j in itertools.combinations(range(n), 2)
            for i_high in (0, 1)
            for j_high in (0, 1)
        ]
        count, *place = min(corners)
        return CornerCounts(
            n_corners=len(corners),
            n_empty=sum(corner[0] == 0 for corner in corners),
            expected_sets=self._n * CORNER_SHARE**2,
            emptiest=", ".join(f"{self._names[i]} {('low', 'high')[end]}" for i, end in place),
            emptiest_sets=count,
        )


class _TrialCounts:
    """Histograms of rt, one for each choice."""

    def __init__(self) -> None:
        self._n = self._n_negative = self._n_likely = 0
        self._low, self._high = np.inf, -np.inf
        self._histograms: dict[float, np.ndarray] = {}

    def add(self, rt: np.ndarray, choice: np.ndarray, labels: np.ndarray) -> None:
        """Count trials: rt (seconds) and choice, both (rows,), with labels (rows, outputs)."""
        self._n_likely += int(((rt < 0) & (labels.max(axis=1) > _LIKELY)).sum())
        self._n += len(rt)
        self._n_negative += int((rt < 0).sum())
        self._low, self._high = min(self._low, rt.min()), max(self._high, rt.max())
        clipped = np.clip(rt, _RT_EDGES[0], _RT_EDGES[-1])
        for value in np.unique(choice):
            counts, _ = np.histogram(clipped[choice == value], _RT_EDGES)
            known = self._histograms.setdefault(float(value), np.zeros_like(counts))
            known += counts

    def summarise(self) -> TrialSummary:
        histograms = {f"{value:g}": counts for value, counts in sorted(self._histograms.items())}
        positive = {name: int(n[_RT_EDGES[:-1] >= 0].sum()) for name, n in histograms.items()}
        total = max(sum(positive.values()), 1)
        return TrialSummary(
            rt_min=float(self._low),
            rt_max=float(self._high),
            negative_rt_share=self._n_negative / self._n,
            n_likely_before_zero=self._n_likely,
            choice_shares={name: n / total for name, n in positive.items()},
            rt_edges=_RT_EDGES.tolist(),
            rt_counts={name: counts.tolist() for name, counts in histograms.items()},
        )


class _LabelCounts:
    """Range and mean of log-likelihoods, and how many are at the floor."""

    def __init__(self, floor: float) -> None:
        self._floor, self._n, self._n_floor, self._sum = floor, 0, 0, 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, labels: np.ndarray) -> None:
        """Count labels of any shape (nats)."""
        self._n += labels.size
        self._n_floor += int((labels <= self._floor + 1e-3).sum())
        self._sum += float(labels.sum(dtype=np.float64))
        self._low, self._high = min(self._low, labels.min()), max(self._high, labels.max())

    def summarise(self) -> LabelSummary:
        return LabelSummary(
            min=float(self._low),
            max=float(self._high),
            mean=self._sum / self._n,
            floor=self._floor,
            floor_share=self._n_floor / self._n,
        )


# The error of labels: their distance from the exact log-likelihood.


def label_error(data_set: DataSet) -> LabelError | None:
    """Compare labels of the lan with the exact log-likelihood, where one is known.

    Rows spread evenly over the data set are compared, those whose log-likelihood is at least
    log(1e-7).

    Returns
    -------
    LabelError or None
        ``None`` without a lan, for a model whose likelihood is not known, or if no row is likely
        enough.
    """
    name = base_name(data_set.model)
    if name not in MODELS or "lan" not in data_set.shapes:
        return None
    n_rows = data_set.shapes["lan"][0]
    n_parameters = len(data_set.parameters)
    features, labels = (data_set.array("lan", kind) for kind in ("features", "labels"))
    errors: list[np.ndarray] = [np.empty(0)]
    for first in np.unique(np.linspace(0, max(n_rows - _N_ROWS, 0), _N_PLACES).astype(int)):
        block, known = (np.asarray(a[first : first + _N_ROWS], float) for a in (features, labels))
        for rows in group_by_vector(block[:, :n_parameters]):
            theta = dict(zip(data_set.parameters, block[rows[0]].tolist(), strict=False))
            try:
                with np.errstate(all="ignore"):
                    density = analytic_density(name, theta, max_t=20.0)
                    truth = density.evaluate(block[rows, -2], block[rows, -1])
            except (ArithmeticError, KeyError, ValueError):  # names or values of another model
                return None
            likely = truth >= LEAST_LABEL
            errors.append((known[rows, 0] - truth)[likely])
    return _summarise_errors(np.concatenate(errors))


def _summarise_errors(errors: np.ndarray) -> LabelError | None:
    if len(errors) == 0:
        return None
    absolute = np.abs(errors)
    return LabelError(
        n_rows=len(errors),
        mean_absolute=float(absolute.mean()),
        median_absolute=float(np.median(absolute)),
        percentile_99=float(np.percentile(absolute, 99)),
        mean_difference=float(errors.mean()),
    )
