"""Where in the parameter box a network is off, and by how much."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lanflow.core.figures import BLUE, axis_label, draw_png, put_title
from lanflow.evaluation.scores import Scores
from lanflow.models.density import FLOOR, Array
from lanflow.networks.network import Network

_N_BINS, _N_PAIR_BINS = 8, 6
# Pairs of more parameters than this are too small to read.
_MOST_IN_PAIRS = 8
_N_COLUMNS = 4
_LEAST_IN_BIN = 40
# One cell that is far off must not hide where the others are.
_COLOURED = 0.98

Bound = tuple[float, float]


def draw_errors(network: Network, scores: Scores) -> bytes:
    """Errors within the bounds: along each parameter, over pairs, and over the truth itself.

    Parameters
    ----------
    network, scores
        Which belong together.

    Returns
    -------
    bytes
        A PNG.
    """
    summary = scores.summary()
    in_nats = scores.unit == "nats"
    digits, unit = (3, " nats") if in_nats else (4, "")
    figures = (
        f"against {scores.against}; "
        f"absolute error: mean {_shown(summary.mean_abs_error, digits)}{unit}, "
        f"median {_shown(summary.median_abs_error, digits)}, "
        f"99th percentile {_shown(summary.p99_abs_error, digits)}; "
        f"mean of network \N{MINUS SIGN} model {_shown(summary.mean_difference, digits)}"
    )
    scores = _drawable(scores)
    errors = scores.mean_abs_error_of_sets()
    has_rows = np.isfinite(errors)

    def corner(axes: Any) -> None:
        if in_nats:
            _draw_over_height(axes, scores.reference, scores.differences)
        else:
            _draw_over_probability(axes, network, scores)

    return _draw_box(
        network,
        scores.parameters[has_rows],
        errors[has_rows],
        title=f"{network.title}: error of the {'log-likelihood' if in_nats else 'probability'}",
        figures=figures,
        unit=f"mean |error|{' (nats)' * in_nats}",
        corner=corner,
    )


def _shown(value: float | None, digits: int) -> str:
    if value is None:
        return "not finite"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _drawable(scores: Scores) -> Scores:
    """The scores with outputs that are no number, or too large, at the limits of what is drawn."""
    lowest, highest = (FLOOR, -FLOOR) if scores.unit == "nats" else (0.0, 2.0)
    values = np.nan_to_num(scores.network, nan=lowest).clip(lowest, highest)
    return replace(scores, network=values)


def _draw_over_probability(axes: Any, network: Network, scores: Scores) -> None:
    """Signed error against the probability itself."""
    axes.plot(scores.reference, scores.differences, ".", color=BLUE, ms=4, alpha=0.5)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xlabel(f"probability of {' or '.join(network.outcomes)}")
    axes.set_ylabel("network \N{MINUS SIGN} model")


def _draw_over_height(axes: Any, reference: Array, difference: Array) -> None:
    """Signed error against the log-likelihood itself: in the bulk, in the tails."""
    n_bins = int(np.clip(len(reference) // _LEAST_IN_BIN, 1, 24))
    edges = np.quantile(reference, np.linspace(0, 1, n_bins + 1))
    place = np.clip(np.searchsorted(edges, reference, side="right") - 1, 0, len(edges) - 2)
    middle, quantiles = [], []
    for i in range(len(edges) - 1):
        rows = place == i
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
    axes.set_ylabel("network \N{MINUS SIGN} model (nats)")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")


def _draw_box(
    network: Network,
    thetas: Array,
    values: Array,
    *,
    title: str,
    figures: str,
    unit: str,
    corner: Callable[[Any], None],
) -> bytes:
    """Means along each parameter on the diagonal, over pairs below it, one more panel above."""
    bounds = list(network.bounds.items())
    n = len(bounds)
    is_corner = 2 < n <= _MOST_IN_PAIRS
    n_rows = n if is_corner else -(-n // _N_COLUMNS) + 1
    n_columns = n if is_corner else _N_COLUMNS

    def fill(figure: Any) -> None:
        put_title(figure, title, figures)
        grid = figure.add_gridspec(n_rows, n_columns)
        places = [(i, i) if is_corner else divmod(i, n_columns) for i in range(n)]
        along: list[Any] = []
        tops: list[float] = []
        for i, (place, (name, bound)) in enumerate(zip(places, bounds, strict=True)):
            along.append(figure.add_subplot(grid[place], sharey=along[0] if along else None))
            tops.append(_draw_along(along[-1], thetas[:, i], values, bound, is_corner=is_corner))
            along[-1].set_title(f"{name}: {unit}", loc="left", fontsize=8)
            if i == n - 1 or not is_corner:
                along[-1].set_xlabel(axis_label(name))
        along[0].set_ylim(0, 1.3 * max(tops))
        half = n // 2
        panel = figure.add_subplot(grid[:half, half:] if is_corner else grid[-1, :])
        corner(panel)
        if is_corner:
            _to_the_right(panel)
            _draw_pairs(figure, grid, thetas, values, bounds, unit=unit)

    size = (1.6 + 1.75 * n, 1.2 + 1.65 * n) if is_corner else (9.6, 0.8 + 2.3 * n_rows)
    return draw_png(size, fill)


def _draw_along(
    axes: Any, values_of_parameter: Array, values: Array, bound: Bound, *, is_corner: bool
) -> float:
    """Draw means along one parameter; the largest of them."""
    edges = np.linspace(*bound, _N_BINS + 1)
    means, errors = _binned(values_of_parameter, values, edges)
    axes.stairs(means, edges, baseline=0, fill=True, color=BLUE, alpha=0.75)
    middle = (edges[1:] + edges[:-1]) / 2
    axes.errorbar(middle, means, 1.96 * errors, fmt="none", ecolor="black", elinewidth=0.8)
    axes.set_xlim(*bound)
    axes.locator_params(axis="both", nbins=4)
    if is_corner:
        _to_the_right(axes)
    return float(np.nanmax(means))


def _to_the_right(axes: Any) -> None:
    """Put the vertical axis on the other side, away from the pairs'."""
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.spines["right"].set_visible(True)
    axes.spines["left"].set_visible(False)


def _binned(place: Array, values: Array, edges: Array) -> tuple[Array, Array]:
    """Mean of the values in each bin and its standard error; nan where there are none."""
    bins = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, len(edges) - 2)
    groups = [values[bins == i] for i in range(len(edges) - 1)]
    means = [group.mean() if len(group) else np.nan for group in groups]
    errors = [group.std(ddof=1) / len(group) ** 0.5 if len(group) > 1 else 0 for group in groups]
    return np.array(means), np.array(errors)


def _draw_pairs(
    figure: Any,
    grid: Any,
    thetas: Array,
    values: Array,
    bounds: Sequence[tuple[str, Bound]],
    *,
    unit: str,
) -> None:
    n = len(bounds)
    edges = [np.linspace(*bound, _N_PAIR_BINS + 1) for _, bound in bounds]
    means = {
        (i, j): _pair_means(thetas[:, j], thetas[:, i], values, edges[j], edges[i])
        for i in range(n)
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
        if j == 0:
            axes.set_ylabel(axis_label(bounds[i][0]))
        else:
            axes.tick_params(labelleft=False)
        if i == n - 1:
            axes.set_xlabel(axis_label(bounds[j][0]))
        else:
            axes.tick_params(labelbottom=False)
        panels.append(axes)
    figure.colorbar(
        mesh, ax=panels, location="bottom", shrink=0.5, aspect=40, label=unit, extend="max"
    )


def _pair_means(x: Array, y: Array, values: Array, x_edges: Array, y_edges: Array) -> Array:
    """Mean of the values in each cell, shape (x bins, y bins); nan where there are none."""
    counts, _, _ = np.histogram2d(x, y, (x_edges, y_edges))
    sums, _, _ = np.histogram2d(x, y, (x_edges, y_edges), weights=values)
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))
