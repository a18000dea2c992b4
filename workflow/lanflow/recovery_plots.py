"""True parameters of simulated subjects against those found again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lanflow.plots import (
    BLUE,
    ORANGE,
    axis_label,
    draw_png,
    line_key,
    number,
    put_legend,
    put_title,
)

_N_COLUMNS = 3


def draw_recovery(record: Mapping[str, Any]) -> bytes:
    """A panel for each parameter, with its rank statistics.

    Parameters
    ----------
    record
        From :func:`lanflow.recovery_record.recovery_record`.

    Returns
    -------
    bytes
        A PNG.
    """
    names = record["parameters"]
    n_columns = 2 if len(names) in (2, 4) else min(len(names), _N_COLUMNS)
    n_rows = -(-len(names) // n_columns)

    def fill(figure: Any) -> None:
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for i, axes in enumerate(grid.flat[: len(names)]):
            _draw_panel(axes, record, i)
        trained_by = f" ({record['backend']})" if record["backend"] else ""
        put_title(
            figure,
            f"{record['model']} {record['network_type']}{trained_by}: parameters found again",
            f"{record['n_subjects']:,} simulated subjects of {record['n_trials']:,} trials, "
            "maximum likelihood through the network",
        )
        put_legend(
            figure,
            [
                line_key(BLUE, "a subject", marker="o", ls="", ms=5),
                line_key(ORANGE, "maximum at a bound of the box", marker="D", ls="", ms=5),
                line_key("black", "found = true", lw=0.8),
            ],
        )

    return draw_png((4 * n_columns, 1.1 + 3.4 * n_rows), fill)


def _draw_panel(axes: Any, record: Mapping[str, Any], i: int) -> None:
    name = record["parameters"][i]
    low, high = record["bounds"][name]
    true, found = (np.array(record[key])[:, i] for key in ("true", "recovered"))
    shown = record["summary"][name]
    # A maximum at a bound is there to the last digits of the search.
    edge = 1e-6 * (high - low)
    at_bound = (found <= low + edge) | (found >= high - edge)
    margin = 0.04 * (high - low) or 1.0
    axes.plot([low, high], [low, high], color="black", lw=0.8)
    style: Any = {"ls": "", "alpha": 0.65, "mew": 0}
    axes.plot(true[~at_bound], found[~at_bound], marker="o", color=BLUE, ms=5, **style)
    axes.plot(true[at_bound], found[at_bound], marker="D", color=ORANGE, ms=5, **style)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="both", nbins=6)
    axes.set_xlabel(f"true {axis_label(name)}")
    axes.set_ylabel(f"found {axis_label(name)}")
    ranks = "no ranks to compare"
    if shown["spearman"] is not None:
        ranks = f"rank correlation {number(shown['spearman'])}"
        ranks += f", mean rank shift {shown['rank_shift']:.1%}"
    axes.set_title(
        f"{ranks}\n"
        f"root mean square error {number(shown['rmse'], 2)}, bias {number(shown['bias'], 2)}",
        loc="left",
        fontsize=8.5,
    )
