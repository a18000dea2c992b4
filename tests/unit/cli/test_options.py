import argparse
import json
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from lanflow.cli.options import (
    add_log_level,
    add_places,
    add_store,
    count,
    parse_path_map,
    run_command,
    share,
    whole_number,
)
from lanflow.core.errors import UsageError, UserError
from lanflow.core.interrupts import defer_signals
from lanflow.core.processes import n_cores
from tests.conftest import lose_an_interruption


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="do-it", allow_abbrev=False)
    add_log_level(made)
    add_store(made)
    add_places(made)
    return made


def run(call: Callable[[argparse.Namespace], Any], *arguments: str) -> int:
    return run_command(parser(), call, list(arguments))


def fail(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def call(_: argparse.Namespace) -> None:
        raise error

    return call


def test_what_a_command_returns_is_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda parsed: {"root": str(parsed.root)}, "--root", "here") == 0
    output = capsys.readouterr().out
    assert json.loads(output.splitlines()[-1]) == {"root": "here"}
    assert run(lambda _: None) == 0
    assert capsys.readouterr().out == ""


def test_a_persons_mistake_is_one_message_and_status_1(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "lanflow")
    assert run(fail(UserError("no such file: http://ada:secret@host"))) == 1
    assert caplog.messages == ["do-it: error: no such file: http://***@host"]


def test_with_log_level_debug_a_mistake_tells_where_it_was_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run(fail(UserError("no such file: http://ada:secret@host")), "-l", "debug") == 1
    assert "Traceback" in caplog.text
    assert "secret" not in caplog.text


def test_options_that_make_no_sense_are_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for call, arguments in (
        (fail(UsageError("give one or the other")), []),
        (lambda _: None, ["--rot", "x"]),
        (lambda _: None, ["--log-level", "loud"]),
    ):
        with pytest.raises(SystemExit) as caught:
            run(call, *arguments)
        assert caught.value.code == 2
        assert "usage: do-it" in capsys.readouterr().err


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

    def call(_: argparse.Namespace) -> None:
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

    def call(_: argparse.Namespace) -> None:
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

    def call(_: argparse.Namespace) -> None:
        lose_an_interruption(signal.SIGTERM)
        done.append("lost")
        with defer_signals():
            done.append("never")

    assert run(call) == 130
    assert done == ["lost"]


def test_after_a_lost_interruption_another_signal_interrupts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def call(_: argparse.Namespace) -> None:
        lose_an_interruption(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert run(call) == 130
    assert "do-it: interrupted" in caplog.text


def test_signals_mean_what_they_meant_before_when_the_command_is_done() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert run(lambda _: None) == 0
    assert run(fail(KeyboardInterrupt())) == 130
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    """As behind nohup, or in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(lambda _: signal.raise_signal(signal.SIGINT)) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("text", ["-1", "1.5", "two", "", "+3"])
def test_numbers_are_refused_that_are_not_whole(text: str) -> None:
    for convert in (whole_number, count):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
            convert(text)


def test_a_count_starts_at_one() -> None:
    assert (whole_number("0"), whole_number("12"), count("1")) == (0, 12, 1)
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is not a positive whole number"):
        count("0")


def test_a_share_is_a_number_from_0_to_1() -> None:
    assert (share("0"), share("0.25"), share("1")) == (0, 0.25, 1)
    for text in ("-0.1", "1.1", "nan", "half", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 0 to 1"):
            share(text)


def test_a_path_map_is_pairs() -> None:
    assert parse_path_map(["/a=/b", "c=d=e"]) == {"/a": "/b", "c": "d=e"}
    for entry in ("/a", "=/b", "/a="):
        with pytest.raises(UsageError, match=f"--path-map '{entry}': expected RECORDED=HERE"):
            parse_path_map([entry])


def test_the_cores_are_those_this_process_may_use() -> None:
    assert 1 <= n_cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        allowed = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(allowed)})
            assert n_cores() == 1
        finally:
            os.sched_setaffinity(0, allowed)
