import csv
import io

import pytest

from lanflow.core.tables import csv_table, markdown_table, plain_table, printable, read_csv_table


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() -> None:
    rows = [("a", "1", "x"), ("longer", "1000", "")]
    assert plain_table(rows, numbers=[1]) == "a          1  x\nlonger  1000"
    assert plain_table([]) == ""


def test_a_bar_does_not_break_a_table() -> None:
    assert markdown_table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"


def test_what_would_command_a_terminal_or_break_a_line_is_replaced() -> None:
    assert plain_table([("a\nb", "\x1b[2Jc", "é 漢")]) == "a\ufffdb  \ufffd[2Jc  é 漢"


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://x", "y")',
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1",
        "'=1",
        "'",
        "a\nb",
        "a\rb",
        'a,"b"',
        "plain",
        "",
    ],
)
def test_a_spreadsheet_runs_no_cell_and_a_table_is_read_as_it_was_written(text: str) -> None:
    row = {"text": text, "number": -1.5, "none": None}
    written = csv_table(list(row), [row])
    (cells,) = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert cells[0].strip()[:1] not in tuple("=+-@\uff1d") or not text
    assert cells[1:] == ["-1.5", ""]  # a number is one
    assert read_csv_table(written) == [{"text": printable(text), "number": "-1.5", "none": ""}]
