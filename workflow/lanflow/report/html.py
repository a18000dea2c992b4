"""Figures as objects, addresses of files, and the templates that put all into a page."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from lanflow.core.templates import Templates

# A PNG says its size in bytes 16 to 24, width first.
_PNG_HEAD = 24


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


_TEMPLATES = Templates("lanflow.report")


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
