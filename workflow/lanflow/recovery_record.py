"""``recovery.json``: true and found parameters of simulated subjects, and how well they agree."""

import hashlib
from typing import Any

import numpy as np

from lanflow.density import Array
from lanflow.recovery import Recoverable, Subject

RECOVERY_VERSION = 1


def recovery_record(
    network: Recoverable, subjects: list[Subject], *, n_trials: int, seed: int
) -> dict[str, Any]:
    """The content of ``recovery.json``.

    ``log_likelihood`` is of all of a subject's trials, by the network, in nats. A fit whose
    likelihood is below that of the truth is a search that went astray: ``n_below_truth``.
    """
    true = np.array([subject.true for subject in subjects])
    found = np.array([subject.fit.theta for subject in subjects])
    at_truth = [subject.log_likelihood for subject in subjects]
    at_fit = [subject.fit.log_likelihood for subject in subjects]
    n_lower = np.sum([subject.fit.at_lower for subject in subjects], axis=0).tolist()
    n_upper = np.sum([subject.fit.at_upper for subject in subjects], axis=0).tolist()
    return {
        "recovery_version": RECOVERY_VERSION,
        "method": "maximum likelihood",
        "model": network.model,
        "network_type": "lan",
        "backend": network.backend,
        "onnx_sha256": hashlib.sha256(network.onnx).hexdigest(),
        "seed": seed,
        "n_subjects": len(subjects),
        "n_trials": n_trials,
        "n_undecided": sum(subject.n_undecided for subject in subjects),
        "parameters": list(network.bounds),
        "bounds": {name: list(pair) for name, pair in network.bounds.items()},
        "true": true.tolist(),
        "recovered": found.tolist(),
        "log_likelihood": {"true": at_truth, "recovered": at_fit},
        "n_below_truth": sum(b < a for a, b in zip(at_truth, at_fit, strict=True)),
        "summary": {
            name: {
                **agreement(true[:, i], found[:, i]),
                "n_at_lower": n_lower[i],
                "n_at_upper": n_upper[i],
            }
            for i, name in enumerate(network.bounds)
        },
    }


def agreement(true: Array, found: Array) -> dict[str, float | None]:
    """How well one parameter is found again in all subjects.

    Parameters
    ----------
    true, found
        Shape (subjects,).

    Returns
    -------
    dict
        ``pearson``, ``spearman``, and ``rank_shift``, the mean distance of a subject's rank among
        the found values and among the true ones, in shares of all subjects: None where there are
        no ranks to compare, with fewer than three subjects or the same value in all. ``rmse``, the
        root of the mean square error; ``bias``, the mean of found less true.
    """
    from scipy.stats import rankdata

    ranks = rankdata(true), rankdata(found)
    spearman = _correlation(*ranks)
    shift = float(np.abs(ranks[1] - ranks[0]).mean() / len(true))
    error = found - true
    return {
        "pearson": _correlation(true, found),
        "spearman": spearman,
        "rank_shift": None if spearman is None else shift,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
    }


def _correlation(a: Array, b: Array) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
