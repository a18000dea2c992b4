"""Whether a network's probabilities mean what they say."""

from typing import Any

import numpy as np

from lanflow.core.figures import (
    BLUE,
    GREY,
    area_key,
    choice_colour,
    choice_name,
    draw_png,
    line_key,
    put_legend,
    put_title,
)
from lanflow.evaluation.scores import Calibration, Scores
from lanflow.models.density import Array
from lanflow.networks.network import Network

_N_RANK_BINS = 20


def draw_likelihood_calibration(
    network: Network, scores: Scores, calibration: Calibration
) -> bytes:
    """Choice probabilities, total mass, and ranks of rts under a likelihood network.

    Parameters
    ----------
    network, scores, calibration
        Which belong together.

    Returns
    -------
    bytes
        A PNG.
    """
    choices = network.model.choices

    def fill(figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3)
        shown = range(1, 2) if len(choices) == 2 else range(len(choices))
        colours = [choice_colour(i) for i in shown]
        _draw_identity(
            left, calibration.true_masses[:, shown], calibration.masses[:, shown], colours
        )
        names = [choice_name(choices[i]) for i in shown]
        left.set_title("choice probability", loc="left")
        left.set_xlabel(f"model: P({names[0] if len(names) == 1 else 'choice'})")
        left.set_ylabel("network: integral over rt")
        _draw_masses(middle, calibration)
        _draw_ranks(right, calibration.ranks)
        put_title(
            figure,
            f"{network.title}: calibration at {len(calibration.sets):,} parameter draws",
            f"against {scores.against}",
        )
        keys = [
            line_key(colour, name, marker="o", ls="none", ms=4)
            for colour, name in zip(colours, names, strict=True)
        ]
        put_legend(
            figure,
            [
                *keys,
                line_key("black", "a network that is right", lw=1),
                area_key(GREY, "95 % of what chance gives it", alpha=0.3),
            ],
        )

    return draw_png((11.0, 4.1), fill)


def _draw_identity(axes: Any, true: Array, predicted: Array, colours: list[str]) -> None:
    axes.axline((0, 0), (1, 1), color="black", lw=1)
    for column, colour in enumerate(colours):
        axes.plot(
            true[:, column], predicted[:, column], "o", color=colour, ms=3.5, alpha=0.6, mew=0
        )
    axes.set_xlim(-0.03, 1.03)
    # One point that is far off must not hide the others.
    axes.set_ylim(-0.03, max(1.03, 1.1 * float(np.quantile(predicted, 0.98))))


def _draw_masses(axes: Any, calibration: Calibration) -> None:
    """Total of the network's density over that of the model, which is one without a deadline."""
    ratio = calibration.masses.sum(axis=1) / calibration.true_masses.sum(axis=1)
    low, high = np.quantile(ratio, [0.005, 0.995])
    ends = min(low, 0.98), max(high, 1.02)
    axes.hist(np.clip(ratio, *ends), bins=30, range=ends, color=BLUE, alpha=0.75)
    axes.axvline(1, color="black", lw=1)
    axes.set_title("total mass", loc="left")
    axes.set_xlabel("integral over rt and choices (1 is right)")
    axes.set_ylabel("parameter draws")
    inside = np.quantile(ratio, [0.025, 0.975])
    axes.annotate(
        f"95 % of draws from {inside[0]:.2f} to {inside[1]:.2f}",
        (0.97, 0.97),
        xycoords="axes fraction",
        ha="right",
        va="top",
        fontsize=8.5,
    )


def _draw_ranks(axes: Any, ranks: Array) -> None:
    """Shares of the network's rts below each trial's: uniform if the network is right."""
    counts, edges = np.histogram(ranks, _N_RANK_BINS, (0, 1))
    expected = ranks.size / _N_RANK_BINS
    spread = 1.96 * (expected * (1 - 1 / _N_RANK_BINS)) ** 0.5
    axes.axhspan(1 - spread / expected, 1 + spread / expected, color=GREY, alpha=0.3, lw=0)
    axes.stairs(counts / expected, edges, baseline=None, color=BLUE, lw=1.8)
    axes.axhline(1, color="black", lw=1)
    reach = max(0.2, 1.15 * np.abs(counts / expected - 1).max())
    axes.set_ylim(max(1 - reach, 0), 1 + reach)
    axes.set_xlim(0, 1)
    axes.set_title("rts given the choice", loc="left")
    axes.set_xlabel("probability integral transform of rt")
    axes.set_ylabel("trials, relative to uniform")


def draw_probability_calibration(network: Network, scores: Scores) -> bytes:
    """Predicted against true probabilities, and their differences.

    Parameters
    ----------
    network, scores
        Which belong together.

    Returns
    -------
    bytes
        A PNG.
    """
    outcomes = network.outcomes
    predicted = scores.per_outcome(scores.network)
    true = scores.per_outcome(scores.reference)
    colours = [choice_colour(i) for i in range(len(outcomes))] if len(outcomes) > 1 else [BLUE]

    def fill(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _draw_identity(left, true, predicted, colours)
        left.set_xlabel(f"model: P({outcomes[0] if len(outcomes) == 1 else 'choice'})")
        left.set_ylabel("network")
        keys = [
            line_key(colour, name, marker="o", ls="none")
            for colour, name in zip(colours, outcomes, strict=True)
        ]
        for column, colour in enumerate(colours):
            _draw_binned(right, predicted[:, column], true[:, column], colour)
        right.axhline(0, color="black", lw=1)
        right.set_xlim(-0.03, 1.03)
        right.set_xlabel("probability of the network, in tenths")
        right.set_ylabel("network \N{MINUS SIGN} model, mean and 95 % of draws")
        put_title(
            figure,
            f"{network.title}: calibration at {len(scores.parameters):,} parameter draws",
            f"against {scores.against}",
        )
        put_legend(
            figure,
            [
                *keys,
                line_key("black", "a network that is right", lw=1),
            ],
        )

    return draw_png((9.0, 4.8), fill)


def _draw_binned(axes: Any, predicted: Array, true: Array, colour: str) -> None:
    bins = np.clip((predicted * 10).astype(int), 0, 9)
    for i in np.unique(bins):
        rows = bins == i
        difference = predicted[rows] - true[rows]
        low, high = np.quantile(difference, [0.025, 0.975])
        x, mean = predicted[rows].mean(), difference.mean()
        axes.errorbar(
            x, mean, [[mean - low], [high - mean]], fmt="o", color=colour, ms=5, capsize=3
        )
