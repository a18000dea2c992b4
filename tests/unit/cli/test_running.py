import json
import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest

from lanflow.cli.command import Outcome
from lanflow.cli.running import carry_out
from lanflow.core.errors import UsageError, UserError
from lanflow.core.interrupts import defer_signals
from tests.conftest import lose_an_interruption


def run(call: Callable[[], Outcome | None], **settings: Any) -> int:
    return carry_out("do-it", call, **settings)


def fail(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_a_command_ends_with_a_summary_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: Outcome({"root": "here"}, "it is here")) == 0
    assert capsys.readouterr() == ("it is here\n", "")
    assert run(lambda: None) == 0
    assert capsys.readouterr().out == ""


def test_with_json_its_last_line_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: Outcome({"root": "here"}, "it is here"), as_json=True) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"root": "here"}
    assert shown.err == "it is here\n"


def test_a_persons_mistake_is_one_message_and_status_1(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "lanflow")
    assert run(fail(UserError("no such file: http://ada:secret@host"))) == 1
    assert caplog.messages == ["do-it: error: no such file: http://***@host"]


def test_with_log_level_debug_a_mistake_tells_where_it_was_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run(fail(UserError("no such file: http://ada:secret@host")), log_level="DEBUG") == 1
    assert "Traceback" in caplog.text
    assert "secret" not in caplog.text


def test_options_that_make_no_sense_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(fail(UsageError("no such store: http://ada:secret@host"))) == 2
    assert capsys.readouterr() == ("", "do-it: error: no such store: http://***@host\n")


def test_a_bug_is_a_traceback_without_passwords_and_status_1(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run(fail(ZeroDivisionError("in http://ada:secret@host"))) == 1
    assert "do-it: unexpected error\nTraceback" in caplog.text
    assert "ZeroDivisionError: in http://***@host" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_work_like_ctrl_c_with_status_130(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    reasons: list[str] = []

    def call() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as e:
            reasons.append(str(e))
            raise

    assert run(call) == 130
    assert reasons == [number.name]
    assert "do-it: interrupted" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_repeated_sigterm_does_not_cut_short_what_the_first_began() -> None:
    recorded: list[str] = []

    def call() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            recorded.append("killed")

    assert run(call) == 130
    assert recorded == ["killed"]


def test_an_interruption_that_python_lost_is_raised_by_the_next_check() -> None:
    """As in a garbage collection that a signal happens to hit: Python prints and goes on."""
    done: list[str] = []

    def call() -> None:
        lose_an_interruption(signal.SIGTERM)
        done.append("lost")
        with defer_signals():
            done.append("never")

    assert run(call) == 130
    assert done == ["lost"]


def test_after_a_lost_interruption_another_signal_interrupts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def call() -> None:
        lose_an_interruption(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert run(call) == 130
    assert "do-it: interrupted" in caplog.text


def test_signals_mean_what_they_meant_before_when_the_command_is_done() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert run(lambda: None) == 0
    assert run(fail(KeyboardInterrupt())) == 130
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    """As behind nohup, or in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(lambda: signal.raise_signal(signal.SIGINT)) == 0
    finally:
        signal.signal(signal.SIGINT, before)
