"""Gate of a likelihood network whose model has no density to be compared with: calibration.

A kernel density of simulations is smeared just as kernel labels are, so a network that has learnt
the smear looks right beside it. Here nothing is smoothed. Fresh trials are ranked under the
network's own density: the rank of a trial is the share of the network's rts of the same choice that
are below its rt (the probability integral transform; Rosenblatt 1952, Ann. Math. Stat. 23). If the
network is right, trials have each choice as often as it says, and ranks that are uniform. Each
choice's ranks are shared out on cells of equal width, so the network gives its own probability of
each cell, and the share of trials there is the model's, but for sampling noise::

    difference = log(network's probability of the cell) - log(share of trials in the cell)

in nats, weighted by that share: the differences of the accuracy gate, of all outcomes of a cell
together. Where errors are small, those of a cell are the mean of those of its outcomes, so the
limits are the accuracy gate's. What averages out within a cell is not seen.

The noise is measured as well: cells are filled with as many trials drawn from the network itself,
and the same numbers are computed of those. The numbers that are judged are beyond that noise, in
squares, as of independent errors that are added; errors that sit in few cells are overstated by it.
``docs/judging.md`` has both gates' numbers of the ddm, which has a density.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanflow.core.progress import with_progress
from lanflow.evaluation.implied import ImpliedDensity, grid_of, implied_density
from lanflow.evaluation.reference import MAX_T, Reference
from lanflow.models.density import Array
from lanflow.models.kde import OMISSION
from lanflow.models.parameters import Bounds
from lanflow.models.simulators import draw_parameters
from lanflow.networks.network import Outputs

# Vectors for each one of the scores. They share the simulations that its kernel density takes, so
# the gate costs what the scores do, and looks at more vectors.
SETS_PER_SCORED = 5

# A cell of a network that is right holds about so many trials, a noise of 0.05 nats, or a choice is
# one cell; it has no more cells than these.
_TRIALS_OF_A_CELL = 400
_MOST_CELLS = 50

# The probability that a network at least gives to a cell in which trials are: less is as wrong.
_LEAST = 1e-12


@dataclass(frozen=True)
class Cells:
    """Cells of one parameter vector, choice after choice.

    Attributes
    ----------
    predicted
        The network's probability of each, shape (cells,).
    counts
        Simulated trials in each, shape (cells,).
    n_trials
        All of them, with those that have no answer.
    """

    predicted: Array
    counts: Array
    n_trials: int

    @property
    def differences(self) -> Array:
        """Log-probability of each, network less trials, nats, shape (cells,); 0 without trials."""
        shares = np.maximum(self.counts, 1) / self.n_trials
        differences = np.log(np.maximum(self.predicted, _LEAST) / shares)
        return np.where(self.counts > 0, differences, 0.0)

    def drawn(self, rng: np.random.Generator) -> "Cells":
        """The same cells with as many trials of the network itself."""
        rest = max(1 - self.predicted.sum(), 0.0)
        shares = np.append(self.predicted, rest)
        counts = rng.multinomial(self.n_trials, shares / shares.sum())[:-1].astype(np.float64)
        # A total above one is an error of the network and no noise: its trials are then all these.
        return Cells(self.predicted / max(self.predicted.sum(), 1.0), counts, self.n_trials)


def calibration_numbers(
    network: Outputs, reference: Reference, bounds: Bounds, *, n_sets: int, seed: int
) -> dict[str, float]:
    """Measure how far fresh simulations are from a network's ranks and choice probabilities.

    Parameters
    ----------
    network
        Outputs (rows, 1) of rows of parameters, rt and choice.
    reference
        Of its model, which is simulated.
    bounds
        Where parameters are drawn.
    n_sets
        Parameter vectors.
    seed
        Decides them, the trials and the noise.

    Returns
    -------
    dict
        Names as of the accuracy gate, nats: ``mean_abs_error``, ``median_abs_error``,
        ``p99_abs_error``, each the root of what its square is above that of the noise;
        ``mean_difference`` less the noise's, and its size ``abs_mean_difference``. And the noise:
        ``noise_mean_abs``, ``noise_p99_abs``.
    """
    rng = np.random.default_rng(seed)
    vectors = draw_parameters(reference.model, bounds, n_sets, seed=seed)
    doing = f"{reference.model.name}: calibrating"
    found, noise = [], []
    for index, vector in enumerate(with_progress(list(vectors), doing, "parameter set")):
        cells = cells_of(network, reference, bounds, vector, seed=seed + index)
        found.append(cells)
        noise.append(cells.drawn(rng))
    return _beyond(_numbers(found), _numbers(noise))


def cells_of(
    network: Outputs, reference: Reference, bounds: Bounds, vector: Array, *, seed: int
) -> Cells:
    """Share out fresh trials on cells at one parameter vector, shape (parameters,)."""
    theta, possible = bounds.named(vector), reference.model.choices
    rts, choices = reference.simulate(theta, reference.n_simulations // SETS_PER_SCORED, seed=seed)
    answered = (rts != OMISSION) & (rts < MAX_T + theta.get("t", 0.0))
    implied = implied_density(network, vector, possible, grid_of(theta, MAX_T)).drawable
    times = spread_over_steps(rts[answered], seed=seed)
    return share_out(implied, times, choices[answered], possible, n_trials=len(rts))


def spread_over_steps(rts: Array, *, seed: int) -> Array:
    """Rts of a simulator that counts steps, spread evenly over a step; others as they are.

    Else a cell a few steps wide would have a step more or less than it should. ssm-simulators
    spreads them itself.
    """
    times = np.unique(rts)
    if len(times) < 2 or len(times) > len(rts) / 2:
        return rts
    step = np.quantile(np.diff(times), 0.1)  # where trials are dense; few are far apart
    return np.asarray(rts + step * np.random.default_rng(seed).uniform(-0.5, 0.5, len(rts)))


def share_out(
    implied: ImpliedDensity,
    rts: Array,
    choices: Array,
    possible: Sequence[float],
    *,
    n_trials: int,
) -> Cells:
    """Share out trials on cells in which each choice's ranks under a density are uniform.

    Parameters
    ----------
    implied
        The density.
    rts, choices
        Trials with an answer.
    possible
        The choices, in the order of the density's.
    n_trials
        All trials.
    """
    predicted, counts = [], []
    for index, (choice, mass) in enumerate(zip(possible, implied.masses, strict=True)):
        n_cells = int(np.clip(mass * n_trials / _TRIALS_OF_A_CELL, 1, _MOST_CELLS))
        ranks = implied.ranks(index, rts[choices == choice])
        predicted.append(np.full(n_cells, mass / n_cells))
        counts.append(np.histogram(ranks, n_cells, (0, 1))[0])
    return Cells(np.concatenate(predicted), np.concatenate(counts), n_trials)


def _numbers(cells: Sequence[Cells]) -> dict[str, float]:
    """The accuracy gate's numbers of cells, each weighted by its trials."""
    differences = np.concatenate([each.differences for each in cells])
    weights = np.concatenate([each.counts for each in cells])
    if weights.sum() == 0:  # no trial is answered anywhere
        return dict.fromkeys(("mean_abs", "median_abs", "p99_abs", "mean"), np.nan)
    sizes = np.abs(differences)
    order = np.argsort(sizes)
    until = np.cumsum(weights[order]) / weights.sum()
    half, most = sizes[order][np.searchsorted(until, [0.5, 0.99])]
    return {
        "mean_abs": float(np.average(sizes, weights=weights)),
        "median_abs": float(half),
        "p99_abs": float(most),
        "mean": float(np.average(differences, weights=weights)),
    }


def _beyond(found: dict[str, float], noise: dict[str, float]) -> dict[str, float]:
    """Take the noise off: of sizes in squares, as of independent errors that are added."""
    numbers = {
        f"{key}_error": float(np.sqrt(np.maximum(found[key] ** 2 - noise[key] ** 2, 0.0)))
        for key in ("mean_abs", "median_abs", "p99_abs")
    }
    difference = found["mean"] - noise["mean"]
    return numbers | {
        "mean_difference": difference,
        "abs_mean_difference": abs(difference),
        "noise_mean_abs": noise["mean_abs"],
        "noise_p99_abs": noise["p99_abs"],
    }
