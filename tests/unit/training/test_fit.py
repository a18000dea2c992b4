import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import Architecture
from lanflow.training.backend import backend_at_work
from lanflow.training.backends.torch import TorchBackend
from lanflow.training.batches import RowMemory
from lanflow.training.checkpoints import Epoch, load_checkpoint, save_checkpoint
from lanflow.training.fit import TrainingError, TrainingResult, fit
from lanflow.training.job import TrainingJob, build_architecture, initial_weights
from tests.conftest import BACKENDS, make_backend, training_config, training_job

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


class RowsSeen(TorchBackend):
    """A backend that remembers the rows of every update and of every evaluation."""

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


def fresh_fit(
    packed: PackedData, backend_name: str, **keys: Any
) -> tuple[TrainingResult, TrainingJob]:
    backend = make_backend(backend_name)
    job = training_job(packed, backend, **{**SETTINGS, **keys})
    return fit(job), job


def kill_after(
    packed: PackedData, backend_name: str, path: Path, epochs: int, **keys: Any
) -> TrainingJob:
    backend = make_backend(backend_name)
    job = training_job(packed, backend, checkpoint_path=path, **{**SETTINGS, **keys})
    with pytest.raises(KeyboardInterrupt):
        fit(job, on_epoch=killer(epochs))
    return job


@pytest.mark.parametrize("batch_size", [1, 7, 64, 480, 5000])
def test_an_epoch_trains_on_every_row_once_whatever_the_batch_size(
    packed: PackedData, batch_size: int
) -> None:
    backend = RowsSeen()
    job = training_job(packed, backend, **{**SETTINGS, "CPU_BATCH_SIZE": batch_size, "N_EPOCHS": 2})
    fit(job)
    train_rows = rows_of(job, job.split.train.rows())
    seen = np.concatenate(backend.trained)
    assert len(train_rows) == 480
    assert np.array_equal(in_order(seen[:480]), in_order(train_rows))
    assert np.array_equal(in_order(seen[480:]), in_order(train_rows))
    assert not np.array_equal(seen[:480], seen[480:])
    rest = [480 % batch_size] if 480 % batch_size else []
    assert backend.batches == 2 * ([batch_size] * (480 // batch_size) + rest)


def test_validation_sees_the_other_rows_once_an_epoch(packed: PackedData) -> None:
    backend = RowsSeen()
    job = training_job(packed, backend, **{**SETTINGS, "N_EPOCHS": 1})
    fit(job)
    assert np.array_equal(np.concatenate(backend.evaluated), rows_of(job, job.split.val.rows()))


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_losses_are_means_over_rows(packed: PackedData, backend_name: str) -> None:
    backend = make_backend(backend_name)
    # A rate so small that the network stays what it was at the start of the epoch.
    keys = {**SETTINGS, "N_EPOCHS": 1, "LEARNING_RATE": 1e-12, "OPTIMIZER_": "sgd"}
    job = training_job(packed, backend, **keys)
    (epoch,) = fit(job).history
    for rows, loss in (
        (job.split.train.rows(), epoch.train_loss),
        (job.split.val.rows(), epoch.val_loss),
    ):
        found = rows_of(job, rows)
        error = np.abs(backend.predict(found[:, :-1]) - found[:, -1:]).astype(float)
        expected = np.where(error <= 1, error**2 / 2, error - 0.5).mean()
        assert loss == pytest.approx(expected, rel=1e-5)
    assert epoch.seconds > 0


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_the_best_epoch_is_kept_and_so_is_the_last(packed: PackedData, backend_name: str) -> None:
    result, job = fresh_fit(packed, backend_name, N_EPOCHS=12, LEARNING_RATE=0.3)
    losses = [epoch.val_loss for epoch in result.history]
    assert result.best.val_loss == min(losses)
    assert result.best.epoch == losses.index(min(losses)) + 1 < 12  # or this test shows nothing
    val = rows_of(job, job.split.val.rows())
    features, labels = val[:, :-1].copy(), val[:, -1:].copy()
    backend = make_backend(backend_name)
    backend.start(job.architecture, job.config, result.best_weights)
    assert backend.evaluate_block(features, labels) / len(val) == min(losses)
    backend.restore(result.last_weights, {})
    assert backend.evaluate_block(features, labels) / len(val) == losses[-1]


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_training_killed_after_every_epoch_ends_at_the_same_bytes(
    packed: PackedData, tmp_path: Path, backend_name: str, schedule: str, optimizer: str
) -> None:
    keys = {**SCHEDULES[schedule], "OPTIMIZER_": optimizer}
    path = tmp_path / "checkpoint.npz"
    whole, job = fresh_fit(packed, backend_name, **keys)
    for n_epochs in range(1, 4):
        kill_after(packed, backend_name, path, n_epochs, **keys)
    backend = make_backend(backend_name)
    told: list[int] = []
    continued = fit(
        training_job(packed, backend, checkpoint_path=path, **{**SETTINGS, **keys}),
        on_epoch=lambda history: told.append(len(history)),
    )
    assert told == [3, 4]
    assert_same(continued, whole, job.architecture)
    if schedule != "none":  # the schedule was at work
        assert len({epoch.learning_rate for epoch in whole.history}) > 1


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_training_killed_before_its_first_checkpoint_starts_again(
    packed: PackedData, tmp_path: Path, backend_name: str
) -> None:
    whole, job = fresh_fit(packed, backend_name)
    backend = make_backend(backend_name)
    path = tmp_path / "checkpoint.npz"
    again = training_job(packed, backend, checkpoint_path=path, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(again, backend=InterruptedBackend()))
    assert not path.exists()
    assert_same(fit(again), whole, job.architecture)


class InterruptedBackend(TorchBackend):
    """A backend that is stopped in the middle of its first epoch."""

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        raise KeyboardInterrupt


def test_a_finished_checkpoint_gives_the_result_without_training(
    packed: PackedData, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    backend = RowsSeen()
    job = training_job(packed, backend, checkpoint_path=path, **SETTINGS)
    whole = fit(job)
    again = RowsSeen()
    assert_same(fit(replace(job, backend=again)), whole, job.architecture)
    assert again.trained == []


def test_more_epochs_continue_a_finished_training(packed: PackedData, tmp_path: Path) -> None:
    longer, job = fresh_fit(packed, "torch", N_EPOCHS=6)
    path = tmp_path / "checkpoint.npz"
    backend = RowsSeen()
    fit(training_job(packed, backend, checkpoint_path=path, **SETTINGS))
    again = RowsSeen()
    more = {**SETTINGS, "N_EPOCHS": 6}
    result = fit(training_job(packed, again, checkpoint_path=path, **more))
    assert sum(len(rows) for rows in again.trained) == 2 * 480
    assert_same(result, longer, job.architecture)


def with_memory_for(rows: int, patch: pytest.MonkeyPatch) -> None:
    """Let trainings hold so many rows at a time, and hand over as many."""
    patch.setattr(TrainingJob, "memory", RowMemory(buffer_rows=rows, piece_rows=7, block_rows=60))


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_training_of_more_rows_than_memory_holds_continues_to_the_same_bytes(
    packed: PackedData, tmp_path: Path, backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.npz"
    in_memory, _ = fresh_fit(packed, backend_name)
    with_memory_for(200, monkeypatch)
    whole, job = fresh_fit(packed, backend_name)
    kill_after(packed, backend_name, path, 2)
    backend = make_backend(backend_name)
    job = training_job(packed, backend, checkpoint_path=path, **SETTINGS)
    continued = fit(job)
    assert_same(continued, whole, job.architecture)
    # A shuffle buffer gives another order than all rows do: the memory belongs to the settings.
    assert without_seconds(whole) != without_seconds(in_memory)
    assert replace(job, memory_mb=5).fingerprint() != job.fingerprint()
    monkeypatch.undo()
    assert replace(job, memory_mb=5).fingerprint() == job.fingerprint()


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
    backend = make_backend("torch")
    keys = {**SETTINGS, **change}
    result = fit(training_job(packed, backend, checkpoint_path=path, **keys))
    assert_same(result, fresh, job.architecture)
    assert f"{path} is of another training" in caplog.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_of_weights_of_other_shapes_is_not_continued(
    packed: PackedData, tmp_path: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as somebody made with this training's fingerprint: it would write beyond its arrays."""
    path, other = tmp_path / "checkpoint.npz", tmp_path / "other.npz"
    kill_after(packed, backend, path, 2)
    kill_after(packed, backend, other, 2, LAYER_SIZES=[[32, 1]])
    ours, theirs = load_checkpoint(path), load_checkpoint(other)
    assert ours is not None
    assert theirs is not None
    save_checkpoint(path, replace(theirs, fingerprint=ours.fingerprint))
    fresh, job = fresh_fit(packed, backend)
    result = fit(training_job(packed, make_backend(backend), checkpoint_path=path, **SETTINGS))
    assert_same(result, fresh, job.architecture)
    assert f"{path} is of another training" in caplog.text


def test_a_checkpoint_of_a_cosine_of_other_length_is_not_continued(
    packed: PackedData, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    schedule = SCHEDULES["warmup_cosine"]
    kill_after(packed, "torch", path, 2, **schedule)
    fresh, job = fresh_fit(packed, "torch", N_EPOCHS=5, **schedule)
    backend = make_backend("torch")
    keys = {**SETTINGS, **schedule, "N_EPOCHS": 5}
    result = fit(training_job(packed, backend, checkpoint_path=path, **keys))
    assert_same(result, fresh, job.architecture)


def test_a_checkpoint_of_other_data_another_backend_or_other_threads_is_not_continued(
    packed: PackedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.npz"
    for backend, data in (
        (make_backend("torch"), replace(packed, data_set=replace(packed.data_set, digest="other"))),
        (make_backend("jax"), packed),
        (TorchBackend(device="cpu", threads=2), packed),
    ):
        kill_after(packed, "torch", path, 2)
        caplog.clear()
        told: list[int] = []
        job = training_job(data, backend, checkpoint_path=path, **SETTINGS)
        fit(job, on_epoch=lambda history, told=told: told.append(len(history)))
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
    backend = make_backend("torch")
    result = fit(training_job(packed, backend, checkpoint_path=path, **SETTINGS))
    assert_same(result, fresh, job.architecture)
    assert f"{path} is not a readable checkpoint" in caplog.text


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize(
    ("side", "keys"),
    [
        ("training", {"LEARNING_RATE": 1e20, "OPTIMIZER_": "sgd", "ACTIVATIONS": [["relu"]]}),
        # One update an epoch: what it does is seen by the validation first.
        ("validation", {"LEARNING_RATE": 3e38, "OPTIMIZER_": "sgd", "CPU_BATCH_SIZE": 480}),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_training(
    packed: PackedData, backend_name: str, side: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    backend = make_backend(backend_name)
    path = tmp_path / "checkpoint.npz"
    job = training_job(packed, backend, checkpoint_path=path, **{**SETTINGS, **keys})
    told: list[Any] = []
    with pytest.raises(TrainingError) as caught:
        fit(job, on_epoch=told.append)
    assert f"the {side} loss of epoch 1 is" in str(caught.value)
    assert f"Lower LEARNING_RATE (it is {keys['LEARNING_RATE']:g})" in str(caught.value)
    assert told == []
    assert not path.exists()


def test_a_checkpoint_is_whole_before_an_epoch_is_told(packed: PackedData, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    backend = make_backend("torch")
    job = training_job(packed, backend, checkpoint_path=path, **SETTINGS)

    def on_epoch(history: Sequence[Epoch]) -> None:
        checkpoint = load_checkpoint(path)
        assert checkpoint is not None
        assert checkpoint.history == list(history)

    assert len(fit(job, on_epoch=on_epoch).history) == 4


def test_the_learning_rate_of_the_history_is_that_of_the_last_update(packed: PackedData) -> None:
    result, _ = fresh_fit(packed, "torch", **SCHEDULES["multiply"])
    rates = [epoch.learning_rate for epoch in result.history]
    assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3, 4]


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


def test_a_network_of_many_choices_has_a_logit_for_each(packed: PackedData) -> None:
    shapes = {**packed.data_set.shapes, "cpn": (30, 4, 3)}
    data_set = replace(packed.data_set, shapes=shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(data_set), "array", lambda *_: None)
        for last in (1, 3):
            config = training_config(NETWORK_TYPE="cpn", LAYER_SIZES=[[16, 16, last]])
            shape = build_architecture(config, data_set, (5, 6, 7))
            assert (shape.layer_sizes, shape.choices) == ((16, 16, 3), (5, 6, 7))
            assert (shape.n_exported_inputs, shape.n_exported_outputs) == (5, 1)
            assert (shape.loss, shape.can_omit) == ("crossentropy", False)
        with_deadline = replace(data_set, parameters=("v", "a", "z", "deadline"))
        assert build_architecture(config, with_deadline).can_omit
        assert build_architecture(config, with_deadline).choices == (0, 1, 2)
        with pytest.raises(
            UserError, match=r"3 column\(s\), but model 'ddm' has the choices -1, 1"
        ):
            build_architecture(config, data_set, (-1, 1))


def test_a_last_layer_that_does_not_fit_the_labels_is_refused(packed: PackedData) -> None:
    config = training_config(LAYER_SIZES=[[16, 16, 2]])
    with pytest.raises(UserError, match=r"LAYER_SIZES.*network 0 has 2 unit.*lan_labels has 1"):
        build_architecture(config, packed.data_set)


def test_a_network_type_that_the_data_lacks_is_refused(packed: PackedData) -> None:
    shapes = {"lan": packed.data_set.shapes["lan"]}
    data_set = replace(packed.data_set, shapes=shapes)
    with pytest.raises(UserError, match=r"no opn data in these training files"):
        build_architecture(training_config(NETWORK_TYPE="opn"), data_set)


def test_memory_that_a_library_does_not_find_is_pythons_error() -> None:
    """Each of them says so in its own words and with its own class."""
    import jax.numpy as jnp
    import torch

    for ask in (lambda: torch.empty(2**60), lambda: jnp.zeros((2**30, 2**20)).block_until_ready()):
        with pytest.raises(MemoryError), backend_at_work():
            ask()
    with pytest.raises(RuntimeError, match="no words of memory"), backend_at_work():
        raise RuntimeError("no words of memory")
