"""What a network of probabilities says at some parameter vectors, beside simulated trials."""

from typing import Any

import numpy as np

from lanflow.density import Array
from lanflow.plots import (
    BLUE,
    GREY,
    choice_colour,
    draw_png,
    line_key,
    put_legend,
    put_title,
)
from lanflow.trained_network import Theta, TrainedNetwork

_N_VECTORS = 16
# Drawn for each that is shown, to show probabilities from low to high.
_N_DRAWN = 8


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
    thetas = _spread(subject, subject.draws(_N_DRAWN * _N_VECTORS, seed=seed))
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
