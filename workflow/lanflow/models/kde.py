"""A kernel density estimate of (rt, choice) from simulations, without the wait.

The estimate is ssm-simulators' ``LogKDE``: for each choice a Gaussian kernel on the logarithm of
rt, with Silverman's bandwidth. There scikit-learn sums the kernel over every simulation for every
row. Here the simulations are first shared out on a grid of :data:`CELLS_PER_BANDWIDTH` cells a
bandwidth, each between its two neighbours (Wand 1994, J. Comp. Graph. Stat. 3), which takes one
convolution, and the logarithm is interpolated by a cubic spline. Nothing is subtracted, so the far
tails keep their digits, which a Fourier transform would lose.

One thing is better and not only faster: where the non-decision time is a parameter, the kernel is
on the logarithm of the decision time, in which densities are smooth, and nothing is smeared to
before the non-decision time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.models.density import FLOOR, Array

# ssm-simulators' rt of a trial without an answer.
OMISSION = -999.0
# Its rt of every trial of a model of choices alone.
NO_TIME = -1.0

CELLS_PER_BANDWIDTH = 16
# A kernel is below 1e-31 of its peak beyond it, and labels end at 1e-29.
_KERNEL_BANDWIDTHS = 12
# Of logarithms of times, as ssm-simulators has them: the least one taken, that of a single time.
_LEAST_STD, _STD_OF_ONE = 1e-3, 10.0


class KernelDensity:
    """An estimator in ssm-simulators' terms: fit, evaluate, sample, get_metadata.

    Parameters
    ----------
    shift
        Time taken off the rts before the logarithm, seconds.
    """

    def __init__(self, shift: float = 0.0) -> None:
        self._shift = shift
        self._metadata: dict[str, Any] = {}
        self._choices: dict[Any, _LogTimes | None] = {}
        self._n = 0

    def fit(self, simulations: dict[str, Any]) -> None:
        """Take the simulated ``rts`` and ``choices``, shape (n, 1), and their ``metadata``.

        Answers that came too late are no part of the density; their share is missing from it.
        """
        self._metadata = simulations["metadata"]
        rts, choices = simulations["rts"].ravel(), simulations["choices"].ravel()
        self._n = len(rts)
        self._choices = {}
        for choice in self._metadata["possible_choices"]:
            times = rts[(choices == choice) & (rts != OMISSION)].astype(float) - self._shift
            times = times[times > 0]
            self._choices[choice] = _LogTimes(np.log(times)) if len(times) else None

    @property
    def choice_probabilities(self) -> Array:
        """Share of the simulations that ended in each choice in time, shape (choices,)."""
        numbers = [0 if one is None else one.n for one in self._choices.values()]
        return np.array(numbers) / self._n

    def evaluate(self, rts: npt.ArrayLike, choices: npt.ArrayLike) -> Array:
        """Log density at (rt, choice).

        Of a choice that was never made it is that of one trial in ``n * max_t`` seconds.
        """
        times = np.asarray(rts, float).ravel() - self._shift
        choices = np.asarray(choices).ravel()
        out = np.full(len(times), FLOOR)
        for choice, estimate in self._choices.items():
            rows = (choices == choice) & (times > 0)
            if estimate is None:
                out[choices == choice] = -np.log(self._n * self._metadata["max_t"])
            else:
                logs = np.log(times[rows])
                share = np.log(estimate.n / self._n)
                out[rows] = np.maximum(estimate.log_density(logs) + share - logs, FLOOR)
        return out

    def sample(self, n_samples: int, random_state: int | None = None) -> dict[str, Array]:
        """Draw rts and choices; each choice as often as it was simulated."""
        rng = np.random.default_rng(None if random_state is None else [random_state, 1])
        made = {choice: one for choice, one in self._choices.items() if one is not None}
        if not made:
            rts = rng.uniform(0, self._metadata["max_t"], n_samples)
            return {"rts": rts, "choices": rng.choice(list(self._choices), n_samples)}
        counts = np.array([one.n for one in made.values()], float)
        ends = np.round(np.cumsum(counts) / counts.sum() * n_samples).astype(int)
        numbers = np.diff(ends, prepend=0)
        times = [
            np.exp(one.sample(rng, number))
            for one, number in zip(made.values(), numbers, strict=True)
        ]
        return {
            "rts": np.concatenate(times) + self._shift,
            "choices": np.repeat(np.array(list(made), float), numbers),
        }

    def get_metadata(self) -> dict[str, Any]:
        """The metadata of the simulations."""
        return self._metadata


class _LogTimes:
    """The estimate for the logarithms of the times of one choice."""

    def __init__(self, logs: Array) -> None:
        from scipy.interpolate import CubicSpline

        self._logs, self.n = logs, len(logs)
        self._bandwidth = silverman_bandwidth(logs)
        cell = self._bandwidth / CELLS_PER_BANDWIDTH
        reach = _KERNEL_BANDWIDTHS * CELLS_PER_BANDWIDTH
        place = (logs - logs.min()) / cell
        left = np.floor(place).astype(int)
        right_share = place - left
        n_cells = left.max() + 2
        weights = np.bincount(left, 1 - right_share, n_cells)
        weights += np.bincount(left + 1, right_share, n_cells)
        # Sharing out adds a sixth of a cell squared to the variance; the kernel has it less.
        variance = self._bandwidth**2 - cell**2 / 6
        kernel = np.exp(-((np.arange(-reach, reach + 1) * cell) ** 2) / (2 * variance))
        kernel /= np.sqrt(2 * np.pi * variance) * self.n
        values = np.log(np.maximum(np.convolve(weights, kernel), np.exp(2 * FLOOR)))
        self._first = logs.min() - reach * cell
        self._last = self._first + (len(values) - 1) * cell
        self._spline = CubicSpline(np.linspace(self._first, self._last, len(values)), values)

    def log_density(self, logs: Array) -> Array:
        values: Array = self._spline(np.clip(logs, self._first, self._last))
        return np.where((logs < self._first) | (logs > self._last), -np.inf, values)

    def sample(self, rng: np.random.Generator, n_samples: int) -> Array:
        drawn: Array = rng.choice(self._logs, n_samples)
        return drawn + self._bandwidth * rng.standard_normal(n_samples)


def silverman_bandwidth(logs: Array) -> float:
    """Bandwidth for a sample, by Silverman's rule with ssm-simulators' limits."""
    std = max(float(np.std(logs)), _LEAST_STD) if len(logs) > 1 else _STD_OF_ONE
    return float((4 / (3 * len(logs))) ** 0.2 * std)
