"""A machine without Slurm is told which tests it left out; CI has them fail instead."""

from typing import Any

import pytest

from tests import conftest


class Reporter:
    """What pytest would print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(title)

    line = section


@pytest.mark.parametrize(
    ("ci", "missing", "said"),
    [
        ("", ["munge"], "tests/cluster/test_tiny_study.py: needs munge"),
        ("", [], ""),
        ("true", ["munge"], ""),
    ],
)
def test_what_is_left_out_is_said_with_the_reason(
    ci: str, missing: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(conftest, "missing_packages", lambda: missing)
    reporter: Any = Reporter()
    conftest.pytest_terminal_summary(reporter)
    assert said in "\n".join(reporter.lines)
    assert bool(reporter.lines) == bool(said)
