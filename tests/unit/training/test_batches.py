import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.data.dataset import ARRAYS_NAME, DataSet, PackedFile
from lanflow.data.prepare import PackedData
from lanflow.training.batches import EpochRows, RowMemory, rows_in_order
from lanflow.training.fit import fit
from lanflow.training.split import RowRanges, stream
from tests.conftest import REPOSITORY, make_backend, training_job


def row_numbers(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels that say which row they are."""
    numbers = np.arange(n_rows, dtype="f4")[:, None]
    return np.hstack([numbers, -numbers]), numbers


def epoch_of(
    memory: RowMemory,
    *,
    n_rows: int = 1000,
    files: tuple[int, ...] = (0,),
    rows: RowRanges | None = None,
    shuffle: bool = True,
    seed: int = 1,
    epoch: int = 0,
) -> list[np.ndarray]:
    """Row numbers of the blocks of an epoch."""
    source = row_numbers(n_rows)
    given_out = EpochRows(
        *source,
        rows or RowRanges(np.array([0]), np.array([n_rows])),
        file_starts=np.array(files),
        shuffle=shuffle,
        memory=memory,
        labels_lower_bound=None,
    )
    for _ in given_out.epoch(stream(seed, 3, 99)):  # an epoch before it changes nothing
        pass
    blocks = []
    for features, labels in given_out.epoch(stream(seed, 3, epoch)):
        assert features.flags.c_contiguous
        assert (features[:, :1] == labels).all()
        assert (features[:, 1:] == -labels).all()
        blocks.append(labels.ravel().astype(int))
    return blocks


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    group=st.integers(1, 300),
    piece=st.integers(1, 20),
    block=st.integers(1, 60),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    n_files=st.integers(1, 4),
)
def test_an_epoch_visits_each_row_once_in_blocks_of_one_size_but_the_last(
    lengths: list[int],
    group: int,
    piece: int,
    block: int,
    shuffle: bool,
    seed: int,
    n_files: int,
) -> None:
    sizes = np.array(lengths)
    rows = RowRanges(np.cumsum(sizes + 2) - sizes, sizes)
    n_files = min(n_files, len(rows))
    starts = np.arange(n_files) * len(rows) // n_files
    blocks = epoch_of(
        RowMemory(group, piece, block),
        n_rows=int(rows.rows()[-1]) + 1,
        rows=rows,
        files=tuple(starts.tolist()),
        shuffle=shuffle,
        seed=seed,
    )
    visited = np.concatenate(blocks)
    assert np.sort(visited).tolist() == rows.rows().tolist()
    assert {len(each) for each in blocks[:-1]} <= {block}
    assert len(blocks[-1]) <= block
    if not shuffle:
        ends = rows.rows()[[*starts[1:] - 1, len(rows) - 1]]
        files = np.searchsorted(ends, visited)
        assert (np.diff(files) >= 0).all()


SMALL = RowMemory(buffer_rows=200, piece_rows=10, block_rows=50)
LARGE = RowMemory(buffer_rows=1000, piece_rows=10, block_rows=50)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("memory", [SMALL, LARGE], ids=["buffered", "whole"])
def test_the_order_follows_seed_epoch_and_memory_and_nothing_else(
    memory: RowMemory, shuffle: bool
) -> None:
    keys: dict[str, Any] = {"shuffle": shuffle, "files": (0, 100, 700)}
    order = np.concatenate(epoch_of(memory, **keys))
    np.testing.assert_array_equal(order, np.concatenate(epoch_of(memory, **keys)))
    other = LARGE if memory == SMALL else SMALL
    for different in (
        epoch_of(memory, **keys, epoch=1),
        epoch_of(memory, **keys, seed=2),
        epoch_of(other, **keys),
        [np.arange(1000)],
    ):
        assert (order != np.concatenate(different)).any()


def test_rows_that_fit_are_one_permutation() -> None:
    order = np.concatenate(epoch_of(LARGE))
    np.testing.assert_array_equal(order, stream(1, 3, 0).permutation(1000))


def test_without_shuffling_the_rows_of_each_file_are_permuted() -> None:
    order = np.concatenate(epoch_of(LARGE, shuffle=False, files=(0, 100, 700)))
    rng = stream(1, 3, 0)
    expected = [first + rng.permutation(n) for first, n in ((0, 100), (100, 600), (700, 300))]
    np.testing.assert_array_equal(order, np.concatenate(expected))


def test_every_filling_of_the_buffer_is_a_sample_of_all_of_the_data() -> None:
    """Each tenth of an epoch holds of every tenth of the rows about as much as chance would."""
    memory = RowMemory(buffer_rows=20_000, piece_rows=16, block_rows=500)
    order = np.concatenate(epoch_of(memory, n_rows=100_000))
    counts = np.histogram2d(np.arange(100_000), order, bins=10)[0]
    # 1000 rows each, in pieces of 16: a standard deviation of about sqrt(1000 * 16).
    assert np.abs(counts - 1000).max() < 5 * (1000 * 16) ** 0.5
    neighbours = np.abs(np.diff(order)) < 16
    assert neighbours.mean() < 0.01


@given(st.integers(1, 10**5), st.integers(8, 200), st.sampled_from([1, 128, 1000, 50_000]))
def test_what_is_held_at_a_time_takes_no_more_than_the_memory(
    memory_mb: int, row_bytes: int, batch_size: int
) -> None:
    memory = RowMemory.of(memory_mb, row_bytes=row_bytes, batch_size=batch_size)
    assert memory.block_rows % batch_size == 0
    held = (memory.buffer_rows + memory.piece_rows) * (row_bytes + 16)
    blocks = 3 * memory.block_rows * (row_bytes + 16)
    assert memory.buffer_rows * (row_bytes + 16) <= memory_mb * 2**20 / 2
    if memory.block_rows > batch_size:  # a batch cannot be divided
        assert held + blocks <= memory_mb * 2**20
    assert 16 <= memory.piece_rows <= 1024


def test_labels_below_the_bound_are_raised_and_those_of_the_file_stay() -> None:
    features, labels = row_numbers(4)
    labels = -10 * labels
    rows = RowRanges(np.array([0]), np.array([4]))
    given_out = EpochRows(
        *(features, labels, rows),
        file_starts=np.array([0]),
        shuffle=True,
        memory=SMALL,
        labels_lower_bound=-15.0,
    )
    (_, trained), *_ = given_out.epoch(stream(1))
    ((_, validated),) = rows_in_order(features, labels, rows, labels_lower_bound=-15.0)
    assert sorted(trained.ravel()) == [-15, -15, -10, 0]
    assert validated.ravel().tolist() == [0, -10, -15, -15]
    assert labels.min() == -30


def test_rows_in_order_come_in_blocks_of_the_bytes_asked_for() -> None:
    features, labels = row_numbers(100)
    rows = RowRanges(np.array([3, 40]), np.array([20, 50]))
    blocks = list(
        rows_in_order(features, labels, rows, labels_lower_bound=None, block_bytes=12 * 30)
    )
    assert [len(block) for block, _ in blocks] == [30, 30, 10]
    assert np.concatenate([block for _, block in blocks]).ravel().tolist() == rows.rows().tolist()


def write_data_set(folder: Path, *, n_sets: int, n_per_set: int, n_files: int = 4) -> PackedData:
    """A packed data set, made without training files; rows grouped by parameter set."""
    arrays = folder / ARRAYS_NAME
    arrays.mkdir(parents=True)
    n_rows = n_sets * n_per_set
    shapes = {"features": ("<f4", (n_rows, 6)), "labels": ("<f4", (n_rows, 1))}
    mapped = {
        name: np.lib.format.open_memmap(arrays / f"lan_{name}.npy", "w+", dtype, shape)
        for name, (dtype, shape) in {**shapes, "sets": ("<i4", (n_rows,))}.items()
    }
    rng = np.random.default_rng(0)
    theta = rng.uniform([-3, 0.3, 0.1, 0], [3, 2.5, 0.9, 2], size=(n_sets, 4)).astype("f4")
    per_file = n_rows // n_files
    for first in range(0, n_rows, per_file):
        rows = slice(first, first + per_file)
        numbers = np.arange(first, first + per_file) // n_per_set
        features = mapped["features"][rows]
        features[:, :4] = theta[numbers]
        features[:, 4] = rng.uniform(0, 5, per_file)
        features[:, 5] = rng.choice([-1.0, 1.0], per_file)
        drift = features[:, 0] * features[:, 5]
        distance = features[:, 4] - features[:, 1] - features[:, 3]
        mapped["labels"][rows, 0] = -(distance**2) + drift
        mapped["sets"][rows] = numbers
    data_set = DataSet(
        folder=folder,
        digest="0" * 64,
        model="ddm",
        parameters=("v", "a", "z", "t"),
        bounds={},
        n_sets=n_sets,
        n_claimed_sets=n_sets,
        files=tuple(
            PackedFile(f"{i}.pickle", "0" * 64, {"lan": (i * per_file, per_file)})
            for i in range(n_files)
        ),
        shapes={"lan": (n_rows, 6, 1)},
    )
    return PackedData(data_set, {})


LIMITED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from tests.conftest import make_backend, training_config
from tests.unit.training.test_batches import data_megabytes, write_large_data_set
from lanflow.training.fit import fit
from lanflow.training.job import plan_job

backend = make_backend("torch")
config = training_config(
    CPU_BATCH_SIZE=65536, LAYER_SIZES=[[1]], ACTIVATIONS=[[]], N_EPOCHS=1, LR_SCHEDULER=None,
    LEARNING_RATE=0.01, LABELS_LOWER_BOUND=None
)
limit_mb = data_megabytes() + 160
data_set = write_large_data_set(Path(sys.argv[1]), megabytes=4 * limit_mb)
resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 2**20,) * 2)
try:
    fit(plan_job(config, data_set, backend, memory_mb=100_000))
    whole = "fits"
except MemoryError:
    whole = "does not fit"
job = plan_job(config, data_set, backend, memory_mb=64)
result = fit(job)
print(json.dumps({
    "whole": whole, "limit_mb": limit_mb, "n_rows": len(job.split.train) + len(job.split.val),
    "n_data_set": data_set.shapes["lan"][0], "val_loss": result.best.val_loss,
    "bytes": sum(path.stat().st_size for path in Path(sys.argv[1]).rglob("*.npy")),
}))
"""


def data_megabytes() -> int:
    """Private memory of this process, which RLIMIT_DATA limits."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmData" in x]
    return int(line.split()[1]) // 1024


def write_large_data_set(folder: Path, *, megabytes: int) -> DataSet:
    """Rows of 1000 each a parameter set, with features that are zero and take no disk."""
    arrays = folder / ARRAYS_NAME
    arrays.mkdir(parents=True)
    n_rows = megabytes * 2**20 // 32 // 1000 * 1000 + 1000
    np.lib.format.open_memmap(arrays / "lan_features.npy", "w+", "<f4", (n_rows, 6)).flush()
    labels = np.lib.format.open_memmap(arrays / "lan_labels.npy", "w+", "<f4", (n_rows, 1))
    sets = np.lib.format.open_memmap(arrays / "lan_sets.npy", "w+", "<i4", (n_rows,))
    for first in range(0, n_rows, 10**6):
        numbers = np.arange(first, min(first + 10**6, n_rows)) // 1000
        sets[first : first + 10**6] = numbers
        labels[first : first + 10**6, 0] = numbers % 3 - 1
    return DataSet(
        folder=folder,
        digest="0" * 64,
        model="ddm",
        parameters=("v", "a", "z", "t"),
        bounds={},
        n_sets=n_rows // 1000,
        n_claimed_sets=n_rows // 1000,
        files=(PackedFile("0.pickle", "0" * 64, {"lan": (0, n_rows)}),),
        shapes={"lan": (n_rows, 6, 1)},
    )


@pytest.mark.slow
def test_data_of_four_times_the_memory_of_the_process_is_trained_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bytes"] >= 4 * found["limit_mb"] * 2**20
    assert found["whole"] == "does not fit"
    assert found["n_rows"] == found["n_data_set"]
    # Labels are -1, 0 and 1 as often, the features say nothing: Huber's loss of a constant.
    assert found["val_loss"] == pytest.approx(1 / 3, abs=0.02)


def loss_curve(
    data: PackedData, *, seed: int, memory: RowMemory | None = None, **keys: Any
) -> np.ndarray:
    """Validation losses of a training, with a memory of so many rows or megabytes."""
    backend = make_backend("torch")
    settings = {
        "LR_SCHEDULER": "warmup_cosine",
        "LABELS_LOWER_BOUND": None,
        "CPU_BATCH_SIZE": 250,
        "LEARNING_RATE": 0.003,
        "LAYER_SIZES": [[40, 40, 1]],
        **keys,
    }
    job = training_job(data, backend, seed=seed, **settings)
    with pytest.MonkeyPatch.context() as patch:
        if memory is not None:
            patch.setattr(type(job), "memory", memory)
        return np.array([epoch.val_loss for epoch in fit(job).history])


def test_a_shuffle_buffer_is_learned_from_as_well_as_fully_mixed_rows(tmp_path: Path) -> None:
    """Data grouped by parameter set, with memory for a seventh of it, and for all of it."""
    data = write_data_set(tmp_path / "data", n_sets=400, n_per_set=250)
    job = training_job(data, make_backend("torch"), memory_mb=1, CPU_BATCH_SIZE=250)
    assert len(job.split.train) > 6 * job.memory.buffer_rows
    mixed, buffered = (
        [loss_curve(data, seed=seed, N_EPOCHS=3, memory_mb=memory_mb) for seed in (1, 2)]
        for memory_mb in (100, 1)
    )
    ratio = np.exp(np.mean(np.log(buffered) - np.log(mixed), axis=0))
    assert (ratio < 1.5).all(), (buffered, mixed)
    assert (ratio > 0.67).all(), (buffered, mixed)
    # A set at a time, which is what must not happen, is another matter.
    one_set = RowMemory(buffer_rows=250, piece_rows=250, block_rows=250)
    assert loss_curve(data, seed=1, N_EPOCHS=3, memory=one_set)[-1] > 2 * mixed[0][-1]
