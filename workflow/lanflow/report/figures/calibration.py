"""Figure of a network's calibration: choice probabilities, total probability, ranks of rts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lanflow.core.figures import (
    BLUE,
    GREY,
    ORANGE,
    Drawing,
    area_key,
    choice_colour,
    choice_name,
    draw,
    line_key,
    number,
    put_legend,
    put_title,
)
from lanflow.evaluation.scores import Calibration, Scores
from lanflow.models.density import Array
from lanflow.networks.network import Network
from lanflow.report.figures.panels import (
    DIFFERENCE,
    chance_of_counts,
    outcome_colour,
    outcome_keys,
)

_N_RANK_BINS = 20
# Bins of predicted probabilities.
_N_TENTHS = 10
# Few values that are far off must not hide the others: of this share of them, so many times as far
# is shown, and what lies beyond is counted.
_SHOWN, _MARGIN = 0.95, 1.5
# The highest probability that is shown; the least and the most of total probabilities around one;
# the highest bar of ranks.
_MOST_PROBABILITY, _LEAST_REACH, _MOST_REACH, _MOST_RANKS = 1.5, 0.05, 1.0, 3.0
# Of a text that lines or bars may cross.
_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}


def draw_likelihood_calibration(
    network: Network, scores: Scores, calibration: Calibration
) -> Drawing:
    """Choice probabilities, total probability, and ranks of rts under a likelihood network.

    Parameters
    ----------
    network, scores, calibration
        The scores and the calibration are the network's.
    """
    choices = network.model.choices
    # Of two probabilities that sum to one, the second says all.
    shown = range(1, 2) if len(choices) == 2 else range(len(choices))
    colours = [choice_colour(i) for i in shown]
    names = [choice_name(choices[i]) for i in shown]

    def fill(figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3)
        true, predicted = calibration.true_masses[:, shown], calibration.masses[:, shown]
        _draw_identity(left, true, predicted, colours, names)
        left.set_title("choice probability", loc="left")
        left.set_ylabel(f"network: P({names[0] if len(names) == 1 else 'choice'})")
        _draw_masses(middle, calibration)
        _draw_ranks(right, calibration.ranks)
        style = {"marker": "o", "ls": "none", "ms": 4}
        keys = [line_key(colours[i], name, **style) for i, name in enumerate(names)]
        chance = area_key(GREY, "where chance puts 95 % of the bars", alpha=0.3)
        _finish(figure, network, scores, len(calibration.sets), [*keys, _right_key(), chance])

    return draw((11.0, 4.1), fill)


def draw_probability_calibration(network: Network, scores: Scores) -> Drawing:
    """Predicted against true probabilities, and their differences.

    Parameters
    ----------
    network, scores
        The scores are the network's.
    """
    predicted, true = scores.per_outcome(scores.network), scores.per_outcome(scores.reference)
    colours = [outcome_colour(network, i) for i in range(len(network.outcomes))]

    def fill(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _draw_identity(left, true, predicted, colours, network.outcomes)
        left.set_ylabel("network")
        for column, colour in enumerate(colours):
            _draw_differences(right, predicted[:, column], true[:, column], colour)
        right.axhline(0, color="black", lw=1)
        right.set_xlim(-0.03, 1.03)
        right.set_xlabel("probability of the network, in tenths")
        right.set_ylabel(f"{DIFFERENCE}, mean and 95 % of vectors")
        keys = [*outcome_keys(network, marker="o", ls="none"), _right_key()]
        _finish(figure, network, scores, len(scores.parameters), keys)

    return draw((9.0, 4.8), fill)


def _finish(
    figure: Any, network: Network, scores: Scores, n_draws: int, keys: Sequence[Any]
) -> None:
    """Put the title and the legend."""
    title = f"{network.title}: calibration at {n_draws:,} parameter vectors"
    put_title(figure, title, f"against {scores.against}")
    put_legend(figure, keys)


def _right_key() -> Any:
    return line_key("black", "a network that is right", lw=1)


def _draw_identity(
    axes: Any, true: Array, predicted: Array, colours: Sequence[str], names: Sequence[str]
) -> None:
    """Predicted against true probabilities, shape (draws, names) each."""
    axes.axline((0, 0), (1, 1), color="black", lw=1)
    for column, colour in enumerate(colours):
        axes.plot(
            true[:, column], predicted[:, column], "o", color=colour, ms=3.5, alpha=0.6, mew=0
        )
    axes.set_xlim(-0.03, 1.03)
    top = float(np.clip(1.03 * np.quantile(predicted, _SHOWN), 1.03, _MOST_PROBABILITY))
    axes.set_ylim(-0.03, top)
    highest = f"above, up to {number(predicted.max())}"
    _count_outside(axes, int((predicted > top).sum()), predicted.size, highest, left=True)
    axes.set_xlabel(f"model: P({names[0] if len(names) == 1 else 'choice'})")


def _count_outside(axes: Any, n: int, n_all: int, where: str, *, left: bool = False) -> None:
    """Say how many values lie where a panel does not show them."""
    if n:
        style = {"ha": "left" if left else "right", "va": "top", "fontsize": 8.5, "color": ORANGE}
        place = 0.03 if left else 0.97, 0.97
        text = f"{n:,} of {n_all:,} {where}"
        axes.annotate(text, place, xycoords="axes fraction", bbox=_GROUND, **style)


def _draw_masses(axes: Any, calibration: Calibration) -> None:
    """Total of the network's density over that of the model, which is one without a deadline."""
    ratio = calibration.masses.sum(axis=1) / calibration.true_masses.sum(axis=1)
    usual = _MARGIN * float(np.quantile(np.abs(ratio - 1), _SHOWN))
    reach = float(np.clip(usual, _LEAST_REACH, _MOST_REACH))
    ends = 1 - reach, 1 + reach
    counts, _, _ = axes.hist(ratio, bins=30, range=ends, color=BLUE, alpha=0.75)
    axes.axvline(1, color="black", lw=1)
    axes.set_xlim(*ends)
    axes.set_ylim(0, 1.15 * max(counts.max(), 1))
    axes.locator_params(axis="x", nbins=5)
    axes.set_title("total probability", loc="left")
    axes.set_xlabel("integral over rt and choices (1 is right)")
    axes.set_ylabel("parameter vectors")
    n_outside = int(((ratio < ends[0]) | (ratio > ends[1])).sum())
    _count_outside(axes, n_outside, len(ratio), f"outside, up to {number(ratio.max())}")


def _draw_ranks(axes: Any, ranks: Array) -> None:
    """Shares of the network's rts below each trial's: uniform if the network is right."""
    counts, edges = np.histogram(ranks, _N_RANK_BINS, (0, 1))
    expected = ranks.size / _N_RANK_BINS
    spread = chance_of_counts(expected, _N_RANK_BINS)
    axes.axhspan(1 - spread / expected, 1 + spread / expected, color=GREY, alpha=0.3, lw=0)
    axes.stairs(counts / expected, edges, baseline=None, color=BLUE, lw=1.8)
    axes.axhline(1, color="black", lw=1)
    reach = max(0.2, 1.15 * np.abs(counts / expected - 1).max())
    top = min(1 + reach, _MOST_RANKS)
    axes.set_ylim(max(1 - reach, 0), top)
    n_above = int((counts / expected > top).sum())
    highest = number(counts.max() / expected)
    _count_outside(axes, n_above, _N_RANK_BINS, f"bars above, up to {highest}")
    axes.set_xlim(0, 1)
    axes.set_title("rts given the choice", loc="left")
    axes.set_xlabel("rank of the trial's rt under the network, 0 to 1")
    axes.set_ylabel("trials, relative to a level line")


def _draw_differences(axes: Any, predicted: Array, true: Array, colour: str) -> None:
    """Mean difference by predicted probability, with the range of 95 % of the draws."""
    bins = np.clip((predicted * _N_TENTHS).astype(int), 0, _N_TENTHS - 1)
    for i in np.unique(bins):
        rows = bins == i
        difference = predicted[rows] - true[rows]
        low, high = np.quantile(difference, [0.025, 0.975])
        x, mean = predicted[rows].mean(), difference.mean()
        axes.errorbar(
            x, mean, [[mean - low], [high - mean]], fmt="o", color=colour, ms=5, capsize=3
        )
