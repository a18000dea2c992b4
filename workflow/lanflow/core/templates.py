"""Templates (Jinja2) of a package, and tables, verdicts and links as they stand in HTML.

Every text that is filled into an HTML template is escaped. The only text that goes in as it is, is
:class:`~markupsafe.Markup` that a template has made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape


@dataclass(frozen=True)
class Verdict:
    """A verdict as a reader sees it: a word, a mark and a colour.

    Attributes
    ----------
    word
        Such as ``passed``.
    is_bad
        Whether it counts against a network though its word is not ``failed``.
    """

    word: str
    is_bad: bool = False

    @property
    def kind(self) -> Literal["passed", "failed", "skipped"]:
        """Class of its colour; whatever neither passed nor failed looks like what was skipped."""
        if self.is_bad:
            return "failed"
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


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere.

    Attributes
    ----------
    text
        What is read.
    address
        Where it leads: an address that is already quoted; None leaves the text alone.
    """

    text: str
    address: str | None


# None leaves a cell empty; numbers stand to the right.
Cell = str | int | float | Verdict | Code | Link | None


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


def show(value: Cell) -> str:
    """Format a cell: numbers with three digits, thousands apart."""
    match value:
        case None:
            return ""
        case bool():
            return str(value)
        case float():
            return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
        case int():
            return f"{value:,}"
    return str(value)


class Templates:
    """The templates of a package, in its folder ``templates``, and those of all packages.

    Whatever is filled into a template whose name ends in ``.html`` is escaped; only what another
    such template made goes in as it is. A name that a template asks for and nobody gave is an
    error. The macros of ``pieces.html`` (a verdict, a cell, a table) are everybody's.

    Parameters
    ----------
    package
        Dotted name, such as ``lanflow.report``; None for what is everybody's alone.
    """

    def __init__(self, package: str | None = None) -> None:
        own = [] if package is None else [PackageLoader(package)]
        self._environment = Environment(
            loader=ChoiceLoader([*own, PackageLoader("lanflow.core", "html")]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters["show"] = show
        kinds: dict[str, Callable[[Any], bool]] = {
            "verdict": lambda value: isinstance(value, Verdict),
            "code": lambda value: isinstance(value, Code),
            "link": lambda value: isinstance(value, Link),
        }
        self._environment.tests.update(kinds)

    def render(self, name: str, content: Mapping[str, object]) -> str:
        """Fill in a template.

        Parameters
        ----------
        name
            Of its file.
        content
            What it asks for, by name.
        """
        return self._environment.get_template(name).render(content)


def notebook_html(title: str, *tables: Table, verdict: str | None = None) -> str:
    """Summarise an object for a notebook: a title, with a verdict, and small tables.

    Parameters
    ----------
    title
        What it is.
    *tables
        Its content.
    verdict
        A word, of what has one.
    """
    content = {
        "title": title,
        "tables": tables,
        "verdict": None if verdict is None else Verdict(verdict),
    }
    return Templates().render("notebook.html", content)
