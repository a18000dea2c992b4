"""Measuring a data set: repeats, coverage of the bounds, labels, trials, and warnings.

Rows are read a block at a time from the memory-mapped arrays; what is kept is one byte for each
parameter set, and counts.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from lanflow.core.progress import Progress
from lanflow.data.audit.record import (
    AUDIT_VERSION,
    LIKELY,
    Audit,
    CornerCounts,
    Coverage,
    LabelError,
    LabelSummary,
    ParameterCoverage,
    RowCounts,
    SetCounts,
    TrialSummary,
    find_warnings,
)
from lanflow.data.dataset import DataSet
from lanflow.data.manifest import Manifest
from lanflow.data.relabel import group_by_vector
from lanflow.models.analytic import MODELS
from lanflow.models.density import FLOOR
from lanflow.models.models_file import base_name
from lanflow.models.sources import analytic_density
from lanflow.networks.types import NETWORK_TYPES

_BLOCK_ROWS = 2**18
# Labels are compared at so many places, spread evenly over the rows, so many rows at each.
_N_PLACES, _N_ROWS = 100, 20
# Training cuts labels off below it.
LEAST_LABEL = float(np.log(1e-7))
N_BINS = 20
# A corner is where two parameters are both in an outer tenth of their range.
CORNER_SHARE = 0.1
# The 99th percentile of Kolmogorov's statistic of n uniform draws is 1.63 / sqrt(n).
_KOLMOGOROV_99 = 1.63
# Seconds; trials outside count in the first or last bin.
_RT_EDGES = np.round(np.arange(-2, 22.05, 0.1), 1)


def audit_data_set(data_set: DataSet, manifest: Manifest) -> Audit:
    """Measure a data set and the manifest that it was packed from, with a progress bar."""
    coverage, trials = CoverageCounts(data_set), TrialCounts()
    labels = LabelCounts(_floor_of(manifest))
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
        dropped_rows=dict(data_set.dropped_rows),
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
    return audit.model_copy(update={"warnings": list(find_warnings(audit))})


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


# Counts over the rows, which grow block by block.


class CoverageCounts:
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
        """Summarise what was counted, by parameter and for the corners."""
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


class TrialCounts:
    """Histograms of rt, one for each choice."""

    def __init__(self) -> None:
        self._n = self._n_negative = self._n_likely = 0
        self._low, self._high = np.inf, -np.inf
        self._histograms: dict[float, np.ndarray] = {}

    def add(self, rt: np.ndarray, choice: np.ndarray, labels: np.ndarray) -> None:
        """Count trials: rt (seconds) and choice, both (rows,), with labels (rows, outputs)."""
        self._n_likely += int(((rt < 0) & (labels.max(axis=1) > LIKELY)).sum())
        self._n += len(rt)
        self._n_negative += int((rt < 0).sum())
        self._low, self._high = min(self._low, rt.min()), max(self._high, rt.max())
        clipped = np.clip(rt, _RT_EDGES[0], _RT_EDGES[-1])
        for value in np.unique(choice):
            counts, _ = np.histogram(clipped[choice == value], _RT_EDGES)
            known = self._histograms.setdefault(float(value), np.zeros_like(counts))
            known += counts

    def summarise(self) -> TrialSummary:
        """Summarise the trials that were counted."""
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


class LabelCounts:
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
        """Summarise the labels that were counted."""
        return LabelSummary(
            min=float(self._low),
            max=float(self._high),
            mean=self._sum / self._n,
            floor=self._floor,
            floor_share=self._n_floor / self._n,
        )
