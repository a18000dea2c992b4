"""A particle whose start, drift and non-decision time vary over trials.

ssm-simulators' ``full_ddm``, ``full_ddm2``, ``full_ddm_rv``, ``ddm_st``, ``ddm_truncnormt`` and
``ddm_rayleight`` (Ratcliff & Tuerlinckx 2002, Psychon. Bull. Rev. 9), as they are simulated:

- the drift is normal with the standard deviation ``sv``;
- the start is uniform: in ``full_ddm`` within ``sz`` *units of evidence* of ``z``, in the others
  within the *share* ``sz`` of the distance of the boundaries. ``sz`` is half the width, and ``st``
  as well. In ``full_ddm`` some may start outside of the boundaries: they answer at once, after
  their non-decision time;
- the non-decision time is any continuous distribution of scipy's.

For a given start the density is known, with the variable drift
(:class:`lanflow.models.analytic.Diffusion`). Its mean over the start is taken by Gauss-Legendre
quadrature; before a time at which the other boundary begins to matter (:data:`_SHORT`) it is the
mean of ``d N(d; v t, t + sv**2 t**2) / t`` over the way ``d`` to the boundary, which is elementary
and has the singularity of those who start at a boundary. It is tabulated on :data:`_PER_FOLD` times
for each factor e in time, and its logarithm interpolated by a cubic spline: with errors of 1e-6,
since a logarithm that falls like ``d**2 / 2t`` has a fourth derivative of that size.

The convolution with the non-decision time is taken by quadrature in the logarithm of the decision
time, between quantiles of the non-decision time, so that neither of two narrow peaks is missed.

With a deadline ``full_ddm`` of ssm-simulators stops a particle at the deadline less the *mean*
non-decision time and takes the side on which it is for an answer. The density here counts answers
before the deadline, as all other models do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array
from lanflow.models.exact.normal import (
    between,
    log,
    mills_ratio,
    normal_density,
    quadrature,
)

CHOICES = (-1, 1)
# In units of the squared half distance of the boundaries.
_SHORT = 0.03
# Times of the table for each factor e.
_PER_FOLD = 20
# A decision is not looked for before the way to a boundary is this many nats off, nor before this
# time, in units of the squared half distance.
_NATS, _EARLIEST = 80.0, 1e-10
_STARTS, _START_WEIGHTS = quadrature(16)
# Non-decision times between these chances, and what is not below is above the others.
_CHANCES = (1e-32, 1e-12, 1.35e-3, 0.5)
_NODES, _WEIGHTS = quadrature(16)
# Times of the density: sums of quantiles, and evenly in the logarithm of the decision time.
_N_DECISIONS, _N_NONDECISIONS, _N_LOGS = 30, 7, 50


@dataclass(frozen=True)
class Variable:
    """A particle that varies over trials.

    Attributes
    ----------
    v, sv
        Mean and standard deviation of the drift.
    a
        Half the distance of the boundaries.
    lowest, highest
        Starts, as places between ``-a`` and ``a``; they may be outside.
    nondecision
        Scipy's frozen distribution of the non-decision time.
    until
        How long a decision may take, seconds.
    """

    v: float
    sv: float
    a: float
    lowest: float
    highest: float
    nondecision: Any
    until: float

    @cached_property
    def _inside(self) -> tuple[float, float]:
        """Starts between the boundaries."""
        edge = self.a * (1 - 1e-9)
        return max(self.lowest, -edge), min(self.highest, edge)

    def _at_once(self, choice: int) -> float:
        """Share of the trials that start behind a boundary."""
        outside = -self.a - self.lowest if choice == -1 else self.highest - self.a
        width = self.highest - self.lowest
        return min(max(outside, 0.0) / width, 1.0) if width > 0 else 0.0

    @cached_property
    def _table(self) -> tuple[Array, Callable[[Array], Array]]:
        """Times, and log densities of the decision time at logs of times, (..., choices)."""
        from scipy.interpolate import CubicSpline

        low, high = self._inside
        way = max(min(self.a + low, self.a - high), 0.0)
        first = min(max(way**2 / (2 * _NATS), _EARLIEST * self.a**2), self.until / 10)
        n = int(np.ceil(np.log(self.until / first) * _PER_FOLD)) + 1
        times = np.geomspace(first, self.until, n)
        logs = [self._decision_log_density(times, choice) for choice in CHOICES]
        return times, CubicSpline(np.log(times), np.stack(logs, axis=-1))

    def _decision_log_density(self, times: Array, choice: int) -> Array:
        """Log density of the decision time, a mean over the start."""
        low, high = self._inside
        short = times < _SHORT * self.a**2
        out = np.empty_like(times)
        out[short] = self._early(times[short], choice)
        nodes = low + (high - low) * _STARTS
        logs = np.stack([self._from(start, times[~short], choice) for start in nodes])
        peak = np.maximum(logs.max(axis=0), -1e300)
        out[~short] = peak + np.log(_START_WEIGHTS @ np.exp(logs - peak))
        share = 1 - sum(self._at_once(choice) for choice in CHOICES)
        return np.asarray(np.maximum(out + np.log(max(share, 1e-300)), -1e4))

    def _from(self, start: float, times: Array, choice: int) -> Array:
        z = (start / self.a + 1) / 2
        return Diffusion(self.v, self.a, z, sv=self.sv).log_density(times, choice)

    def _early(self, t: Array, choice: int) -> Array:
        """The same before the other boundary matters."""
        low, high = self._inside
        near, far = (self.a + low, self.a + high) if choice == -1 else (self.a - high, self.a - low)
        spread = max(far - near, 1e-5 * self.a)
        middle = (near + far) / 2
        near, far = max(middle - spread / 2, 0.0), middle + spread / 2
        mean, variance = choice * self.v * t, t + self.sv**2 * t**2
        std = np.sqrt(variance)
        z_near, z_far = (near - mean) / std, (far - mean) / std
        # Both relative to the density at the nearest start, wherever that is in the tail.
        top = np.where(z_near > 0, z_near, 0.0)
        fall = np.exp((top**2 - z_far**2) / 2)
        tails = mills_ratio(np.maximum(z_near, 0)) - fall * mills_ratio(np.maximum(z_far, 0))
        middle_mass = between(z_near, z_far) * np.sqrt(2 * np.pi)
        inside = mean * np.where(z_near > 0, tails, middle_mass)
        inside = inside + std * (np.exp((top**2 - z_near**2) / 2) - fall)
        heights = log(inside / (far - near) / t)
        return np.asarray(heights - top**2 / 2 - 0.5 * np.log(2 * np.pi))

    @cached_property
    def _edges(self) -> Array:
        """Non-decision times between which the convolution is taken piece by piece."""
        support = self.nondecision.support()
        if self.nondecision.dist.name == "uniform":
            return np.asarray(np.linspace(support[0], support[1], 4), float)
        low = self.nondecision.ppf(_CHANCES)
        high = self.nondecision.isf(_CHANCES[:-1])
        edges = np.concatenate([low, high])
        finite = [end for end in support if np.isfinite(end)]
        return np.unique(np.concatenate([edges[np.isfinite(edges)], finite]))

    def _before(self, times: Array) -> Array:
        """Density of the non-decision time."""
        known = self.nondecision
        if known.dist.name != "truncnorm":
            return np.asarray(known.pdf(times))
        # Scipy takes ten times as long for the same: it finds the mass that is cut off each time.
        loc, scale = known.kwds["loc"], known.kwds["scale"]
        first, last = known.support()
        whole = between(np.array((first - loc) / scale), np.array((last - loc) / scale))
        inside = (times >= first) & (times <= last)
        return np.where(inside, normal_density((times - loc) / scale) / (scale * whole), 0.0)

    def log_densities(self, rts: Array) -> Array:
        """Logarithms of the joint densities of rt and each choice.

        Parameters
        ----------
        rts
            Seconds, any shape.

        Returns
        -------
        numpy.ndarray
            Shape (choices, ...).
        """
        rts = np.asarray(rts, float)
        times, spline = self._table
        logs = np.log(np.clip(rts[..., None] - self._edges[::-1], times[0], times[-1]))
        widths = np.diff(logs, axis=-1)[..., None]
        n_nodes = len(_NODES) * (len(self._edges) - 1)
        x = (logs[..., :-1, None] + widths * _NODES).reshape(*rts.shape, n_nodes)
        decision = np.exp(x)
        weights = decision * (_WEIGHTS * widths).reshape(x.shape)
        weights = weights * self._before(rts[..., None] - decision)
        totals = (np.exp(spline(x)) * weights[..., None]).sum(axis=-2)
        at_once = np.array([self._at_once(choice) for choice in CHOICES])
        if at_once.any():
            totals = totals + at_once * self._before(rts)[..., None]
        return log(np.moveaxis(totals, -1, 0))

    def log_density(self, rts: Array, choice: int) -> Array:
        """Logarithm of the joint density of rt and one of the choices."""
        return np.asarray(self.log_densities(rts)[CHOICES.index(choice)])

    def grid(self) -> Array:
        """Increasing rts between which the density is smooth."""
        times, spline = self._table
        flow = np.exp(spline(np.log(times))).sum(axis=-1)
        mass = np.append(0, np.cumsum((flow[1:] + flow[:-1]) / 2 * np.diff(times)))
        even = (np.arange(_N_DECISIONS) + 0.5) / _N_DECISIONS
        decisions = np.interp(even * mass[-1], mass, times)
        first = max(self._edges[0], 0.0)
        befores = self.nondecision.ppf(np.linspace(1e-6, 1 - 1e-6, _N_NONDECISIONS))
        sums = (decisions[:, None] + befores).ravel()
        late = first + np.geomspace(times[0], times[-1], _N_LOGS)
        later = self.nondecision.isf(1e-9) + np.geomspace(times[0], times[-1], _N_LOGS)
        rts = np.concatenate([sums, late, later, self._edges, [first]])
        return np.unique(rts[(rts >= first) & np.isfinite(rts)])
