"""Parts that figures of networks share: columns, bins, colours, keys, intervals of chance."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.figures import BLUE, GREY, choice_colour, line_key
from lanflow.evaluation.reference import Reference
from lanflow.models.density import Array
from lanflow.networks.network import Network

# Label of an axis of signed errors.
DIFFERENCE = "network \N{MINUS SIGN} model"

_N_COLUMNS = 3
# Of a normal distribution, the central 95 % are within so many standard deviations.
_95_PERCENT = 1.96


def n_columns(n_panels: int) -> int:
    """Columns of panels, of which two or four make a square."""
    return 2 if n_panels in (2, 4) else min(n_panels, _N_COLUMNS)


def hide(panels: Iterable[Any]) -> None:
    """Leave the places of panels empty."""
    for axes in panels:
        axes.set_axis_off()


def bin_of(values: Array, edges: Array) -> npt.NDArray[np.int64]:
    """Of each value the bin, shape (values,); the first and the last bin have what is outside."""
    bins: npt.NDArray[np.int64] = np.clip(
        np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2
    )
    return bins


def chance_of_counts(expected: float, n_bins: int) -> float:
    """Half the 95 % interval of a bin's count where all bins are equally likely."""
    spread: float = _95_PERCENT * (expected * (1 - 1 / n_bins)) ** 0.5
    return spread


def chance_of_shares(shares: Array, n_trials: int) -> Array:
    """Half the 95 % intervals of shares of trials, in shape of the shares."""
    return np.asarray(_95_PERCENT * np.sqrt(shares * (1 - shares) / n_trials))


def outcome_colour(network: Network, i: int) -> str:
    """Colour of the i-th outcome of a network of probabilities."""
    return choice_colour(i) if len(network.outcomes) > 1 else BLUE


def probability_label(network: Network) -> str:
    """Label of an axis of probabilities; of many outcomes the legend has the names."""
    outcomes = network.outcomes
    return f"P({outcomes[0]})" if len(outcomes) == 1 else "probability"


def outcome_keys(network: Network, *, prefix: str = "", **style: Any) -> list[Any]:
    """Entries of a legend for the outcomes of a network of probabilities."""
    return [
        line_key(outcome_colour(network, i), f"{prefix}{outcome}", **style)
        for i, outcome in enumerate(network.outcomes)
    ]


def model_key(reference: Reference, **style: Any) -> list[Any]:
    """The entry of a legend for the model's own density or probability, where it is known."""
    if not reference.is_exact:
        return []
    return [line_key("black", f"model, {reference.name}", **style)]


def simulated_key(n_trials: int, **style: Any) -> Any:
    """The entry of a legend for shares of simulated trials."""
    label = f"simulated ({n_trials:,} trials, 95 % interval)"
    return line_key(GREY, label, marker="o", ls="none", **style)
