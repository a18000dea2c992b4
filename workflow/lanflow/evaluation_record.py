"""The record of an evaluation: what each gate found, the scores, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lanflow.config import Settings, parse_settings
from lanflow.errors import UserError
from lanflow.json_record import read_json

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
