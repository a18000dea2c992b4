"""What a packed data set really holds: repeats, coverage of the box, labels, trials.

Rows are read a block at a time from the memory-mapped arrays; what is kept is one byte for each
parameter set and counts.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lanflow.data.dataset import DataSet
from lanflow.data.relabel import group_by_vector
from lanflow.models.analytic import MODELS
from lanflow.models.model import base_name
from lanflow.models.sources import analytic_density
from lanflow.networks.types import NETWORK_TYPES

# How far labels are from the exact log-likelihood, where one is known.


# Rows are looked at in so many places, spread evenly, so many at each.
_N_PLACES, _N_ROWS = 100, 20
# Below it training cuts labels off.
LEAST_LABEL = float(np.log(1e-7))


def label_error(data_set: DataSet) -> dict[str, float] | None:
    """Labels of the lan less the exact log-likelihood, of a sample of the rows.

    Parameters
    ----------
    data_set
        Rows spread evenly over it are compared, those where the log-likelihood is at least
        log(1e-7).

    Returns
    -------
    dict or None
        ``n_rows``, ``mean_absolute``, ``median_absolute``, ``percentile_99`` and
        ``mean_difference``; ``None`` without a lan, for a model whose likelihood is not known, or
        if no row is likely enough.
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
    return _describe(np.concatenate(errors))


def _describe(errors: np.ndarray) -> dict[str, float] | None:
    if len(errors) == 0:
        return None
    absolute = np.abs(errors)
    return {
        "n_rows": len(errors),
        "mean_absolute": float(absolute.mean()),
        "median_absolute": float(np.median(absolute)),
        "percentile_99": float(np.percentile(absolute, 99)),
        "mean_difference": float(errors.mean()),
    }


AUDIT_VERSION = 1
# ssm-simulators' label of trials before time zero (negative_rt_log_likelihood).
FLOOR = -66.77497
N_BINS = 20
# A corner is where two parameters are both in an outer tenth of their range.
CORNER_SHARE = 0.1
# The 99th percentile of Kolmogorov's statistic of n uniform draws is 1.63 / sqrt(n).
_KOLMOGOROV_99 = 1.63
_BLOCK_ROWS = 2**18
# Seconds; trials outside count in the first or last bin.
_RT_EDGES = np.round(np.arange(-2, 22.05, 0.1), 1)


class _Coverage:
    """Where in the parameter box the distinct vectors lie."""

    def __init__(self, data_set: DataSet) -> None:
        names = data_set.parameters
        self._names = [name for name in names if name in data_set.bounds]
        self._columns = [names.index(name) for name in self._names]
        box = np.array([data_set.bounds[name] for name in self._names], dtype=np.float32)
        self._low, self._high = box.reshape(-1, 2).T
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

    def describe(self) -> dict[str, Any]:
        limit = _KOLMOGOROV_99 / max(self._n, 1) ** 0.5
        uniform = np.arange(1, N_BINS + 1) / N_BINS
        parameters = {}
        for i, name in enumerate(self._names):
            share = np.cumsum(self._counts[i]) / max(self._n, 1)
            parameters[name] = {
                "lower": float(self._low[i]),
                "upper": float(self._high[i]),
                "counts": self._counts[i].tolist(),
                "n_outside": int(self._outside[i]),
                "distance_from_uniform": float(np.abs(share - uniform).max()),
            }
        return {"parameters": parameters, "uniform_below": limit, "corners": self._corners()}

    def _corners(self) -> dict[str, Any] | None:
        n = len(self._names)
        if n < 2:
            return None
        corners = [
            (int(self._sides[i + n * up, j + n * right]), (i, up), (j, right))
            for i, j in itertools.combinations(range(n), 2)
            for up in (0, 1)
            for right in (0, 1)
        ]
        count, *place = min(corners)
        return {
            "n_corners": len(corners),
            "n_empty": sum(corner[0] == 0 for corner in corners),
            "expected_sets": self._n * CORNER_SHARE**2,
            "emptiest": ", ".join(f"{self._names[i]} {('low', 'high')[end]}" for i, end in place),
            "emptiest_sets": count,
        }


class _Trials:
    """rt and choice of the rows that have them."""

    def __init__(self) -> None:
        self._n = self._n_negative = 0
        self._low, self._high = np.inf, -np.inf
        self._histograms: dict[float, np.ndarray] = {}

    def add(self, rt: np.ndarray, choice: np.ndarray) -> None:
        self._n += len(rt)
        self._n_negative += int((rt < 0).sum())
        self._low, self._high = min(self._low, rt.min()), max(self._high, rt.max())
        clipped = np.clip(rt, _RT_EDGES[0], _RT_EDGES[-1])
        for value in np.unique(choice):
            counts, _ = np.histogram(clipped[choice == value], _RT_EDGES)
            known = self._histograms.setdefault(float(value), np.zeros_like(counts))
            known += counts

    def describe(self) -> dict[str, Any]:
        positive = {
            value: int(counts[_RT_EDGES[:-1] >= 0].sum())
            for value, counts in sorted(self._histograms.items())
        }
        total = max(sum(positive.values()), 1)
        return {
            "rt_min": float(self._low),
            "rt_max": float(self._high),
            "negative_rt_share": self._n_negative / self._n,
            # Of trials after time zero: before it, choices are drawn at random.
            "choice_shares": {f"{value:g}": n / total for value, n in positive.items()},
            "rt_edges": _RT_EDGES.tolist(),
            "rt_counts": {f"{v:g}": c.tolist() for v, c in sorted(self._histograms.items())},
        }


class _Labels:
    """Log-likelihoods, and how many are at the floor."""

    def __init__(self, floor: float) -> None:
        self._floor, self._n, self._n_floor, self._sum = floor, 0, 0, 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, labels: np.ndarray) -> None:
        self._n += labels.size
        self._n_floor += int((labels <= self._floor + 1e-3).sum())
        self._sum += float(labels.sum(dtype=np.float64))
        self._low, self._high = min(self._low, labels.min()), max(self._high, labels.max())

    def describe(self) -> dict[str, Any]:
        return {
            "min": float(self._low),
            "max": float(self._high),
            "mean": self._sum / self._n,
            "floor": self._floor,
            "floor_share": self._n_floor / self._n,
        }


def audit_data_set(
    data_set: DataSet,
    manifest: Mapping[str, Any],
    *,
    on_file: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure a data set.

    Parameters
    ----------
    data_set, manifest
        Which belong together.
    on_file
        Called after each file.

    Returns
    -------
    dict
        The content of ``audit.json``. ``sets.claimed`` is the sum over files of the parameter sets
        in each; ``sets.distinct`` counts equal vectors once.
    """
    coverage, trials, labels = _Coverage(data_set), _Trials(), _Labels(_floor_of(manifest))
    seen = np.zeros(data_set.n_sets, dtype=bool)
    n_not_finite = 0
    for file in data_set.files:
        for name in file.rows:
            for features, targets, sets in _blocks(data_set, name, *file.rows[name]):
                numbers, first = np.unique(sets, return_index=True)
                fresh = ~seen[numbers]
                seen[numbers] = True
                coverage.add(features[first[fresh], : len(data_set.parameters)])
                n_not_finite += int((~np.isfinite(features)).sum() + (~np.isfinite(targets)).sum())
                if NETWORK_TYPES[name].has_trial:
                    trials.add(features[:, -2], features[:, -1])
                    labels.add(targets)
        on_file()
    has_trials = any(NETWORK_TYPES[name].has_trial for name in data_set.shapes)
    audit = {
        "audit_version": AUDIT_VERSION,
        "digest": data_set.digest,
        "model": data_set.model,
        "n_files": len(data_set.files),
        "sets": {
            "distinct": data_set.n_sets,
            "claimed": data_set.n_claimed_sets,
            "repeated_share": data_set.repeated_share,
        },
        "rows": _rows_per_file(data_set),
        "n_not_finite": n_not_finite,
        "coverage": coverage.describe(),
        "labels": labels.describe() if has_trials else None,
        "label_error": label_error(data_set),
        "trials": trials.describe() if has_trials else None,
    }
    return {**audit, "warnings": list(_warnings(audit))}


def _blocks(
    data_set: DataSet, name: str, start: int, n_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Features, labels and set numbers of rows of a file, some at a time."""
    arrays = [data_set.array(name, kind) for kind in ("features", "labels", "sets")]
    for first in range(start, start + n_rows, _BLOCK_ROWS):
        rows = slice(first, min(first + _BLOCK_ROWS, start + n_rows))
        features, labels, sets = (np.asarray(array[rows]) for array in arrays)
        yield features, labels, sets


def _floor_of(manifest: Mapping[str, Any]) -> float:
    training = manifest["generator"].get("training")
    value = training.get("negative_rt_log_likelihood") if isinstance(training, dict) else None
    return float(value) if isinstance(value, int | float) else FLOOR


def _rows_per_file(data_set: DataSet) -> dict[str, dict[str, int]]:
    rows = {}
    for name, shape in data_set.shapes.items():
        counts = [file.rows[name][1] if name in file.rows else 0 for file in data_set.files]
        rows[name] = {"n": shape[0], "min_per_file": min(counts), "max_per_file": max(counts)}
    return rows


def _warnings(audit: Mapping[str, Any]) -> Iterator[str]:
    sets, coverage = audit["sets"], audit["coverage"]
    if sets["distinct"] < sets["claimed"]:
        yield (
            f"the files hold only {sets['distinct']:,} distinct parameter sets, not the "
            f"{sets['claimed']:,} they claim: {sets['repeated_share']:.1%} are repeats (known "
            "of ssm-simulators' own 'generate', whose files repeat one another's sets); a network "
            "learns far less from such data than its number of rows says, and more such files do "
            "not help"
        )
    for name, parameter in coverage["parameters"].items():
        if parameter["n_outside"]:
            yield f"{parameter['n_outside']:,} parameter sets have {name} outside of its bounds"
    corners = coverage["corners"]
    if corners and corners["n_empty"] and corners["expected_sets"] >= 10:
        yield (
            f"{corners['n_empty']} of {corners['n_corners']} corners of the parameter box hold no "
            f"parameter set, where {corners['expected_sets']:.0f} are expected; for example "
            f"{corners['emptiest']}"
        )
    if audit["n_not_finite"]:
        yield f"{audit['n_not_finite']:,} values are not finite"
