from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from lanflow.core.templates import Link, Table, Verdict, notebook_html
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
    with pytest.raises(UndefinedError, match="families"):
        render("networks.html")


def test_an_address_is_relative_to_its_page_and_quoted(tmp_path: Path) -> None:
    page = tmp_path / "results" / "report.html"
    inside = tmp_path / "results" / "networks" / 'a "net" #1'
    assert relative_address(inside, page) == "networks/a%20%22net%22%20%231"
    assert relative_address(tmp_path / "javascript:x", page) == "../javascript%3Ax"
    html = notebook_html(
        "net", Table("t", ["n"], [[Link("<net>", relative_address(inside, page))]])
    )
    assert Tables(html).addresses == ["networks/a%20%22net%22%20%231"]
    assert Tables(html).rows[1] == ["<net>"]
