"""Counts over the rows of a data set, which grow block by block."""

import itertools

import numpy as np

from lanflow.data.audit.record import (
    LIKELY,
    CornerCounts,
    Coverage,
    LabelSummary,
    ParameterCoverage,
    TrialSummary,
)
from lanflow.data.dataset import DataSet

N_BINS = 20
# A corner is where two parameters are both in an outer tenth of their range.
CORNER_SHARE = 0.1
# The 99th percentile of Kolmogorov's statistic of n uniform draws is 1.63 / sqrt(n).
_KOLMOGOROV_99 = 1.63
# Seconds; trials outside count in the first or last bin.
_RT_EDGES = np.round(np.arange(-2, 22.05, 0.1), 1)


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
