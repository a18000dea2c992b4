"""Networks that are trained as one program: what a GPU does, on the CPU by the same code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.data.prepare import PackedData
from lanflow.training.checkpoints import Epoch, load_checkpoint
from lanflow.training.fit import OnEpoch, TrainingError, TrainingResult, fit
from lanflow.training.job import TrainingJob
from lanflow.training.together.fit import Group, fit_together, most_together, plan_groups
from tests.conftest import BACKENDS, make_backend, training_job
from tests.unit.training.test_held_rows import SETTINGS, keeping_backend, weights_of

# Networks that may go together: seeds, learning rates, schedules.
VARIANTS: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "LEARNING_RATE": 0.02},
    {
        "seed": 3,
        "LR_SCHEDULER": "reduce_on_plateau",
        "LR_SCHEDULER_PARAMS": {"factor": 0.5, "patience": 0, "threshold": 0.3},
    },
    {"seed": 4, "LR_SCHEDULER": "warmup_cosine"},
]
KINDS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"OPTIMIZER_": "sgd", "LEARNING_RATE": 0.01},
    "adam with decay": {"WEIGHT_DECAY": 0.01},
    "sgd with decay": {"OPTIMIZER_": "sgd", "LEARNING_RATE": 0.01, "WEIGHT_DECAY": 0.01},
    "muon with decay": {"OPTIMIZER_": "muon", "LEARNING_RATE": 0.01, "WEIGHT_DECAY": 0.01},
    "a small bend of the loss": {"HUBER_DELTA": 0.1},
    "relu": {"LAYER_SIZES": [[8, 6, 1]], "ACTIVATIONS": [["relu", "sigmoid"]]},
    "opn": {"NETWORK_TYPE": "opn", "CPU_BATCH_SIZE": 5},
    "cpn": {"NETWORK_TYPE": "cpn", "CPU_BATCH_SIZE": 5},
    "files in their order": {"SHUFFLE": False},
    "one file": {"N_TRAINING_FILES": 1},
    "whole batches": {"CPU_BATCH_SIZE": 60},
}


def job_of(packed: PackedData, name: str, path: Path | None = None, **keys: Any) -> TrainingJob:
    job = training_job(packed, keeping_backend(name), checkpoint_path=path, **{**SETTINGS, **keys})
    assert job.keeps_rows_on_device
    return job


def jobs_of(
    packed: PackedData, name: str, folder: Path | None = None, **keys: Any
) -> list[TrainingJob]:
    return [
        job_of(packed, name, None if folder is None else folder / str(i), **{**keys, **variant})
        for i, variant in enumerate(VARIANTS)
    ]


def quiet(jobs: Sequence[TrainingJob]) -> list[OnEpoch]:
    return [lambda _: None for _ in jobs]


def results_of(jobs: Sequence[TrainingJob], size: int) -> list[TrainingResult]:
    results = fit_together(jobs, size=size, on_epoch=quiet(jobs))
    assert all(isinstance(result, TrainingResult) for result in results), results
    return [result for result in results if isinstance(result, TrainingResult)]


def assert_rounded(got: TrainingResult, expected: TrainingResult) -> None:
    for kind in ("last_weights", "best_weights"):
        for name, array in getattr(expected, kind).items():
            np.testing.assert_allclose(getattr(got, kind)[name], array, rtol=1e-4, atol=3e-6)
    for one, other in zip(got.history, expected.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)
        assert one.learning_rate == other.learning_rate
        assert one.epoch == other.epoch


# JAX compiles each of them twice, for some seconds.
KINDS_IN_JAX = ("adam with decay", "cpn", "files in their order", "one file")


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("torch", kind) for kind in KINDS), *(("jax", kind) for kind in KINDS_IN_JAX)],
)
def test_each_network_is_the_one_that_is_trained_alone(
    packed: PackedData, name: str, kind: str
) -> None:
    keys = KINDS[kind]
    alone = [fit(job) for job in jobs_of(packed, name, **keys)]
    jobs = jobs_of(packed, name, **keys)
    together = results_of(jobs, size=len(jobs))
    for got, expected in zip(together, alone, strict=True):
        assert_rounded(got, expected)
    assert len({weights_of(result) for result in together}) == len(jobs)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_ends_with_its_own_network(packed: PackedData, name: str) -> None:
    jobs = jobs_of(packed, name)
    rows = jobs[0].arrays()[0][:10]
    for job, result in zip(jobs, results_of(jobs, size=4), strict=True):
        alone = make_backend(name)
        alone.start(job.architecture, job.config, result.last_weights)
        np.testing.assert_allclose(job.backend.predict(rows), alone.predict(rows), rtol=1e-6)
        state = job.backend.optimizer_state()
        assert int(state["count"]) == 3 * 7


@pytest.mark.parametrize("name", BACKENDS)
def test_killed_networks_continue_to_the_same_bytes_from_epochs_of_their_own(
    packed: PackedData, name: str, tmp_path: Path
) -> None:
    whole = results_of(jobs_of(packed, name), size=4)
    jobs = jobs_of(packed, name, tmp_path)

    def kill(history: Sequence[Epoch]) -> None:
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_together(jobs, size=4, on_epoch=[*quiet(jobs[:2]), kill, *quiet(jobs[3:])])
    checkpoints = [load_checkpoint(tmp_path / str(i)) for i in range(4)]
    assert [len(found.history) for found in checkpoints if found] == [2, 2, 2, 1]
    # The first is not asked for again; the others keep the rounding of four places.
    remaining = jobs_of(packed, name, tmp_path)[1:]
    (group,) = plan_groups(remaining)
    assert group == Group((0, 1, 2), 4)
    results = results_of(remaining, size=group.size)
    assert [weights_of(r) for r in results] == [weights_of(w) for w in whole[1:]]
    (first,) = results_of(jobs_of(packed, name, tmp_path)[:1], size=4)
    assert weights_of(first) == weights_of(whole[0])


@pytest.mark.parametrize("name", BACKENDS)
def test_one_that_diverges_fails_alone(packed: PackedData, name: str, tmp_path: Path) -> None:
    keys = {"OPTIMIZER_": "sgd", "LR_SCHEDULER": None, "N_EPOCHS": 4}
    rates = [0.01, 1e38, 0.02]

    def jobs(folder: Path | None) -> list[TrainingJob]:
        return [
            job_of(
                packed,
                name,
                None if folder is None else folder / str(i),
                **{**keys, "LEARNING_RATE": rate, "seed": 1},
            )
            for i, rate in enumerate(rates)
        ]

    made = jobs(tmp_path)
    one, error, other = fit_together(made, size=3, on_epoch=quiet(made))
    assert isinstance(error, TrainingError)
    assert "diverged" in str(error)
    assert not (tmp_path / "1").exists()
    alone = [fit(job) for job in jobs(None)[::2]]
    for result, expected in zip((one, other), alone, strict=True):
        assert isinstance(result, TrainingResult)
        assert_rounded(result, expected)


def test_one_whose_epoch_cannot_be_recorded_fails_alone(packed: PackedData) -> None:
    jobs = jobs_of(packed, "torch")
    full = OSError("no space left")

    def refuse(history: Sequence[Epoch]) -> None:
        raise full

    results = fit_together(jobs, size=4, on_epoch=[refuse, *quiet(jobs[1:])])
    assert results[0] is full
    assert [len(r.history) for r in results[1:] if isinstance(r, TrainingResult)] == [3, 3, 3]


def test_each_is_told_of_its_own_epochs_once(packed: PackedData, tmp_path: Path) -> None:
    told: list[list[int]] = [[] for _ in VARIANTS]
    on_epoch = [lambda history, mine=mine: mine.append(len(history)) for mine in told]
    fit_together(jobs_of(packed, "torch", tmp_path), size=4, on_epoch=on_epoch)
    assert told == [[1, 2, 3]] * 4
    fit_together(jobs_of(packed, "torch", tmp_path), size=4, on_epoch=on_epoch)
    assert told == [[1, 2, 3, 3]] * 4


@pytest.mark.parametrize(
    "keys",
    [
        {"LAYER_SIZES": [[9, 1]]},
        {"ACTIVATIONS": [["relu"]]},
        {"CPU_BATCH_SIZE": 71},
        {"OPTIMIZER_": "sgd"},
        {"WEIGHT_DECAY": 0.5},
        {"N_EPOCHS": 4},
        {"SHUFFLE": False},
        {"TRAIN_VAL_SPLIT": 0.5},
        {"LABELS_LOWER_BOUND": -3},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_networks_that_differ_in_more_do_not_go_together(
    packed: PackedData, keys: dict[str, Any]
) -> None:
    jobs = [*jobs_of(packed, "torch"), job_of(packed, "torch", **keys)]
    assert plan_groups(jobs) == [Group((0, 1, 2, 3), 4), Group((4,), 1)]


def test_networks_are_alone_where_the_device_keeps_no_rows(packed: PackedData) -> None:
    jobs = [training_job(packed, make_backend("torch"), **SETTINGS) for _ in range(2)]
    assert plan_groups(jobs) == [Group((0,), 1), Group((1,), 1)]
    results = [fit_together([job], size=1, on_epoch=quiet([job]))[0] for job in jobs]
    assert all(isinstance(result, TrainingResult) for result in results)
    assert all(
        weights_of(r) == weights_of(fit(jobs[0])) for r in results if not isinstance(r, Exception)
    )


def test_a_network_begun_alone_goes_on_alone(packed: PackedData, tmp_path: Path) -> None:
    jobs = jobs_of(packed, "torch", tmp_path)
    fit(jobs[1])
    assert plan_groups(jobs) == [Group((0, 2, 3), 3), Group((1,), 1)]
    fit_together([jobs[0], jobs[2]], size=3, on_epoch=quiet(jobs[:2]))
    assert plan_groups(jobs) == [Group((0, 2, 3), 3), Group((1,), 1)]
    # Alone it would be rounded otherwise, so it starts afresh there.
    assert len(fit(jobs[0]).history) == 3
    checkpoint = load_checkpoint(tmp_path / "0")
    assert checkpoint is not None
    assert checkpoint.n_stacked == 1


def test_a_device_takes_as_many_networks_as_fill_it_and_fit(packed: PackedData) -> None:
    job = job_of(packed, "torch")
    assert most_together(job) > 1000
    n_rows = job.data_set.shapes["lan"][0]
    small = keeping_backend("torch", n_bytes=n_rows * (job.row_bytes + 3 * 16))
    assert most_together(replace(job, backend=small)) == 3
    wide = {"LAYER_SIZES": [[100_000, 1]], "CPU_BATCH_SIZE": 70}
    assert most_together(job_of(packed, "torch", **wide)) == 2
    huge = {"LAYER_SIZES": [[1_000_000, 1]], "CPU_BATCH_SIZE": 70}
    assert most_together(job_of(packed, "torch", **huge)) == 1
    jobs = [replace(job_of(packed, "torch", seed=i), backend=small) for i in range(5)]
    assert plan_groups(jobs) == [Group((0, 1, 2), 3), Group((3, 4), 2)]
