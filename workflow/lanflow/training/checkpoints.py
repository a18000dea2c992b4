"""The state of an unfinished training, on disk in one step.

A checkpoint is an ``.npz`` of plain arrays and one JSON text, so that reading it runs no code.
"""

import io
import json
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lanflow.core.files import write_bytes

log = logging.getLogger(__name__)

_GROUPS = ("weights", "best_weights", "optimizer_state")


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on to the same bytes.

    Attributes
    ----------
    fingerprint
        Of the training it belongs to.
    weights, best_weights, optimizer_state
        Name -> array.
    schedule
        Fields of :class:`lanflow.training.schedules.ScheduleState`.
    history
        Fields of :class:`lanflow.training.backend.Epoch`, one per finished epoch.
    """

    fingerprint: str
    weights: dict[str, np.ndarray]
    best_weights: dict[str, np.ndarray]
    optimizer_state: dict[str, np.ndarray]
    schedule: dict[str, Any]
    history: list[dict[str, Any]]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it stays until the new one is whole."""
    arrays = {
        f"{group}:{name}": array
        for group in _GROUPS
        for name, array in getattr(checkpoint, group).items()
    }
    state = {
        "fingerprint": checkpoint.fingerprint,
        "schedule": checkpoint.schedule,
        "history": checkpoint.history,
    }
    buffer = io.BytesIO()
    np.savez(buffer, state=np.array(json.dumps(state)), **arrays)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint, or give None where there is none or it cannot be read."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            state = json.loads(str(content["state"]))
            groups: dict[str, Any] = {group: {} for group in _GROUPS}
            for key in content.files:
                if key != "state":
                    group, name = key.split(":", 1)
                    groups[group][name] = content[key]
            return Checkpoint(
                fingerprint=state["fingerprint"],
                schedule=state["schedule"],
                history=state["history"],
                **groups,
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
        log.warning("%s is not a readable checkpoint (%s); starting afresh", path, e)
        return None
