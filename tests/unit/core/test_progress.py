import io
import logging
import sys
from types import SimpleNamespace

import pytest

from lanflow.core import progress
from lanflow.core.progress import (
    LineFormatter,
    Progress,
    Shown,
    epoch_line,
    find_progress,
    format_count,
    format_seconds,
    with_progress,
)


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
    monkeypatch.setattr(progress, "_SECONDS_TO_FIRST_LINE", 0)
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


def test_work_that_is_done_in_a_moment_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    for delay in (0.0, 60.0):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(progress, "_SECONDS_TO_BAR", delay)
        assert list(with_progress("abc", "scoring", "letter")) == ["a", "b", "c"]
        shown[delay] = terminal.getvalue()
    assert "scoring: 100%" in shown[0.0]
    assert shown[60.0] == ""


def test_in_a_log_there_are_lines_with_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_SECONDS_TO_FIRST_LINE", 0)
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
    shown = find_progress(["labels from analytic", first, second, "4 file(s) in data"])
    assert shown is not None
    assert (shown.done, shown.left) == ("4,000 of 4,000 rows", "0 s")
    assert shown.rate.endswith("/s")


def test_what_takes_long_is_told_by_how_long_each_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = iter([0.0, 50.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="lanflow"), Progress(8, "recovering", "test") as bar:
        bar.advance(2)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "recovering: 2 of 8 tests, 25 s a test, 2.5 min left"
    shown = find_progress([line])
    assert shown is not None
    assert (shown.done, shown.rate, shown.left) == ("2 of 8 tests", "25 s each", "2.5 min")


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


def test_the_last_epoch_of_a_log_is_read_again() -> None:
    lines = [
        epoch_line(n, 24, "train_loss 0.5  val_loss 0.4", rows_per_second=r, seconds_left=70)
        for n, r in ((1, 900), (2, 1_234_567))
    ]
    assert lines[0] == "epoch 1/24  train_loss 0.5  val_loss 0.4  900 rows/s  1.2 min left"
    assert find_progress(lines) == Shown("epoch 2 of 24", "1.2 M rows/s", "1.2 min")
    assert find_progress(["nothing of the kind", "1 of 2 left"]) is None


@pytest.mark.parametrize(
    ("n", "text"),
    [(950, "950"), (9_999, "9,999"), (12_345, "12 k"), (624_000, "624 k"), (1_400_000, "1.4 M")],
)
def test_large_numbers_are_written_for_people(n: float, text: str) -> None:
    assert format_count(n) == text


def test_a_warning_of_ours_is_marked_and_nothing_else() -> None:
    def line(name: str, level: int) -> str:
        record = logging.LogRecord(name, level, "", 0, "%d files", (3,), None)
        return LineFormatter().format(record)

    assert line("lanflow.data.audit", logging.WARNING) == "WARNING: 3 files"
    assert line("lanflow.data.audit", logging.INFO) == "3 files"
    assert line("mlflow", logging.WARNING) == "3 files"
