"""A few trials of each part of ``make torture``; its table is in ``docs/torture.md``."""

from pathlib import Path

import pytest

from tests.torture.__main__ import existing_parts, run_part
from tests.torture.trial import Trial, rows, write_page

# Trials of each command or case: a second or two each.
N_TRIALS = {"crash": 2}


# Where address space ends within a library, the library may end the process: how much each needs
# differs from machine to machine, so random sizes are for a person to look at.
PARTS = [
    pytest.param(part, marks=[] if part == "crash" else pytest.mark.slow)
    for part in existing_parts()
    if part != "memory"
]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_lost(part: str, tmp_path: Path) -> None:
    trials = run_part(part, seed=1, trials=N_TRIALS.get(part, 1), folder=tmp_path)
    assert trials
    assert not [trial for trial in trials if not trial.is_clean]


def test_a_page_has_a_section_for_each_part_and_keeps_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "torture.md"
    bad = Trial("disk", "full | half", False, lost=2, hangs=1, remark="status 1")
    write_page(path, [bad, Trial("disk", "full | half", True)], seed=1, n_trials=2)
    write_page(path, [Trial("crash", "generate", True)], seed=7, n_trials=1)
    text = path.read_text()
    assert "| full \\| half | 2 | 1 | 2 | 0 | 0 | 0 | 1 |" in text
    assert "- full | half: status 1" in text
    assert "| generate | 1 | 1 | 0 | 0 | 0 | 0 | 0 |" in text
    assert text.index("## crash") < text.index("## disk")
    assert "`python -m tests.torture crash --seed 7 --trials 1`" in text
    assert rows([bad])[1] == ["disk", "full | half", "1", "0", "2", "0", "0", "0", "1"]
