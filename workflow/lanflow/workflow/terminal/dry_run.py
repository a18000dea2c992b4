"""A dry-run on the terminal: a table of the jobs of each rule, and why they would run."""

import ast
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lanflow.core.tables import plain_table
from lanflow.workflow.terminal.job import pasted
from lanflow.workflow.terminal.screen import Screen
from lanflow.workflow.terminal.words import subject_of

_MOST_CHARACTERS = 90
# Snakemake's reasons, in order of what a person wants to know first; the first group is a detail.
_REASONS = (
    (r"Forced execution", "forced"),
    (r"Missing output files: ", "output is missing"),
    (r"Incomplete output files: ", "output is incomplete"),
    (r"Params have changed since last execution: ", "settings changed"),
    (r"Code has changed", "code changed"),
    (r"Software environment definition has changed", "software environment changed"),
    (r"Set of input files has changed", "other input files"),
    (r"Updated input files: ([^;]*)", "input changed"),
    (r"Input files updated by another job", "input is made anew"),
)
# Snakemake's words for a rule's param `settings`, which is one mapping for all outputs of a job.
_SETTINGS = re.compile(r"Params have changed .*?: before: (\{.*\}) now: (\{.*\})")


class DryRun:
    """Collects the jobs of a dry-run and writes a table of them.

    Parameters
    ----------
    screen
        Where to write.
    show_commands
        True for ``-p``: the command of each job, below a comment that names it.
    """

    def __init__(self, screen: Screen, *, show_commands: bool) -> None:
        self._screen, self._show_commands = screen, show_commands
        self._counts: Mapping[str, int] = {}
        self._reasons: dict[str, Counter[str]] = {}
        self._is_written = False

    def plan(self, counts: Mapping[str, int]) -> None:
        """Take the number of jobs of each rule, and of all."""
        self._counts = counts

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a job that would run."""
        rule = record["rule_name"]
        self._reasons.setdefault(rule, Counter())[shorten_reason(record["reason"])] += 1
        if self._show_commands and record.get("shellcmd"):
            subject = subject_of(rule, record["wildcards"])
            self._screen.write(f"# {rule} {subject}".rstrip())
            log_path = next(iter(record["log"]), None)
            self._screen.write(f"{pasted(record['shellcmd'], log_path)}\n")

    def write(self) -> None:
        """Write the table, once, if there is a job."""
        if self._is_written or not self._counts:
            return
        self._is_written = True
        rows = [
            (rule, str(n), self._why(rule)) for rule, n in self._counts.items() if rule != "total"
        ]
        total = ("total", str(self._counts.get("total", 0)), "")
        head = ("job", "count", "why" if self._reasons else "")
        self._screen.write(plain_table([head, *rows, total], numbers=[1]))
        self._screen.write(
            "\nThis was a dry-run: nothing was made. -p shows the commands, --verbose every detail."
        )

    def _why(self, rule: str) -> str:
        reasons = self._reasons.get(rule, Counter())
        counts = [f"{reason} ({n})" for reason, n in reasons.most_common()]
        return next(iter(reasons)) if len(reasons) == 1 else ", ".join(counts)


def shorten_reason(reason: str) -> str:
    """Return why a job would run in a few words, from what Snakemake says of it."""
    short = reason
    for pattern, words in _REASONS:
        if match := re.search(pattern, reason):
            detail = match[1].strip() if match.groups() else ""
            if match := _SETTINGS.match(reason, match.start()):
                detail = ", ".join(_changes(match[1], match[2]))
            short = f"{words}: {detail}" if detail else words
            break
    return short if len(short) <= _MOST_CHARACTERS else f"{short[: _MOST_CHARACTERS - 3]}..."


def _changes(before: str, now: str) -> list[str]:
    """Return the settings that differ between two mappings, as Python writes them."""
    try:
        given = [ast.literal_eval(text) for text in (before, now)]
    except (SyntaxError, ValueError):  # not values alone
        return []
    if not all(isinstance(settings, dict) for settings in given):  # several of them
        return []
    old, new = map(_leaves, given)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {old.get(name, 'unset')} to {new.get(name, 'unset')}" for name in names]


def _leaves(settings: Mapping[str, object]) -> dict[str, object]:
    """Return nested settings as one mapping, by the name of the innermost key."""
    found: dict[str, object] = {}
    for name, value in settings.items():
        found |= _leaves(value) if isinstance(value, Mapping) else {name: value}
    return found
