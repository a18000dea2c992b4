"""The names of all files a training writes, and writing them.

A network has a folder of its own with plain names, and beside it the files that LANfactory's
loaders and publishing scripts look for, with LANfactory's names and contents (version 0.7.0, and
``__model.onnx`` for JAX as newer versions have it).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import write_text
from lanflow.core.names import (
    FINISHED,
    FINISHED_CHECKPOINT,
    SENT_RUNS,
    UNFINISHED,
    UNSENT_RUNS,
    require_name,
)

# Names in a network's folder; the workflow's rules use them too.
ONNX = "model.onnx"
HISTORY = "history.csv"
CONFIG = "config.json"
LINEAGE = "training_data_lineage.json"
CARD = "card.json"
CURVE = "training_curve.png"
PLOTS = {name: f"plot_{name}.png" for name in ("density", "sweep", "error", "calibration")}
RECORD = "run.json"
MODELS_FILE = "models_file.py"  # a copy of the user's file that defines the model, if one does
TRAINED = (ONNX, HISTORY, CONFIG, LINEAGE, CARD, RECORD, CURVE)  # what a training leaves
EVALUATION, SCORES = "evaluation.json", "evaluation.npz"  # of 'lanflow evaluate'
RECOVERY, RECOVERY_PLOT = "recovery.json", "recovery.png"  # of 'lanflow recover'
CHECKPOINT = "checkpoint.npz"
LOCK = ".lock"  # held by the process that writes in the folder
WEIGHTS = "weights_best", "weights_last"
WEIGHTS_FILES = tuple(f"{name}.{suffix}" for name in WEIGHTS for suffix in ("jax", "pt"))

# All that lanflow writes into a network's folder.
IN_NETWORK_FOLDER = (
    *(ONNX, HISTORY, CONFIG, LINEAGE, CARD, CURVE, RECORD, CHECKPOINT, UNFINISHED),
    *(*WEIGHTS_FILES, *PLOTS.values(), EVALUATION, SCORES, RECOVERY, RECOVERY_PLOT),
    MODELS_FILE,
    *(LOCK, FINISHED_CHECKPOINT, FINISHED, f"{UNSENT_RUNS}/", f"{SENT_RUNS}/"),
)


@dataclass(frozen=True)
class NetworkPlace:
    """The place of one training's files.

    Attributes
    ----------
    base
        ``--networks-path-base``.
    network_type, model
        Folders under it, as in LANfactory.
    name
        The network's own folder under those.
    run_uuid
        Stands in the names of LANfactory's files.

    Raises
    ------
    UserError
        If one of them is not a name, and would lead elsewhere.
    """

    base: Path
    network_type: str
    model: str
    name: str
    run_uuid: str

    def __post_init__(self) -> None:
        for text, what in (
            (self.network_type, "network type"),
            (self.model, "model"),
            (self.run_uuid, "run uuid"),
            (self.name, "name of the network"),
        ):
            require_name(text, what)

    @property
    def shared_folder(self) -> Path:
        """The folder of LANfactory's files."""
        return self.base / self.network_type / self.model

    @property
    def folder(self) -> Path:
        """The network's own folder."""
        return self.shared_folder / self.name

    def lanfactory_path(self, backend: str, kind: str) -> Path:
        """Path of one of LANfactory's files.

        Parameters
        ----------
        backend
            ``jax`` or ``torch``; LANfactory names their files differently.
        kind
            ``network_config``, ``history``, ``weights``, ``train_config``, ``data_details`` or
            ``model``.
        """
        run, kind_of, model = self.run_uuid, self.network_type, self.model
        if kind == "network_config":
            return self.shared_folder / f"{run}_{kind_of}_{model}_network_config.pickle"
        if backend == "jax":
            stem, names = (
                f"{run}_{kind_of}_{model}_",
                {
                    "history": "_jax_training_history.csv",
                    "weights": "_train_state.jax",
                    "train_config": "_train_config.pickle",
                    "data_details": "_data_details.pickle",
                    "model": "_model.onnx",
                },
            )
        else:
            stem, names = (
                f"{model}_{kind_of}_{run}",
                {
                    "history": "_training_history.csv",
                    "weights": "_train_state_dict.pt",
                    "train_config": "_train_config.pickle",
                    "data_details": "_data_details.pickle",
                    "model": "_model.onnx",
                },
            )
        return self.shared_folder / (stem + names[kind])


def history_csv(history: Sequence[Any]) -> str:
    """A training's history as CSV: epoch (from 1), train_loss, val_loss, learning_rate, seconds."""
    buffer = io.StringIO()
    columns = ["epoch", "train_loss", "val_loss", "learning_rate", "seconds"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for epoch in history:
        writer.writerow({**asdict(epoch), "seconds": round(epoch.seconds, 3)})
    return buffer.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a ``history.csv``."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def save_history(folder: Path, history: Sequence[Any]) -> Path:
    """Write ``history.csv`` into a network's folder."""
    write_text(folder / HISTORY, history_csv(history))
    return folder / HISTORY


def read_part(path: Path, hint: str) -> bytes:
    """Read a file of a network's folder.

    Parameters
    ----------
    path
        The file.
    hint
        What to do if it is not there.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}); {hint}") from e
