"""What the log of a job says, of this run of it alone."""

from pathlib import Path

import pytest

from lanflow.workflow.terminal.job import JobLog


def log_of(folder: Path, text: str) -> JobLog:
    log = JobLog(folder / "job.log")
    log.path.write_text(text)
    return log


def test_what_an_earlier_run_left_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text('lanflow query: error: no such experiment\n{"n": 1}\n')
    log = JobLog(path)
    assert (log.is_begun, log.lines(), log.result(), log.error()) == (False, [], {}, [])
    path.write_text('{"n": 2}\n')
    assert log.is_begun
    assert log.result() == {"n": 2}


def test_warnings_are_found_once_each(tmp_path: Path) -> None:
    log = log_of(tmp_path, "WARNING: a\nINFO\nWARNING: b\nWARNING: a\n")
    assert log.warnings() == ["a", "b"]


@pytest.mark.parametrize("text", ["", "not JSON\n", "[1, 2]\n", '{"n": 1}\nmore\n'])
def test_a_log_without_a_result_has_an_empty_one(tmp_path: Path, text: str) -> None:
    assert log_of(tmp_path, text).result() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x\nlanflow query: error: no run\n  a\n  b\n",
            ["lanflow query: error: no run", "  a", "  b"],
        ),
        ("usage: jaxtrain [-h]\njaxtrain: error: unknown\n", ["jaxtrain: error: unknown"]),
        ("epoch 1/2\njaxtrain: interrupted\n", ["jaxtrain: interrupted"]),
        (
            "lanflow plot: unexpected error\nTraceback (most recent call last):\n\nKeyError: 3",
            ["lanflow plot: unexpected error", "KeyError: 3"],
        ),
        ("Traceback (most recent call last):\n  File\nValueError: no\n\n", ["ValueError: no"]),
        ("epoch 1/2\n", []),
    ],
)
def test_an_error_is_the_message_of_the_command(
    tmp_path: Path, text: str, message: list[str]
) -> None:
    assert log_of(tmp_path, text).error() == message


def test_a_long_message_ends_early(tmp_path: Path) -> None:
    lines = [f"  file {i}" for i in range(100)]
    message = log_of(tmp_path, "\n".join(["lanflow query: error: missing:", *lines])).error()
    assert len(message) == 21
    assert message[-1] == "and 81 more lines in the log"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = log_of(tmp_path, "x" * 10_000_000 + '\n{"n": 1}\n')
    assert sum(map(len, log.lines())) < 100_000
    assert log.result() == {"n": 1}
