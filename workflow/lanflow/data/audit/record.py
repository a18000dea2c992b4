"""The record of an audit, ``audit.json``, and what it warns of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from lanflow.core.files import read_record
from lanflow.core.settings import Settings, parse_settings
from lanflow.models.models_file import DEADLINE

AUDIT_VERSION: Literal[1] = 1
# A log-likelihood (nats) above which a trial is called likely: kernel densities reach a little
# below time zero. A mean error of labels above which they are another model's, or wrong.
LIKELY, _FAR_OFF = -5.0, 0.5
# Labels are the same if they differ by no more, nats.
_SAME = 1e-3


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
    dropped_rows: dict[str, int] = Field(
        default_factory=dict, description="by network type, left out for values that cannot be"
    )
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


def find_warnings(audit: Audit) -> Iterator[str]:
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
    for kind, n_dropped in audit.dropped_rows.items():
        n_all = n_dropped + (audit.rows[kind].n if kind in audit.rows else 0)
        yield (
            f"{n_dropped:,} of {n_all:,} {kind} rows were left out (drop_invalid), for values that "
            "cannot be"
        )
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
                f"above {LIKELY:g}, where nothing can happen"
            )
    if audit.labels is not None and _are_all_the_same(audit.labels):
        yield (
            f"every label of lan is {audit.labels.max:.4g} or the floor, from which a network "
            f"learns nothing: has {audit.model} no times?"
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


def _are_all_the_same(labels: LabelSummary) -> bool:
    """True if no label is between the floor and the highest."""
    mean = labels.floor * labels.floor_share + labels.max * (1 - labels.floor_share)
    return abs(labels.mean - mean) < _SAME
