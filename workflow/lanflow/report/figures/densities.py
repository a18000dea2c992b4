"""Figure of a network's density at some parameter vectors, over simulated trials."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.figures import (
    DASHES,
    GREY,
    Drawing,
    area_key,
    choice_colour,
    choice_name,
    draw,
    format_parameters,
    line_key,
    number,
    put_legend,
    put_title,
)
from lanflow.core.progress import with_progress
from lanflow.evaluation.implied import drawable_log_density, grid_of, implied_density
from lanflow.evaluation.reference import MAX_T, Reference, frequencies
from lanflow.models.density import Array, Density
from lanflow.models.generation import constrain
from lanflow.models.kde import OMISSION
from lanflow.models.parameters import Theta
from lanflow.models.simulators import draw_parameters
from lanflow.networks.network import Network
from lanflow.report.figures.panels import (
    chance_of_shares,
    hide,
    model_key,
    outcome_colour,
    outcome_keys,
    probability_label,
    simulated_key,
)

# Densities: panels, and vectors drawn for them, each tried with a few trials.
_N_PANELS, _N_COLUMNS = 6, 3
_N_DRAWN, _N_TRIED = 64, 200
_N_BINS, _N_CURVE = 48, 400
# rts from the first to the 99.5th percentile of the simulated ones are shown.
_SHOWN = 0.995
# A tail far longer than from the median to the 90th percentile is cut.
_MOST_SPREADS = 5
# A spike of a bad network must not hide the rest. How much higher than simulations and model its
# density is shown; and how high at least, in shares of the panel's peak, that of a choice that
# hardly any trial ends in.
_MOST_OVER, _LEAST_SHOWN = 1.3, 0.25
# A vector at which hardly any trial is answered in time shows nothing, and few may be such that
# hardly any trial ends in the second choice.
_LEAST_ANSWERED, _LEAST_SECOND, _MOST_ONE_SIDED = 0.2, 0.05, 2

# Outcomes: vectors shown, and vectors drawn for each of them so that their probabilities go from
# low to high.
_N_VECTORS, _N_DRAWS_EACH = 16, 8


def draw_densities(
    network: Network, reference: Reference, *, seed: int, n_trials: int = 10_000
) -> Drawing:
    """Density of a likelihood network over simulated trials, choice by choice.

    Parameters
    ----------
    network, reference
        The network, and the truth about its model.
    seed
        Decides parameter vectors and trials.
    n_trials
        Simulated at each vector.

    Returns
    -------
    Drawing
        A figure: a panel for the middle of the bounds and for each of five draws within them.
    """
    panels = list(_panels(network, reference, seed=seed, n_trials=n_trials))
    n_rows = -(-len(panels) // _N_COLUMNS)

    def fill(figure: Any) -> None:
        grid = figure.subplots(n_rows, _N_COLUMNS, squeeze=False)
        doing = f"{network.title}: drawing densities"
        shown = with_progress(panels, doing, "panel")
        for axes, panel in zip(grid.flat, shown, strict=False):
            _draw_panel(axes, network, reference, *panel)
        hide(grid.flat[len(panels) :])
        for axes in grid[-1]:
            axes.set_xlabel("rt (s)")
        for axes in grid[:, 0]:
            axes.set_ylabel("density (1/s)")
        _legend(figure, network, reference, n_trials)

    return draw((10.5, 0.8 + 3.1 * n_rows), fill)


def _panels(
    network: Network, reference: Reference, *, seed: int, n_trials: int
) -> Iterator[tuple[Theta, Array, Array]]:
    """Vectors that show something, with simulated rts and choices."""
    n = n_one_sided = 0
    bounds = network.bounds
    drawn = draw_parameters(network.model, bounds, _N_DRAWN, seed=seed, is_even=True)
    middle = constrain(network.model, bounds.centre())
    for i, theta in enumerate([middle, *map(bounds.named, drawn)]):
        if n == _N_PANELS:
            return
        _, few = reference.simulate(theta, _N_TRIED, seed=seed + i)
        shares = sorted(np.mean(few == choice) for choice in network.model.choices)
        is_one_sided = shares[-2] < _LEAST_SECOND
        if sum(shares) < _LEAST_ANSWERED or (is_one_sided and n_one_sided == _MOST_ONE_SIDED):
            continue
        n_one_sided += is_one_sided
        n += 1
        yield theta, *reference.simulate(theta, n_trials, seed=seed + i)


def _draw_panel(
    axes: Any, network: Network, reference: Reference, theta: Theta, rts: Array, choices: Array
) -> None:
    """Densities at one vector over simulated trials: rts and choices, shape (trials,) each."""
    answered = choices != OMISSION
    low, high = _shown_rts(rts[answered], theta)
    edges = np.linspace(low, high, _N_BINS + 1)
    truth = reference.exact_density(theta)
    is_mirrored = len(network.model.choices) == 2
    true, given = [np.zeros(1)], [np.zeros(1)]
    for i, choice in enumerate(network.model.choices):
        sign = -1 if is_mirrored and i == 0 else 1
        counts, _ = np.histogram(rts[choices == choice], edges)
        heights = sign * counts / len(rts) / np.diff(edges)
        _draw_area(axes, heights, edges, choice_colour(i), has_outline=not is_mirrored)
        curve = np.linspace(low, high, _N_CURVE, endpoint=False)
        of_network, of_model = _draw_curves(axes, network, truth, theta, i, curve, sign=sign)
        true += [heights, of_model]
        given.append(of_network)
    _limit_heights(axes, np.concatenate(true), np.concatenate(given))
    if is_mirrored:
        axes.axhline(0, color=GREY, lw=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: number(abs(value)))
    axes.locator_params(axis="both", nbins=5)
    axes.set_xlim(low, high)
    axes.set_title(_panel_title(network, theta, answered), loc="left", fontsize=8.5)


def _shown_rts(rts: Array, theta: Theta) -> tuple[float, float]:
    """From where to where rts are shown, seconds."""
    low, middle, late, high = np.quantile(rts, [0, 0.5, 0.9, _SHOWN])
    high = min(high, middle + _MOST_SPREADS * (late - middle))
    margin = 0.06 * (high - low)
    return max(low - margin, 0.0), min(high + margin, theta.get("deadline", np.inf))


def _draw_area(axes: Any, heights: Array, edges: Array, colour: str, *, has_outline: bool) -> None:
    """A filled histogram; an outline tells it from others that lie over it."""
    alpha = 0.1 if has_outline else 0.28
    axes.stairs(heights, edges, fill=True, color=colour, alpha=alpha, lw=0)
    if has_outline:
        axes.stairs(heights, edges, color=colour, alpha=0.45, lw=0.8)


def _draw_curves(
    axes: Any,
    network: Network,
    truth: Density | None,
    theta: Theta,
    i: int,
    rts: Array,
    *,
    sign: int,
) -> tuple[Array, Array]:
    """Draw the density of the i-th choice by rt: of the network, and of the model if it is known.

    Returns
    -------
    tuple of array
        What was drawn of each, shape (rts,); (0,) of a model whose density is not known.
    """
    choices = np.full(len(rts), network.model.choices[i])
    given = drawable_log_density(network, np.array(list(theta.values())), rts, choices)
    given = sign * np.exp(given)
    axes.plot(rts, given, color=choice_colour(i), lw=1.8)
    if truth is None:
        return given, np.empty(0)
    true = sign * np.exp(truth.evaluate(rts, choices))
    axes.plot(rts, true, color="black", lw=1.0, ls=DASHES)
    return given, true


def _limit_heights(axes: Any, true: Array, given: Array) -> None:
    """End the vertical axis a little beyond the model's heights, and say what that cuts off."""
    least = _LEAST_SHOWN * float(np.abs(true).max())
    low, high = min(_MOST_OVER * true.min(), -least), max(_MOST_OVER * true.max(), least)
    cut = given[(given < low) | (given > high)]
    if len(cut):
        text = f"cut off: the network's peak, {number(np.abs(cut).max())}"
        style = {"ha": "right", "va": "top", "fontsize": 8, "color": GREY}
        axes.annotate(text, (0.98, 0.97), xycoords="axes fraction", **style)
    low, high = max(low, min(true.min(), given.min())), min(high, max(true.max(), given.max()))
    margin = 0.05 * (high - low)
    axes.set_ylim(low - margin * (low < 0), high + margin)


def _panel_title(network: Network, theta: Theta, answered: npt.NDArray[np.bool_]) -> str:
    """The vector, the network's total probability, and the share of trials in time."""
    vector = np.array(list(theta.values()))
    grid = grid_of(theta, MAX_T)
    total = implied_density(network, vector, network.model.choices, grid).drawable.mass
    text = f"network: probabilities sum to {number(total, 4)}"
    if not answered.all():
        text = f"{text}; answered in time {answered.mean():.3f}"
    return f"{format_parameters(theta)}\n{text}"


def _legend(figure: Any, network: Network, reference: Reference, n_trials: int) -> None:
    keys: list[Any] = [
        area_key(choice_colour(i), choice_name(choice), alpha=0.8)
        for i, choice in enumerate(network.model.choices)
    ]
    keys.append(area_key(GREY, f"simulated ({n_trials:,} trials)", alpha=0.28))
    keys.append(line_key(GREY, "network", lw=1.8))
    keys += model_key(reference, lw=1, ls=DASHES)
    put_title(figure, f"{network.title}: density of rt and choice")
    put_legend(figure, keys)


def draw_outcomes(
    network: Network, reference: Reference, *, seed: int, n_trials: int = 2000
) -> Drawing:
    """Probabilities at parameter draws: of the network, of the model, and shares of simulations.

    Parameters
    ----------
    network, reference
        A network of probabilities, and the truth about its model.
    seed
        Decides parameter vectors and trials.
    n_trials
        Simulated at each vector.

    Returns
    -------
    Drawing
        A figure: one line for each vector, the lowest probability at the bottom.
    """
    vectors = _spread(network, seed=seed)
    thetas = [network.bounds.named(vector) for vector in vectors]
    predicted = np.exp(network.log_probabilities(vectors).astype(float))
    shares = np.array(
        [_shares(network, reference, t, n_trials, seed=seed + i) for i, t in enumerate(thetas)]
    )

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(thetas))
        for i, outcome in enumerate(network.outcomes):
            colour = outcome_colour(network, i)
            spread = chance_of_shares(shares[:, i], n_trials)
            axes.errorbar(
                shares[:, i], places, xerr=spread, fmt="o", color=GREY, ms=7, capsize=4, alpha=0.7
            )
            axes.plot(predicted[:, i], places, "D", color=colour, ms=5, label=outcome)
        if reference.is_exact:
            kind = network.network_type.name
            n = network.n_outcomes
            true = np.array(
                [reference.probabilities(theta, kind, n_outputs=n, seed=0) for theta in thetas]
            )
            for column in true.T:
                axes.plot(column, places, "|", color="black", ms=14, mew=1.4)
        axes.set_yticks(places, [_line(theta) for theta in thetas], family="monospace", fontsize=8)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(probability_label(network))
        put_title(figure, f"{network.title}: probabilities at {len(thetas)} parameter vectors")
        put_legend(figure, _keys(network, reference, n_trials))

    return draw((9.6, 6.0), fill)


def _spread(network: Network, *, seed: int) -> Array:
    """Vectors at which the network gives low to high probabilities of its last outcome."""
    n_drawn = _N_DRAWS_EACH * _N_VECTORS
    vectors = draw_parameters(network.model, network.bounds, n_drawn, seed=seed, is_even=True)
    order = np.argsort(network.log_probabilities(vectors)[:, -1], kind="stable")
    places = np.linspace(0, n_drawn - 1, _N_VECTORS).round().astype(int)
    return np.asarray(vectors[order[places]])


def _shares(
    network: Network, reference: Reference, theta: Theta, n_trials: int, *, seed: int
) -> Array:
    """Shares of simulated trials that end in each outcome."""
    rts, choices = reference.simulate(theta, n_trials, seed=seed)
    kind = network.network_type.name
    return frequencies(rts, choices, network.model, kind, n_outputs=network.n_outcomes)


def _line(theta: Theta) -> str:
    return "  ".join(
        f"{name} {value:5.2f}".replace("-", "\N{MINUS SIGN}") for name, value in theta.items()
    )


def _keys(network: Network, reference: Reference, n_trials: int) -> list[Any]:
    return [
        *outcome_keys(network, prefix="network: ", marker="D", ls="none", ms=5),
        simulated_key(n_trials, ms=7),
        *model_key(reference, marker="|", ls="none", ms=12, mew=1.4),
    ]
