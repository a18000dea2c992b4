"""Figure of a network as one parameter sweeps its range, the others in the middle of theirs."""

from typing import Any

import numpy as np

from lanflow.core.figures import (
    DASHES,
    GREY,
    ORANGE,
    Drawing,
    axis_label,
    choice_name,
    draw,
    light_colours,
    line_key,
    number,
    put_legend,
    put_title,
)
from lanflow.core.progress import with_progress
from lanflow.evaluation.implied import drawable_log_density
from lanflow.evaluation.reference import Reference
from lanflow.models.density import Array
from lanflow.models.generation import constrain
from lanflow.models.kde import OMISSION
from lanflow.models.parameters import Theta
from lanflow.networks.network import Network
from lanflow.report.figures.panels import (
    chance_of_shares,
    hide,
    model_key,
    n_columns,
    outcome_colour,
    outcome_keys,
    probability_label,
    simulated_key,
)

_N_SWEPT, _N_TIMES = 41, 161
# Simulated trials at each of a few places of a sweep, where no probability is known.
_N_SIMULATED, _N_TRIALS = 9, 2000
# Nats; what is lower has one colour. A factor of e**6 = 400 is hardly ever seen in data.
_FLOOR, _CEILING = -6.0, 2.0
_LEVELS = np.arange(_FLOOR, _CEILING + 1.1, 1.0)
# Of rts in the middle of the bounds; seconds shown are between these.
_SHOWN, _FEWEST_SECONDS, _MOST_SECONDS = 0.95, 1.0, 10.0
_N_TRIED = 1000


def sweep(network: Network, name: str, n: int = _N_SWEPT) -> list[Theta]:
    """Parameter vectors with one parameter going from its lower bound to its upper.

    Where the model constrains its parameters, the others follow.
    """
    bounds = network.bounds
    values = np.linspace(*bounds[name], n)
    middle = bounds.centre()
    return [constrain(network.model, {**middle, name: float(value)}) for value in values]


def _shown_seconds(network: Network, reference: Reference) -> float:
    """Until when rts are shown, seconds."""
    middle = constrain(network.model, network.bounds.centre())
    rts, choices = reference.simulate(middle, _N_TRIED, seed=0)
    answered = rts[choices != OMISSION]
    last = np.quantile(answered, _SHOWN) if len(answered) else _MOST_SECONDS
    return float(np.clip(np.ceil(2 * last) / 2, _FEWEST_SECONDS, _MOST_SECONDS))


def draw_manifold(network: Network, reference: Reference) -> Drawing:
    """Log-likelihood over rt and a parameter, for each choice and parameter.

    Parameters
    ----------
    network, reference
        A likelihood network, and the truth about its model.

    Returns
    -------
    Drawing
        A figure. Two choices share a panel, the first to the left of zero; colours and solid lines
        are the network's, dashed lines the model's own where its density is known.
    """
    choices, names = network.model.choices, list(network.bounds)
    is_mirrored = len(choices) == 2
    # Which choices a panel shows; panels go along the rows.
    groups = [choices] if is_mirrored else [(choice,) for choice in choices]
    columns = n_columns(len(names)) if is_mirrored else len(choices)
    panels = [(name, group) for name in names for group in groups]
    n_rows = -(-len(panels) // columns)
    until = _shown_seconds(network, reference)

    def fill(figure: Any) -> None:
        grid = figure.subplots(n_rows, columns, squeeze=False)
        hide(grid.flat[len(panels) :])
        doing = f"{network.title}: drawing the sweep"
        shown = with_progress(panels, doing, "panel")
        for axes, (name, group) in zip(grid.flat, shown, strict=False):
            mesh = _draw_sweep(axes, network, reference, name, group, until)
        figure.colorbar(
            mesh, ax=grid, label="log-likelihood (nats)", extend="both", aspect=40, pad=0.01
        )
        _finish_manifold(figure, grid, network, reference)

    return draw((11.0, 1.1 + (2.9 if is_mirrored else 2.1) * n_rows), fill)


def _draw_sweep(
    axes: Any,
    network: Network,
    reference: Reference,
    name: str,
    choices: tuple[int, ...],
    until: float,
) -> Any:
    """Log-likelihood of one or two choices over rt and one parameter; returns the coloured mesh."""
    # Rts of the first of two choices are shown to the left of zero.
    signed = np.linspace(0.0 if len(choices) == 1 else -until, until, _N_TIMES * len(choices))
    rts = np.maximum(np.abs(signed), 1e-4)
    which = np.where(signed < 0, choices[0], choices[-1])
    thetas = sweep(network, name)
    values = np.linspace(*network.bounds[name], len(thetas))
    vectors = [np.array(list(theta.values())) for theta in thetas]
    given = np.array([drawable_log_density(network, vector, rts, which) for vector in vectors])
    mesh = axes.pcolormesh(
        signed,
        values,
        given,
        cmap=light_colours(),
        vmin=_FLOOR,
        vmax=_CEILING,
        shading="nearest",
    )
    style = {"colors": ORANGE, "linewidths": 1.6, "negative_linestyles": "solid"}
    axes.contour(signed, values, given, _LEVELS, **style)
    if reference.is_exact:
        true = np.array([reference.density(theta).evaluate(rts, which) for theta in thetas])
        style = {"colors": "black", "linewidths": 0.9, "linestyles": [DASHES]}
        axes.contour(signed, values, true, _LEVELS, **style)
    axes.grid(visible=False)
    axes.set_ylabel(axis_label(name))
    axes.locator_params(axis="both", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: number(abs(value)))
    if len(choices) == 2:
        axes.axvline(0, color=GREY, lw=1.2)
    return mesh


def _finish_manifold(figure: Any, grid: Any, network: Network, reference: Reference) -> None:
    """Name the choices and put title and legend."""
    first, last = network.model.choices[0], network.model.choices[-1]
    if len(network.model.choices) == 2:
        for axes in grid.flat:
            axes.set_xlabel(
                f"\N{LEFTWARDS ARROW} {choice_name(first)}    rt (s)    "
                f"{choice_name(last)} \N{RIGHTWARDS ARROW}"
            )
    else:
        for axes, choice in zip(grid[0], network.model.choices, strict=True):
            axes.set_title(choice_name(choice), loc="left", fontsize=10)
        for axes in grid[-1]:
            axes.set_xlabel("rt (s)")
    put_title(
        figure,
        f"{network.title}: log-likelihood as one parameter sweeps its range",
        f"the others in the middle of theirs ({_middle(network)}); lines are one nat apart",
    )
    network_key = line_key(ORANGE, "network", lw=1.6)
    put_legend(figure, [network_key, *model_key(reference, lw=0.9, ls=DASHES)])


def _middle(network: Network) -> str:
    """The middle of the bounds, for people."""
    return ", ".join(
        f"{name} = {number(value, 2)}" for name, value in network.bounds.centre().items()
    )


def draw_probability_sweeps(
    network: Network, reference: Reference, *, seed: int, n_trials: int = _N_TRIALS
) -> Drawing:
    """Probability of each outcome as one parameter sweeps its range.

    Parameters
    ----------
    network, reference
        A network of probabilities, and the truth about its model.
    seed
        Of simulated trials, for a model whose probabilities are not known.
    n_trials
        Simulated at each of a few places of a sweep then.

    Returns
    -------
    Drawing
        A figure with a panel for each parameter.
    """
    names = list(network.bounds)
    columns = n_columns(len(names))
    n_rows = -(-len(names) // columns)

    def fill(figure: Any) -> None:
        grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
        hide(grid.flat[len(names) :])
        doing = f"{network.title}: drawing the sweep"
        shown = with_progress(names, doing, "panel")
        for axes, name in zip(grid.flat, shown, strict=False):
            _draw_probabilities(axes, network, reference, name, seed=seed, n_trials=n_trials)
        for axes in grid[:, 0]:
            axes.set_ylabel(probability_label(network))
        put_title(
            figure,
            f"{network.title}: probability as one parameter sweeps its range",
            f"the others in the middle of theirs ({_middle(network)})",
        )
        put_legend(figure, _probability_keys(network, reference, n_trials))

    return draw((10.5, 1.2 + 2.5 * n_rows), fill)


def _draw_probabilities(
    axes: Any, network: Network, reference: Reference, name: str, *, seed: int, n_trials: int
) -> None:
    """Probabilities of all outcomes over one parameter: of the network and of the model."""
    thetas = sweep(network, name)
    values = np.linspace(*network.bounds[name], len(thetas))
    places = values if reference.is_exact else np.linspace(*network.bounds[name], _N_SIMULATED)
    held = thetas if reference.is_exact else sweep(network, name, _N_SIMULATED)
    true = _true_probabilities(network, reference, held, n_trials, seed=seed)
    vectors = np.array([list(theta.values()) for theta in thetas])
    predicted = np.exp(network.log_probabilities(vectors).astype(float))
    for i in range(len(network.outcomes)):
        colour = outcome_colour(network, i)
        axes.plot(values, predicted[:, i], color=colour, lw=2)
        if reference.is_exact:
            axes.plot(places, true[:, i], color="black", lw=1, ls=DASHES)
        else:
            spread = chance_of_shares(true[:, i], n_trials)
            axes.errorbar(places, true[:, i], spread, fmt="o", color=colour, ms=4, mec="black")
    axes.set_xlabel(axis_label(name))
    axes.set_ylim(-0.03, 1.03)


def _true_probabilities(
    network: Network, reference: Reference, thetas: list[Theta], n_trials: int, *, seed: int
) -> Array:
    """Probabilities of the outcomes, shape (vectors, outcomes); shares of trials if not known."""
    return np.array(
        [
            reference.probabilities(
                theta,
                network.network_type.name,
                n_outputs=network.n_outcomes,
                n_simulations=n_trials,
                seed=seed + i,
            )
            for i, theta in enumerate(thetas)
        ]
    )


def _probability_keys(network: Network, reference: Reference, n_trials: int) -> list[Any]:
    keys = outcome_keys(network, prefix="network: ", lw=2)
    of_model = model_key(reference, lw=1, ls=DASHES)
    return [*keys, *(of_model or [simulated_key(n_trials)])]
