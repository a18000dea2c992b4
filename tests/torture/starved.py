"""Commands that run short of disk, memory or a worker: what they work on, and how they end."""

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lanflow.core.files import write_json
from lanflow.data.locate import Places
from lanflow.data.prepare import freeze, materialise_once
from tests.conftest import TRAINING_YAML, write_training_file

_CALL = {
    "lanflow": "from lanflow.cli.main import main",
    "jaxtrain": "from lanflow.cli.train import jaxtrain as main",
    "torchtrain": "from lanflow.cli.train import torchtrain as main",
}
GENERATION_YAML = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 60, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 200, "DELTA_T": 0.001},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 500},
    "ESTIMATOR": {"TYPE": "analytic"},
}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, None if it hung; and all that it wrote to its streams."""

    status: int | None
    seconds: float
    text: str

    @property
    def is_told(self) -> bool:
        """Whether it ended with a message, not a traceback and not a signal."""
        is_bug = "Traceback" in self.text or "unexpected error" in self.text
        return self.status is not None and self.status >= 0 and not is_bug

    @property
    def last_line(self) -> str:
        """What a person reads last."""
        return (self.text.strip().splitlines() or [""])[-1][:300]


def make_inputs(folder: Path) -> Path:
    """Two YAMLs, two training files, their manifest and data set; made once."""
    if folder.exists():
        return folder
    for i in range(2):
        path = folder / "files" / f"training_data_{i}.pickle"
        write_training_file(path, seed=i, n_sets=60, n_per_set=100)
    (folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, "N_EPOCHS": 2}))
    (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    packed = materialise_once(manifest, folder / "cache")
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    packed.data_set.folder.rename(folder / "data_set")
    return folder


def train_words(backend: str, inputs: Path, networks: Path, *more: str | Path) -> list[str]:
    """A training of the inputs into a folder of networks."""
    words = [f"{backend}train", "--config-path", inputs / "training.yaml", "--device", "cpu"]
    words += ["--data-set", inputs / "data_set", "--manifest", inputs / "manifest.json"]
    words += ["--networks-path-base", networks, "--network-name", "n", "--run-uuid", "u"]
    return [*map(str, words), "--threads", "1", *map(str, more)]


def generate_words(inputs: Path, folder: Path, *more: str | Path) -> list[str]:
    """A generation of two files into a folder."""
    words = ["lanflow", "generate", "--config-path", inputs / "generation.yaml"]
    words += ["--output", folder, "--n-files", "2", *more]
    return list(map(str, words))


def run_command(
    words: Sequence[str],
    *,
    place: Path,
    limits: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None,
    timeout: float = 120,
) -> Ended:
    """Run a command in a process group of its own, which ends with it.

    Parameters
    ----------
    words
        The program and its arguments.
    place
        Its working folder.
    limits
        Of resources, such as ``RLIMIT_AS``, that the new process sets before it loads anything.
    environment
        Variables besides those of this process.
    meanwhile
        Called while it runs.
    timeout
        Seconds after which it counts as hung, and is killed.
    """
    place.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "LANFLOW_"))}
    limited = "".join(
        f"resource.setrlimit(resource.{name}, ({most}, {most})); "
        for name, most in (limits or {}).items()
    )
    start = time.monotonic()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import resource; {limited}{_CALL[words[0]]}; raise SystemExit(main())",
            *words[1:],
        ],
        cwd=place,
        env={**kept, "LANFLOW_STORE_PATIENCE": "2", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if meanwhile is not None:
        meanwhile(process)
    try:
        text, _ = process.communicate(timeout=timeout)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        status = None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if status is None:
        text, _ = process.communicate()
    return Ended(status, time.monotonic() - start, text.decode(errors="replace"))


def statuses(database: Path) -> list[str]:
    """The status of every run of an SQLite store."""
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return [status for (status,) in connection.execute("SELECT status FROM runs")]
        except sqlite3.OperationalError:  # not yet a store
            return []


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """Sha256 of the files in a folder that match, by their paths in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def hidden_leftovers(folder: Path) -> list[str]:
    """Temporary files of lanflow that lie about."""
    kept = (".finished.npz", ".finished.json", ".sent_runs")
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if path.name not in kept and ".sent_runs" not in path.parts
    )
