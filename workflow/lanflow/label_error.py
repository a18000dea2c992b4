"""How far labels are from the exact log-likelihood, where one is known."""

import numpy as np

from lanflow.data_set import DataSet
from lanflow.label_sources import base_name, make_density
from lanflow.likelihood_ddm import MODELS
from lanflow.relabelling import group_by_vector

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
    model = {"name": data_set.model}
    if base_name(model) not in MODELS or "lan" not in data_set.shapes:
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
                    density = make_density("analytic", model, theta, max_t=20.0)
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
