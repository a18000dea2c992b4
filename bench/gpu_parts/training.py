"""Times lanflow's own training, and the host's share of it, on a made-up packed data set."""

import contextlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from gpu_parts.figures import N_INPUTS, N_OUTPUTS, Case, Ceilings, Recorder, Size, repeat
from lanflow.core.files import write_json
from lanflow.core.processes import n_cores
from lanflow.core.settings import parse_settings, read_yaml
from lanflow.data.dataset import (
    ARRAYS_NAME,
    RECORD_NAME,
    DataSet,
    PackedFile,
    open_data_set,
)
from lanflow.models.parameters import Bounds
from lanflow.networks.types import BackendName
from lanflow.training.backend import Backend
from lanflow.training.backends.choose import make_backend
from lanflow.training.checkpoints import Epoch
from lanflow.training.config import DEFAULT_PATH, TrainingConfig, TrainingFile, select_network
from lanflow.training.fit import fit
from lanflow.training.job import plan_job
from lanflow.training.together.fit import fit_together

PARAMETERS = ("v", "a", "z", "t")
SET_ROWS = 1_000
# The first epoch compiles and reads the data.
N_EPOCHS = 5
# Where the rows lie: on the device all through the training, or in blocks that come from the host.
KEPT, STREAMED = "rows on the device", "rows from the host"


def make_data_set(folder: Path, size: Size) -> None:
    """Pack rows of a smooth function of six inputs, as ``lanflow materialise`` packs files."""
    arrays = folder / ARRAYS_NAME
    arrays.mkdir(parents=True)
    n_files = -(-size.n_rows // size.file_rows)
    n_rows, set_rows = n_files * size.file_rows, min(SET_ROWS, size.file_rows // 10)
    files = [
        PackedFile(f"file_{i}", f"{i:064x}", {"lan": (i * size.file_rows, size.file_rows)})
        for i in range(n_files)
    ]
    features = _create(arrays / "lan_features.npy", np.float32, (n_rows, N_INPUTS))
    labels = _create(arrays / "lan_labels.npy", np.float32, (n_rows, N_OUTPUTS))
    sets = _create(arrays / "lan_sets.npy", np.int32, (n_rows,))
    sets[:] = np.arange(n_rows, dtype=np.int32) // set_rows
    rng = np.random.default_rng(1)
    for first in range(0, n_rows, size.file_rows):
        rows = slice(first, first + size.file_rows)
        features[rows], labels[rows] = _draw(rng, size.file_rows, set_rows)
    data_set = DataSet(
        folder=folder,
        digest="0" * 64,
        model="ddm",
        parameters=PARAMETERS,
        bounds=Bounds(dict.fromkeys(PARAMETERS, (0.0, 1.0))),
        n_sets=n_rows // set_rows,
        n_claimed_sets=n_rows // set_rows,
        files=tuple(files),
        shapes={"lan": (n_rows, N_INPUTS, N_OUTPUTS)},
    )
    write_json(folder / RECORD_NAME, data_set.to_json())


def _create(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _draw(rng: np.random.Generator, n_rows: int, set_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of random parameter sets: features, and labels between -10 and 0."""
    features = np.empty((n_rows, N_INPUTS), np.float32)
    theta = rng.random((n_rows // set_rows, len(PARAMETERS)), dtype=np.float32)
    features[:, :4] = np.repeat(theta, set_rows, axis=0)
    features[:, 4] = rng.random(n_rows, dtype=np.float32) * 5
    features[:, 5] = np.where(rng.random(n_rows, dtype=np.float32) < features[:, 2], 1, -1)
    late = features[:, 4] - features[:, 3] - features[:, 1]
    labels = -np.abs(late) * (1 + features[:, 0] * features[:, 5])
    return features, labels[:, None]


class TimedBackend:
    """Hands everything to a backend, and adds up the seconds spent in each of its methods."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.seconds: dict[str, float] = {}
        self.first_rows: float | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._backend, name)
        if not callable(value):
            return value

        def timed(*arguments: Any, **options: Any) -> Any:
            before = time.perf_counter()
            if name.startswith("train") and self.first_rows is None:
                self.first_rows = before
            try:
                return value(*arguments, **options)
            finally:
                spent = time.perf_counter() - before
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return timed


class _EnoughError(Exception):
    """There is no time for more epochs."""


class _Watch:
    """Keeps the history and where the seconds of each epoch went; ends a slow training early."""

    def __init__(self, backend: TimedBackend, patience_s: float) -> None:
        self._backend, self._end = backend, time.perf_counter() + 2 * patience_s
        self.history: list[Epoch] = []
        self.shares: list[dict[str, float]] = []

    def __call__(self, history: Sequence[Epoch]) -> None:
        self.history = list(history)
        self.shares.append(dict(self._backend.seconds))
        self._backend.seconds.clear()
        if len(history) > 2 and time.perf_counter() > self._end:
            raise _EnoughError

    def mean_shares(self) -> dict[str, float]:
        """Seconds of an epoch after the first: to train, to evaluate, and elsewhere."""
        n_epochs = len(self.shares) - 1
        mean = {
            kind: sum(s for e in self.shares[1:] for name, s in e.items() if name.startswith(kind))
            / n_epochs
            for kind in ("train", "evaluate")
        }
        whole = sum(epoch.seconds for epoch in self.history[1:]) / n_epochs
        return {f"{kind}_s": s for kind, s in mean.items()} | {"host_s": whole - sum(mean.values())}


def training_config(
    case: Case, size: Size, *, n_epochs: int = N_EPOCHS, seed: int = 1
) -> TrainingConfig:
    """LANfactory's default settings for a network and batch size, on as many files as needed."""
    keys = {
        "CPU_BATCH_SIZE": case.batch_size,
        "GPU_BATCH_SIZE": case.batch_size,
        "N_EPOCHS": n_epochs,
        "LAYER_SIZES": [list(case.layer_sizes)],
        "ACTIVATIONS": [["tanh"] * 3],
        "N_TRAINING_FILES": -(-case.n_rows // size.file_rows),
    }
    file = parse_settings(TrainingFile, read_yaml(DEFAULT_PATH) | keys, "bench/gpu.py")
    return select_network(file, network_id=0, model="ddm", seed=seed, where="bench/gpu.py")


def measure_training(
    backend: str,
    record: Recorder,
    size: Size,
    folder: Path,
    *,
    device: str,
    ceilings: Ceilings,
    peak_mib: Any,
) -> None:
    """Rows per second of an epoch of lanflow's training, after the first epoch."""
    data_set = open_data_set(folder)
    wanted = [(case, KEPT) for case in (*size.batches, size.wide)]
    wanted += [(case, STREAMED) for case in (size.batches[-1], size.batches[0])]
    for case, rows in wanted:
        made = _backend(backend, device, rows)
        record.trying(
            f"training, batches of {case.batch_size}, {rows}",
            partial(_measure_one, made, record, size, data_set, case, rows, ceilings, peak_mib),
        )
    for case in size.many:
        backends = [_backend(backend, device, KEPT) for _ in range(case.n_networks)]
        record.trying(
            f"training, {case.n_networks} networks at once",
            partial(_measure_many, backends, record, size, data_set, case, ceilings, peak_mib),
        )


def _backend(name: str, device: str, rows: str) -> Backend:
    """A backend that is given rows from the host, or keeps them on the device."""
    made = make_backend(cast("BackendName", name), device=device, threads=n_cores())
    # A CPU keeps no rows by itself, and a GPU all of these.
    if rows == STREAMED or device == "cpu":
        vars(made)["bytes_for_rows"] = lambda: 2**40 * (rows == KEPT)
    return made


def _measure_many(
    backends: Sequence[Backend],
    record: Recorder,
    size: Size,
    data_set: DataSet,
    case: Case,
    ceilings: Ceilings,
    peak_mib: Any,
) -> None:
    """Epochs of networks of several seeds as one program; of one network, as it is alone.

    The clock runs from the end of an epoch of all of them to the next, validation included.
    """
    jobs = [
        plan_job(training_config(case, size, seed=seed), data_set, backend)
        for seed, backend in enumerate(backends, 1)
    ]
    ends = [time.perf_counter()]
    on_epoch: list[Any] = [lambda _: None for _ in jobs]
    on_epoch[-1] = lambda _: ends.append(time.perf_counter())
    for outcome in fit_together(jobs, size=len(jobs), on_epoch=on_epoch):
        if isinstance(outcome, Exception):
            raise outcome
    seconds = np.diff(ends).tolist()
    record.rate(
        "lanflow, networks at once",
        Case(case.batch_size, len(jobs[0].split.train), case.width, case.n_networks),
        seconds[1:],
        ceilings,
        first_epoch_s=seconds[0],
        peak_mib=peak_mib(),
    )


def _measure_one(
    made: Backend,
    record: Recorder,
    size: Size,
    data_set: DataSet,
    case: Case,
    rows: str,
    ceilings: Ceilings,
    peak_mib: Any,
) -> None:
    backend = TimedBackend(made)
    job = plan_job(training_config(case, size), data_set, backend)
    watch = _Watch(backend, size.patience_s)
    start = time.perf_counter()
    with contextlib.suppress(_EnoughError):
        fit(job, on_epoch=watch)
    # What was trained on, without the rows that were held back to validate.
    trained = Case(case.batch_size, len(job.split.train), case.width)
    record.rate(
        f"lanflow, {rows}",
        trained,
        [epoch.seconds for epoch in watch.history[1:]],
        ceilings,
        first_rows_s=(backend.first_rows or start) - start,
        first_epoch_s=watch.history[0].seconds,
        epoch=watch.mean_shares(),
        peak_mib=peak_mib(),
    )


def measure_host(record: Recorder, size: Size) -> None:
    """What shuffling on the host costs: the order of an epoch, and rows copied in that order."""
    n_rows = size.batches[-1].n_rows
    rng = np.random.default_rng(1)
    rows = rng.random((n_rows, N_INPUTS), dtype=np.float32)
    order = rng.permutation(n_rows)

    def rate(seconds: list[float]) -> list[float]:
        return [n_rows / each for each in seconds]

    record("numpy permutation", "rows/s", rate(repeat(lambda: rng.permutation(n_rows), size)))
    record("numpy take", "rows/s", rate(repeat(lambda: np.take(rows, order, axis=0), size)))
