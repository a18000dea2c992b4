"""Tables as text: plain for a terminal or a log, Markdown for a README."""

from collections.abc import Collection, Iterable, Sequence


def plain_table(rows: Iterable[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """Rows as lines of text, two spaces between columns that are as wide as their widest cell.

    Parameters
    ----------
    rows
        Cells of each row; all rows have as many.
    numbers
        Places of the columns whose cells stand to the right.
    """
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows as a table in Markdown; a bar inside a cell is escaped."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def count_of(n: int, noun: str) -> str:
    """Format a count for reading: ``1 file``, ``8,000 files``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"
