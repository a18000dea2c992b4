from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from lanflow.core.templates import Code, Link, Table, Verdict, show
from lanflow.report.html import Figure, relative_address, render


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
    return render("networks.html", leaderboard=table, measured=[])


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
        ["x & y", "0.123"],
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


def test_a_page_names_nothing_outside_of_itself() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"rest"
    curve = Figure.inside(png, alt='a "curve"', caption="x < y")
    shown = {"name": "net", "verdict": Verdict("passed"), "figures": [curve]}
    body = render("figures.html", groups=[[shown, shown]])
    html = render(
        "page.html",
        title="<study>",
        heading="<study>",
        subtitle="1 network",
        up=None,
        pictures="data:",
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


def test_an_address_is_relative_to_its_page_and_quoted(tmp_path: Path) -> None:
    page = tmp_path / "results" / "report.html"
    inside = tmp_path / "results" / "networks" / 'a "net" #1'
    assert relative_address(inside, page) == "networks/a%20%22net%22%20%231"
    assert relative_address(tmp_path / "javascript:x", page) == "../javascript%3Ax"
    html = networks(Table("t", ["n"], [[Link("<net>", relative_address(inside, page))]]))
    assert Tables(html).addresses == ["networks/a%20%22net%22%20%231"]
    assert Tables(html).rows[1] == ["<net>"]


def test_a_skipped_gate_that_is_needed_is_no_harmless_one() -> None:
    assert (Verdict("skipped").kind, Verdict("skipped", is_bad=True).kind) == ("skipped", "failed")
    assert Verdict("not judged").kind == "skipped"
