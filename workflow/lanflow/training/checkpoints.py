"""Progress of a training: its history, and the checkpoint that it continues from.

A checkpoint is one file, an ``.npz`` of plain arrays and one JSON text, so that reading it runs no
code. It is replaced in one step: whenever a training is killed, the file is whole.
"""

import io
import json
import logging
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lanflow.core.files import write_bytes
from lanflow.training.backend import OptimizerState, Weights
from lanflow.training.schedules import ScheduleState

log = logging.getLogger(__name__)

_GROUPS = ("weights", "best_weights", "optimizer_state")


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    Attributes
    ----------
    epoch
        Number, counted from 1.
    train_loss
        Mean over the rows trained on, each before the update by its batch.
    val_loss
        Mean over the validation rows, at the end of the epoch.
    learning_rate
        Rate of the epoch's last update.
    seconds
        Wall time, validation included.
    """

    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to continue to the same bytes.

    Attributes
    ----------
    fingerprint
        Digest of all that decides the training; only the same training continues from it.
    weights, best_weights
        Weights of the last epoch and of the best one.
    optimizer_state
        After the last epoch.
    schedule
        State of the learning rate before the next epoch.
    history
        The finished epochs.
    """

    fingerprint: str
    weights: Weights
    best_weights: Weights
    optimizer_state: OptimizerState
    schedule: ScheduleState
    history: list[Epoch]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it stays until the new one is whole."""
    arrays = {
        f"{group}:{name}": array
        for group in _GROUPS
        for name, array in getattr(checkpoint, group).items()
    }
    state = {
        "fingerprint": checkpoint.fingerprint,
        "schedule": asdict(checkpoint.schedule),
        "history": [asdict(epoch) for epoch in checkpoint.history],
    }
    buffer = io.BytesIO()
    np.savez(buffer, state=np.array(json.dumps(state)), **arrays)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint, or give None where there is none or it cannot be read."""
    if not path.exists():
        return None
    try:
        return _read_checkpoint(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
        log.warning("%s is not a readable checkpoint (%s); starting afresh", path, e)
        return None


def _read_checkpoint(path: Path) -> Checkpoint:
    groups: dict[str, Weights] = {group: {} for group in _GROUPS}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        state = json.loads(str(content["state"]))
        for key in content.files:
            if key != "state":
                group, name = key.split(":", 1)
                groups[group][name] = content[key]
    return Checkpoint(
        fingerprint=state["fingerprint"],
        schedule=ScheduleState(**state["schedule"]),
        # Numbered anew: earlier versions counted from 0.
        history=[Epoch(**{**epoch, "epoch": i}) for i, epoch in enumerate(state["history"], 1)],
        **groups,
    )
