"""Tables of a run, for people: what was reached, where the time goes, ceilings, every figure."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import fill

from gpu_parts.figures import Case, Figure, format_number, read_figure

# What the documentation shows: a heading, and which figures are meant by it.
_REACHED: dict[str, Callable[[Figure], bool]] = {
    "lanflow, JAX": lambda f: f.part == "lanflow-jax" and "from the host" not in f.what,
    "lanflow, Torch": lambda f: f.part == "lanflow-torch" and "from the host" not in f.what,
    "bare JAX": lambda f: _is_bare(f, "jax") and "full float32" not in f.what,
    "bare JAX, full float32": lambda f: _is_bare(f, "jax") and "full float32" in f.what,
    "bare Torch": lambda f: _is_bare(f, "torch") and "TF32" not in f.what,
    "bare Torch, TF32": lambda f: _is_bare(f, "torch") and "TF32" in f.what,
}


def _is_bare(figure: Figure, backend: str) -> bool:
    return figure.part.endswith(backend) and not figure.part.startswith("lanflow")


def describe(content: Mapping[str, Any]) -> str:
    """Markdown of everything in a ``gpu.json``."""
    figures = [read_figure(each) for each in content["figures"]]
    rates = [f for f in figures if f.case is not None]
    machine, versions = content["machine"], content["versions"]
    lines = [
        f"{machine.get('gpu', 'no GPU')} (name, memory, driver); host: {machine['cores']} cores, "
        f"{machine.get('processor', 'processor unknown')}, {machine['system']}.",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        *(f"    {command}" for command in content["commands"]),
        *_section("Million rows per second of an epoch", reached_table(rates)),
        *_section("Where the seconds of an epoch of lanflow go", shares_table(figures)),
        *_section("Ceilings, launches and copies", number_table(f for f in figures if not f.case)),
        *_section("Every rate", rate_table(rates)),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, table: Sequence[str]) -> list[str]:
    return ["", f"### {title}", "", *table] if table else []


def reached_table(rates: Sequence[Figure]) -> list[str]:
    """The best of each kind for each network and batch, with its share of the nearer ceiling."""
    rows = []
    for case in dict.fromkeys(_same(f) for f in rates):
        row = [str(case.n_networks), f"3 x {case.width}", f"{case.batch_size:,}"]
        for is_meant in _REACHED.values():
            found = [f for f in rates if _same(f) == case and is_meant(f)]
            best = max(found, key=lambda f: f.median, default=None)
            row.append("" if best is None else f"{best.median / 1e6:.2f} ({_share(best)})")
        rows.append(row)
    columns = ["networks", "hidden layers", "batch"]
    return _markdown([*columns, *_REACHED], rows)


def _same(figure: Figure) -> Case:
    """What is trained, without the number of rows."""
    case = figure.case
    assert case is not None
    return Case(case.batch_size, 0, case.width, case.n_networks)


def _share(figure: Figure) -> str:
    """Of the ceiling that is nearer: operations of the products, or bytes moved."""
    flops, moved = figure.details["of_flops"], figure.details["of_bytes"]
    return f"{flops:.1%} ops" if flops > moved else f"{moved:.1%} bytes"


def shares_table(figures: Sequence[Figure]) -> list[str]:
    """Where lanflow's epochs spend their time, and how long the first takes."""
    copied = [f.median * 1e9 for f in figures if f.what == "copy to the device, pageable"]
    rows = []
    for figure in figures:
        epoch, case = figure.details.get("epoch"), figure.case
        if epoch is None or case is None:
            continue
        seconds = case.n_rows / figure.median
        parts = [epoch["host_s"], epoch["train_s"], epoch["evaluate_s"]]
        rows_are = figure.what.partition("rows ")[2]
        copy = f"{_row_bytes(case) * case.n_rows / copied[0]:.3f}" if copied else ""
        rows.append(
            [
                *(figure.part.removeprefix("lanflow-"), rows_are, f"3 x {case.width}"),
                *(f"{case.batch_size:,}", f"{case.n_rows / 1e6:.2f}", f"{seconds:.2f}"),
                *(f"{part:.3f} ({part / sum(parts):.0%})" for part in parts),
                *(copy, f"{figure.details['first_epoch_s']:.1f}"),
            ]
        )
    columns = ["backend", "rows", "hidden layers", "batch", "million rows", "seconds an epoch"]
    columns += ["host alone", "updates", "validation"]
    columns += ["copies alone, by the measured rate", "first epoch, s"]
    return _markdown(columns, rows)


def _row_bytes(case: Case) -> int:
    """Features and labels of a row."""
    return 4 * (case.shapes[0][0] + case.shapes[-1][1])


def rate_table(rates: Sequence[Figure]) -> list[str]:
    """Rows per second of every training."""
    columns = ["part", "what", "hidden layers", "batch", "networks", "million rows/s", "spread"]
    columns += ["us a step", "of the products' rate", "of the copy's rate"]
    columns += ["compiling or first update or epoch, s", "peak MiB"]
    rows = []
    for figure in rates:
        case, more = figure.case, figure.details
        assert case is not None
        first = more.get("first_epoch_s", more.get("compile_s", more.get("first_s")))
        rows.append(
            [
                *(figure.part, figure.what, f"3 x {case.width}", f"{case.batch_size:,}"),
                *(str(case.n_networks), f"{figure.median / 1e6:.2f}", f"{figure.spread:.0%}"),
                *(f"{more['us_per_step']:.1f}", f"{more['of_flops']:.1%}"),
                *(f"{more['of_bytes']:.1%}", _shown(first), _shown(more.get("peak_mib"))),
            ]
        )
    return _markdown(columns, rows)


def number_table(figures: Any) -> list[str]:
    """Everything else, failures included; what several parts measured as one line."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        backend = figure.part.partition("-")[2] or figure.part
        place = figure.part if figure.what.startswith("FAILED") else backend
        groups.setdefault((place, figure.what), []).append(figure)
    rows = []
    for (place, what), found in groups.items():
        number = format_number(statistics.median(f.median for f in found))
        values = [value for f in found for value in f.values]
        ends = "" if len(values) < 2 else f"{_shown(min(values))} to {_shown(max(values))}"
        error = str(found[0].details.get("error", "")).replace("|", "/")
        rows.append([place, what, "" if error else number, found[0].unit, error or ends])
    return _markdown(["where", "what", "median", "unit", "range, or error"], rows)


def _shown(number: float | None) -> str:
    return "" if number is None else format_number(number)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines; none without rows."""
    lines = (columns, ["---"] * len(columns), *rows)
    return [f"| {' | '.join(row)} |" for row in lines] if rows else []


def fill_document(document: Path, results: Path) -> None:
    """Put the tables of a ``gpu.json`` between the marks of a document."""
    fill(document, "tables", describe(json.loads(results.read_text())))
