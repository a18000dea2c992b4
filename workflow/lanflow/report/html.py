"""A report's pages: their places, figures as objects, addresses, and the templates they fill in.

There is one page, or an index beside a folder with a page for each network. The Snakefile asks for
these places, so templates are loaded when the first is filled in.
"""

import base64
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from lanflow.networks.types import NETWORK_TYPES

if TYPE_CHECKING:
    from markupsafe import Markup

    from lanflow.core.templates import Templates

# More networks than these have a page each; all figures in one page would take too long to open.
MOST_ON_ONE_PAGE = 10
# The folder of the pages, beside the report.
PAGES = "report_pages"
_DATA = "data"
# All that lanflow writes there.
IN_PAGES = (*(f"{name}/" for name in NETWORK_TYPES), f"{_DATA}/")
# A PNG says its size in bytes 16 to 24, width first.
_PNG_HEAD = 24


def has_pages(n_networks: int) -> bool:
    """Tell whether a report of so many networks is an index with a page for each."""
    return n_networks > MOST_ON_ONE_PAGE


def network_page(report: Path, *, model: str, network_type: str, name: str) -> Path:
    """Return the file of the page of one network.

    Parameters
    ----------
    report
        ``report.html``.
    model, network_type, name
        Of the network; the name of its folder.
    """
    return report.with_name(PAGES) / network_type / model / f"{name}.html"


def data_page(report: Path, model: str) -> Path:
    """Return the file of the page of a model's training data."""
    return report.with_name(PAGES) / _DATA / f"{model}.html"


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, part of the page or beside it.

    Attributes
    ----------
    address
        Of the picture: all of it as ``data:``, or relative to the page.
    width, height
        Pixels.
    alt
        What it is a picture of.
    caption
        How to read it.
    """

    address: str
    width: int
    height: int
    alt: str
    caption: str

    @classmethod
    def inside(cls, png: bytes, *, alt: str, caption: str) -> "Figure":
        """Make a picture part of the page."""
        address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        return cls(address, *_size(png), alt, caption)

    @classmethod
    def beside(cls, path: Path, page: Path, *, alt: str, caption: str) -> "Figure":
        """Leave a picture in its file, which the browser reads when it comes into sight."""
        with path.open("rb") as file:
            size = _size(file.read(_PNG_HEAD))
        return cls(relative_address(path, page), *size, alt, caption)


def _size(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def relative_address(path: Path | str, page: Path) -> str:
    """Return the address of a file or a folder as a page links to it.

    Parameters
    ----------
    path
        The file or the folder.
    page
        The file of the page.
    """
    relative = os.path.relpath(path, page.parent)
    return quote(Path(relative).as_posix())


@cache
def _templates() -> "Templates":
    from lanflow.core.templates import Templates

    return Templates("lanflow.report")


def render(template: str, **content: object) -> "Markup":
    """Fill in a template of this folder's ``templates``; what is filled in is escaped.

    Parameters
    ----------
    template
        Name of its file, ending in ``.html``.
    **content
        What it asks for, by name.
    """
    from markupsafe import Markup

    return Markup(_templates().render(template, content))  # noqa: S704 (the template has escaped it)
