"""A trained network beside its evaluation: what is registered, packed and published."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lanflow import artifacts
from lanflow.errors import UserError
from lanflow.evaluation_record import Evaluation, Gate, read_evaluation
from lanflow.names import require_name

# What of a network's card is shown to those who are given the network.
_CARD_KEYS = {
    *("model", "network_type", "backend", "inputs", "parameters", "bounds", "output"),
    *("output_shape", "units", "layer_sizes", "activations", "n_weights", "best_epoch"),
    *("best_val_loss", "n_epochs", "loss", "seed", "data_digest", "n_parameter_sets", "n_rows"),
    *("run_uuid", "mlflow_run_id", "lanflow_version"),
}

# Of an absolute path, all but its last part; not of an address.
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/]+/)+(?=[^\s/])")


class NotPassedError(UserError):
    """A network without an evaluation of its own, or one that did not pass its gates."""


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network's folder, with an evaluation that belongs to its ONNX file.

    Attributes
    ----------
    folder
        Where it is.
    card
        ``card.json``.
    onnx
        ``model.onnx``.
    evaluation
        ``evaluation.json``, less the folders of the machine that it ran on.
    """

    folder: Path
    card: Mapping[str, Any]
    onnx: bytes
    evaluation: Evaluation

    @property
    def model(self) -> str:
        """The cognitive model."""
        return self.evaluation.model

    @property
    def network_type(self) -> str:
        """``lan``, ``cpn``, ``opn`` or ``gonogo``."""
        return self.evaluation.network_type

    @cached_property
    def onnx_sha256(self) -> str:
        """Which network this is."""
        return hashlib.sha256(self.onnx).hexdigest()

    @property
    def score(self) -> float | None:
        """Mean absolute error against the reference: smaller is better, None where not known.

        Networks of one model and type compare by it.
        """
        scores = self.evaluation.scores
        return None if scores is None else scores.mean_abs_error

    def require_passed(self) -> None:
        """Refuse a network that did not pass its gates.

        Raises
        ------
        NotPassedError
            Naming the gates.
        """
        gates = self.evaluation.failed_gates
        if gates or self.evaluation.verdict != "passed":
            said = ", ".join(describe_gate(gate) for gate in gates) or "its verdict is 'failed'"
            raise NotPassedError(f"{self.folder}: did not pass its gates: {said}")


def describe_gate(gate: Gate) -> str:
    """A gate's verdict in a phrase."""
    said = gate.name if gate.verdict == "failed" else f"{gate.name} {gate.verdict}"
    return f"{said} ({gate.reason})" if gate.reason else said


def read_evaluated(folder: Path) -> EvaluatedNetwork:
    """Read a network's folder.

    Raises
    ------
    NotPassedError
        If it has no evaluation, or one of another network.
    UserError
        If there is no whole network in it.
    """
    card = _read_card(folder / artifacts.CARD)
    onnx = _read_onnx(folder / artifacts.ONNX)
    path = folder / artifacts.EVALUATION
    if not path.exists():
        raise NotPassedError(f"{folder}: has no {path.name}; run 'lanflow evaluate' on it first")
    evaluation = _without_folders(read_evaluation(path))
    network = EvaluatedNetwork(folder, card, onnx, evaluation)
    if evaluation.onnx_sha256 != network.onnx_sha256:
        raise NotPassedError(
            f"{path}: is of another network (sha256 {evaluation.onnx_sha256[:12]}..., but "
            f"{artifacts.ONNX} has {network.onnx_sha256[:12]}...); run 'lanflow evaluate' again"
        )
    for key in ("model", "network_type"):
        evaluated = getattr(evaluation, key)
        if evaluated != card[key]:
            raise NotPassedError(
                f"{path}: the network was evaluated as {key} {evaluated!r}, but its card says "
                f"{card[key]!r}"
            )
    return network


def _without_folders(evaluation: Evaluation) -> Evaluation:
    """The same with names of files alone where a reason names folders of the machine."""
    gates = [
        gate.model_copy(update={"reason": _FOLDERS.sub("", gate.reason)})
        for gate in evaluation.gates
    ]
    return evaluation.model_copy(update={"gates": gates})


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text())
    except FileNotFoundError as e:
        raise UserError(
            f"{path.parent}: holds no trained network (no {path.name}); expected a folder like "
            "results/networks/lan/ddm/lan_jax"
        ) from e
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: cannot be read ({e})") from e
    missing = sorted(_CARD_KEYS - card.keys()) if isinstance(card, dict) else sorted(_CARD_KEYS)
    if missing:
        raise UserError(f"{path}: is not a network's card (it lacks {', '.join(missing)})")
    for key in ("model", "network_type"):  # become folders of a bundle
        require_name(card[key], f"{path}: {key}")
    return dict(card)


def _read_onnx(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as e:
        raise UserError(f"{path.parent}: has no {path.name}; train it with --export-onnx") from e
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
