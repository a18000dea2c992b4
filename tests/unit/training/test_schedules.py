import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanflow.training.config import TrainingConfig
from lanflow.training.schedules import initial_state, learning_rates, next_state
from tests.conftest import training_config

LOSSES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


def config_of(scheduler: str | None, *, rate: float = 0.1, **params: float) -> TrainingConfig:
    return training_config(LR_SCHEDULER=scheduler, LEARNING_RATE=rate, LR_SCHEDULER_PARAMS=params)


def rates_over_epochs(config: TrainingConfig, losses: list[float]) -> list[float]:
    """The rate after each epoch, at full precision."""
    state = initial_state(config)
    rates = []
    for loss in losses:
        state = next_state(state, config, val_loss=loss)
        rates.append(state.learning_rate)
    return rates


def torchs_optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


@settings(deadline=None, max_examples=60)
@given(
    losses=LOSSES,
    rate=st.floats(1e-7, 1),
    factor=st.floats(0.01, 0.99),
    patience=st.integers(0, 4),
    threshold=st.floats(0, 1),
    min_lr=st.floats(0, 0.1),
)
# So small a change is none to Torch.
@example(losses=[1.0] * 6, rate=2e-8, factor=0.9, patience=0, threshold=0.0, min_lr=0.0)
def test_reduce_on_plateau_is_torchs(
    losses: list[float],
    rate: float,
    factor: float,
    patience: int,
    threshold: float,
    min_lr: float,
) -> None:
    params: dict[str, Any] = {"factor": factor, "patience": patience, "threshold": threshold}
    optimizer = torchs_optimizer(rate)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=min_lr, **params)
    expected = []
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    config = config_of("reduce_on_plateau", rate=rate, min_lr=min_lr, **params)
    assert rates_over_epochs(config, losses) == expected


def test_reduce_on_plateau_waits_for_its_patience_and_stops_at_the_lowest_rate() -> None:
    config = config_of("reduce_on_plateau", rate=1.0, factor=0.1, patience=1, min_lr=0.05)
    rates = rates_over_epochs(config, [1.0] * 7)
    assert rates == [1.0, 1.0, 0.1, 0.1, 0.05, 0.05, 0.05]


@settings(deadline=None, max_examples=60)
@given(losses=LOSSES, rate=st.floats(1e-7, 1), factor=st.floats(0.01, 1.5))
def test_multiply_is_torchs_exponential(losses: list[float], rate: float, factor: float) -> None:
    optimizer = torchs_optimizer(rate)
    theirs = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=factor)
    expected = []
    for _ in losses:
        optimizer.step()
        theirs.step()
        expected.append(optimizer.param_groups[0]["lr"])
    config = config_of("multiply", rate=rate, factor=factor)
    assert rates_over_epochs(config, losses) == expected


def test_without_a_scheduler_the_rate_stays() -> None:
    assert rates_over_epochs(config_of(None, rate=0.3), [1.0, 2.0, 3.0]) == [0.3] * 3


@pytest.mark.parametrize("scheduler", ["reduce_on_plateau", "multiply", None])
def test_the_rate_of_an_epoch_holds_for_each_of_its_updates(scheduler: str | None) -> None:
    config = config_of(scheduler, rate=0.1)
    rates = learning_rates(initial_state(config), config, epoch=3, n_steps=5)
    assert rates.dtype == np.float32
    assert rates.tolist() == [np.float32(0.1)] * 5


def all_rates(config: TrainingConfig, n_steps: int) -> np.ndarray:
    state = initial_state(config)
    epochs = []
    for epoch in range(config.n_epochs):
        epochs.append(learning_rates(state, config, epoch=epoch, n_steps=n_steps))
        state = next_state(state, config, val_loss=1.0)
    return np.concatenate(epochs)


def cosine_config(*, n_epochs: int, rate: float, warmup: float, min_lr: float) -> TrainingConfig:
    return training_config(
        LR_SCHEDULER="warmup_cosine",
        LEARNING_RATE=rate,
        N_EPOCHS=n_epochs,
        LR_SCHEDULER_PARAMS={"warmup_epochs": warmup, "min_lr": min_lr},
    )


def test_warmup_cosine_rises_in_a_line_then_falls_along_half_a_cosine() -> None:
    rates = all_rates(cosine_config(n_epochs=6, rate=0.8, warmup=2, min_lr=0.2), n_steps=4)
    assert rates[:8] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    falling = [0.2 + 0.6 * (1 + math.cos(math.pi * i / 16)) / 2 for i in range(16)]
    assert rates[8:] == pytest.approx(falling)
    assert rates[16] == pytest.approx(0.5)


def test_warmup_cosine_without_warmup_starts_at_the_full_rate() -> None:
    rates = all_rates(cosine_config(n_epochs=2, rate=0.8, warmup=0, min_lr=0), n_steps=4)
    assert rates[0] == pytest.approx(0.8)
    assert (np.diff(rates) < 0).all()


@settings(deadline=None, max_examples=60)
@given(
    n_epochs=st.integers(1, 8),
    n_steps=st.integers(1, 12),
    warmup=st.floats(0, 10),
    rate=st.floats(1e-4, 1),
    min_lr=st.floats(0, 2),
)
def test_warmup_cosine_rises_once_and_stays_between_its_bounds(
    n_epochs: int, n_steps: int, warmup: float, rate: float, min_lr: float
) -> None:
    config = cosine_config(n_epochs=n_epochs, rate=rate, warmup=warmup, min_lr=min_lr)
    rates = all_rates(config, n_steps)
    assert len(rates) == n_epochs * n_steps
    assert (rates > 0).all()
    assert (rates <= np.float32(rate)).all()
    peak = int(np.argmax(rates))
    assert (np.diff(rates[: peak + 1]) >= 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()


@settings(deadline=None, max_examples=40)
@given(n_epochs=st.integers(1, 30), rate=st.floats(1e-4, 1), min_lr=st.floats(0, 1e-4))
def test_cosine_is_torchs_annealing_over_all_epochs(
    n_epochs: int, rate: float, min_lr: float
) -> None:
    optimizer = torchs_optimizer(rate)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_epochs, eta_min=min_lr)
    expected = []
    for _ in range(n_epochs):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    config = training_config(
        LR_SCHEDULER="cosine",
        LR_SCHEDULER_PARAMS={"min_lr": min_lr},
        LEARNING_RATE=rate,
        N_EPOCHS=n_epochs,
    )
    rates = all_rates(config, n_steps=3).reshape(n_epochs, 3)
    np.testing.assert_allclose(rates, np.repeat(np.array(expected)[:, None], 3, 1), rtol=1e-5)
