"""Why jobs would run, in a few words."""

import pytest

from lanflow.workflow.terminal.dry_run import shorten_reason


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("Missing output files: a; Input files updated by another job: b", "output is missing"),
        ("Input files updated by another job: b, c", "input is made anew"),
        ("Updated input files: b; Code has changed since last execution", "code changed"),
        ("Updated input files: b.json, c.json", "input changed: b.json, c.json"),
        (
            "Params have changed since last execution: Union of all: before: "
            "{'config': {'rate': 0.1, 'n': [1]}, 'seed': 1} now: "
            "{'config': {'rate': 0.2, 'n': [1]}, 'seed': 1} ; Code has changed",
            "settings changed: rate 0.1 to 0.2",
        ),
        (
            "Params have changed since last execution: Union: before: {'a': 1} now: {'b': 1} ",
            "settings changed: a 1 to unset, b unset to 1",
        ),
        (
            "Params have changed since last execution: Union: before: {1},{2} now: x",
            "settings changed",
        ),
        (
            "Params have changed since last execution: Union: before: {1},{2} now: {3},{4} ",
            "settings changed",
        ),
        ("Forced execution", "forced"),
        ("something that is new in Snakemake", "something that is new in Snakemake"),
    ],
)
def test_a_reason_in_a_few_words(reason: str, short: str) -> None:
    assert shorten_reason(reason) == short


def test_no_reason_fills_the_terminal() -> None:
    long = "Updated input files: " + "x" * 1000
    assert len(shorten_reason(long)) == 90
