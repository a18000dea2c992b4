import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import Architecture
from lanflow.training.backend import Epoch
from lanflow.training.backend_torch import TorchKernel
from lanflow.training.batches import RowMemory
from lanflow.training.checkpoints import load_checkpoint
from lanflow.training.fit import (
    TrainingError,
    TrainingJob,
    TrainingResult,
    build_architecture,
    fit,
    initial_weights,
)
from tests.conftest import BACKENDS, make_kernel, training_config, training_job

# 480 rows to train on, in whole batches: one compilation for each network.
SETTINGS: dict[str, Any] = {
    "CPU_BATCH_SIZE": 60,
    "LAYER_SIZES": [[8, 1]],
    "ACTIVATIONS": [["tanh"]],
    "N_EPOCHS": 4,
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "none": {"LR_SCHEDULER": None},
    "multiply": {"LR_SCHEDULER": "multiply", "LR_SCHEDULER_PARAMS": {"factor": 0.5}},
    "reduce_on_plateau": {
        "LR_SCHEDULER": "reduce_on_plateau",
        "LR_SCHEDULER_PARAMS": {"factor": 0.5, "patience": 1, "threshold": 0.3},
    },
    "warmup_cosine": {"LR_SCHEDULER": "warmup_cosine", "LR_SCHEDULER_PARAMS": {}},
}


class RowsSeen(TorchKernel):
    """A kernel that remembers the rows of every update and of every evaluation."""

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self.trained: list[np.ndarray] = []
        self.evaluated: list[np.ndarray] = []
        self.batches: list[int] = []

    def train_block(self, features: np.ndarray, labels: np.ndarray, **keys: Any) -> float:
        self.trained.append(np.column_stack([features, labels]))
        sizes = range(0, len(features), keys["batch_size"])
        self.batches += [min(keys["batch_size"], len(features) - i) for i in sizes]
        return super().train_block(features, labels, **keys)

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        self.evaluated.append(np.column_stack([features, labels]))
        return super().evaluate_block(features, labels)


def rows_of(job: TrainingJob, rows: np.ndarray) -> np.ndarray:
    features, labels = (job.data_set.array("lan", kind)[rows] for kind in ("features", "labels"))
    return np.column_stack([features, np.maximum(labels, np.float32(math.log(1e-7)))])


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def without_seconds(result: TrainingResult) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in result.history]


def assert_same(got: TrainingResult, expected: TrainingResult, architecture: Architecture) -> None:
    assert without_seconds(got) == without_seconds(expected)
    for kind in ("best_weights", "last_weights"):
        contents = [export_onnx(architecture, getattr(result, kind)) for result in (got, expected)]
        assert contents[0] == contents[1]


def killer(after: int) -> Callable[[Sequence[Epoch]], None]:
    """What ends a training once so many epochs are done."""

    def on_epoch(history: Sequence[Epoch]) -> None:
        if len(history) == after:
            raise KeyboardInterrupt

    return on_epoch


def fresh_fit(packed: PackedData, backend: str, **keys: Any) -> tuple[TrainingResult, TrainingJob]:
    kernel = make_kernel(backend)
    job = training_job(packed, kernel, **{**SETTINGS, **keys})
    return fit(job, kernel), job


def kill_after(
    packed: PackedData, backend: str, path: Path, epochs: int, **keys: Any
) -> TrainingJob:
    kernel = make_kernel(backend)
    job = training_job(packed, kernel, checkpoint_path=path, **{**SETTINGS, **keys})
    with pytest.raises(KeyboardInterrupt):
        fit(job, kernel, on_epoch=killer(epochs))
    return job


@pytest.mark.parametrize("batch_size", [1, 7, 64, 480, 5000])
def test_an_epoch_trains_on_every_row_once_whatever_the_batch_size(
    packed: PackedData, batch_size: int
) -> None:
    kernel = RowsSeen()
    job = training_job(packed, kernel, **{**SETTINGS, "CPU_BATCH_SIZE": batch_size, "N_EPOCHS": 2})
    fit(job, kernel)
    train_rows = rows_of(job, job.split.train.rows())
    seen = np.concatenate(kernel.trained)
    assert len(train_rows) == 480
    assert np.array_equal(in_order(seen[:480]), in_order(train_rows))
    assert np.array_equal(in_order(seen[480:]), in_order(train_rows))
    assert not np.array_equal(seen[:480], seen[480:])
    rest = [480 % batch_size] if 480 % batch_size else []
    assert kernel.batches == 2 * ([batch_size] * (480 // batch_size) + rest)


def test_validation_sees_the_other_rows_once_an_epoch(packed: PackedData) -> None:
    kernel = RowsSeen()
    job = training_job(packed, kernel, **{**SETTINGS, "N_EPOCHS": 1})
    fit(job, kernel)
    assert np.array_equal(np.concatenate(kernel.evaluated), rows_of(job, job.split.val.rows()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_are_means_over_rows(packed: PackedData, backend: str) -> None:
    kernel = make_kernel(backend)
    # A rate so small that the network stays what it was at the start of the epoch.
    keys = {**SETTINGS, "N_EPOCHS": 1, "LEARNING_RATE": 1e-12, "OPTIMIZER_": "sgd"}
    job = training_job(packed, kernel, **keys)
    (epoch,) = fit(job, kernel).history
    for rows, loss in (
        (job.split.train.rows(), epoch.train_loss),
        (job.split.val.rows(), epoch.val_loss),
    ):
        found = rows_of(job, rows)
        error = np.abs(kernel.predict(found[:, :-1]) - found[:, -1:]).astype(float)
        expected = np.where(error <= 1, error**2 / 2, error - 0.5).mean()
        assert loss == pytest.approx(expected, rel=1e-5)
    assert epoch.seconds > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_epoch_is_kept_and_so_is_the_last(packed: PackedData, backend: str) -> None:
    result, job = fresh_fit(packed, backend, N_EPOCHS=12, LEARNING_RATE=0.3)
    losses = [epoch.val_loss for epoch in result.history]
    assert result.best.val_loss == min(losses)
    assert result.best.epoch == losses.index(min(losses)) < 11  # or this test shows nothing
    val = rows_of(job, job.split.val.rows())
    features, labels = val[:, :-1].copy(), val[:, -1:].copy()
    kernel = make_kernel(backend)
    kernel.start(job.architecture, job.config, result.best_weights)
    assert kernel.evaluate_block(features, labels) / len(val) == min(losses)
    kernel.restore(result.last_weights, {})
    assert kernel.evaluate_block(features, labels) / len(val) == losses[-1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_killed_after_every_epoch_ends_at_the_same_bytes(
    packed: PackedData, tmp_path: Path, backend: str, schedule: str, optimizer: str
) -> None:
    keys = {**SCHEDULES[schedule], "OPTIMIZER_": optimizer}
    path = tmp_path / "checkpoint.npz"
    whole, job = fresh_fit(packed, backend, **keys)
    for n_epochs in range(1, 4):
        kill_after(packed, backend, path, n_epochs, **keys)
    kernel = make_kernel(backend)
    told: list[int] = []
    continued = fit(
        training_job(packed, kernel, checkpoint_path=path, **{**SETTINGS, **keys}),
        kernel,
        on_epoch=lambda history: told.append(len(history)),
    )
    assert told == [3, 4]
    assert_same(continued, whole, job.architecture)
    if schedule != "none":  # the schedule was at work
        assert len({epoch.learning_rate for epoch in whole.history}) > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_killed_before_its_first_checkpoint_starts_again(
    packed: PackedData, tmp_path: Path, backend: str
) -> None:
    whole, job = fresh_fit(packed, backend)
    kernel = make_kernel(backend)
    path = tmp_path / "checkpoint.npz"
    interrupted = training_job(packed, kernel, checkpoint_path=path, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, InterruptedKernel(), on_epoch=lambda _: None)
    assert not path.exists()
    assert_same(fit(interrupted, kernel), whole, job.architecture)


class InterruptedKernel(TorchKernel):
    """A kernel that is stopped in the middle of its first epoch."""

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        raise KeyboardInterrupt


def test_a_finished_checkpoint_gives_the_result_without_training(
    packed: PackedData, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    kernel = RowsSeen()
    job = training_job(packed, kernel, checkpoint_path=path, **SETTINGS)
    whole = fit(job, kernel)
    again = RowsSeen()
    assert_same(fit(job, again), whole, job.architecture)
    assert again.trained == []


def test_more_epochs_continue_a_finished_training(packed: PackedData, tmp_path: Path) -> None:
    longer, job = fresh_fit(packed, "torch", N_EPOCHS=6)
    path = tmp_path / "checkpoint.npz"
    kernel = RowsSeen()
    fit(training_job(packed, kernel, checkpoint_path=path, **SETTINGS), kernel)
    again = RowsSeen()
    more = {**SETTINGS, "N_EPOCHS": 6}
    result = fit(training_job(packed, again, checkpoint_path=path, **more), again)
    assert sum(len(rows) for rows in again.trained) == 2 * 480
    assert_same(result, longer, job.architecture)


def with_memory_for(rows: int, patch: pytest.MonkeyPatch) -> None:
    """Let trainings hold so many rows at a time, and hand over as many."""
    patch.setattr(TrainingJob, "memory", RowMemory(group=rows, piece=7, block=60))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_of_more_rows_than_memory_holds_continues_to_the_same_bytes(
    packed: PackedData, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.npz"
    in_memory, _ = fresh_fit(packed, backend)
    with_memory_for(200, monkeypatch)
    whole, job = fresh_fit(packed, backend)
    kill_after(packed, backend, path, 2)
    kernel = make_kernel(backend)
    job = training_job(packed, kernel, checkpoint_path=path, **SETTINGS)
    continued = fit(job, kernel)
    assert_same(continued, whole, job.architecture)
    # The groups are another order than that of all rows, so the memory belongs to the settings.
    assert without_seconds(whole) != without_seconds(in_memory)
    assert replace(job, memory_mb=5).fingerprint(kernel) != job.fingerprint(kernel)
    monkeypatch.undo()
    assert replace(job, memory_mb=5).fingerprint(kernel) == job.fingerprint(kernel)


OTHERS: dict[str, dict[str, Any]] = {
    "learning rate": {"LEARNING_RATE": 0.02},
    "seed": {"seed": 2},
    "batch size": {"CPU_BATCH_SIZE": 120},
    "optimiser": {"OPTIMIZER_": "sgd"},
    "fewer epochs": {"N_EPOCHS": 1},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_other_settings_is_not_continued(
    packed: PackedData,
    tmp_path: Path,
    change: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "checkpoint.npz"
    kill_after(packed, "torch", path, 2)
    fresh, job = fresh_fit(packed, "torch", **change)
    kernel = make_kernel("torch")
    keys = {**SETTINGS, **change}
    result = fit(training_job(packed, kernel, checkpoint_path=path, **keys), kernel)
    assert_same(result, fresh, job.architecture)
    assert f"{path} is of another training" in caplog.text


def test_a_checkpoint_of_a_cosine_of_other_length_is_not_continued(
    packed: PackedData, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    schedule = SCHEDULES["warmup_cosine"]
    kill_after(packed, "torch", path, 2, **schedule)
    fresh, job = fresh_fit(packed, "torch", N_EPOCHS=5, **schedule)
    kernel = make_kernel("torch")
    keys = {**SETTINGS, **schedule, "N_EPOCHS": 5}
    result = fit(training_job(packed, kernel, checkpoint_path=path, **keys), kernel)
    assert_same(result, fresh, job.architecture)


def test_a_checkpoint_of_other_data_another_backend_or_other_threads_is_not_continued(
    packed: PackedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.npz"
    for kernel, data in (
        (make_kernel("torch"), replace(packed, data_set=replace(packed.data_set, digest="other"))),
        (make_kernel("jax"), packed),
        (TorchKernel(device="cpu", threads=2), packed),
    ):
        kill_after(packed, "torch", path, 2)
        caplog.clear()
        told: list[int] = []
        job = training_job(data, kernel, checkpoint_path=path, **SETTINGS)
        fit(job, kernel, on_epoch=lambda history, told=told: told.append(len(history)))
        assert told == [1, 2, 3, 4]
        assert "is of another training" in caplog.text


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:middle],
            "cut short": content[:-10],
            "a flipped byte": content[:middle]
            + bytes([content[middle] ^ 255])
            + content[middle + 1 :],
            "text": b"not a checkpoint",
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "cut short", "a flipped byte", "text"])
def test_a_damaged_checkpoint_is_not_continued(
    packed: PackedData, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.npz"
    kill_after(packed, "torch", path, 2)
    damage(path, how)
    fresh, job = fresh_fit(packed, "torch")
    kernel = make_kernel("torch")
    result = fit(training_job(packed, kernel, checkpoint_path=path, **SETTINGS), kernel)
    assert_same(result, fresh, job.architecture)
    assert f"{path} is not a readable checkpoint" in caplog.text


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("side", "keys"),
    [
        ("training", {"LEARNING_RATE": 1e20, "OPTIMIZER_": "sgd", "ACTIVATIONS": [["relu"]]}),
        # One update an epoch: what it does is seen by the validation first.
        ("validation", {"LEARNING_RATE": 3e38, "OPTIMIZER_": "sgd", "CPU_BATCH_SIZE": 480}),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_training(
    packed: PackedData, backend: str, side: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    kernel = make_kernel(backend)
    path = tmp_path / "checkpoint.npz"
    job = training_job(packed, kernel, checkpoint_path=path, **{**SETTINGS, **keys})
    told: list[Any] = []
    with pytest.raises(TrainingError) as caught:
        fit(job, kernel, on_epoch=told.append)
    assert f"the {side} loss of epoch 0 is" in str(caught.value)
    assert f"Lower LEARNING_RATE (it is {keys['LEARNING_RATE']:g})" in str(caught.value)
    assert told == []
    assert not path.exists()


def test_a_checkpoint_is_whole_before_an_epoch_is_told(packed: PackedData, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    kernel = make_kernel("torch")
    job = training_job(packed, kernel, checkpoint_path=path, **SETTINGS)

    def on_epoch(history: Sequence[Epoch]) -> None:
        checkpoint = load_checkpoint(path)
        assert checkpoint is not None
        assert checkpoint.history == [asdict(epoch) for epoch in history]

    assert len(fit(job, kernel, on_epoch=on_epoch).history) == 4


def test_the_learning_rate_of_the_history_is_that_of_the_last_update(packed: PackedData) -> None:
    result, _ = fresh_fit(packed, "torch", **SCHEDULES["multiply"])
    rates = [epoch.learning_rate for epoch in result.history]
    assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    assert [epoch.epoch for epoch in result.history] == [0, 1, 2, 3]


def test_initial_weights_are_lecun_normal_with_zero_biases() -> None:
    architecture = Architecture("lan", 6, (200, 300, 1), ("tanh", "tanh"))
    weights = initial_weights(architecture, seed=1)
    assert [array.shape for array in weights.values()] == [
        (6, 200),
        (200,),
        (200, 300),
        (300,),
        (300, 1),
        (1,),
    ]
    for i, n_inputs in enumerate((6, 200, 300)):
        kernel, bias = weights[f"layers_{i}/kernel"], weights[f"layers_{i}/bias"]
        assert kernel.dtype == bias.dtype == np.float32
        assert not bias.any()
        assert np.abs(kernel).max() <= 2 / 0.87962566103423978 / math.sqrt(n_inputs) * (1 + 1e-6)
    wide = weights["layers_1/kernel"]
    assert wide.std() == pytest.approx(math.sqrt(1 / 200), rel=0.01)
    assert abs(wide.mean()) < 0.001


def test_initial_weights_depend_on_the_seed_alone() -> None:
    architecture = Architecture("lan", 6, (8, 1), ("tanh",))
    first, same, other = (initial_weights(architecture, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["layers_0/kernel"], other["layers_0/kernel"])


def test_the_architecture_follows_the_data(packed: PackedData) -> None:
    lan = build_architecture(training_config(), packed.data_set)
    cpn = build_architecture(training_config(NETWORK_TYPE="cpn"), packed.data_set)
    assert (lan.input_dim, cpn.input_dim) == (6, 4)
    assert lan.layer_sizes == (16, 16, 1)
    assert lan.n_weights == 6 * 16 + 16 + 16 * 16 + 16 + 16 + 1


def test_a_last_layer_that_does_not_fit_the_labels_is_refused(packed: PackedData) -> None:
    config = training_config(LAYER_SIZES=[[16, 16, 2]])
    with pytest.raises(UserError, match=r"LAYER_SIZES.*network 0 has 2 unit.*lan_labels has 1"):
        build_architecture(config, packed.data_set)


def test_a_network_type_that_the_data_lacks_is_refused(packed: PackedData) -> None:
    shapes = {"lan": packed.data_set.shapes["lan"]}
    data_set = replace(packed.data_set, shapes=shapes)
    with pytest.raises(UserError, match=r"no opn data in these training files"):
        build_architecture(training_config(NETWORK_TYPE="opn"), data_set)
