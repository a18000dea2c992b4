"""What the system refuses, room or memory: one line, nothing half-written, and going on later.

A limit on the size of files (RLIMIT_FSIZE) stands for a full disk: a write ends in the middle.
`tests/torture` has file systems that are full indeed.
"""

import contextlib
import logging
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lanflow.cli.main import main as lanflow
from lanflow.cli.train import torchtrain
from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from tests.conftest import TRAINING_YAML

GENERATION: dict[str, Any] = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 4, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 20, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 200},
}


@contextlib.contextmanager
def limited(kind: int, size: int) -> Iterator[None]:
    """Lower a limit of this process during the body."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def full_disk(size: int) -> contextlib.AbstractContextManager[None]:
    return limited(resource.RLIMIT_FSIZE, size)


def little_memory(more: int) -> contextlib.AbstractContextManager[None]:
    """Let this process have so many bytes of address space more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return limited(resource.RLIMIT_AS, used + more)


def the_error(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that the command ended with."""
    (message,) = (r.getMessage() for r in caplog.records if r.levelno == logging.ERROR)
    caplog.clear()
    assert "\n" not in message
    return message


def train_words(folder: Path, packed: PackedData, *more: str, **keys: Any) -> list[str]:
    (folder / "t.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, "N_EPOCHS": 1, **keys}))
    data_set = packed.data_set.folder
    words = ["--config-path", folder / "t.yaml", "--networks-path-base", folder / "networks"]
    words += ["--data-set", data_set, "--manifest", data_set / "manifest.json"]
    words += ["--network-name", "n", "--run-uuid", "u", "--device", "cpu", "--threads", "1"]
    return [*map(str, words), *more]


def test_a_training_on_a_full_disk_fails_as_a_whole_and_goes_on_later(
    packed: PackedData, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"LAYER_SIZES": [[900, 900, 1]]}  # its checkpoint is larger than the store
    words = train_words(tmp_path, packed, "--mlflow-on", "--mlflow-tracking-uri", store.uri, **keys)
    network = tmp_path / "networks" / "lan" / "ddm" / "n"
    with full_disk(8 * 2**20):
        assert torchtrain(words) == 1
    message = the_error(caplog)
    assert f"{network / 'checkpoint.npz'}: File too large" in message
    assert f"MiB are free on the disk of {network}" in message
    client = connect(store)
    (experiment,) = client.search_experiments(filter_string="name = 'ddm-training'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert not [path for path in network.rglob(".*") if path.name != ".sent_runs"]
    assert torchtrain(words) == 0
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"


def test_a_generation_on_a_full_disk_keeps_what_is_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "g.yaml"
    config.write_text(yaml.safe_dump(GENERATION))
    words = ["generate", "--config-path", str(config), "--output", str(tmp_path / "chunk")]
    words += ["--processes", "1"]
    with full_disk(10_000):
        assert lanflow(words) == 1
    message = the_error(caplog)
    assert f"{tmp_path / 'chunk' / 'training_data.partial'}/training_data_" in message
    assert "MiB are free" in message
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["g.yaml"]
    assert lanflow(words) == 0


def test_packing_on_a_full_disk_leaves_nothing(
    packed: PackedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = str(packed.data_set.folder / "manifest.json")
    words = ["materialise", manifest, "--output", str(tmp_path / "d")]
    for size in (0, 5_000):
        with full_disk(size):
            assert lanflow(words) == 1
        message = the_error(caplog)
        assert f"{tmp_path / 'd'}" in message
        assert "File too large" in message
        assert list(tmp_path.iterdir()) == []
    assert lanflow(words) == 0


def test_a_result_that_standard_output_does_not_take_is_told(
    packed: PackedData,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr("sys.stdout", full)
        assert lanflow(["verify", str(packed.data_set.folder / "manifest.json")]) == 1
    assert "standard output: No space left on device" in the_error(caplog)


def test_a_training_that_cannot_fit_in_memory_is_refused_before_its_run(
    packed: PackedData, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracked = ("--mlflow-on", "--mlflow-tracking-uri", store.uri)
    for keys in (
        {"LAYER_SIZES": [[300_000, 300_000, 1]]},
        {"LAYER_SIZES": [[10**9, 16, 1]]},
    ):
        assert torchtrain(train_words(tmp_path, packed, *tracked, **keys)) == 1
        message = the_error(caplog)
        assert "GiB of memory, and " in message
        assert "use smaller LAYER_SIZES" in message
    ordinary = train_words(tmp_path, packed, *tracked)
    with little_memory(20 * 2**20):
        assert torchtrain(ordinary) == 1
    assert "the limit on its address space (ulimit -v) leaves 0.0" in the_error(caplog)
    assert connect(store).search_experiments(filter_string="name = 'ddm-training'") == []
    assert not list((tmp_path / "networks").rglob("*.json"))
    assert torchtrain(ordinary) == 0


def test_a_generation_that_cannot_fit_in_memory_is_refused_before_it_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "g.yaml"
    words = ["generate", "--config-path", str(config), "--output", str(tmp_path / "chunk")]
    for section, key in (("PIPELINE", "N_PARAMETER_SETS"), ("TRAINING", "N_SAMPLES_PER_PARAM")):
        changed = {**GENERATION, section: {**GENERATION[section], key: 10**9}}
        config.write_text(yaml.safe_dump(changed))
        assert lanflow(words) == 1
        assert "or --processes, or give it more memory" in the_error(caplog)
        assert not (tmp_path / "chunk").exists()


def test_memory_that_ends_in_the_middle_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "lanflow.data.manifest.read_manifest", lambda _: np.empty(2**60, dtype=np.uint8)
    )
    assert lanflow(["verify", str(tmp_path / "m.json")]) == 1
    message = the_error(caplog)
    assert "memory ran out (Unable to allocate 1.00 EiB" in message
