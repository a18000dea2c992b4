"""What only a GPU can show: ``make test TESTS=gpu`` where there is one."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from lanflow.cli.cluster import check_node
from lanflow.data.prepare import PackedData
from lanflow.networks.onnx import check_equal, export_onnx
from lanflow.tracking.store import resolve_store
from lanflow.training.backend import Backend
from lanflow.training.backends import choose
from lanflow.training.checkpoints import Epoch
from lanflow.training.fit import OnEpoch, TrainingResult, fit
from lanflow.training.together.fit import fit_together, plan_groups
from tests.conftest import BACKENDS, TRAINING_YAML, training_job

pytestmark = pytest.mark.gpu

# 8,000 rows to train on: a smaller batch at the end of each epoch.
KEYS: dict[str, Any] = {
    "CPU_BATCH_SIZE": 1_500,
    "GPU_BATCH_SIZE": 1_500,
    "LAYER_SIZES": [[100, 100, 100, 1]],
    "ACTIVATIONS": [["tanh", "tanh", "tanh"]],
    "LEARNING_RATE": 0.002,
    "N_EPOCHS": 4,
}


# Batches so many that a CUDA graph is recorded.
MANY: dict[str, Any] = {**KEYS, "GPU_BATCH_SIZE": 70}
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adam", "muon"])
PLACES = pytest.mark.parametrize("keeps_rows", [True, False], ids=["kept", "streamed"])


def gpu_backend(backend_name: str, *, keeps_rows: bool = True) -> Backend:
    backend = choose.make_backend(backend_name, device="gpu", threads=1)
    assert backend.uses_gpu
    assert backend.bytes_for_rows() > 2**30
    if not keeps_rows:
        vars(backend)["bytes_for_rows"] = lambda: 0
    return backend


def run_command(backend: str, packed: PackedData, folder: Path) -> dict[str, Any]:
    """``jaxtrain`` or ``torchtrain`` as a process of its own; the JSON that it prints."""
    folder.mkdir()
    config = folder / "training.yaml"
    config.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS}))
    data_set = packed.data_set.folder
    program = f"import sys; from lanflow.cli.train import {backend}train as run; sys.exit(run())"
    options = {
        "--config-path": config,
        "--networks-path-base": folder / "networks",
        "--data-set": data_set,
        "--manifest": data_set / "manifest.json",
        "--network-name": "net",
        "--run-uuid": "0" * 32,
        "--device": "gpu",
    }
    given = [str(part) for option in options.items() for part in option]
    command = [sys.executable, "-c", program, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def weights_of(result: TrainingResult) -> bytes:
    return b"".join(array.tobytes() for array in result.last_weights.values())


def losses_of(result: TrainingResult) -> list[tuple[float, float]]:
    return [(epoch.train_loss, epoch.val_loss) for epoch in result.history]


def killer(after: int) -> Callable[[Sequence[Epoch]], None]:
    def on_epoch(history: Sequence[Epoch]) -> None:
        if len(history) == after:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_node_with_a_gpu_passes_its_check(backend: Literal["jax", "torch"]) -> None:
    seen = check_node(resolve_store(uri="sqlite:///absent.db"), [], backend=backend)
    assert seen["gpu"]
    assert "cpu" not in seen["gpu"].lower()


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_network_predicts_on_the_gpu_what_its_export_gives(
    backend_name: str, packed: PackedData, record_testsuite_property: Callable[[str, object], None]
) -> None:
    backend = gpu_backend(backend_name)
    job = training_job(packed, backend, **KEYS)
    result = fit(job)
    content = export_onnx(job.architecture, result.last_weights)
    features = np.asarray(job.arrays()[0][:1000])
    difference = check_equal(content, features, backend.predict(features))
    record_testsuite_property(f"{backend_name}: difference of the export", difference)


@PLACES
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_two_trainings_of_a_process_give_the_same_bytes(
    backend_name: str, keeps_rows: bool, packed: PackedData
) -> None:
    first, second = (
        fit(training_job(packed, gpu_backend(backend_name, keeps_rows=keeps_rows), **MANY))
        for _ in range(2)
    )
    assert losses_of(first) == losses_of(second)
    assert weights_of(first) == weights_of(second)


@PLACES
@OPTIMIZERS
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_killed_training_continues_to_the_same_bytes(
    backend_name: str, optimizer: str, keeps_rows: bool, packed: PackedData, tmp_path: Path
) -> None:
    make_backend = partial(gpu_backend, backend_name, keeps_rows=keeps_rows)
    keys = {**MANY, "OPTIMIZER_": optimizer}
    whole = fit(training_job(packed, make_backend(), **keys))
    job = training_job(packed, make_backend(), checkpoint_path=tmp_path / "checkpoint", **keys)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(job, backend=make_backend()), on_epoch=killer(2))
    assert len(whole.history) == 4
    continued = fit(replace(job, backend=make_backend()))
    assert losses_of(continued) == losses_of(whole)
    assert weights_of(continued) == weights_of(whole)


def networks_at_once(
    packed: PackedData,
    backend_name: str,
    keys: dict[str, Any],
    folder: Path | None,
    on_epoch: OnEpoch,
) -> list[TrainingResult | Exception]:
    """Networks of three seeds as one program; the last is told of its epochs."""
    jobs = [
        training_job(
            packed,
            gpu_backend(backend_name),
            checkpoint_path=None if folder is None else folder / str(seed),
            seed=seed,
            **keys,
        )
        for seed in (1, 2, 3)
    ]
    (group,) = plan_groups(jobs)
    assert group.size == 3
    return fit_together(jobs, size=3, on_epoch=[lambda _: None, lambda _: None, on_epoch])


@OPTIMIZERS
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_networks_in_one_program_are_those_trained_alone_and_continue_to_the_same_bytes(
    backend_name: str, optimizer: str, packed: PackedData, tmp_path: Path
) -> None:
    keys = {**MANY, "OPTIMIZER_": optimizer}
    whole = networks_at_once(packed, backend_name, keys, None, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        networks_at_once(packed, backend_name, keys, tmp_path, killer(2))
    continued = networks_at_once(packed, backend_name, keys, tmp_path, lambda _: None)
    for seed, result, again in zip((1, 2, 3), whole, continued, strict=True):
        assert isinstance(result, TrainingResult)
        assert isinstance(again, TrainingResult)
        assert weights_of(again) == weights_of(result)
        alone = fit(training_job(packed, gpu_backend(backend_name), seed=seed, **keys))
        np.testing.assert_allclose(losses_of(result), losses_of(alone), rtol=1e-2)


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_training_on_the_gpu_follows_one_on_the_cpu(
    backend_name: str, packed: PackedData, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """In the order of rows that the host draws, which is the same for both."""
    cpu = choose.make_backend(backend_name, device="cpu", threads=1)
    gpu = gpu_backend(backend_name, keeps_rows=False)
    on_cpu, on_gpu = (fit(training_job(packed, backend, **KEYS)) for backend in (cpu, gpu))
    got, expected = np.array(losses_of(on_gpu)), np.array(losses_of(on_cpu))
    record_testsuite_property(
        f"{backend_name}: difference of the losses", float(np.abs(got / expected - 1).max())
    )
    np.testing.assert_allclose(got, expected, rtol=1e-2)


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_rows_on_the_gpu_train_as_well_as_rows_from_the_host(
    backend_name: str, packed: PackedData
) -> None:
    """Of one batch of all rows, which no order changes, to rounding."""
    keys = {**KEYS, "GPU_BATCH_SIZE": 10**6}
    kept, streamed = (
        fit(training_job(packed, gpu_backend(backend_name, keeps_rows=keeps), **keys))
        for keeps in (True, False)
    )
    np.testing.assert_allclose(losses_of(kept), losses_of(streamed), rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_trains_on_the_gpu_and_two_processes_give_the_same_bytes(
    backend: str, packed: PackedData, tmp_path: Path
) -> None:
    results = [run_command(backend, packed, tmp_path / name) for name in ("first", "second")]
    contents = []
    for result in results:
        assert result["status"] == "FINISHED"
        folder = Path(result["network_folder"])
        names = sorted(path.name for path in folder.glob("weights_*.*"))
        assert len(names) == 2
        contents.append([(folder / name).read_bytes() for name in ("model.onnx", *names)])
    assert contents[0] == contents[1]
