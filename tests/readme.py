"""The commands that README.md tells people to type."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Its blocks of a language. Those of ``sh`` need a place of their own: see their tests."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands_with(beginning: str) -> list[str]:
    """The lines of the one ``sh`` block of which a line begins so; ``#`` begins a comment."""
    found = [
        [line.split("  #")[0] for line in block.splitlines()]
        for block in blocks("sh")
        if any(line.startswith(beginning) for line in block.splitlines())
    ]
    (lines,) = found
    return lines
