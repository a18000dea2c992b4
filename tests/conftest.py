"""What tests share: training files made by hand, packed data sets, training settings."""

import os

# Files of tests run side by side: threads that spin while they wait would take cores from others.
# OpenBLAS's always spin, and it decides on their number when numpy is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Without bytecode each of a thousand commands would compile what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import gc
import hashlib
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from lanflow.core.settings import parse_settings
from lanflow.data.locate import Places
from lanflow.data.prepare import PackedData, freeze, materialise_once
from lanflow.models.simulators import find_model
from lanflow.tracking.store import Store, resolve_store
from lanflow.training.backend import Backend
from lanflow.training.backends import choose
from lanflow.training.config import TrainingConfig, TrainingFile, select_network
from lanflow.training.job import TrainingJob, plan_job
from lanflow.training.prepare import TrainingOptions
from tests import prepared_commands
from tests.cluster.services import missing_packages
from tests.hub import Hub, serve
from tests.scheduling import GroupScheduling, group_of, rank
from tests.shared import made_once

# A test run in the background ignores SIGINT, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]

BACKENDS: tuple[Literal["jax", "torch"], ...] = ("jax", "torch")

TRAINING_YAML: dict[str, Any] = {
    "NETWORK_TYPE": "lan",
    "CPU_BATCH_SIZE": 64,
    "GPU_BATCH_SIZE": 64,
    "OPTIMIZER_": "adam",
    "N_EPOCHS": 3,
    "MODEL": "ddm",
    "SHUFFLE": True,
    "LAYER_SIZES": [[16, 16, 1]],
    "ACTIVATIONS": [["tanh", "tanh"]],
    "WEIGHT_DECAY": 0.0,
    "TRAIN_VAL_SPLIT": 0.8,
    "N_TRAINING_FILES": 100,
    "LABELS_LOWER_BOUND": "np.log(1e-7)",
    "LEARNING_RATE": 0.01,
    "LR_SCHEDULER": "reduce_on_plateau",
    "LR_SCHEDULER_PARAMS": {"factor": 0.1, "patience": 2, "threshold": 0.001, "min_lr": 1e-8},
}


def training_config(*, seed: int = 1, network_id: int = 0, **keys: Any) -> TrainingConfig:
    """Settings of one training; keyword arguments replace keys of the YAML above."""
    file = parse_settings(TrainingFile, {**TRAINING_YAML, **keys}, "training.yaml")
    return select_network(file, network_id=network_id, model=None, seed=seed, where="training.yaml")


def make_backend(name: str) -> Backend:
    """A backend on one thread of the CPU."""
    return choose.make_backend(name, device="cpu", threads=1)


def training_job(
    data: PackedData,
    backend: Backend,
    *,
    checkpoint_path: Path | None = None,
    memory_mb: int = 4000,
    seed: int = 1,
    network_id: int = 0,
    **keys: Any,
) -> TrainingJob:
    """A training of packed data; keyword arguments replace keys of the YAML above."""
    config = training_config(seed=seed, network_id=network_id, **keys)
    return plan_job(
        config, data.data_set, backend, checkpoint_path=checkpoint_path, memory_mb=memory_mb
    )


def training_options(
    folder: Path,
    packed: PackedData,
    *,
    backend: Literal["jax", "torch"] = "torch",
    keys: dict[str, Any] | None = None,
    **options: Any,
) -> TrainingOptions:
    """Options of a training of packed data into ``folder``; ``keys`` replace those of the YAML."""
    config_path = folder / "training.yaml"
    config_path.write_text(yaml.safe_dump({**TRAINING_YAML, **(keys or {})}))
    data_set = packed.data_set.folder
    given: dict[str, Any] = {
        "networks_path_base": folder / "networks",
        "config_path": config_path,
        "data_set": data_set,
        "manifest": data_set / "manifest.json",
        "network_name": "net",
        "device": "cpu",
    }
    return TrainingOptions(backend=backend, **{**given, **options})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Let a report hold names that are no text: pytest-xdist sends reports as UTF-8."""
    outcome = yield
    report = outcome.get_result()
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]


def training_file_content(
    *, seed: int = 0, n_sets: int = 10, n_per_set: int = 20, model: str = "ddm"
) -> dict[str, Any]:
    """What a training file of ssm-simulators holds, with made-up densities."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform([-3, 0.3, 0.1, 0], [3, 2.5, 0.9, 2], size=(n_sets, 4)).astype("f4")
    rows = np.repeat(theta, n_per_set, axis=0)
    trial = np.stack([rng.uniform(0, 5, len(rows)), rng.choice([-1, 1], len(rows))], axis=1)
    features = np.concatenate([rows, trial.astype("f4")], axis=1)
    shares = (1 / (1 + np.exp(-theta[:, :1] * theta[:, 1:2]))).astype("f4")
    return {
        "lan_data": features,
        "lan_labels": (-((features[:, 4] - features[:, 1]) ** 2)).astype("f4"),
        "cpn_data": theta,
        "cpn_labels": shares,
        "opn_data": theta,
        "opn_labels": (1 - shares) / 4,
        "gonogo_data": theta,
        "gonogo_labels": 1 - shares,
        "theta": theta,
        "generator_config": {"model": model, "estimator": {"type": "kde"}},
        "model_config": {
            "name": model,
            "params": ["v", "a", "z", "t"],
            "param_bounds": [[-3.0, 0.3, 0.1, 0.0], [3.0, 2.5, 0.9, 2.0]],
            "nchoices": 2,
        },
    }


def write_training_file(path: Path, content: dict[str, Any] | None = None, **keys: Any) -> Path:
    """Write a training file; keyword arguments go to :func:`training_file_content`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content or training_file_content(**keys), protocol=4))
    return path


def lose_an_interruption(number: signal.Signals) -> None:
    """Let a signal arrive inside a callback of the garbage collector, whose errors are printed."""

    def interrupted(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            gc.callbacks.remove(interrupted)
            signal.raise_signal(number)

    told: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, told.append
    gc.callbacks.append(interrupted)
    try:
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert len(told) == 1  # Python told of it, and went on


def content_of_run(client: Any, run_id: str) -> dict[str, Any]:
    """All that a run is in MLflow, less what no two runs share: ids, times, who and where."""
    run = client.get_run(run_id)
    files: dict[str, bytes | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(client.download_artifacts(run_id, "", folder))
        for path in root.rglob("*"):
            is_timed = path.name in ("run.json", "card.json") or "history" in path.name
            if path.is_file():
                is_own = is_timed or "curve" in path.name or "inventory" in path.name
                files[str(path.relative_to(root))] = None if is_own else path.read_bytes()
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    tags = {k: v for k, v in run.data.tags.items() if k not in ("lanflow.run_key", "run_uuid")}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "experiment": run.info.experiment_id,
        "params": dict(run.data.params),
        "tags": tags,
        "history": history,
        "files": files,
        "data_sets": [each.to_dictionary() for each in run.inputs.dataset_inputs],
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder_of_files(tmp_path: Path) -> Path:
    """Three training files of one model, with different parameter sets."""
    folder = tmp_path / "files"
    for i in range(3):
        write_training_file(folder / f"training_data_{i}.pickle", seed=i)
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    """Three files of ten parameter sets each, packed; nobody writes to them."""
    return pack(tmp_path_factory.mktemp("packed"))


def pack(folder: Path) -> PackedData:
    """Make three files of ten parameter sets each in a folder, and pack them there."""
    for i in range(3):
        write_training_file(folder / "files" / f"training_data_{i}.pickle", seed=i)
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    return materialise_once(manifest, folder / "cache")


@pytest.fixture(scope="session")
def _prepared_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store without experiments; making one takes MLflow seconds, copying it none."""
    from lanflow.tracking.client import connect

    def make(folder: Path) -> None:
        connect(resolve_store(uri=f"sqlite:///{folder / 'mlflow.db'}"))

    return made_once(tmp_path_factory, "store", make) / "mlflow.db"


@pytest.fixture(scope="session")
def quick_commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of lanflow's and Snakemake's commands that need not import what takes seconds."""
    is_one_of_several = "PYTEST_XDIST_WORKER" in os.environ
    owner = os.getppid() if is_one_of_several else os.getpid()
    return made_once(
        tmp_path_factory, "commands", lambda folder: prepared_commands.start(folder, owner=owner)
    )


@pytest.fixture
def store(_prepared_database: Path, tmp_path: Path) -> Store:
    """An MLflow store of the test's own."""
    path = tmp_path / "mlflow.db"
    shutil.copy(_prepared_database, path)
    return resolve_store(uri=f"sqlite:///{path}")


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the store that a developer's shell points at, or waits for one."""
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_LOCATION", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("LANFLOW_MLFLOW_SEND", "LANFLOW_STORE_CONTACTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANFLOW_STORE_PATIENCE", "0")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out, and why; in CI they would have failed instead."""
    missing = [] if os.environ.get("CI") else missing_packages()
    if missing:
        terminalreporter.section("left out")
        for path in sorted((REPOSITORY / "tests" / "cluster").glob("test_*.py")):
            terminalreporter.line(f"{path.relative_to(REPOSITORY)}: needs {', '.join(missing)}")
        terminalreporter.line("as root on Debian or Ubuntu: .ci/install-system-packages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes long."""
    slow = {group_of(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (rank(item.nodeid), group_of(item.nodeid) not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Tests that share a fixture share a worker."""
    return GroupScheduling(config, log)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty repository ``lab/networks`` on a stand-in for the Hugging Face hub."""
    with serve(Hub()) as served:
        place = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", place)
        # Its other protocol for large files, of which the stand-in knows nothing.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield served


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Sets the hub's token; there is none before, whoever the developer is."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return lambda text: monkeypatch.setenv("HF_TOKEN", text)


@pytest.fixture
def without_ssms(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssm-simulators is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "ssms"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ssms", None)
    find_model.cache_clear()
