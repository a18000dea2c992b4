"""Learning rates, pure: from settings and past validation losses to the rate of every update.

Each follows a published rule, so that both backends train alike: ``reduce_on_plateau`` is
``torch.optim.lr_scheduler.ReduceLROnPlateau`` (mode min, relative threshold, no cooldown),
``multiply`` is ``ExponentialLR``; ``cosine`` is ``CosineAnnealingLR`` over all epochs, constant
within one; ``warmup_cosine`` rises linearly for ``warmup_epochs``, then falls with every update
along half a cosine (Loshchilov & Hutter 2017, without restarts) to ``min_lr``.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanflow.training.config import TrainingConfig

# ReduceLROnPlateau ignores changes of the rate smaller than this (its ``eps``).
_SMALLEST_STEP = 1e-8


@dataclass(frozen=True)
class ScheduleState:
    """State of a schedule between epochs.

    Attributes
    ----------
    learning_rate
        Rate of the coming epoch (not used by cosine and warmup_cosine).
    best
        Lowest validation loss so far.
    n_bad_epochs
        Epochs since it improved.
    """

    learning_rate: float
    best: float = math.inf
    n_bad_epochs: int = 0


def initial_state(config: TrainingConfig) -> ScheduleState:
    """State before the first epoch."""
    return ScheduleState(learning_rate=config.learning_rate)


def learning_rates(
    state: ScheduleState, config: TrainingConfig, *, epoch: int, n_steps: int
) -> np.ndarray:
    """Learning rate of each update of an epoch.

    Parameters
    ----------
    state
        State before the epoch.
    config
        The training's settings.
    epoch
        Zero-based number of the epoch.
    n_steps
        Updates in an epoch.

    Returns
    -------
    numpy.ndarray
        Shape (n_steps,), float32.
    """
    if config.lr_scheduler == "cosine":
        rate = _on_cosine(np.float64(epoch / config.n_epochs), config)
        return np.full(n_steps, rate, dtype=np.float32)
    if config.lr_scheduler != "warmup_cosine":
        return np.full(n_steps, state.learning_rate, dtype=np.float32)
    step = epoch * n_steps + np.arange(n_steps, dtype=np.float64)
    warmup = round(config.lr_scheduler_params.warmup_epochs * n_steps)
    rising = (step + 1) / max(warmup, 1)
    share = np.clip((step - warmup) / max(config.n_epochs * n_steps - warmup, 1), 0, 1)
    rates = np.where(step < warmup, config.learning_rate * rising, _on_cosine(share, config))
    return rates.astype(np.float32)


def _on_cosine(share: Any, config: TrainingConfig) -> Any:
    """The rate after a share, from 0 to 1, of half a cosine from the first rate to ``min_lr``."""
    floor = min(config.lr_scheduler_params.min_lr, config.learning_rate)
    return floor + (config.learning_rate - floor) * 0.5 * (1 + np.cos(np.pi * share))


def next_state(state: ScheduleState, config: TrainingConfig, *, val_loss: float) -> ScheduleState:
    """State after an epoch that ended with ``val_loss``."""
    params = config.lr_scheduler_params
    match config.lr_scheduler:
        case "multiply":
            return replace(state, learning_rate=state.learning_rate * params.factor)
        case "reduce_on_plateau":
            if val_loss < state.best * (1 - params.threshold):
                return replace(state, best=val_loss, n_bad_epochs=0)
            if state.n_bad_epochs + 1 <= params.patience:
                return replace(state, n_bad_epochs=state.n_bad_epochs + 1)
            reduced = max(state.learning_rate * params.factor, params.min_lr)
            if state.learning_rate - reduced <= _SMALLEST_STEP:
                reduced = state.learning_rate
            return replace(state, learning_rate=reduced, n_bad_epochs=0)
        case _:
            return state
