"""Whether simulated trials are of a density, and proof that the answer would be no if it were not.

Every comparison is made twice: with the trials, and with the same trials 1 % later. A test that
accepts the first and not the second has the power to see a shift of 1 %.
"""

import numpy as np
from scipy.stats import binomtest, kstest, norm

from lanflow.models.density import Array, Density

# Probability of refusing what is right.
LEVEL = 1e-3


def agreement(density: Density, decision: Array, choices: Array) -> float:
    """Probability of trials that deviate as much: in rts, of all and of each choice, in the mean
    of their logarithms, which is what moves most with a shift, and in the shares of choices.

    Parameters
    ----------
    density
        What the trials should be of.
    decision, choices
        Decision times and choices, shape (trials,).
    """
    rts = decision + density.t
    last = rts.max()
    ends = density.mass(last).ravel()
    found = [kstest(rts, lambda x: density.mass(x).sum(axis=0) / ends.sum()).pvalue]
    found.append(_mean_log(density, decision, last - density.t))
    for row, choice in enumerate(density.choices):
        mine = rts[choices == choice]
        share = min(max(ends[row] / ends.sum(), 0.0), 1.0)
        found.append(binomtest(len(mine), len(rts), share).pvalue)
        if len(mine) > 100:
            end = ends[row]
            found.append(
                kstest(mine, lambda x, row=row, end=end: density.mass(x)[row] / end).pvalue
            )
    return float(min(found) * len(found))


def _mean_log(density: Density, decision: Array, last: float) -> float:
    times = density.times[density.times <= last]
    middle = np.log((times[1:] + times[:-1]) / 2)
    shares = np.diff(density.cumulative.sum(axis=0)[: len(times)])
    shares = shares / shares.sum()
    mean = shares @ middle
    std = np.sqrt(shares @ (middle - mean) ** 2)
    off = (np.log(decision[decision > 0]).mean() - mean) / std * np.sqrt(len(decision))
    return float(2 * norm.sf(abs(off)))


def assert_simulated(density: Density, decision: Array, choices: Array) -> None:
    """The trials are of the density, and 1 % later they would not be."""
    assert agreement(density, decision, choices) > LEVEL
    assert agreement(density, decision * 1.01, choices) < LEVEL
