"""``recovery.json``: true and found parameters of simulated subjects, and how well they agree."""

from typing import Any

import numpy as np

from lanflow.evaluation.recovery.fit import FittedSubject
from lanflow.evaluation.recovery.posterior import Posterior
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.density import Array
from lanflow.networks.network import Network

RECOVERY_VERSION = 2

# Of the central interval of a posterior whose coverage is told.
_LEVEL = 0.9
# Draws of a posterior that a true value is ranked among: evenly spaced, so that they depend less on
# one another than neighbours do (Talts et al. 2018).
N_RANKED = 99
# Chains of one subject that disagree by more have not converged.
_MAX_R_HAT = 1.05


def likelihood_record(
    network: Network,
    subjects: list[Subject],
    found: list[FittedSubject],
    *,
    n_trials: int,
    seed: int,
) -> dict[str, Any]:
    """The content of ``recovery.json`` after maximum likelihood.

    ``log_likelihood`` is of all of a subject's trials, by the network, in nats. A fit whose
    likelihood is below that of the truth is a search that went astray: ``n_below_truth``.
    """
    at_truth = [one.log_likelihood for one in found]
    at_fit = [one.fit.log_likelihood for one in found]
    n_lower = np.sum([one.fit.at_lower for one in found], axis=0).tolist()
    n_upper = np.sum([one.fit.at_upper for one in found], axis=0).tolist()
    record = _record(
        network,
        subjects,
        np.array([one.fit.theta for one in found]),
        method="maximum likelihood",
        n_trials=n_trials,
        seed=seed,
    )
    for one, lower, upper in zip(record["summary"].values(), n_lower, n_upper, strict=True):
        one |= {"n_at_lower": lower, "n_at_upper": upper}
    return record | {
        "log_likelihood": {"true": at_truth, "recovered": at_fit},
        "n_below_truth": sum(b < a for a, b in zip(at_truth, at_fit, strict=True)),
    }


def posterior_record(
    network: Network,
    subjects: list[Subject],
    found: list[Posterior],
    *,
    n_trials: int,
    seed: int,
) -> dict[str, Any]:
    """The content of ``recovery.json`` after sampling; what was recovered is the posterior's mean.

    Under a prior that is uniform over the box, from which the subjects are drawn, the rank of the
    true value among draws of its posterior is uniform if the network is right (simulation-based
    calibration, Talts et al. 2018); ``rank_uniformity_p`` is a Kolmogorov-Smirnov test of that.
    """
    draws = np.array([one.draws.reshape(-1, one.draws.shape[-1]) for one in found])
    true = np.array([subject.theta for subject in subjects])
    lower, upper = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=1)
    taken = np.linspace(0, draws.shape[1] - 1, N_RANKED).round().astype(int)
    ranks = (draws[:, taken] < true[:, None]).sum(axis=1)
    r_hat, ess = (np.array([getattr(one, key) for one in found]) for key in ("r_hat", "ess"))
    record = _record(
        network,
        subjects,
        draws.mean(axis=1),
        method=f"NUTS (HSSM {found[0].version})",
        n_trials=n_trials,
        seed=seed,
    )
    for i, one in enumerate(record["summary"].values()):
        covered = (lower[:, i] <= true[:, i]) & (true[:, i] <= upper[:, i])
        one |= {
            "coverage": float(covered.mean()),
            "rank_uniformity_p": _uniformity(ranks[:, i]),
            "max_r_hat": float(r_hat[:, i].max()),
            "min_ess": float(ess[:, i].min()),
        }
    n_chains, n_draws, _ = found[0].draws.shape
    return record | {
        "posterior": {
            "n_chains": n_chains,
            "n_draws": n_draws,
            "level": _LEVEL,
            "lower": lower.tolist(),
            "upper": upper.tolist(),
            "sd": draws.std(axis=1, ddof=1).tolist(),
            "n_ranked": N_RANKED,
            "ranks": ranks.tolist(),
            "r_hat": r_hat.tolist(),
            "ess": ess.tolist(),
            "n_divergent": [one.n_divergent for one in found],
        },
        "n_not_converged": int((r_hat > _MAX_R_HAT).any(axis=1).sum()),
    }


def _record(
    network: Network,
    subjects: list[Subject],
    found: Array,
    *,
    method: str,
    n_trials: int,
    seed: int,
) -> dict[str, Any]:
    """What all methods tell."""
    true = np.array([subject.theta for subject in subjects])
    return {
        "recovery_version": RECOVERY_VERSION,
        "method": method,
        "model": network.model_name,
        "network_type": "lan",
        "backend": network.backend,
        "onnx_sha256": network.sha256,
        "seed": seed,
        "n_subjects": len(subjects),
        "n_trials": n_trials,
        "n_undecided": sum(subject.n_undecided for subject in subjects),
        "parameters": list(network.bounds),
        "bounds": network.bounds.to_json(),
        "true": true.tolist(),
        "recovered": found.tolist(),
        "summary": {
            name: agreement(true[:, i], found[:, i]) for i, name in enumerate(network.bounds)
        },
    }


def _uniformity(ranks: Array) -> float:
    """Probability of ranks as uneven as these, were they uniform over 0 to ``N_RANKED``."""
    from scipy.stats import kstest

    return float(kstest((ranks + 0.5) / (N_RANKED + 1), "uniform").pvalue)


def agreement(true: Array, found: Array) -> dict[str, Any]:
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
