import io
import logging
import sys
from types import SimpleNamespace

import pytest

from lanflow.core import progress
from lanflow.core.progress import Progress, format_seconds


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (12.4, "12 s"), (59.4, "59 s"), (210, "3.5 min"), (7560, "2.1 h")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_on_a_terminal_there_is_a_bar_and_no_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)
    with caplog.at_level(logging.INFO, logger="lanflow"), Progress(4, "packing", "file") as shown:
        shown.advance(4)
    assert "packing: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert caplog.text == ""


def test_in_a_notebook_there_is_a_bar_though_it_has_no_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with caplog.at_level(logging.INFO, logger="lanflow"), Progress(4, "packing", "file") as shown:
        shown.advance(4)
    assert "packing: 100%" in log.getvalue()
    assert caplog.text == ""


def test_in_a_log_there_are_lines_with_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)
    with caplog.at_level(logging.INFO, logger="lanflow"), Progress(4000, "packing", "row") as shown:
        shown.advance(1000)
        shown.advance(3000)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("packing: 1,000 of 4,000 rows, ")
    assert " rows/s, " in first
    assert first.endswith(" left")
    assert second.startswith("packing: 4,000 of 4,000 rows, ")
    assert second.endswith(" 0 s left")


def test_a_log_is_not_filled_with_a_line_for_each_unit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, logger="lanflow"), Progress(500, "packing", "row") as shown:
        for _ in range(500):
            shown.advance()
    assert caplog.text == ""
    assert terminal.getvalue() == ""
