"""Tables as text: plain for a terminal or a log, Markdown for a README, CSV for a spreadsheet."""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

# Beginnings that make a spreadsheet take a cell for a formula, which could run a program or send
# the table away (OWASP, "CSV Injection"). The last four are wide forms, which some versions accept.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_TEXT_MARK = "'"  # before a cell that is text whatever it looks like


def printable(text: str) -> str:
    """Replace characters that a terminal or a table would not show but obey."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV of which a spreadsheet runs nothing; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which it does
    not show. Line breaks and other control characters are replaced.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _guarded(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _guarded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_guarded = text.lstrip(" \ufffd").startswith((*_FORMULA, _TEXT_MARK))
    return f"{_TEXT_MARK}{text}" if is_guarded else text


def read_csv_table(text: str) -> list[dict[str, str]]:
    """Read what :func:`csv_table` wrote; each cell is a text."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [
        {name: (value or "").removeprefix(_TEXT_MARK) for name, value in row.items()}
        for row in rows
    ]


def plain_table(rows: Iterable[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """Write rows as lines of text, in columns as wide as their widest cell, two spaces apart.

    Line breaks and other control characters in a cell are replaced.

    Parameters
    ----------
    rows
        Cells of each row; all rows have as many.
    numbers
        Places of the columns whose cells stand to the right.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write rows as a table in Markdown; a bar inside a cell is escaped."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def count_of(n: int, noun: str) -> str:
    """Format a count for reading: ``1 file``, ``8,000 files``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"
