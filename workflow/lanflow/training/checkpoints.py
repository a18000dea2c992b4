"""Checkpoints, from which a training continues, and networks, from which another begins.

A checkpoint is one file, an ``.npz`` of plain arrays and one JSON text, so that reading it runs no
code. It is replaced in one step: whenever a training is killed, the file is whole.
"""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.files import read_json, write_bytes
from lanflow.core.names import FINISHED_CHECKPOINT
from lanflow.data.dataset import DataSet
from lanflow.models.definition import Definition
from lanflow.networks import folder as network_folder
from lanflow.networks.card import FOLDER_HINT, Card, StartedFrom, read_card
from lanflow.networks.folder import read_part
from lanflow.networks.types import NETWORK_TYPES
from lanflow.training.backend import OptimizerState, Weights
from lanflow.training.backends.choose import make_backend
from lanflow.training.config import TrainingConfig
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
    n_stacked
        Networks that were trained as one program, this one included.
    """

    fingerprint: str
    weights: Weights
    best_weights: Weights
    optimizer_state: OptimizerState
    schedule: ScheduleState
    history: list[Epoch]
    n_stacked: int = 1


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
        **({"n_stacked": checkpoint.n_stacked} if checkpoint.n_stacked > 1 else {}),
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
        log.warning("%s is not a readable checkpoint (%s); it is not used", path, e)
        return None


def _read_checkpoint(path: Path) -> Checkpoint:
    groups: dict[str, Weights] = {group: {} for group in _GROUPS}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        state = json.loads(str(content["state"]))
        for key in content.files:
            if key != "state":
                group, name = key.split(":", 1)
                groups[group][name] = content[key]
    _require_fitting(**groups)
    return Checkpoint(
        fingerprint=state["fingerprint"],
        schedule=ScheduleState(**state["schedule"]),
        # Numbered anew: earlier versions counted from 0.
        history=[Epoch(**{**epoch, "epoch": i}) for i, epoch in enumerate(state["history"], 1)],
        n_stacked=int(state.get("n_stacked", 1)),
        **groups,
    )


def _require_fitting(
    weights: Weights, best_weights: Weights, optimizer_state: OptimizerState
) -> None:
    """Refuse arrays that do not fit together: a backend writes into them without looking.

    Raises
    ------
    ValueError
        Naming the arrays.
    """
    of_weights = _shapes(weights)
    of_adam = {f"{moment}/{name}": s for moment in ("mu", "nu") for name, s in of_weights.items()}
    if _shapes(best_weights) != of_weights:
        raise ValueError("best_weights are not of the shapes of weights")
    if optimizer_state and _shapes(optimizer_state) != {"count": (), **of_adam}:
        raise ValueError("optimizer_state is not of the shapes of weights")
    moments = {name: array for name, array in optimizer_state.items() if name != "count"}
    for array in (*weights.values(), *best_weights.values(), *moments.values()):
        if array.dtype != np.float32:
            raise ValueError(f"an array is of {array.dtype}, not of float32")


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def have_same_shapes(weights: Weights, others: Weights) -> bool:
    """True if two networks' weights have the same names and shapes."""
    return _shapes(weights) == _shapes(others)


# Going on from a network that exists.


@dataclass(frozen=True)
class Start:
    """Weights that a training begins from in place of random ones.

    Attributes
    ----------
    record
        The network that they come from.
    weights
        Its best ones.
    optimizer_state
        That belongs to them; empty is a fresh optimiser.
    """

    record: StartedFrom
    weights: Weights
    optimizer_state: OptimizerState


def read_start(
    folder: Path, config: TrainingConfig, data_set: DataSet, definition: Definition | None
) -> Start:
    """Read the network that a training is to go on from.

    The optimiser goes on, too, where its state belongs to these weights: the best epoch was the
    last, and the folder still has the checkpoint of its training.

    Parameters
    ----------
    folder
        Of the network, as either backend left it.
    config, data_set, definition
        Of the training that is to begin: settings, data, and definition of its model.

    Raises
    ------
    UserError
        If it is no network, or not one of the same model, type and shape.
    """
    card = read_card(folder / network_folder.CARD)
    differences = _differences(card, config, data_set, definition)
    if differences:
        raise UserError(f"--from {folder}: cannot be gone on from: {'; '.join(differences)} here")
    weights, content = _read_weights(folder, card)
    before = read_json(folder / network_folder.CONFIG, hint=FOLDER_HINT)
    if card.data_digest == data_set.digest and before.get("seed") != config.seed:
        log.warning(
            "%s learnt from other rows of the same data, since its seed was %s: some are validated "
            "on now, and the validation loss is too good",
            folder,
            before.get("seed"),
        )
    state = {}
    if before.get("optimizer") == config.optimizer:
        state = _optimizer_state(folder, weights)
    earlier = 0 if card.started_from is None else card.started_from.n_epochs
    onnx = folder / network_folder.ONNX
    record = StartedFrom(
        network=folder.absolute().name,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        onnx_sha256=hashlib.sha256(onnx.read_bytes()).hexdigest() if onnx.exists() else None,
        data_digest=card.data_digest,
        run_uuid=card.run_uuid,
        mlflow_run_id=card.mlflow_run_id,
        n_epochs=earlier + card.n_epochs,
        has_optimizer_state=bool(state),
    )
    log.info(
        "going on from %s (%d epochs), its best weights%s",
        folder,
        record.n_epochs,
        " and its optimiser" if state else " with a fresh optimiser",
    )
    return Start(record, weights, state)


def _differences(
    card: Card, config: TrainingConfig, data_set: DataSet, definition: Definition | None
) -> list[str]:
    """In what a network is not one of the training's, in words."""
    its_model, our_model = (
        None if each is None else each.identity() for each in (card.definition, definition)
    )
    pairs: dict[str, tuple[object, object]] = {
        "model": (card.model, config.model),
        "network type": (card.network_type, config.network_type),
        "parameters": (card.parameters, list(data_set.parameters)),
        "definition of the model": (its_model, our_model),
        "layers": (card.layer_sizes, list(config.layer_sizes)),
        "activations": (card.activations, [*config.activations, "linear"]),
    }
    return [
        f"{what} {_in_words(its)} there and {_in_words(ours)}"
        for what, (its, ours) in pairs.items()
        if its != ours
    ]


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read_weights(folder: Path, card: Card) -> tuple[Weights, bytes]:
    """The best weights of a network, and the file that they are in."""
    backend = make_backend(card.backend, device="cpu", threads=1)
    path = folder / f"{network_folder.WEIGHTS[0]}.{backend.weights_suffix}"
    content = read_part(path, FOLDER_HINT)
    try:
        weights = backend.read_native_weights(content)
    except ValueError as e:
        raise UserError(f"{path}: {e}") from e
    # Of several choices, the choice is an input of the exported network only.
    n_inputs = len(card.parameters) + 2 * NETWORK_TYPES[card.network_type].has_trial
    sizes = [n_inputs, *card.layer_sizes]
    for i, shape in enumerate(itertools.pairwise(sizes)):
        for name, expected in ((f"layers_{i}/kernel", shape), (f"layers_{i}/bias", shape[1:])):
            if name not in weights or weights[name].shape != expected:
                raise UserError(f"{path}: {name} is not of shape {expected}, as card.json says")
    return weights, content


def _optimizer_state(folder: Path, weights: Weights) -> OptimizerState:
    """The optimiser's state after the epoch of these weights; empty where it is not known."""
    checkpoint = load_checkpoint(folder / FINISHED_CHECKPOINT)
    if checkpoint is None or checkpoint.weights.keys() != weights.keys():
        return {}
    is_of_these = all(np.array_equal(checkpoint.weights[name], weights[name]) for name in weights)
    return checkpoint.optimizer_state if is_of_these else {}


def continues_finished(
    folder: Path, *, fingerprint: Callable[[], str], n_epochs: int, starts_elsewhere: bool
) -> bool:
    """Find out whether this very training finished, and its network was removed or lacks epochs.

    Snakemake removes a job's outputs before it repeats the job. It also repeats a job that finished
    after Snakemake itself was killed. Training from the start would give the same bytes as going on
    from the end.

    Parameters
    ----------
    folder
        Of the network.
    fingerprint
        Computes the fingerprint of the job that is about to train.
    n_epochs
        Epochs that it is to have.
    starts_elsewhere
        Whether it begins from another network.
    """
    n_before = _n_finished_epochs(folder)
    is_begun = (folder / network_folder.CHECKPOINT).exists()
    if is_begun or (n_before is not None and n_before >= n_epochs):
        return False
    checkpoint = load_checkpoint(folder / FINISHED_CHECKPOINT)
    is_same = checkpoint is not None and checkpoint.fingerprint == fingerprint()
    if checkpoint is None or not is_same or len(checkpoint.history) > n_epochs:
        if n_before is not None and not starts_elsewhere:
            log.warning(
                "%s holds a finished network of %d epochs, of other settings, data, device or "
                "versions; it is trained anew from the start. To go on from its weights instead, "
                "give --from %s and another --network-name",
                *(folder, n_before, folder),
            )
        return False
    if n_before is None:
        log.info("this training finished before, and its network was removed; writing it again")
    else:
        log.info("%s finished with %d epochs; going on to %d", folder, n_before, n_epochs)
    return True


def _n_finished_epochs(folder: Path) -> int | None:
    """Epochs of the finished network in a folder; None if there is none that can be read."""
    with contextlib.suppress(UserError):
        return read_card(folder / network_folder.CARD).n_epochs
    return None


def take_out_finished(folder: Path) -> None:
    """Continue from the last checkpoint of the finished training in a folder."""
    (folder / FINISHED_CHECKPOINT).replace(folder / network_folder.CHECKPOINT)


def put_away_finished(folder: Path) -> None:
    """Hide the last checkpoint of a finished training, for :func:`continues_finished`."""
    with contextlib.suppress(FileNotFoundError):
        (folder / network_folder.CHECKPOINT).replace(folder / FINISHED_CHECKPOINT)
