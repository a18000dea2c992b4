"""Hooks of the documentation site: pages whose text stands elsewhere in the repository.

A page with ``source: PATH`` at its top shows that file, so README.md and config/README.md are
written once, for the repository and for the site. Links are turned to where the site has the page;
a link to a file that is on no page becomes plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Give a page the text of its source, and its links the site's places."""
    source = page.meta.get("source")
    place = posixpath.dirname(source or f"docs/{page.file.src_uri}")
    if source:
        markdown = (REPOSITORY / source).read_text()
    pages = {
        _page_source(REPOSITORY / "docs" / file.src_uri) or f"docs/{file.src_uri}": file.src_uri
        for file in files
    }

    def turn(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(place, target))
        if not (REPOSITORY / path).exists():
            return link[0]  # mkdocs reports it
        return f"{mark}[{text}]({pages[path]}{anchor})" if path in pages else f"{text}"

    return _LINK.sub(turn, markdown)


def _page_source(path: Path) -> str | None:
    """The file that a page shows, of the ``source:`` at its top."""
    if path.suffix != ".md" or not path.exists():
        return None
    found = re.match(r"---\nsource: (\S+)\n---\n", path.read_text())
    return found[1] if found else None
