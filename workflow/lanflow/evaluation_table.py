"""An evaluation as a table for a person."""

from lanflow.evaluation_record import Evaluation, Gate


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
