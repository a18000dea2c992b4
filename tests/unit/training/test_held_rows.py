"""Rows that a device keeps through a training: what a GPU does, on the CPU by the same code."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.data.prepare import PackedData
from lanflow.training.backend import Backend
from lanflow.training.batches import ahead
from lanflow.training.checkpoints import Epoch
from lanflow.training.fit import TrainingResult, fit
from lanflow.training.job import TrainingJob
from tests.conftest import BACKENDS, make_backend, training_job

# 480 rows to train on, and a smaller batch at the end of each epoch.
SETTINGS: dict[str, Any] = {
    "CPU_BATCH_SIZE": 70,
    "LAYER_SIZES": [[8, 1]],
    "ACTIVATIONS": [["tanh"]],
    "N_EPOCHS": 3,
}
# Without momentum, the order of rows within a batch changes nothing but the rounding of sums.
PLAIN: dict[str, Any] = {"OPTIMIZER_": "sgd", "LEARNING_RATE": 0.01, "LR_SCHEDULER": None}


def keeping_backend(name: str, n_bytes: int = 2**30) -> Backend:
    """A backend on the CPU that keeps so many bytes of rows, as one on a GPU does."""
    backend = make_backend(name)
    vars(backend)["bytes_for_rows"] = lambda: n_bytes
    return backend


def keeping_job(packed: PackedData, name: str, **keys: Any) -> TrainingJob:
    job = training_job(packed, keeping_backend(name), **{**SETTINGS, **keys})
    assert job.keeps_rows_on_device
    return job


def block_job(packed: PackedData, name: str, **keys: Any) -> TrainingJob:
    job = training_job(packed, make_backend(name), **{**SETTINGS, **keys})
    assert not job.keeps_rows_on_device
    return job


def weights_of(result: TrainingResult) -> bytes:
    return b"".join(array.tobytes() for array in result.last_weights.values())


def assert_close(got: TrainingResult, expected: TrainingResult) -> None:
    for name, array in expected.last_weights.items():
        np.testing.assert_allclose(got.last_weights[name], array, rtol=2e-4, atol=2e-6)
    for one, other in zip(got.history, expected.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)
        assert one.learning_rate == other.learning_rate


@pytest.mark.parametrize("keys", [{}, {"N_TRAINING_FILES": 1}], ids=["all files", "one file"])
@pytest.mark.parametrize("name", BACKENDS)
def test_one_batch_of_all_rows_gives_the_network_that_blocks_give(
    packed: PackedData, name: str, keys: dict[str, Any]
) -> None:
    keys = {**PLAIN, "CPU_BATCH_SIZE": 10**6, **keys}
    kept, given = (make(packed, name, **keys) for make in (keeping_job, block_job))
    assert_close(fit(kept), fit(given))


@pytest.mark.parametrize("name", BACKENDS)
def test_files_keep_their_order_where_shuffle_is_off(packed: PackedData, name: str) -> None:
    keys = {**PLAIN, "SHUFFLE": False}
    for seed in range(1000):
        split = block_job(packed, name, seed=seed, **keys).split
        lengths = np.diff(split.file_starts, append=len(split.train))
        if len(lengths) > 1 and len(set(lengths.tolist())) == 1:
            break
    else:
        pytest.fail("no seed gives files of equal length, so that a batch can be a file")
    keys |= {"CPU_BATCH_SIZE": int(lengths[0]), "seed": seed}
    kept, given = (make(packed, name, **keys) for make in (keeping_job, block_job))
    assert_close(fit(kept), fit(given))


@pytest.mark.parametrize("name", BACKENDS)
def test_an_epoch_visits_every_row_once(packed: PackedData, name: str) -> None:
    """Where nothing is learned, the losses of an epoch are those of all rows as they lie."""
    job = keeping_job(packed, name, **{**PLAIN, "LEARNING_RATE": 1e-30, "N_EPOCHS": 2})
    result = fit(job)
    given = block_job(packed, name, **{**PLAIN, "LEARNING_RATE": 1e-30, "N_EPOCHS": 1})
    (expected,) = fit(given).history
    for epoch in result.history:
        assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
        assert epoch.val_loss == pytest.approx(expected.val_loss, rel=1e-5)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_seed_decides_the_bytes_and_every_epoch_has_an_order_of_its_own(
    packed: PackedData, name: str
) -> None:
    first, again = (fit(keeping_job(packed, name)) for _ in range(2))
    assert weights_of(first) == weights_of(again)
    other = fit(keeping_job(packed, name, seed=2))
    assert weights_of(first) != weights_of(other)
    job = keeping_job(packed, name, N_EPOCHS=1)
    fit(job)
    orders = []
    start, rates = job.backend.weights(), np.full(math.ceil(480 / 70), 0.01, np.float32)
    for seed in (1, 2, 1):
        job.backend.restore(start, {})
        job.backend.train_epoch(seed, batch_size=70, learning_rates=rates)
        orders.append(job.backend.weights()["layers_0/kernel"])
    assert (orders[0] == orders[2]).all()
    assert (orders[0] != orders[1]).any()


@pytest.mark.parametrize("name", BACKENDS)
def test_it_learns_as_well_as_from_blocks(packed: PackedData, name: str) -> None:
    keys = {"N_EPOCHS": 30, "LEARNING_RATE": 0.01}
    kept, given = (fit(make(packed, name, **keys)) for make in (keeping_job, block_job))
    assert kept.best.val_loss == pytest.approx(given.best.val_loss, rel=0.2)
    assert kept.best.val_loss < kept.history[0].val_loss / 2


@pytest.mark.parametrize("name", BACKENDS)
def test_a_killed_training_continues_to_the_same_bytes(
    packed: PackedData, name: str, tmp_path: Path
) -> None:
    whole = fit(keeping_job(packed, name))
    job = replace(keeping_job(packed, name), checkpoint_path=tmp_path / "checkpoint")

    def kill(history: Sequence[Epoch]) -> None:
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(job, on_epoch=kill)
    assert weights_of(fit(replace(job, backend=keeping_backend(name)))) == weights_of(whole)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_finished_training_copies_no_row(packed: PackedData, name: str, tmp_path: Path) -> None:
    job = replace(keeping_job(packed, name), checkpoint_path=tmp_path / "checkpoint")
    finished = fit(job)
    again = replace(job, backend=keeping_backend(name))
    vars(again.backend)["hold_rows"] = lambda *_: pytest.fail("rows are copied for nothing")
    assert weights_of(fit(again)) == weights_of(finished)


def test_a_training_goes_on_in_the_order_it_began_with(packed: PackedData) -> None:
    kept, given = (make(packed, "torch") for make in (keeping_job, block_job))
    assert kept.fingerprint() != given.fingerprint()
    assert kept.fingerprint() == keeping_job(packed, "torch").fingerprint()


def test_rows_that_the_device_has_no_room_for_come_in_blocks(packed: PackedData) -> None:
    job = training_job(packed, keeping_backend("torch", n_bytes=1000), **SETTINGS)
    assert not job.keeps_rows_on_device
    assert weights_of(fit(job)) == weights_of(fit(block_job(packed, "torch")))


def test_held_rows_are_those_of_the_split(packed: PackedData) -> None:
    job = keeping_job(packed, "torch", N_TRAINING_FILES=1)
    held = job.held_rows()
    features = np.concatenate([block for block, _ in held.blocks()])
    for positions, ranges in ((held.train, job.split.train), (held.val, job.split.val)):
        np.testing.assert_array_equal(features[positions], job.arrays()[0][ranges.rows()])
    assert len(features) == len(held.train) + len(held.val)


def test_blocks_are_made_ahead_in_their_order_and_errors_are_not_lost() -> None:
    made = []

    def blocks() -> Any:
        for i in range(4):
            made.append(i)
            yield i
        raise MemoryError("no room")

    seen = []
    with pytest.raises(MemoryError, match="no room"):  # noqa: PT012 (the loop is what raises)
        for block in ahead(blocks()):
            seen.append(block)
    assert seen == made == [0, 1, 2, 3]
