"""Pages of the documentation that benchmarks write to: a text between two marks."""

import re
from pathlib import Path

from lanflow.core.files import write_text


def fill(page: Path, name: str, content: str) -> None:
    """Put a text between the two marks of its name on a page.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    require_marks(page, name)
    filled = _between(name).sub(lambda m: f"{m[1]}\n{content}\n{m[2]}", page.read_text(), count=1)
    write_text(page, filled)


def require_marks(page: Path, name: str) -> None:
    """Refuse a page that has no place for a text; before the text takes long to be made."""
    if not _between(name).search(page.read_text()):
        raise SystemExit(f"{page} has no marks of {name!r}, between which a text goes")


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
