"""The last words of a build on the terminal: its networks, their verdicts, and what to do next."""

from collections.abc import Sequence
from pathlib import Path

from lanflow.core.tables import plain_table
from lanflow.report.families import Family, find_families
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
    lines = _lines(rows)
    parts = [_table(lines[:_MOST_ROWS]), _count(rows)]
    if len(lines) > _MOST_ROWS:
        parts[0] += f"\nand {len(lines) - _MOST_ROWS} more in {leaderboard}"
    return "\n" + "\n\n".join([*parts, _next_steps(results, rows)])


def _lines(rows: Sequence[Row]) -> list[list[str]]:
    """A line for each network; those that differ in their seed alone have one together."""
    families = {row.onnx: family for family in find_families(rows) for row in family.rows}
    lines = []
    for row in rows:
        family = families.get(row.onnx)
        if family is None:
            lines.append(_line(row))
        elif row is family.rows[0]:
            lines.append(_family_line(family))
    return lines


def _line(row: Row) -> list[str]:
    return [
        f"{row.model} {row.network_type} {row.network}_{row.backend}",
        row.verdict or "not evaluated",
        *(_number(getattr(row, name)) for name in _ERRORS),
        row.onnx,
    ]


def _family_line(family: Family) -> list[str]:
    """Mean and standard deviation over the seeds, and the file of the best network."""
    best = family.rows[0]
    return [
        f"{best.model} {best.network_type} {family.name}, {family.seeds}",
        family.passed,
        *(str(family.spread(name) or "") for name in _ERRORS),
        f"best: {best.onnx}",
    ]


def _table(lines: Sequence[Sequence[str]]) -> str:
    head = ["network", "verdict", *_ERRORS.values(), "file"]
    return plain_table([head, *lines], numbers=range(2, len(head) - 1))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _count(rows: Sequence[Row]) -> str:
    passed = sum(row.verdict == "passed" for row in rows)
    end = "; docs/judging.md says what each gate checks."
    if passed < len(rows):
        end = "; the report says what each gate checks, and by how much the others missed it."
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
