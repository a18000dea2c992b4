"""Every setting of a training YAML changes the result, on both backends, and the same way."""

import json
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from lanflow.data.prepare import PackedData
from lanflow.training.config import LearningRateSchedulerParams, TrainingFile
from lanflow.training.fit import TrainingResult, fit
from tests.conftest import BACKENDS, make_backend, training_job

# 480 rows to train on: eight batches of an epoch, so each network is compiled for one shape.
BASE: dict[str, Any] = {
    "CPU_BATCH_SIZE": 60,
    "LAYER_SIZES": [[8, 8, 1], [8, 6, 1]],
    "ACTIVATIONS": [["tanh", "tanh"], ["tanh", "tanh"]],
    "LR_SCHEDULER": None,
    "N_TRAINING_FILES": 3,
}


class Case(NamedTuple):
    """A change of settings, to what is in BASE and in ``start``."""

    name: str
    change: dict[str, Any]
    start: dict[str, Any] = {}  # noqa: RUF012 - never changed


def scheduler(name: str, **params: float) -> dict[str, Any]:
    return {"LR_SCHEDULER": name, "LR_SCHEDULER_PARAMS": params}


# Improves by less than half in every epoch, so that the rate falls after each but the first.
PLATEAU = {"factor": 0.5, "patience": 0, "threshold": 0.5, "min_lr": 1e-8}

CHANGES = [
    Case("NETWORK_TYPE", {"NETWORK_TYPE": "opn"}, {"NETWORK_TYPE": "cpn", "CPU_BATCH_SIZE": 8}),
    Case("NETWORK_TYPE", {"NETWORK_TYPE": "gonogo"}, {"NETWORK_TYPE": "cpn", "CPU_BATCH_SIZE": 8}),
    Case("NETWORK_TYPE", {"NETWORK_TYPE": "cpn", "CPU_BATCH_SIZE": 8}),
    Case("CPU_BATCH_SIZE", {"CPU_BATCH_SIZE": 120}),
    Case("OPTIMIZER_", {"OPTIMIZER_": "sgd"}),
    Case("OPTIMIZER_", {"OPTIMIZER_": "muon"}),
    Case("HUBER_DELTA", {"HUBER_DELTA": 0.1}),
    Case("N_EPOCHS", {"N_EPOCHS": 4}),
    Case("SHUFFLE", {"SHUFFLE": False}),
    Case("LAYER_SIZES", {"LAYER_SIZES": [[8, 10, 1], [8, 6, 1]]}),
    Case("ACTIVATIONS", {"ACTIVATIONS": [["tanh", "relu"], ["tanh", "tanh"]]}),
    Case("ACTIVATIONS", {"ACTIVATIONS": [["sigmoid", "tanh"], ["tanh", "tanh"]]}),
    Case("WEIGHT_DECAY", {"WEIGHT_DECAY": 0.1}),
    Case("WEIGHT_DECAY", {"WEIGHT_DECAY": 0.1}, {"OPTIMIZER_": "sgd"}),
    Case("WEIGHT_DECAY", {"WEIGHT_DECAY": 0.1}, {"OPTIMIZER_": "muon"}),
    Case("TRAIN_VAL_SPLIT", {"TRAIN_VAL_SPLIT": 0.5}),
    Case("N_TRAINING_FILES", {"N_TRAINING_FILES": 2}),
    Case("LABELS_LOWER_BOUND", {"LABELS_LOWER_BOUND": -2}),
    Case("LABELS_LOWER_BOUND", {"LABELS_LOWER_BOUND": None}),
    Case("LEARNING_RATE", {"LEARNING_RATE": 0.003}),
    Case("LR_SCHEDULER", scheduler("multiply", factor=0.5)),
    Case("LR_SCHEDULER", scheduler("reduce_on_plateau", **PLATEAU)),
    Case("LR_SCHEDULER", scheduler("warmup_cosine")),
    Case("factor", scheduler("multiply", factor=0.4), scheduler("multiply", factor=0.5)),
    Case(
        "factor",
        scheduler("reduce_on_plateau", **{**PLATEAU, "factor": 0.4}),
        scheduler("reduce_on_plateau", **PLATEAU),
    ),
    Case(
        "patience",
        scheduler("reduce_on_plateau", **{**PLATEAU, "patience": 1}),
        scheduler("reduce_on_plateau", **PLATEAU),
    ),
    Case(
        "threshold",
        scheduler("reduce_on_plateau", **{**PLATEAU, "threshold": 0.0}),
        scheduler("reduce_on_plateau", **PLATEAU),
    ),
    Case(
        "min_lr",
        scheduler("reduce_on_plateau", **{**PLATEAU, "min_lr": 0.009}),
        scheduler("reduce_on_plateau", **PLATEAU),
    ),
    Case(
        "min_lr",
        scheduler("warmup_cosine", min_lr=0.005),
        scheduler("warmup_cosine"),
    ),
    Case(
        "warmup_epochs",
        scheduler("warmup_cosine", warmup_epochs=0.5),
        scheduler("warmup_cosine"),
    ),
    Case("seed", {"seed": 2}),
    Case("network_id", {"network_id": 1}),
]

NO_CHANGES = [
    Case("GPU_BATCH_SIZE", {"GPU_BATCH_SIZE": 7}),  # a backend on the CPU
    Case("GENERATOR_APPROACH", {"GENERATOR_APPROACH": "cpn"}),
    Case("TRAINING_DATA_FOLDER", {"TRAINING_DATA_FOLDER": "elsewhere"}),
    Case("MODEL", {"MODEL": "angle"}),  # a name; that the data is of it is checked before
    Case("verbose", scheduler("multiply", verbose=False), scheduler("multiply")),
    Case("factor", scheduler("warmup_cosine", factor=0.5), scheduler("warmup_cosine")),
    Case("N_TRAINING_FILES", {"N_TRAINING_FILES": 10_000}),  # as many as there are
    Case("LABELS_LOWER_BOUND", {"LABELS_LOWER_BOUND": -1e9}, {"LABELS_LOWER_BOUND": None}),
    Case("HUBER_DELTA", {"HUBER_DELTA": 1.0}),
]


@pytest.fixture(scope="module")
def train(packed: PackedData) -> Any:
    """Train with settings given as pairs; each once."""

    @cache
    def trained(backend_name: str, settings: str) -> TrainingResult:
        backend = make_backend(backend_name)
        return fit(training_job(packed, backend, **json.loads(settings)))

    return lambda backend_name, keys: trained(backend_name, json.dumps({**BASE, **keys}))


def history(result: TrainingResult) -> np.ndarray:
    """Everything of the epochs but their time."""
    rows = [asdict(epoch) for epoch in result.history]
    return np.array([[row[key] for key in row if key != "seconds"] for row in rows])


def equal(first: TrainingResult, second: TrainingResult) -> bool:
    return np.array_equal(history(first), history(second)) and all(
        np.array_equal(array, second.last_weights.get(name))
        for name, array in first.last_weights.items()
    )


def names(case: Case) -> str:
    return f"{case.name}-{'-'.join(str(value) for value in case.change.values())}"


@pytest.mark.parametrize("case", CHANGES, ids=names)
def test_a_changed_setting_changes_the_result_the_same_way_on_both_backends(
    train: Any, case: Case
) -> None:
    results = []
    for backend in BACKENDS:
        before = train(backend, case.start)
        after = train(backend, {**case.start, **case.change})
        assert not equal(before, after), backend
        results.append(history(after))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


@pytest.mark.parametrize("case", NO_CHANGES, ids=names)
def test_a_setting_that_says_nothing_here_leaves_the_result_as_it_is(
    train: Any, case: Case
) -> None:
    for backend in BACKENDS:
        before = train(backend, case.start)
        assert equal(before, train(backend, {**case.start, **case.change})), backend


def test_no_setting_is_left_out_of_the_tests_above() -> None:
    tested = {case.name for case in (*CHANGES, *NO_CHANGES)}
    file_keys = {field.alias or name.upper() for name, field in TrainingFile.model_fields.items()}
    file_keys.discard("LR_SCHEDULER_PARAMS")  # by its own keys
    assert tested == {*file_keys, *LearningRateSchedulerParams.model_fields, "seed", "network_id"}
