"""What a network says at some parameter vectors, over what the simulator does there."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lanflow.core.figures import (
    BLUE,
    DASHES,
    GREY,
    area_key,
    choice_colour,
    choice_name,
    draw_png,
    format_parameters,
    line_key,
    number,
    put_legend,
    put_title,
)
from lanflow.evaluation.reference import Theta, TrainedNetwork, time_grid
from lanflow.evaluation.scores import integrate
from lanflow.models.density import Array
from lanflow.models.kde import OMISSION

_N_PANELS, _N_COLUMNS = 6, 3
_N_DRAWN, _N_TRIED = 64, 200
_N_BINS, _N_CURVE = 48, 400
# rts from the first to the 99.5th percentile of the simulated ones are shown.
_SHOWN = 0.995
# A tail far longer than from the median to the 90th percentile is cut.
_MOST_SPREADS = 5
# A vector at which hardly any trial is answered in time shows nothing, and few may be such that
# hardly any trial ends in the second choice.
_LEAST_ANSWERED, _LEAST_SECOND, _MOST_ONE_SIDED = 0.2, 0.05, 2


def draw_densities(subject: TrainedNetwork, *, seed: int, n_trials: int = 10_000) -> bytes:
    """Density of a likelihood network over simulated trials, choice by choice.

    Parameters
    ----------
    subject
        The network.
    seed
        Decides parameter vectors and trials.
    n_trials
        Simulated at each vector.

    Returns
    -------
    bytes
        A PNG: one panel for the middle of the box and for each of five draws from it.
    """
    panels = list(_panels(subject, seed=seed, n_trials=n_trials))
    n_rows = -(-len(panels) // _N_COLUMNS)

    def fill(figure: Any) -> None:
        grid = figure.subplots(n_rows, _N_COLUMNS, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, subject, *panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("rt (s)")
        for axes in grid[:, 0]:
            axes.set_ylabel("density (1/s)")
        _legend(figure, subject, n_trials)

    return draw_png((10.5, 0.8 + 3.1 * n_rows), fill)


def _panels(
    subject: TrainedNetwork, *, seed: int, n_trials: int
) -> Iterator[tuple[Theta, Array, Array]]:
    """Vectors that show something, with simulated rts and choices."""
    n = n_one_sided = 0
    for i, theta in enumerate([subject.centre(), *subject.draws(_N_DRAWN, seed=seed)]):
        if n == _N_PANELS:
            return
        _, few = subject.simulate(theta, _N_TRIED, seed=seed + i)
        shares = sorted(np.mean(few == choice) for choice in subject.choices)
        is_one_sided = shares[-2] < _LEAST_SECOND
        if sum(shares) < _LEAST_ANSWERED or (is_one_sided and n_one_sided == _MOST_ONE_SIDED):
            continue
        n_one_sided += is_one_sided
        n += 1
        yield theta, *subject.simulate(theta, n_trials, seed=seed + i)


def _draw_panel(
    axes: Any, subject: TrainedNetwork, theta: Theta, rts: Array, choices: Array
) -> None:
    answered = choices != OMISSION
    low, middle, late, high = np.quantile(rts[answered], [0, 0.5, 0.9, _SHOWN])
    high = min(high, middle + _MOST_SPREADS * (late - middle))
    margin = 0.06 * (high - low)
    low, high = max(low - margin, 0.0), min(high + margin, theta.get("deadline", np.inf))
    edges = np.linspace(low, high, _N_BINS + 1)
    curve = np.linspace(low, high, _N_CURVE, endpoint=False)
    density = subject.density(theta)
    is_mirrored = len(subject.choices) == 2
    fill = 0.28 if is_mirrored else 0.1
    for i, choice in enumerate(subject.choices):
        sign = -1 if is_mirrored and i == 0 else 1
        colour = choice_colour(i)
        counts, _ = np.histogram(rts[choices == choice], edges)
        heights = sign * counts / len(rts) / np.diff(edges)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=fill, lw=0)
        if not is_mirrored:  # areas lie over one another
            axes.stairs(heights, edges, color=colour, alpha=0.45, lw=0.8)
        values = np.exp(subject.log_density(theta, curve, choice))
        axes.plot(curve, sign * values, color=colour, lw=1.8)
        if density is not None:
            truth = np.exp(density.evaluate(curve, np.full(len(curve), choice)))
            axes.plot(curve, sign * truth, color="black", lw=1.0, ls=DASHES)
    if is_mirrored:
        axes.axhline(0, color=GREY, lw=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: number(abs(value)))
    axes.locator_params(axis="both", nbins=5)
    axes.set_xlim(low, high)
    grid = time_grid(theta)
    mass = sum(
        integrate(np.exp(subject.log_density(theta, grid, choice)), grid)[-1]
        for choice in subject.choices
    )
    text = f"{format_parameters(theta)}\nmass of the network {mass:.3f}"
    if not answered.all():
        text += f", answered in time {answered.mean():.3f}"
    axes.set_title(text, loc="left", fontsize=8.5)


def _legend(figure: Any, subject: TrainedNetwork, n_trials: int) -> None:
    keys: list[Any] = [
        area_key(choice_colour(i), choice_name(choice), alpha=0.8)
        for i, choice in enumerate(subject.choices)
    ]
    keys.append(area_key(GREY, f"simulated ({n_trials:,} trials)", alpha=0.28))
    keys.append(line_key(GREY, "network", lw=1.8))
    if subject.is_exact:
        keys.append(line_key("black", f"model, {subject.reference_name}", lw=1, ls=DASHES))
    put_title(figure, f"{subject.title}: density of rt and choice")
    put_legend(figure, keys)


# What a network of probabilities says at some parameter vectors, beside simulated trials.


_N_VECTORS = 16
# Drawn for each that is shown, to show probabilities from low to high.
_N_DRAWS_EACH = 8


def draw_outcomes(subject: TrainedNetwork, *, seed: int, n_trials: int = 2000) -> bytes:
    """Probabilities at parameter draws: of the network, of the model, and shares of simulations.

    Parameters
    ----------
    subject
        A network of probabilities.
    seed
        Decides parameter vectors and trials.
    n_trials
        Simulated at each vector.

    Returns
    -------
    bytes
        A PNG: one line for each vector, the lowest probability at the bottom.
    """
    thetas = _spread(subject, subject.draws(_N_DRAWS_EACH * _N_VECTORS, seed=seed))
    predicted = subject.probabilities(thetas)
    shares = np.array(
        [_shares(subject, theta, n_trials, seed=seed + i) for i, theta in enumerate(thetas)]
    )

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(thetas))
        for i, outcome in enumerate(subject.outcomes):
            colour = choice_colour(i) if len(subject.outcomes) > 1 else BLUE
            spread = 1.96 * np.sqrt(shares[:, i] * (1 - shares[:, i]) / n_trials)
            axes.errorbar(
                shares[:, i], places, xerr=spread, fmt="o", color=GREY, ms=7, capsize=4, alpha=0.7
            )
            axes.plot(predicted[:, i], places, "D", color=colour, ms=5, label=outcome)
        if subject.is_exact:
            true = np.array([subject.true_probabilities(theta, 0, seed=0) for theta in thetas])
            for column in true.T:
                axes.plot(column, places, "|", color="black", ms=14, mew=1.4)
        axes.set_yticks(places, [_line(theta) for theta in thetas], family="monospace", fontsize=8)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(f"probability of {' or '.join(subject.outcomes)}")
        put_title(figure, f"{subject.title}: probabilities at {len(thetas)} parameter draws")
        put_legend(figure, _keys(subject, n_trials))

    return draw_png((9.6, 6.0), fill)


def _spread(subject: TrainedNetwork, thetas: list[Theta]) -> list[Theta]:
    """Vectors at which the network gives low to high probabilities of its last outcome."""
    order = np.argsort(subject.probabilities(thetas)[:, -1], kind="stable")
    places = np.linspace(0, len(thetas) - 1, _N_VECTORS).round().astype(int)
    return [thetas[order[place]] for place in places]


def _shares(subject: TrainedNetwork, theta: Theta, n_trials: int, *, seed: int) -> Array:
    """Shares of simulated trials that end in each outcome."""
    _, choices = subject.simulate(theta, n_trials, seed=seed)
    return subject.shares_of(choices)


def _line(theta: Theta) -> str:
    return "  ".join(
        f"{name} {value:5.2f}".replace("-", "\N{MINUS SIGN}") for name, value in theta.items()
    )


def _keys(subject: TrainedNetwork, n_trials: int) -> list[Any]:
    style: dict[str, Any] = {"ls": "none"}
    keys = [
        line_key(
            choice_colour(i) if len(subject.outcomes) > 1 else BLUE,
            f"network: {outcome}",
            marker="D",
            ms=5,
            **style,
        )
        for i, outcome in enumerate(subject.outcomes)
    ]
    label = f"simulated ({n_trials:,} trials, 95 % interval)"
    keys.append(line_key(GREY, label, marker="o", ms=7, **style))
    if subject.is_exact:
        label = f"model, {subject.reference_name}"
        keys.append(line_key("black", label, marker="|", ms=12, mew=1.4, **style))
    return keys
