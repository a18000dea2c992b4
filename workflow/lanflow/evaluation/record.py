"""The record of an evaluation: what each gate found, the scores, and the verdict."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lanflow.core.errors import UserError
from lanflow.core.files import read_json
from lanflow.core.names import require_name
from lanflow.core.settings import Settings, parse_settings
from lanflow.networks import folder as network_folder

EVALUATION_VERSION = 1

Verdict = Literal["passed", "failed", "skipped"]
Number = float | int | None


class Gate(Settings):
    """What one gate found. A skipped gate is never a passed one."""

    name: str = Field(description="structure, parity, density, analytic, tails or hssm")
    verdict: Verdict
    reason: str = Field(description="why it failed or was skipped; empty where it passed")
    is_essential: bool = Field(description="a network passes only if this gate was not skipped")
    numbers: dict[str, Number] = Field(description="what was measured; null where not finite")
    limits: dict[str, Number] = Field(
        description="for numbers of the same names, the largest that passes"
    )


class Scores(Settings):
    """Errors of the network's output against the reference.

    Of a likelihood network: true less network's log-likelihood (nats), of trials simulated at
    random parameters inside the box. Of the others: true less network's probability, at random
    parameters inside the box.
    """

    unit: Literal["nats", "probability"]
    n_sets: int = Field(description="parameter vectors")
    n_rows: int = Field(description="trials, or parameter vectors where there are no trials")
    mean_abs_error: Number
    median_abs_error: Number
    p99_abs_error: Number
    mean_difference: Number = Field(description="true less network")


class ReferenceRecord(Settings):
    """What the network was compared with."""

    source: Literal["analytic", "solver", "kde"]
    description: str


class EvaluationSettings(Settings):
    """How much was looked at."""

    n_sets: int = Field(description="parameter vectors of the scores")
    rows: int = Field(description="trials of each")
    n_simulated_sets: int = Field(description="parameter vectors of the density gate")


class Evaluation(Settings):
    """One network's evaluation, as ``evaluation.json`` holds it."""

    evaluation_version: Literal[1]
    model: str
    network_type: Literal["lan", "cpn", "opn", "gonogo"]
    backend: str | None = Field(description="null for an ONNX file from elsewhere")
    data_digest: str | None
    onnx_sha256: str
    verdict: Literal["passed", "failed"]
    gates: list[Gate]
    scores: Scores | None = Field(description="null where the network could not be run")
    reference: ReferenceRecord
    settings: EvaluationSettings
    seed: int
    versions: dict[str, str]

    @property
    def failed_gates(self) -> list[Gate]:
        """The gates for which the network did not pass: failed ones, essential ones skipped."""
        return [gate for gate in self.gates if stops(gate)]


def stops(gate: Gate) -> bool:
    """Whether a gate keeps its network from passing."""
    return gate.verdict == "failed" or (gate.verdict == "skipped" and gate.is_essential)


def verdict_of(gates: Sequence[Gate]) -> Literal["passed", "failed"]:
    """``passed`` if no gate failed and no essential one was skipped."""
    return "failed" if any(stops(gate) for gate in gates) else "passed"


def parse_evaluation(content: Mapping[str, Any], where: str) -> Evaluation:
    """Check an evaluation's shape.

    Raises
    ------
    UserError
        Naming the file and the key.
    """
    found = content.get("evaluation_version")
    if found != EVALUATION_VERSION:
        raise UserError(
            f"{where}: evaluation_version is {found!r}, this lanflow reads {EVALUATION_VERSION}; "
            "run 'lanflow evaluate' again"
        )
    return parse_settings(Evaluation, content, where)


def read_evaluation(path: Path) -> Evaluation:
    """Read an ``evaluation.json``.

    Raises
    ------
    UserError
        If it is missing, damaged, or of another version.
    """
    return parse_evaluation(read_json(path), str(path))


def check_gates(records: Mapping[str, Evaluation]) -> None:
    """Refuse networks that do not pass.

    Parameters
    ----------
    records
        Evaluations by file.

    Raises
    ------
    UserError
        Naming each network's gates and numbers.
    """
    lines = [
        f"{path}: gate {gate.name} {gate.verdict}: {gate.reason}"
        for path, record in records.items()
        for gate in record.failed_gates
    ]
    if lines:
        n_failing = sum(record.verdict == "failed" for record in records.values())
        raise UserError(
            "\n".join([f"{n_failing} of {len(records)} network(s) do not pass their gates", *lines])
        )


# A trained network beside its evaluation: what is registered, packed and published.


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
    card = _read_card(folder / network_folder.CARD)
    onnx = _read_onnx(folder / network_folder.ONNX)
    path = folder / network_folder.EVALUATION
    if not path.exists():
        raise NotPassedError(f"{folder}: has no {path.name}; run 'lanflow evaluate' on it first")
    evaluation = _without_folders(read_evaluation(path))
    network = EvaluatedNetwork(folder, card, onnx, evaluation)
    if evaluation.onnx_sha256 != network.onnx_sha256:
        raise NotPassedError(
            f"{path}: is of another network (sha256 {evaluation.onnx_sha256[:12]}..., but "
            f"{network_folder.ONNX} has {network.onnx_sha256[:12]}...); run 'lanflow evaluate' "
            "again"
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


# An evaluation as a table for a person.


def format_evaluation(record: Evaluation) -> str:
    """Gates with numbers and limits, scores, the verdict."""
    what = f"{record.model} {record.network_type}" + (f" ({record.backend})" * bool(record.backend))
    lines = [f"{what}, against {record.reference.description}", ""]
    for gate in record.gates:
        lines.append(f"{gate.name:11}{gate.verdict:9}{gate.reason}".rstrip())
        lines += [f"  {line}" for line in _numbers(gate)]
    if record.scores is not None:
        scores = record.scores
        true = "log-likelihood (nats)" if scores.unit == "nats" else "probability"
        lines += [
            "",
            f"error of the {true}, {scores.n_rows:,} rows at {scores.n_sets:,} parameter vectors:",
            f"  mean absolute       {_show(scores.mean_abs_error)}",
            f"  median absolute     {_show(scores.median_abs_error)}",
            f"  99th percentile     {_show(scores.p99_abs_error)}",
            f"  mean (true - network) {_show(scores.mean_difference)}",
        ]
    return "\n".join([*lines, "", f"verdict: {record.verdict}"])


def _numbers(gate: Gate) -> list[str]:
    lines = []
    for key, value in gate.numbers.items():
        limit = f"   at most {_show(gate.limits[key])}" if key in gate.limits else ""
        lines.append(f"{key:28}{_show(value):>12}{limit}")
    return lines


def _show(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
