"""What a trial found, and the tables of many."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lanflow.core.tables import markdown_table

COUNTS = ("lost", "different", "orphans", "leftovers", "hangs")

_SHOWN_VERSIONS = ("mlflow", "numpy", "jax", "torch", "ssm-simulators")
_PAGE_HEAD = """\
# Torture

Made by `make torture`, or `python -m tests.torture PART ... --output docs/torture.md` for single
parts. Each trial disturbs a command at a point that the seed chooses, starts the same command again
until it ends, and compares the outcome with that of an undisturbed command.

- **survived**: the command ended with status 0, or with the one clear message that the trial
  expects.
- **lost**: results, metrics or artifacts that are not there at the end.
- **different**: results whose bytes are not those of the undisturbed command.
- **orphans**: runs in MLflow that nobody continues, such as one that reads RUNNING for ever.
- **leftovers**: temporary files and hidden copies that the last start left.
- **hangs**: commands that did not end in time.
"""


@dataclass(frozen=True)
class Trial:
    """The outcome of one trial.

    Attributes
    ----------
    part, name
        The part of the torture, and the command or the case; trials of a name share a row.
    survived
        Whether the command ended as it should.
    lost, different, orphans, leftovers, hangs
        How many of each; all 0 if nothing is wrong.
    remark
        What was done, and what went wrong, for a person.
    """

    part: str
    name: str
    survived: bool
    lost: int = 0
    different: int = 0
    orphans: int = 0
    leftovers: int = 0
    hangs: int = 0
    remark: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return self.survived and not any(getattr(self, name) for name in COUNTS)


def rows(trials: Sequence[Trial]) -> list[list[str]]:
    """The table's head, and a row for each part and name in the order of the trials."""
    head = ["part", "what", "trials", "survived", *COUNTS]
    table = [head]
    for part, name in dict.fromkeys((trial.part, trial.name) for trial in trials):
        own = [trial for trial in trials if (trial.part, trial.name) == (part, name)]
        counts = [sum(getattr(trial, count) for trial in own) for count in COUNTS]
        survived = sum(trial.survived for trial in own)
        table.append([part, name, *map(str, (len(own), survived, *counts))])
    return table


def describe_machine() -> str:
    """Processor, cores, memory and versions, in one line."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.M) if info.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _SHOWN_VERSIONS)
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()}; Python {platform.python_version()}, {versions}"
    )


def write_page(path: Path, trials: Sequence[Trial], *, seed: int, n_trials: int) -> None:
    """Write a Markdown page with a section for each part; other parts' sections stay."""
    sections = _read_sections(path)
    for part in dict.fromkeys(trial.part for trial in trials):
        own = [trial for trial in trials if trial.part == part]
        head, *body = [row[1:] for row in rows(own)]
        faults = [f"- {trial.name}: {trial.remark}" for trial in own if not trial.is_clean]
        command = f"python -m tests.torture {part} --seed {seed} --trials {n_trials}"
        told = f"`{command}` on {describe_machine()}."
        sections[part] = "\n".join(
            [told, "", markdown_table(head, body), *(["", *faults] if faults else [])]
        )
    text = "".join(f"\n## {part}\n\n{content}\n" for part, content in sorted(sections.items()))
    path.write_text(_PAGE_HEAD + text)


def _read_sections(path: Path) -> dict[str, str]:
    """Part -> the content of its section."""
    if not path.exists():
        return {}
    _, *sections = re.split(r"^## ", path.read_text(), flags=re.M)
    pairs = (section.partition("\n") for section in sections)
    return {part.strip(): content.strip() for part, _, content in pairs}
