"""Hooks of the documentation site: pages whose text stands elsewhere in the repository.

A page with ``source: PATH`` at its top shows that file, so README.md and config/README.md are
written once, for the repository and for the site. A notebook is a page with its stored outputs.
Links are turned to where the site has the page; a link to a file that is on no page becomes plain
text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

REPOSITORY = Path(__file__).resolve().parents[1]
_NOTEBOOKS = "notebooks"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> None:
    """Add a page for each notebook, and the pictures of its outputs."""
    for path in sorted((REPOSITORY / "docs" / _NOTEBOOKS).glob("*.ipynb")):
        names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        markdown, made = MarkdownExporter().from_filename(str(path), resources=names)
        page = f"{_NOTEBOOKS}/{path.stem}.md"
        files.append(File.generated(config, page, content=markdown))
        for name, content in made["outputs"].items():
            files.append(File.generated(config, f"{_NOTEBOOKS}/{name}", content=content))


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Give a page the text of its source, and its links the site's places."""
    source = page.meta.get("source")
    place = posixpath.dirname(source or f"docs/{page.file.src_uri}")
    if source:
        markdown = (REPOSITORY / source).read_text()
    pages = {_source_of(file.src_uri): file.src_uri for file in files.documentation_pages()}
    here = posixpath.dirname(page.file.src_uri)

    def turn(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(place, target))
        if not (REPOSITORY / path).exists():
            return link[0]  # mkdocs reports it
        if path not in pages:
            return text
        return f"{mark}[{text}]({posixpath.relpath(pages[path], here or '.')}{anchor})"

    return _LINK.sub(turn, markdown)


def _source_of(page: str) -> str:
    """The file that a page is made of, in the repository."""
    source = _page_source(REPOSITORY / "docs" / page)
    if source is None and page.startswith(f"{_NOTEBOOKS}/"):
        source = f"docs/{page.removesuffix('.md')}.ipynb"
    return source or f"docs/{page}"


def _page_source(path: Path) -> str | None:
    """The file that a page shows, of the ``source:`` at its top."""
    if path.suffix != ".md" or not path.exists():
        return None
    found = re.match(r"---\nsource: (\S+)\n---\n", path.read_text())
    return found[1] if found else None
