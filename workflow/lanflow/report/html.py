"""Tables, figures and verdicts as objects, and the templates that put them into the page.

Every text that is filled into a template is escaped. The only text that goes into the page as it is
is :class:`~markupsafe.Markup` that a template has made.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from lanflow.core.templates import Templates


@dataclass(frozen=True)
class Verdict:
    """A verdict as a reader sees it: a word, a mark and a colour."""

    word: str

    @property
    def kind(self) -> Literal["passed", "failed", "skipped"]:
        """Class of its colour; anything but passed and failed looks like a skipped gate."""
        match self.word:
            case "passed" | "failed":
                return self.word
        return "skipped"

    @property
    def mark(self) -> str:
        """A sign that needs no colour to be told from the others."""
        marks = {"passed": "\N{CHECK MARK}", "failed": "\N{BALLOT X}", "skipped": "\N{EN DASH}"}
        return marks[self.kind]


@dataclass(frozen=True)
class Code:
    """A file's name, a digest or the like, in letters of one width; None leaves a cell empty."""

    text: str | None


# None leaves a cell empty; numbers stand to the right.
Cell = str | int | float | Verdict | Code | None


@dataclass(frozen=True)
class Table:
    """A table that scrolls on its own.

    Attributes
    ----------
    label
        What it shows, for those who hear the page.
    head
        Names of the columns.
    rows
        As many cells each as there are columns.
    """

    label: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"{self.label}: a row has not as many cells as there are columns")


@dataclass(frozen=True)
class Figure:
    """A picture that is part of the page, with its caption.

    Attributes
    ----------
    png
        The picture.
    alt
        What it is a picture of.
    caption
        How to read it.
    """

    png: bytes
    alt: str
    caption: str

    @property
    def base64(self) -> str:
        """The picture as text."""
        return base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """Pixels, from the PNG's header."""
        return int.from_bytes(self.png[16:20])

    @property
    def height(self) -> int:
        """Pixels, from the PNG's header."""
        return int.from_bytes(self.png[20:24])


def show(value: Cell) -> str:
    """Text of a cell: numbers with few digits, thousands apart."""
    match value:
        case None:
            return ""
        case bool():
            return str(value)
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
    return str(value)


_TEMPLATES = Templates(
    "lanflow.report",
    filters={"show": show},
    tests={
        "verdict": lambda value: isinstance(value, Verdict),
        "code": lambda value: isinstance(value, Code),
    },
)


def render(template: str, **content: object) -> Markup:
    """Fill in a template of this folder's ``templates``; what is filled in is escaped.

    Parameters
    ----------
    template
        Name of its file, ending in ``.html``.
    **content
        What it asks for, by name.
    """
    return Markup(_TEMPLATES.render(template, content))  # noqa: S704 (the template has escaped it)
