"""``recovery.json``: true and found parameters of simulated subjects, and how well they agree."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from lanflow.core.files import read_record
from lanflow.core.settings import Settings, parse_settings
from lanflow.core.tables import count_of
from lanflow.evaluation.recovery.fit import FittedSubject
from lanflow.evaluation.recovery.posterior import Posterior
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.density import Array
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network

RECOVERY_VERSION: Literal[2] = 2

# Of the central interval of a posterior whose coverage is told.
_LEVEL = 0.9
# Draws of a posterior that a true value is ranked among: evenly spaced, so that they depend less on
# one another than neighbours do (Talts et al. 2018).
N_RANKED = 99
# Values that a correlation needs.
FEWEST_SUBJECTS = 3
# Chains of one subject that disagree by more have not converged.
_MAX_R_HAT = 1.05

# Rows of subjects, columns of parameters.
Table = list[list[float]]


class Agreement(Settings):
    """Agreement of true and found values of one parameter over all subjects.

    The first three are None where there are no ranks to compare: with fewer than three subjects, or
    the same value in all.
    """

    pearson: float | None
    spearman: float | None
    rank_shift: float | None = Field(
        description="mean distance of a subject's rank among the found values and among the true "
        "ones, in shares of all subjects"
    )
    rmse: float = Field(description="root of the mean square error")
    bias: float = Field(description="mean of found less true")


class LikelihoodAgreement(Agreement):
    """The same after maximum likelihood, with the maxima at a bound."""

    n_at_lower: int
    n_at_upper: int


class PosteriorAgreement(Agreement):
    """The same after sampling, with what the posteriors are worth."""

    coverage: float = Field(description="share of the intervals that hold the true value")
    rank_uniformity_p: float = Field(description="Kolmogorov-Smirnov test of even ranks")
    max_r_hat: float
    min_ess: float


class LogLikelihoods(Settings):
    """Log-likelihood of each subject's trials, by the network, in nats."""

    true: list[float]
    recovered: list[float]


class Posteriors(Settings):
    """Posteriors of all subjects."""

    n_chains: int
    n_draws: int
    level: float = Field(description="of the intervals")
    lower: Table
    upper: Table
    sd: Table
    n_ranked: int
    ranks: list[list[int]] = Field(description="of the true values among draws")
    r_hat: Table
    ess: Table
    n_divergent: list[int]


class Recovery(Settings):
    """The part of the record that all methods have."""

    recovery_version: Literal[2]
    method: str
    model: str
    network_type: Literal["lan"]
    backend: str | None
    onnx_sha256: str
    seed: int
    n_subjects: int
    n_trials: int
    n_undecided: int = Field(description="trials without an answer when the simulation ended")
    parameters: list[str]
    bounds: Bounds
    true: Table
    recovered: Table


class LikelihoodRecovery(Recovery):
    """After maximum likelihood.

    A fit whose likelihood is below that of the truth is a search that went astray:
    ``n_below_truth``.
    """

    summary: dict[str, LikelihoodAgreement]
    log_likelihood: LogLikelihoods
    n_below_truth: int


class PosteriorRecovery(Recovery):
    """After sampling; what was recovered is the posterior's mean.

    Under a prior that is uniform within the bounds, from which the subjects are drawn, the rank of
    the true value among draws of its posterior is uniform if the network is right (simulation-based
    calibration, Talts et al. 2018).
    """

    summary: dict[str, PosteriorAgreement]
    posterior: Posteriors
    n_not_converged: int


def without_ranks(record: LikelihoodRecovery | PosteriorRecovery) -> str | None:
    """Say why some parameters have no rank correlation; None if all have one."""
    missing = [name for name, one in record.summary.items() if one.spearman is None]
    if not missing:
        return None
    if record.n_subjects < FEWEST_SUBJECTS:
        subjects = count_of(record.n_subjects, "subject")
        return f"{subjects}, of at least {FEWEST_SUBJECTS} that a rank correlation needs"
    return f"the same value in all subjects of {', '.join(missing)}"


def rank_correlations(record: LikelihoodRecovery | PosteriorRecovery) -> str:
    """Rank correlations of true and found values, for people; or why there are none."""
    shown = [
        f"{name} {one.spearman:.3f}"
        for name, one in record.summary.items()
        if one.spearman is not None
    ]
    reason = without_ranks(record)
    if reason is None:
        return ", ".join(shown)
    return f"{', '.join(shown)} ({reason})" if shown else f"none ({reason})"


def read_recovery(path: Path) -> LikelihoodRecovery | PosteriorRecovery:
    """Read a ``recovery.json``.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another version.
    """
    content = read_record(path, "recovery_version", RECOVERY_VERSION)
    if "posterior" in content:
        return parse_settings(PosteriorRecovery, content, str(path))
    return parse_settings(LikelihoodRecovery, content, str(path))


def likelihood_record(
    network: Network,
    subjects: list[Subject],
    found: list[FittedSubject],
    *,
    n_trials: int,
    seed: int,
) -> LikelihoodRecovery:
    """The content of ``recovery.json`` after maximum likelihood."""
    at_truth = [one.log_likelihood for one in found]
    at_fit = [one.fit.log_likelihood for one in found]
    thetas = np.array([one.fit.theta for one in found])
    true = np.array([subject.theta for subject in subjects])
    n_lower = np.sum([one.fit.at_lower for one in found], axis=0).tolist()
    n_upper = np.sum([one.fit.at_upper for one in found], axis=0).tolist()
    method = "maximum likelihood"
    common = _common(network, subjects, thetas, method=method, n_trials=n_trials, seed=seed)
    return LikelihoodRecovery(
        **dict(common),
        summary={
            name: LikelihoodAgreement(
                **agreement(true[:, i], thetas[:, i]).model_dump(),
                n_at_lower=n_lower[i],
                n_at_upper=n_upper[i],
            )
            for i, name in enumerate(network.bounds)
        },
        log_likelihood=LogLikelihoods(true=at_truth, recovered=at_fit),
        n_below_truth=sum(b < a for a, b in zip(at_truth, at_fit, strict=True)),
    )


def posterior_record(
    network: Network,
    subjects: list[Subject],
    found: list[Posterior],
    *,
    n_trials: int,
    seed: int,
) -> PosteriorRecovery:
    """The content of ``recovery.json`` after sampling."""
    draws = np.array([one.draws.reshape(-1, one.draws.shape[-1]) for one in found])
    true = np.array([subject.theta for subject in subjects])
    lower, upper = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=1)
    taken = np.linspace(0, draws.shape[1] - 1, N_RANKED).round().astype(int)
    ranks = (draws[:, taken] < true[:, None]).sum(axis=1)
    r_hat, ess = (np.array([getattr(one, key) for one in found]) for key in ("r_hat", "ess"))
    means = draws.mean(axis=1)
    covered = (lower <= true) & (true <= upper)
    method = f"NUTS (HSSM {found[0].version})"
    common = _common(network, subjects, means, method=method, n_trials=n_trials, seed=seed)
    n_chains, n_draws, _ = found[0].draws.shape
    return PosteriorRecovery(
        **dict(common),
        summary={
            name: PosteriorAgreement(
                **agreement(true[:, i], means[:, i]).model_dump(),
                coverage=float(covered[:, i].mean()),
                rank_uniformity_p=_uniformity(ranks[:, i]),
                max_r_hat=float(r_hat[:, i].max()),
                min_ess=float(ess[:, i].min()),
            )
            for i, name in enumerate(network.bounds)
        },
        posterior=Posteriors(
            n_chains=n_chains,
            n_draws=n_draws,
            level=_LEVEL,
            lower=lower.tolist(),
            upper=upper.tolist(),
            sd=draws.std(axis=1, ddof=1).tolist(),
            n_ranked=N_RANKED,
            ranks=ranks.tolist(),
            r_hat=r_hat.tolist(),
            ess=ess.tolist(),
            n_divergent=[one.n_divergent for one in found],
        ),
        n_not_converged=int((r_hat > _MAX_R_HAT).any(axis=1).sum()),
    )


def _common(
    network: Network,
    subjects: list[Subject],
    found: Array,
    *,
    method: str,
    n_trials: int,
    seed: int,
) -> Recovery:
    """Record what every method has; ``found`` has shape (subjects, parameters)."""
    return Recovery(
        recovery_version=RECOVERY_VERSION,
        method=method,
        model=network.model_name,
        network_type="lan",
        backend=network.backend,
        onnx_sha256=network.sha256,
        seed=seed,
        n_subjects=len(subjects),
        n_trials=n_trials,
        n_undecided=sum(subject.n_undecided for subject in subjects),
        parameters=list(network.bounds),
        bounds=network.bounds,
        true=[subject.theta.tolist() for subject in subjects],
        recovered=found.tolist(),
    )


def _uniformity(ranks: Array) -> float:
    """Probability of ranks as uneven as these, were they uniform over 0 to ``N_RANKED``."""
    from scipy.stats import kstest

    return float(kstest((ranks + 0.5) / (N_RANKED + 1), "uniform").pvalue)


def agreement(true: Array, found: Array) -> Agreement:
    """Compare true and found values of one parameter over all subjects.

    Parameters
    ----------
    true, found
        Shape (subjects,).
    """
    from scipy.stats import rankdata

    ranks = rankdata(true), rankdata(found)
    spearman = _correlation(*ranks)
    shift = float(np.abs(ranks[1] - ranks[0]).mean() / len(true))
    error = found - true
    return Agreement(
        pearson=_correlation(true, found),
        spearman=spearman,
        rank_shift=None if spearman is None else shift,
        rmse=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
    )


def _correlation(a: Array, b: Array) -> float | None:
    if len(a) < FEWEST_SUBJECTS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
