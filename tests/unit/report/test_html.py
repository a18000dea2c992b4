from html.parser import HTMLParser
from typing import Any

import pytest

from lanflow.report.html import Html, figure, page, section, show, table, word


class Tables(HTMLParser):
    """Cells of every table of a page, and tags that were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

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


def test_text_is_escaped_and_numbers_stand_to_the_right() -> None:
    html = table(
        ["a<b", "n"],
        [["<script>", 1234], ["x & y", 0.1234567], [True, None], [Html("<b>bold</b>"), -3]],
        label='of "everything"',
    )
    tables = Tables(html)
    assert tables.open == []
    assert "script" not in tables.seen
    assert tables.rows == [
        ["a<b", "n"],
        ["<script>", "1,234"],
        ["x & y", "0.1235"],
        ["True", ""],
        ["bold", "-3"],
    ]
    assert html.count('class="number"') == 3
    assert 'aria-label="of &quot;everything&quot;"' in html


def test_codes_stand_in_a_fixed_width_and_empty_ones_do_not() -> None:
    html = table(["file", "n"], [["a.onnx", 1], [None, 2]], label="files", codes=["file"])
    assert html.count("<code>") == 1
    assert "<code>a.onnx</code>" in html


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (1234567, "1,234,567"), (0.000123456, "0.0001235"), (True, "True"), ("x", "x")],
)
def test_values_are_shown_for_reading(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_a_page_names_nothing_outside_of_itself() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"rest"
    body = section("part", "A & B", figure(png, alt='a "curve"', caption="x < y"))
    html = page("<title>", "<h1>top</h1>", body, "end")
    tables = Tables(html)
    assert tables.open == []
    assert {"main", "header", "footer", "figure", "figcaption"} <= tables.seen
    assert all(address.startswith(("data:", "#")) for address in tables.addresses)
    assert 'width="640" height="480"' in html
    assert "default-src 'none'" in html
    assert "A & B" in tables.text
    assert "x < y" in tables.text


@pytest.mark.parametrize("verdict", ["passed", "failed", "skipped", "not evaluated"])
def test_a_verdict_is_a_word_and_a_mark_not_only_a_colour(verdict: str) -> None:
    marked = Tables(word(verdict)).text
    assert marked.endswith(verdict)
    assert marked[0] != verdict[0]
