"""The commands that README.md and the pages of docs/ tell people to type."""

import re
from pathlib import Path

# The pages in the order in which a reader types their commands: some need results of others.
_PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("judging", "own_data", "server", "hand_on")),
    *(f"docs/{name}.md" for name in ("training_commands", "results", "cluster", "anywhere")),
]
_REPOSITORY = Path(__file__).parents[1]
PAGES = "\n".join((_REPOSITORY / page).read_text() for page in _PAGES)


def blocks(language: str) -> list[str]:
    """Their blocks of a language. Those of ``sh`` need a place of their own: see their tests."""
    return re.findall(rf"```{language}\n(.*?)```", PAGES, re.DOTALL)


def as_typed(block: str) -> str:
    """A block as a script that ends with its first command that fails.

    Status 3 is the verdict on a network, and no failure of the command: those here train little.
    """
    return 'lanflow() { command lanflow "$@" || [ $? = 3 ]; }\n' + block


def commands_with(beginning: str) -> list[str]:
    """The lines of the one ``sh`` block of which a line begins so; ``#`` begins a comment."""
    found = [
        [line.split("  #")[0] for line in block.splitlines()]
        for block in blocks("sh")
        if any(line.startswith(beginning) for line in block.splitlines())
    ]
    (lines,) = found
    return lines
