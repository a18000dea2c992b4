"""Figures of two records: the audit of a data set, and the recovery of simulated subjects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lanflow.core.figures import (
    BLUE,
    GREY,
    ORANGE,
    Drawing,
    area_key,
    axis_label,
    choice_colour,
    draw,
    line_key,
    number,
    put_legend,
    put_title,
)
from lanflow.core.tables import count_of
from lanflow.evaluation.recovery.record import Agreement, LikelihoodRecovery, PosteriorRecovery
from lanflow.report.figures.panels import chance_of_counts, hide, n_columns

# Columns of panels of an audit.
_N_COLUMNS = 4
# Bars of a histogram of ranks, each of as many ranks; half as many of few subjects.
_N_BARS, _FEW = 10, 40


def draw_audit(audit: Mapping[str, Any]) -> Drawing:
    """Histograms of every parameter against uniform draws, and rts by choice.

    Parameters
    ----------
    audit
        From :func:`lanflow.data.audit.measure.audit_data_set`.
    """
    n_rows = -(-len(audit["coverage"]["parameters"]) // _N_COLUMNS)
    heights = [1.0] * n_rows + [1.6] * (audit["trials"] is not None)
    size = (9.6, 0.7 + 1.9 * max(sum(heights), 1))
    return draw(size, lambda figure: _fill(figure, audit, heights))


def _fill(figure: Any, audit: Mapping[str, Any], heights: Sequence[float]) -> None:
    """Panels of parameters, and under them one of rts; heights of the rows of panels."""
    sets, n_files = audit["sets"], audit["n_files"]
    has_repeats = sets["distinct"] < sets["claimed"]
    of_all = f"{sets['claimed']:,} parameter sets in {count_of(n_files, 'file')}"
    found = f"only {sets['distinct']:,} of {of_all} are distinct" if has_repeats else of_all
    put_title(figure, f"{audit['model']}: {found}", colour=ORANGE if has_repeats else "black")
    if not heights:
        return
    grid = figure.add_gridspec(len(heights), _N_COLUMNS, height_ratios=heights)
    for i, (name, parameter) in enumerate(audit["coverage"]["parameters"].items()):
        axes = figure.add_subplot(grid[i // _N_COLUMNS, i % _N_COLUMNS])
        _draw_parameter(axes, name, parameter)
        if i % _N_COLUMNS == 0:
            axes.set_ylabel("parameter sets")
    if audit["trials"] is not None:
        _draw_trials(figure.add_subplot(grid[-1, :]), audit)


def _draw_parameter(axes: Any, name: str, parameter: Mapping[str, Any]) -> None:
    """Distinct sets along one parameter; 95 % of uniform draws' bars end between the dashes."""
    counts = np.array(parameter["counts"])
    edges = np.linspace(parameter["lower"], parameter["upper"], len(counts) + 1)
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75)
    expected = counts.sum() / len(counts)
    spread = chance_of_counts(expected, len(counts))
    axes.axhline(expected, color=GREY, lw=1)
    for line in (expected - spread, expected + spread):
        if line > 0:
            axes.axhline(line, color=GREY, lw=1, ls="--")
    outside = f" ({parameter['n_outside']:,} outside)" if parameter["n_outside"] else ""
    axes.set_title(f"{axis_label(name)}{outside}", loc="left")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="both", nbins=4)


def _draw_trials(axes: Any, audit: Mapping[str, Any]) -> None:
    """Shares of all rows by rt and choice."""
    trials, labels = audit["trials"], audit["labels"]
    edges = np.array(trials["rt_edges"])
    counts = {value: np.array(bins) for value, bins in trials["rt_counts"].items()}
    total = np.sum(list(counts.values()), axis=0)
    used = np.flatnonzero(total)
    first, last = used[0], used[-1] + 1
    for i, (value, bins) in enumerate(counts.items()):
        axes.stairs(
            bins[first:last] / total.sum(),
            edges[first : last + 1],
            color=choice_colour(i),
            lw=1.5,
            label=f"choice {value}: {trials['choice_shares'][value]:.1%} after time zero",
        )
    axes.axvline(0, color=GREY, lw=1)
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rt (s)")
    axes.set_ylabel("share of rows per 0.1 s")
    axes.set_title(
        f"rt and choice of all rows: {trials['negative_rt_share']:.1%} before time zero, "
        f"{labels['floor_share']:.1%} of the labels at the floor "
        f"({number(labels['floor'], 4)} nats)",
        loc="left",
    )
    axes.legend(frameon=False)


def draw_recovery(record: LikelihoodRecovery | PosteriorRecovery) -> Drawing:
    """True parameters of simulated subjects against those found again, and ranks in posteriors.

    Parameters
    ----------
    record
        Content of ``recovery.json``.

    Returns
    -------
    Drawing
        A figure with a panel for each parameter; of posteriors, with one of ranks under it.
    """
    names = record.parameters
    is_posterior = isinstance(record, PosteriorRecovery)
    columns = n_columns(len(names))
    n_rows = -(-len(names) // columns)
    heights = [3.4, 1.5] if is_posterior else [3.4]

    def fill(figure: Any) -> None:
        grid = figure.subplots(
            n_rows * len(heights), columns, squeeze=False, height_ratios=heights * n_rows
        )
        # Panels that lie under one another belong together.
        groups = grid.reshape(n_rows, len(heights), columns).transpose(0, 2, 1)
        groups = groups.reshape(-1, len(heights))
        hide(groups[len(names) :].flat)
        for i, (values, *ranks) in enumerate(groups[: len(names)]):
            _draw_values(values, record, i)
            for axes in ranks:
                assert isinstance(record, PosteriorRecovery)
                _draw_ranks(axes, record, i)
        put_title(figure, *_recovery_title(record))
        put_legend(figure, _recovery_keys(record))

    height = (5.0 if is_posterior else 3.4) * n_rows
    return draw((4 * columns, 1.1 + height), fill)


def _recovery_title(record: LikelihoodRecovery | PosteriorRecovery) -> tuple[str, str]:
    trained_by = f" ({record.backend})" if record.backend else ""
    return (
        f"{record.model} {record.network_type}{trained_by}: parameters found again",
        f"{record.n_subjects:,} simulated subjects of {record.n_trials:,} trials, "
        f"{record.method} through the network",
    )


def _recovery_keys(record: LikelihoodRecovery | PosteriorRecovery) -> list[Any]:
    if isinstance(record, PosteriorRecovery):
        return [
            line_key(
                BLUE, f"mean and {record.posterior.level:.0%} interval", marker="o", ms=5, lw=1
            ),
            line_key("black", "found = true", lw=0.8),
            area_key(GREY, "ranks of a right posterior (95%)", alpha=0.3),
        ]
    return [
        line_key(BLUE, "a subject", marker="o", ls="", ms=5),
        line_key(ORANGE, "maximum at a bound", marker="D", ls="", ms=5),
        line_key("black", "found = true", lw=0.8),
    ]


def _draw_values(axes: Any, record: LikelihoodRecovery | PosteriorRecovery, i: int) -> None:
    """True against found values of one parameter."""
    name = record.parameters[i]
    low, high = record.bounds[name]
    true, found = np.array(record.true)[:, i], np.array(record.recovered)[:, i]
    margin = 0.04 * (high - low) or 1.0
    axes.plot([low, high], [low, high], color="black", lw=0.8)
    style: Any = {"ls": "", "alpha": 0.65, "mew": 0}
    if isinstance(record, PosteriorRecovery):
        posterior = record.posterior
        ends = [np.array(each)[:, i] for each in (posterior.lower, posterior.upper)]
        axes.vlines(true, *ends, color=BLUE, lw=1, alpha=0.5)
        axes.plot(true, found, marker="o", color=BLUE, ms=5, **style)
    else:
        # A maximum at a bound is there to the last digits of the search.
        edge = 1e-6 * (high - low)
        at_bound = (found <= low + edge) | (found >= high - edge)
        axes.plot(true[~at_bound], found[~at_bound], marker="o", color=BLUE, ms=5, **style)
        axes.plot(true[at_bound], found[at_bound], marker="D", color=ORANGE, ms=5, **style)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="both", nbins=6)
    axes.set_xlabel(f"true {axis_label(name)}")
    axes.set_ylabel(f"found {axis_label(name)}")
    axes.set_title(_agreement(record.summary[name]), loc="left", fontsize=8.5)


def _agreement(shown: Agreement) -> str:
    """Rank statistics and errors, on two lines."""
    ranks = "no rank correlation: too few subjects"
    if shown.spearman is not None:
        ranks = f"rank correlation {number(shown.spearman)}"
        ranks += f", mean rank shift {shown.rank_shift:.1%}"
    return f"{ranks}\nroot mean square error {number(shown.rmse, 2)}, bias {number(shown.bias, 2)}"


def _draw_ranks(axes: Any, record: PosteriorRecovery, i: int) -> None:
    """Histogram of the true value's rank among draws of its posterior."""
    from scipy.stats import binom

    posterior, shown = record.posterior, record.summary[record.parameters[i]]
    ranks = np.array(posterior.ranks)[:, i]
    n_bars = _N_BARS if len(ranks) >= _FEW else _N_BARS // 2
    edges = np.linspace(-0.5, posterior.n_ranked + 0.5, n_bars + 1)
    axes.axhspan(*binom.interval(0.95, len(ranks), 1 / n_bars), color=GREY, alpha=0.3, lw=0)
    axes.hist(ranks, edges, color=BLUE, alpha=0.75, rwidth=0.9)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.locator_params(axis="y", nbins=4)
    axes.set_xlabel(f"rank of true {record.parameters[i]} among {posterior.n_ranked} draws")
    axes.set_ylabel("subjects")
    axes.set_title(
        f"{shown.coverage:.0%} of {posterior.level:.0%} intervals hold it; "
        f"even ranks: p = {number(shown.rank_uniformity_p, 2)}",
        loc="left",
        fontsize=8.5,
    )
