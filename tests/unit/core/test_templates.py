from typing import Any

import pytest

from lanflow.core.templates import Code, Table, Verdict, notebook_html, show
from tests.unit.report.test_html import Tables


def shown(table: Table) -> str:
    """An object with a table, in a notebook."""
    return notebook_html("an object", table)


def test_text_is_escaped_and_numbers_stand_to_the_right() -> None:
    html = shown(
        Table(
            'of "everything"',
            ["a<b", "n"],
            [["<script>", 1234], ["x & y", 0.1234567], [True, None], [Verdict("<b>"), -3]],
        )
    )
    tables = Tables(html)
    assert tables.open == []
    assert not {"script", "b"} & tables.seen
    assert tables.rows == [
        ["a<b", "n"],
        ["<script>", "1,234"],
        ["x & y", "0.123"],
        ["True", ""],
        ["\N{EN DASH} <b>", "-3"],
    ]
    assert html.count('class="number"') == 3
    assert 'aria-label="of &#34;everything&#34;"' in html


def test_codes_stand_in_a_fixed_width_and_empty_ones_do_not() -> None:
    html = shown(Table("files", ["file", "n"], [[Code("a.onnx"), 1], [Code(None), 2]]))
    assert html.count("<code>") == 1
    assert "<code>a.onnx</code>" in html


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="files: a row has not as many cells"):
        Table("files", ["file", "n"], [["a.onnx"]])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (1234567, "1,234,567"),
        (0.000123456, "0.000123"),
        (27.0912, "27.1"),
        (1234.5, "1,234"),
        (True, "True"),
        ("x", "x"),
    ],
)
def test_values_are_shown_for_reading(value: Any, shown: str) -> None:
    assert show(value) == shown


@pytest.mark.parametrize("verdict", ["passed", "failed", "skipped", "not evaluated"])
def test_a_verdict_is_a_word_and_a_mark_not_only_a_colour(verdict: str) -> None:
    marked = Tables(shown(Table("", ["gates"], [[Verdict(verdict)]]))).rows[1][0]
    assert marked.endswith(verdict)
    assert marked[0] != verdict[0]


def test_a_skipped_gate_that_is_needed_is_no_harmless_one() -> None:
    assert (Verdict("skipped").kind, Verdict("skipped", is_bad=True).kind) == ("skipped", "failed")
    assert Verdict("not judged").kind == "skipped"


def test_an_object_in_a_notebook_has_its_name_and_its_verdict() -> None:
    html = notebook_html("<ddm>", Table("t", ["n"], [[1]]), verdict="passed")
    tables = Tables(html)
    assert tables.open == []
    assert "<ddm>" in tables.text
    assert "\N{CHECK MARK} passed" in tables.text
