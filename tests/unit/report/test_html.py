from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from lanflow.report.html import Code, Figure, Table, Verdict, render, show


class Tables(HTMLParser):
    """Cells of every table of a page, and tags that were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(str(text))  # Markup would escape what is added to it

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if "title" not in self.open and "style" not in self.open:
            self.text += data


def networks(table: Table) -> str:
    """A section with a table."""
    return render("networks.html", leaderboard=table)


def test_text_is_escaped_and_numbers_stand_to_the_right() -> None:
    html = networks(
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
        ["x & y", "0.1235"],
        ["True", ""],
        ["\N{EN DASH} <b>", "-3"],
    ]
    assert html.count('class="number"') == 3
    assert 'aria-label="of &#34;everything&#34;"' in html


def test_codes_stand_in_a_fixed_width_and_empty_ones_do_not() -> None:
    html = networks(Table("files", ["file", "n"], [[Code("a.onnx"), 1], [Code(None), 2]]))
    assert html.count("<code>") == 1
    assert "<code>a.onnx</code>" in html


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="files: a row has not as many cells"):
        Table("files", ["file", "n"], [["a.onnx"]])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (1234567, "1,234,567"), (0.000123456, "0.0001235"), (True, "True"), ("x", "x")],
)
def test_values_are_shown_for_reading(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_a_page_names_nothing_outside_of_itself() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"rest"
    curve = Figure(png, alt='a "curve"', caption="x < y")
    shown = {"name": "net", "verdict": Verdict("passed"), "figures": [curve]}
    body = render("figures.html", networks=[shown], n_left_out=0)
    html = render(
        "page.html",
        study="<study>",
        models=["ddm"],
        n_networks=1,
        n_sets=2,
        verdict="",
        sections=[{"anchor": "part", "title": "A & B", "body": body}],
        made="now",
        version="1",
    )
    tables = Tables(html)
    assert tables.open == []
    assert {"main", "header", "footer", "figure", "figcaption"} <= tables.seen
    assert all(address.startswith(("data:", "#")) for address in tables.addresses)
    assert 'width="640" height="480"' in html
    assert "default-src 'none'" in html
    assert "A & B" in tables.text
    assert "x < y" in tables.text


def test_what_a_template_asks_for_and_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="leaderboard"):
        render("networks.html")


@pytest.mark.parametrize("verdict", ["passed", "failed", "skipped", "not evaluated"])
def test_a_verdict_is_a_word_and_a_mark_not_only_a_colour(verdict: str) -> None:
    marked = Tables(networks(Table("", ["gates"], [[Verdict(verdict)]]))).rows[1][0]
    assert marked.endswith(verdict)
    assert marked[0] != verdict[0]
