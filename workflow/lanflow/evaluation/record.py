"""The record of an evaluation: what each gate found, the scores, and the verdict."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lanflow.core.errors import GatesError, UserError
from lanflow.core.files import read_json
from lanflow.core.settings import Settings, parse_settings
from lanflow.core.tables import plain_table
from lanflow.networks import folder as network_folder

if TYPE_CHECKING:
    from lanflow.networks.network import Network

# Names of the numbers for people, in every table and text.
MEASURES = {
    "mean_abs_error": "mean absolute error",
    "median_abs_error": "median absolute error",
    "p99_abs_error": "99th percentile of the absolute error",
    "mean_difference": "mean difference, network less reference",
    "abs_mean_difference": "absolute mean difference",
    "mean_mass_error": "mean deviation of the total probability from one",
    "max_mass_error": "largest deviation of the total probability from one",
    "distance_ratio": "distance from simulations, over that between two simulations",
    "max_corner_mass": "largest total probability at a corner of the bounds",
    "max_corner_early_mass": "largest probability before time zero at a corner of the bounds",
    "negative_rt_mass": "probability before time zero",
    "corner_not_finite": "values that are not finite at corners of the bounds",
    "calibration_error": "calibration error",
    "noise_mean_abs": "sampling noise of the mean absolute error",
    "noise_p99_abs": "sampling noise of the 99th percentile",
    "onnx_jax": "difference of ONNX from JAX",
    "onnx_torch": "difference of ONNX from Torch",
    "jax_torch": "difference of JAX from Torch",
    "above_one": "highest probability, less one",
    "sum_error": "deviation of the sum over all choices from one",
}
# The four numbers of an evaluation's scores.
SCORE_KEYS = ("mean_abs_error", "median_abs_error", "p99_abs_error", "mean_difference")


def measure_name(key: str) -> str:
    """The name of a number for people."""
    return MEASURES.get(key, key.replace("_", " "))


# 2: differences are network less reference, and the gate 'analytic' is 'accuracy'.
EVALUATION_VERSION = 2

Verdict = Literal["passed", "failed", "skipped"]
EvaluationVerdict = Literal["passed", "failed", "not judged"]
Number = float | int | None


class Gate(Settings):
    """The finding of one gate. A skipped gate is never a passed one."""

    name: str = Field(
        description="structure, parity, tails, accuracy, calibration, density or hssm"
    )
    verdict: Verdict
    reason: str = Field(description="why it failed or was skipped; empty where it passed")
    is_essential: bool = Field(description="a network passes only if this gate was not skipped")
    numbers: dict[str, Number] = Field(description="what was measured; null where not finite")
    limits: dict[str, Number] = Field(
        description="for numbers of the same names, the largest that passes"
    )


class ScoreSummary(Settings):
    """Differences of the network's output from the reference's: network less reference.

    Of a likelihood network: of the log-likelihood (nats) of trials simulated at random parameters
    within its bounds. Of the others: of the probability, at random parameters within its bounds.
    """

    unit: Literal["nats", "probability"]
    n_sets: int = Field(description="parameter vectors")
    n_rows: int = Field(description="trials, or parameter vectors where there are no trials")
    mean_abs_error: Number
    median_abs_error: Number
    p99_abs_error: Number
    mean_difference: Number = Field(description="network less reference")


class ReferenceRecord(Settings):
    """The reference that the network was compared with."""

    source: Literal["analytic", "solver", "kde", "none"]
    description: str


class EvaluationSettings(Settings):
    """The size of an evaluation."""

    n_sets: int | None = Field(
        default=None,
        description="parameter vectors of the scores; as many as the reference allows if null",
    )
    rows: int = Field(default=200, description="trials of each; 1 of a network that takes none")
    n_simulated_sets: int = Field(default=20, description="parameter vectors of the density gate")


class Evaluation(Settings):
    """One network's evaluation, as ``evaluation.json`` holds it."""

    evaluation_version: Literal[2]
    model: str
    network_type: Literal["lan", "cpn", "opn", "gonogo"]
    backend: str | None = Field(description="null for an ONNX file from elsewhere")
    data_digest: str | None
    onnx_sha256: str
    verdict: EvaluationVerdict = Field(description="'not judged': the model was not at hand")
    gates: list[Gate]
    scores: ScoreSummary | None = Field(
        description="null where the network could not be run, or was not judged"
    )
    reference: ReferenceRecord
    settings: EvaluationSettings
    seed: int
    versions: dict[str, str]

    def summary(self) -> str:
        """Gates with numbers and limits, scores, the verdict, as a table for a person."""
        return format_evaluation(self)

    def __str__(self) -> str:
        """The summary."""
        return self.summary()

    def __repr__(self) -> str:
        """The verdict in one line."""
        score = f", mean |error| {self.scores.mean_abs_error:.3g}" if self.scores else ""
        return f"<Evaluation {self.model} {self.network_type}: {self.verdict}{score}>"

    def _repr_html_(self) -> str:
        """The same, as a notebook shows it."""
        from lanflow.core.templates import Table, Verdict, notebook_html

        rows = [
            (gate.name, Verdict(gate.verdict, is_bad=stops(gate)), gate.reason)
            for gate in self.gates
        ]
        tables = [Table("Gates", ["gate", "verdict", "why"], rows)]
        if self.scores is not None:
            numbers = [(MEASURES[key], getattr(self.scores, key)) for key in SCORE_KEYS]
            head = [f"against {self.reference.description}", self.scores.unit]
            tables.append(Table("Scores", head, numbers))
        return notebook_html(_what(self), *tables, verdict=self.verdict)

    @property
    def failed_gates(self) -> list[Gate]:
        """The gates for which the network did not pass: failed ones, essential ones skipped."""
        return [gate for gate in self.gates if stops(gate)]


def stops(gate: Gate) -> bool:
    """True if a gate keeps its network from passing."""
    return gate.verdict == "failed" or (gate.verdict == "skipped" and gate.is_essential)


def verdict_of(gates: Sequence[Gate], *, is_judged: bool = True) -> EvaluationVerdict:
    """``passed`` if no gate failed and no essential one was skipped.

    Parameters
    ----------
    gates
        All of them.
    is_judged
        False if the model was not at hand: whatever its gates say, nobody knows how good it is.
    """
    if not is_judged:
        return "not judged"
    return "failed" if any(stops(gate) for gate in gates) else "passed"


def installed_versions() -> dict[str, str]:
    """Versions of what an evaluation depends on, as far as it is installed."""
    found = {}
    for package in ("lanflow", "numpy", "onnx", "onnxruntime", "ssm-simulators", "jax", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
    GatesError
        Naming each network's gates and numbers.
    """
    lines = [
        f"{path}: gate {gate.name} {gate.verdict}: {gate.reason}"
        for path, record in records.items()
        for gate in record.failed_gates
    ]
    lines += [
        f"{path}: not judged, against {record.reference.description}"
        for path, record in records.items()
        if record.verdict == "not judged"
    ]
    if lines:
        n_failing = sum(record.verdict != "passed" for record in records.values())
        raise GatesError(
            "\n".join([f"{n_failing} of {len(records)} network(s) do not pass their gates", *lines])
        )


class NotPassedError(UserError):
    """A network without an evaluation of its own, or one that did not pass its gates."""


# Of an absolute path, all but its last part; not of an address.
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/]+/)+(?=[^\s/])")


def without_folders(text: str) -> str:
    """Leave out the folders of the machine that a text names."""
    return _FOLDERS.sub("", text)


def read_own_evaluation(network: "Network") -> Evaluation:
    """The evaluation in a network's folder, fit to be handed on with it.

    Folders of the machine that it ran on are left out of the gates' reasons.

    Raises
    ------
    NotPassedError
        If there is none, or it is of another network.
    """
    assert network.folder is not None
    path = network.folder / network_folder.EVALUATION
    if not path.exists():
        raise NotPassedError(
            f"{network.folder}: has no {path.name}; run 'lanflow evaluate' on it first"
        )
    evaluation = read_evaluation(path)
    if evaluation.onnx_sha256 != network.sha256:
        raise NotPassedError(
            f"{path}: is of another network (sha256 {evaluation.onnx_sha256[:12]}..., but "
            f"{network_folder.ONNX} has {network.sha256[:12]}...); run 'lanflow evaluate' again"
        )
    of_card = {"model": network.model_name, "network_type": network.network_type.name}
    for key, value in of_card.items():
        if getattr(evaluation, key) != value:
            raise NotPassedError(
                f"{path}: the network was evaluated as {key} {getattr(evaluation, key)!r}, but its "
                f"card says {value!r}"
            )
    gates = [
        gate.model_copy(update={"reason": without_folders(gate.reason)})
        for gate in evaluation.gates
    ]
    return evaluation.model_copy(update={"gates": gates})


def require_passed(network: "Network", evaluation: Evaluation) -> None:
    """Refuse a network that did not pass its gates.

    Raises
    ------
    NotPassedError
        Naming the gates.
    """
    gates = evaluation.failed_gates
    if gates or evaluation.verdict != "passed":
        said = (
            ", ".join(describe_gate(gate) for gate in gates)
            or f"its verdict is {evaluation.verdict!r}"
        )
        raise NotPassedError(f"{network.folder}: did not pass its gates: {said}")


def describe_gate(gate: Gate) -> str:
    """A gate's verdict in a phrase."""
    said = gate.name if gate.verdict == "failed" else f"{gate.name} {gate.verdict}"
    return f"{said} ({gate.reason})" if gate.reason else said


def format_evaluation(record: Evaluation) -> str:
    """Gates with numbers and limits, scores, the verdict."""
    lines = [f"{_what(record)}, against {record.reference.description}", ""]
    numbers = iter(_numbers(record.gates))
    for gate in record.gates:
        lines.append(f"{gate.name:11}{gate.verdict:9}{gate.reason}".rstrip())
        lines += [next(numbers) for _ in gate.numbers]
    if record.scores is not None:
        lines += ["", *_score_lines(record.scores)]
    return "\n".join([*lines, "", f"verdict: {record.verdict}"])


def _what(record: Evaluation) -> str:
    trained_by = f" ({record.backend})" if record.backend else ""
    return f"{record.model} {record.network_type}{trained_by}"


def _numbers(gates: Sequence[Gate]) -> list[str]:
    """A line for each number of each gate, all in the same columns."""
    rows = [
        (key, _show(value), f"at most {_show(gate.limits[key])}" if key in gate.limits else "")
        for gate in gates
        for key, value in gate.numbers.items()
    ]
    return indent(plain_table(rows, numbers=[1]), "  ").splitlines()


def _score_lines(scores: ScoreSummary) -> list[str]:
    output = "log-likelihood (nats)" if scores.unit == "nats" else "probability"
    rows = [(MEASURES[key], _show(getattr(scores, key))) for key in SCORE_KEYS]
    return [
        f"error of the {output}, {scores.n_rows:,} rows at {scores.n_sets:,} parameter vectors:",
        indent(plain_table(rows), "  "),
    ]


def _show(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
