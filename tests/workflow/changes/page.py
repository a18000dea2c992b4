"""The truth table as a page for people: ``docs/changes.md``."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tests.workflow.changes.table import Change, read_table, read_words

PATH = Path(__file__).resolve().parents[3] / "docs" / "changes.md"

_EVERYTHING = "everything"
_HEAD = """\
# What a change makes again

A finished study was changed; `snakemake` runs the jobs listed here, and no others, in one call.
Changes made together run what each of them runs. Every row is tested, alone and with every other
row (`tests/workflow/test_changes.py`); this page is made from that table by `make generated`.

In words: what decides a network's weights trains that network again, with all that is made of it;
what decides data makes that model's data again, and its networks; a judgement is made anew without
training. Comments, moved files of the same content and new times of files change nothing. A missing
file is made again, with what was made from it; but training files and packed arrays, which may be
large, can be removed whenever their space is needed: arrays are packed again by the training that
needs them.

**A changed store** gets the runs of the study: simulations, trainings and evaluations are recorded
there from their records beside the results, networks that passed are registered there, and nothing
is trained again. The old store keeps what it has. Other experiments (`MLFLOW_EXPERIMENT_NAME`) and
another place for artifacts are for runs from then on.

The study of the table: ddm, simulated in two chunks, and angle, from an experiment in MLflow; of
each a lan and a cpn in JAX and in Torch, parameters recovered, gates required, networks registered
and bundled. A rule alone stands for all of its jobs, `RULE MODEL/NETWORK/BACKEND` for those of that
model, network and backend. Some words stand for several rules:

| word | rules |
| --- | --- |
"""


def page() -> str:
    """The page's text."""
    words = {word: rules for word, rules in read_words().items() if word != _EVERYTHING}
    parts = [_HEAD, *(f"| **{word}** | {_listed(rules)} |\n" for word, rules in words.items())]
    for title, changes in groupby(read_table(), key=lambda change: change.section):
        rows = "\n".join(f"| {_name(change)} | {_jobs(change)} |" for change in changes)
        parts.append(f"\n## {title}\n\n| change | runs |\n| --- | --- |\n{rows}\n")
    return "".join(parts)


def _name(change: Change) -> str:
    words = change.name.replace("*", "\\*")
    return f"`{words}`" if " " not in words and "," not in words else words


def _jobs(change: Change) -> str:
    if change.says == (_EVERYTHING,):
        return "everything, in the new folder"
    return _listed(change.says) or "nothing"


def _listed(entries: Iterable[str]) -> str:
    words = read_words()
    shown = []
    for entry in entries:
        word, _, of = entry.partition(" ")
        of = f" `{of}`" if of else ""
        shown.append(f"**{word}**{of}" if word in words else f"`{entry}`")
    return ", ".join(shown)


if __name__ == "__main__":
    PATH.write_text(page())
