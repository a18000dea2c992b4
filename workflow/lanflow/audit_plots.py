"""The audit of a data set as one figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lanflow.plots import BLUE, GREY, ORANGE, choice_colour, draw_png

_COLUMNS = 4


def draw_audit(audit: Mapping[str, Any]) -> bytes:
    """Histograms of every parameter against uniform draws, and rts by choice.

    Parameters
    ----------
    audit
        From :func:`lanflow.audit.audit_data_set`.

    Returns
    -------
    bytes
        A PNG.
    """
    n_rows = -(-len(audit["coverage"]["parameters"]) // _COLUMNS)
    heights = [1.0] * n_rows + [1.6] * (audit["trials"] is not None)
    size = (9.6, 0.7 + 1.9 * max(sum(heights), 1))
    return draw_png(size, lambda figure: _fill(figure, audit, heights))


def _fill(figure: Any, audit: Mapping[str, Any], heights: Sequence[float]) -> None:
    sets = audit["sets"]
    figure.suptitle(
        f"{audit['model']}: {sets['distinct']:,} distinct parameter sets of "
        f"{sets['claimed']:,} claimed, {audit['n_files']:,} file(s)",
        x=0.01,
        ha="left",
        fontweight="bold",
        color=ORANGE if sets["distinct"] < sets["claimed"] else "black",
    )
    if not heights:
        return
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    for i, (name, parameter) in enumerate(audit["coverage"]["parameters"].items()):
        axes = figure.add_subplot(grid[i // _COLUMNS, i % _COLUMNS])
        _draw_parameter(axes, name, parameter)
        if i % _COLUMNS == 0:
            axes.set_ylabel("parameter sets")
    if audit["trials"] is not None:
        _draw_trials(figure.add_subplot(grid[-1, :]), audit)


def _draw_parameter(axes: Any, name: str, parameter: Mapping[str, Any]) -> None:
    """Distinct sets along one parameter; 95 % of uniform draws' bars end between the dashes."""
    counts = np.array(parameter["counts"])
    edges = np.linspace(parameter["lower"], parameter["upper"], len(counts) + 1)
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75)
    expected = counts.sum() / len(counts)
    spread = 1.96 * (expected * (1 - 1 / len(counts))) ** 0.5
    axes.axhline(expected, color=GREY, lw=1)
    for line in (expected - spread, expected + spread):
        if line > 0:
            axes.axhline(line, color=GREY, lw=1, ls="--")
    outside = f" ({parameter['n_outside']:,} outside)" if parameter["n_outside"] else ""
    axes.set_title(f"{name}{outside}", loc="left")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="both", nbins=4)


def _draw_trials(axes: Any, audit: Mapping[str, Any]) -> None:
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
    axes.set_ylabel("rows per 0.1 s")
    axes.set_title(
        f"rows: {trials['negative_rt_share']:.1%} before time zero, "
        f"{labels['floor_share']:.1%} of the labels at {labels['floor']:.2f}",
        loc="left",
    )
    axes.legend(frameon=False)
