"""The last words of a build on the terminal: its networks, their verdicts, and what to do next."""

from collections.abc import Sequence
from pathlib import Path

from lanflow.core.tables import plain_table
from lanflow.report.leaderboard import Row, read_leaderboard

# The best of each model and type come first, and the leaderboard has all.
_MOST_ROWS = 20
# Errors of the log-likelihood in nats, or of a probability, and their headings.
_ERRORS = {"mean_abs_error": "mean |error|", "p99_abs_error": "99th percentile"}


def describe_ending(results: Path) -> str:
    """Describe the networks of a finished study, and say in three lines what to do next.

    Parameters
    ----------
    results
        The study's folder of results.

    Raises
    ------
    UserError
        If its leaderboard is damaged.
    """
    leaderboard = results / "leaderboard.csv"
    rows = [row for row in read_leaderboard(leaderboard) if row.origin == "study"]
    parts = [_table(rows[:_MOST_ROWS]), _count(rows)]
    if len(rows) > _MOST_ROWS:
        parts[0] += f"\nand {len(rows) - _MOST_ROWS} more in {leaderboard}"
    return "\n" + "\n\n".join([*parts, _next_steps(results, rows)])


def _table(rows: Sequence[Row]) -> str:
    head = ["network", "verdict", *_ERRORS.values(), "file"]
    cells = [
        [
            f"{row.model} {row.network_type} {row.network}_{row.backend}",
            row.verdict or "not evaluated",
            *(_number(getattr(row, name)) for name in _ERRORS),
            row.onnx,
        ]
        for row in rows
    ]
    return plain_table([head, *cells], numbers=range(2, len(head) - 1))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _count(rows: Sequence[Row]) -> str:
    passed = sum(row.verdict == "passed" for row in rows)
    end = (
        "." if passed == len(rows) else "; the report says what the others missed, and by how much."
    )
    return f"{passed} of {len(rows)} network{'s' * (len(rows) != 1)} passed every gate{end}"


def _next_steps(results: Path, rows: Sequence[Row]) -> str:
    usable = [row for row in rows if row.network_type == "lan"]
    passed = [row for row in usable if row.verdict == "passed"]
    steps = [("the report", str(results / "report.html"))]
    if passed:
        model, onnx = passed[0].model, passed[0].onnx
        how = f'model="{model}", loglik="{onnx}", loglik_kind="approx_differentiable"'
        steps.append(("use it in HSSM", f"hssm.HSSM(data, {how})"))
    elif usable:
        steps.append(("use it in HSSM", "not yet: no likelihood network passed its gates"))
    steps.append(("your own model", "one Python file that a study names: see docs/own_model.md"))
    return plain_table(steps)
