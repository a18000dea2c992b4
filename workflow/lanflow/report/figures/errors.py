"""Figure of a network's errors within its bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanflow.core.figures import BLUE, Drawing, axis_label, draw, number, put_title
from lanflow.evaluation.scores import Scores
from lanflow.models.density import FLOOR, Array
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from lanflow.report.figures.panels import DIFFERENCE, bin_of

_N_BINS, _N_PAIR_BINS = 8, 6
# Pairs of more parameters than this are too small to read.
_MOST_IN_PAIRS = 8
_N_COLUMNS = 4
_LEAST_IN_BIN = 40
# One cell or bar that is far off must not hide where the others are: colours end at this share of
# the cells; a bar that is so many times as high as half of them is cut off.
_COLOURED = 0.98
_SPIKE = 4.0


@dataclass(frozen=True)
class _Errors:
    """Mean absolute errors at parameter vectors.

    Attributes
    ----------
    bounds
        Where the vectors were drawn.
    thetas, values
        The vectors, shape (vectors, parameters), and the errors, shape (vectors,).
    unit
        What the errors are, for people.
    """

    bounds: Bounds
    thetas: Array
    values: Array
    unit: str

    @property
    def in_pairs(self) -> bool:
        """True if pairs of parameters have panels."""
        return 2 < len(self.bounds) <= _MOST_IN_PAIRS


def draw_errors(network: Network, scores: Scores) -> Drawing:
    """Errors within the bounds: along each parameter, over pairs, and over the truth itself.

    Parameters
    ----------
    network, scores
        The scores are the network's.
    """
    in_nats = scores.unit == "nats"
    drawable = _drawable(scores)
    means = drawable.mean_abs_error_of_sets()
    has_rows = np.isfinite(means)
    errors = _Errors(
        bounds=network.bounds,
        thetas=scores.parameters[has_rows],
        values=means[has_rows],
        unit=f"mean |error|{' (nats)' * in_nats}",
    )

    def fill(figure: Any) -> None:
        output = "log-likelihood" if in_nats else "probability"
        put_title(figure, f"{network.title}: error of the {output}", *_summary(scores))
        over_truth = _draw_over_bounds(figure, errors)
        if in_nats:
            _draw_over_height(over_truth, drawable.reference, drawable.differences)
        else:
            _draw_over_probability(over_truth, drawable)

    n = len(errors.bounds)
    square = (1.6 + 1.75 * n, 1.2 + 1.65 * n)
    return draw(square if errors.in_pairs else (9.6, 0.8 + 2.3 * (_n_rows(n) + 1)), fill)


def _summary(scores: Scores) -> tuple[str, str]:
    """The lines under the title."""
    numbers = scores.summary()
    digits, unit = (3, " nats") if scores.unit == "nats" else (4, "")
    return (
        f"against {scores.against}",
        f"absolute error: mean {_shown(numbers.mean_abs_error, digits)}{unit}, "
        f"median {_shown(numbers.median_abs_error, digits)}, "
        f"99th percentile {_shown(numbers.p99_abs_error, digits)}; "
        f"mean of {DIFFERENCE} {_shown(numbers.mean_difference, digits)}",
    )


def _shown(value: float | None, digits: int) -> str:
    if value is None:
        return "not finite"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _drawable(scores: Scores) -> Scores:
    """The scores, with outputs that are not finite or too large set to what can be drawn."""
    lowest, highest = (FLOOR, -FLOOR) if scores.unit == "nats" else (0.0, 2.0)
    values = np.nan_to_num(scores.network, nan=lowest).clip(lowest, highest)
    return replace(scores, network=values)


def _draw_over_probability(axes: Any, scores: Scores) -> None:
    """Signed error against the probability itself."""
    axes.plot(scores.reference, scores.differences, ".", color=BLUE, ms=4, alpha=0.5)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xlabel("probability of the model")
    axes.set_ylabel(DIFFERENCE)


def _draw_over_height(axes: Any, reference: Array, difference: Array) -> None:
    """Signed error against the log-likelihood itself: in the bulk, in the tails."""
    n_bins = int(np.clip(len(reference) // _LEAST_IN_BIN, 1, 24))
    edges = np.quantile(reference, np.linspace(0, 1, n_bins + 1))
    bins = bin_of(reference, edges)
    middle, quantiles = [], []
    for i in range(len(edges) - 1):
        rows = bins == i
        if rows.any():
            middle.append(reference[rows].mean())
            quantiles.append(np.quantile(difference[rows], [0.025, 0.25, 0.5, 0.75, 0.975]))
    low, lower, median, upper, high = np.transpose(quantiles)
    axes.fill_between(middle, low, high, color=BLUE, alpha=0.18, lw=0, label="95 % of trials")
    axes.fill_between(middle, lower, upper, color=BLUE, alpha=0.4, lw=0, label="50 %")
    axes.plot(middle, median, color=BLUE, lw=1.6, label="median")
    axes.axhline(0, color="black", lw=0.8)
    reach = 1.5 * np.quantile(np.maximum(np.abs(low), np.abs(high)), 0.9)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("log-likelihood of the trial (nats)")
    axes.set_ylabel(f"{DIFFERENCE} (nats)")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")


def _n_rows(n_parameters: int) -> int:
    """Rows of panels along each parameter, where pairs have none."""
    return -(-n_parameters // _N_COLUMNS)


def _draw_over_bounds(figure: Any, errors: _Errors) -> Any:
    """Draw means along each parameter on the diagonal and over pairs below it.

    Of too few or too many parameters for pairs, there is a list of panels along each.

    Returns
    -------
    matplotlib.axes.Axes
        One more panel, for errors over the truth: above the diagonal, or under the list.
    """
    n = len(errors.bounds)
    if errors.in_pairs:
        grid = figure.add_gridspec(n, n)
        _draw_parameters(figure, errors, [grid[i, i] for i in range(n)])
        panel = figure.add_subplot(grid[: n // 2, n // 2 :])
        _to_the_right(panel)
        _draw_pairs(figure, grid, errors)
        return panel
    grid = figure.add_gridspec(_n_rows(n) + 1, _N_COLUMNS)
    _draw_parameters(figure, errors, [grid[divmod(i, _N_COLUMNS)] for i in range(n)])
    return figure.add_subplot(grid[-1, :])


def _draw_parameters(figure: Any, errors: _Errors, places: Sequence[Any]) -> None:
    """A panel along each parameter, all with the same vertical axis."""
    edges = [np.linspace(*ends, _N_BINS + 1) for ends in errors.bounds.values()]
    bars = [_binned(errors.thetas[:, i], errors.values, each) for i, each in enumerate(edges)]
    top = _top_of_bars(np.concatenate([means for means, _ in bars]))
    shared: Any = None
    for i, (place, name) in enumerate(zip(places, errors.bounds, strict=True)):
        axes = figure.add_subplot(place, sharey=shared)
        shared = shared or axes
        _draw_along(axes, errors, edges[i], *bars[i], top=top)
        axes.set_title(f"{name}: {errors.unit}", loc="left", fontsize=8)
        if i == len(places) - 1 or not errors.in_pairs:
            axes.set_xlabel(axis_label(name))
    shared.set_ylim(0, top)


def _top_of_bars(means: Array) -> float:
    """End of the vertical axis of all bars: above the highest that is not a spike."""
    means = means[np.isfinite(means)]
    usual = means[means <= _SPIKE * np.median(means)]
    return 1.3 * float(usual.max()) or 1.0


def _draw_along(
    axes: Any, errors: _Errors, edges: Array, means: Array, deviations: Array, *, top: float
) -> None:
    """Draw means along one parameter; those above the axis have their value."""
    axes.stairs(means, edges, baseline=0, fill=True, color=BLUE, alpha=0.75)
    middle = (edges[1:] + edges[:-1]) / 2
    axes.errorbar(middle, means, 1.96 * deviations, fmt="none", ecolor="black", elinewidth=0.8)
    for x, mean in zip(middle, means, strict=True):
        if mean > top:
            style = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 7, "color": "white"}
            axes.text(x, 0.96 * top, f"{number(mean, 2)} \N{RIGHTWARDS ARROW}", **style)
    axes.set_xlim(edges[0], edges[-1])
    axes.locator_params(axis="both", nbins=4)
    if errors.in_pairs:
        _to_the_right(axes)


def _to_the_right(axes: Any) -> None:
    """Put the vertical axis on the other side, away from the pairs'."""
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.spines["right"].set_visible(True)
    axes.spines["left"].set_visible(False)


def _binned(places: Array, values: Array, edges: Array) -> tuple[Array, Array]:
    """Mean of the values in each bin and its standard error; nan where there are none."""
    bins = bin_of(places, edges)
    groups = [values[bins == i] for i in range(len(edges) - 1)]
    means = [group.mean() if len(group) else np.nan for group in groups]
    errors = [group.std(ddof=1) / len(group) ** 0.5 if len(group) > 1 else 0 for group in groups]
    return np.array(means), np.array(errors)


def _draw_pairs(figure: Any, grid: Any, errors: _Errors) -> None:
    """Means over each pair of parameters, below the diagonal of the grid."""
    names, thetas = list(errors.bounds), errors.thetas
    edges = [np.linspace(*ends, _N_PAIR_BINS + 1) for ends in errors.bounds.values()]
    means = {
        (i, j): _pair_means(thetas[:, j], thetas[:, i], errors.values, edges[j], edges[i])
        for i in range(len(names))
        for j in range(i)
    }
    cells = np.concatenate([mean.ravel() for mean in means.values()])
    top = float(np.nanquantile(cells, _COLOURED))
    panels = []
    for (i, j), mean in means.items():
        axes = figure.add_subplot(grid[i, j])
        mesh = axes.pcolormesh(edges[j], edges[i], mean.T, cmap="cividis", vmin=0, vmax=top)
        axes.grid(visible=False)
        axes.locator_params(axis="both", nbins=4)
        _label_pair(axes, names, i, j)
        panels.append(axes)
    figure.colorbar(
        mesh, ax=panels, location="bottom", shrink=0.5, aspect=40, label=errors.unit, extend="max"
    )


def _label_pair(axes: Any, names: Sequence[str], i: int, j: int) -> None:
    """Name the parameters at the left and at the bottom of the grid only."""
    if j == 0:
        axes.set_ylabel(axis_label(names[i]))
    else:
        axes.tick_params(labelleft=False)
    if i == len(names) - 1:
        axes.set_xlabel(axis_label(names[j]))
    else:
        axes.tick_params(labelbottom=False)


def _pair_means(x: Array, y: Array, values: Array, x_edges: Array, y_edges: Array) -> Array:
    """Mean of the values in each cell, shape (x bins, y bins); nan where there are none."""
    counts, _, _ = np.histogram2d(x, y, (x_edges, y_edges))
    sums, _, _ = np.histogram2d(x, y, (x_edges, y_edges), weights=values)
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))
