"""Pieces of a page in one file: nothing on it is fetched, now or later."""

import base64
from collections.abc import Sequence
from html import escape

# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light; --ink: #1f2328; --line: #d0d7de; --quiet: #57606a; --ground: #f6f8fa; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0;
  overflow-wrap: anywhere; }
header, main, footer { max-width: 78rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.25rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; }
h4 { font-size: .95rem; margin: 1rem 0 .3rem; }
p, ul { margin: .4rem 0; } ul { padding-left: 1.25rem; }
.quiet { color: var(--quiet); }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: #0550ae; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
.scroll:focus-visible { outline: 2px solid #0550ae; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--quiet); white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font-family: ui-monospace, monospace; font-size: .88em; }
pre { background: var(--ground); padding: .75rem 1rem; overflow-x: auto; }
figure { margin: 1rem 0; } figcaption { color: var(--quiet); font-size: .9rem; max-width: 60rem; }
img { max-width: 100%; height: auto; display: block; }
.verdict { border-left: .5rem solid; padding: .75rem 1rem; margin: 1rem 0;
  background: var(--ground); }
.verdict strong { font-size: 1.2rem; }
.passed { border-color: #009e73; } .failed { border-color: #d55e00; }
.skipped { border-color: #666; }
.word { font-weight: 600; white-space: nowrap; }
.word.passed { color: #00664a; } .word.failed { color: #a33f00; } .word.skipped { color: #57606a; }
.warning { border-left: .3rem solid #d55e00; padding: .2rem .75rem; background: #fff5ee; }
@media print {
  header, main, footer { max-width: none; padding: 0; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; }
  .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; overflow-wrap: anywhere; white-space: normal; }
}
"""

Cell = object


def page(title: str, header: str, main: str, footer: str) -> str:
    """A whole page; all but the title must be HTML already."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>{header}</header>
<main>
{main}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    label: str,
    codes: Sequence[str] = (),
) -> str:
    """Rows as a table that scrolls on its own: numbers to the right, ``codes`` in a fixed width.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        Text, numbers or :class:`Html`; None leaves a cell empty.
    label
        What the table shows, for those who hear the page.
    codes
        Columns that hold names of files, digests and the like.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        cells = []
        for name, value in zip(head, row, strict=True):
            text = value if isinstance(value, Html) else escape(show(value))
            if name in codes and text:
                text = f"<code>{text}</code>"
            cells.append(
                f'<td class="number">{text}</td>' if _is_number(value) else f"<td>{text}</td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>\n" + "\n".join(lines) + "\n"
        "</tbody></table></div>"
    )


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def show(value: Cell) -> str:
    """A value for reading."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def figure(png: bytes, *, alt: str, caption: str) -> str:
    """A picture in the page itself, with a caption.

    Parameters
    ----------
    png
        The picture.
    alt
        What it is a picture of.
    caption
        How to read it.
    """
    data = base64.b64encode(png).decode()
    width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}"'
        f' width="{width}" height="{height}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def section(anchor: str, title: str, body: str) -> str:
    """A part of the page, which the contents can name."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{body}\n</section>'


def word(verdict: str) -> Html:
    """A verdict, told by word, mark and colour."""
    marks = {"passed": "\N{CHECK MARK}", "failed": "\N{BALLOT X}", "skipped": "\N{EN DASH}"}
    kind = verdict if verdict in marks else "skipped"
    return Html(f'<span class="word {kind}">{marks[kind]} {escape(verdict)}</span>')
