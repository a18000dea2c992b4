"""Lines that stay and lines that are rewritten, with and without a terminal."""

import io

import pytest

from lanflow.workflow.terminal.screen import Screen


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(screen: Screen, stream: io.StringIO) -> str:
    screen.show(["now"])
    screen.write(screen.colour("done", "green"))
    screen.close()
    return stream.getvalue()


def test_a_file_gets_lines_alone() -> None:
    stream = io.StringIO()
    assert shown(Screen(stream), stream) == "done\n"


def test_a_terminal_gets_colours_and_lines_in_place() -> None:
    stream = Terminal()
    text = shown(Screen(stream), stream)
    assert "\x1b[32mdone\x1b[0m\n" in text
    assert text.endswith("\x1b[1F\x1b[0J")


def test_a_terminal_that_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for screen_of in (lambda s: Screen(s, no_colour=True), Screen):
        stream = Terminal()
        assert "\x1b[32m" not in shown(screen_of(stream), stream)
        monkeypatch.setenv("NO_COLOR", "1")


def test_a_dumb_terminal_is_written_to_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    assert shown(Screen(stream), stream) == "done\n"


def test_lines_in_place_fit_the_terminal() -> None:
    stream = Terminal()
    Screen(stream, no_colour=True).show([f"{i} " + "x" * 100 for i in range(30)])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) <= 39
    assert lines[-1] == "and 25 more"
