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
            "Params have changed since last execution: Before: 1, now: 2",
            "settings changed: Before: 1, now: 2",
        ),
        ("Forced execution", "forced"),
        ("something that is new in Snakemake", "something that is new in Snakemake"),
    ],
)
def test_a_reason_in_a_few_words(reason: str, short: str) -> None:
    assert shorten_reason(reason) == short


def test_no_reason_fills_the_terminal() -> None:
    long = "Params have changed since last execution: " + "x" * 1000
    assert len(shorten_reason(long)) == 90
