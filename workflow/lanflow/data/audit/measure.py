"""Measuring a data set: repeats, coverage of the bounds, labels, trials, and warnings.

Rows are read a block at a time from the memory-mapped arrays; what is kept is one byte for each
parameter set, and counts.
"""

from collections.abc import Iterator

import numpy as np

from lanflow.core.progress import Progress
from lanflow.data.audit.counts import CoverageCounts, LabelCounts, TrialCounts
from lanflow.data.audit.record import (
    AUDIT_VERSION,
    Audit,
    LabelError,
    RowCounts,
    SetCounts,
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
