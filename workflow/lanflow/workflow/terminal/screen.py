"""Lines on a terminal or in a file; on a terminal, some below them that are rewritten in place."""

import os
import shutil
import threading
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "bold": "1", "dim": "2"}
_ERASE_BELOW, _RESET = "\x1b[0J", "\x1b[0m"
_MOST_LIVE_LINES = 12


class Screen:
    """Writes lines that stay, and on a terminal lines that are rewritten.

    Parameters
    ----------
    stream
        Where to write. Without a terminal at its end no control character is written.
    no_colour
        True to write no colours; the variable ``NO_COLOR`` has the same effect.
    """

    def __init__(self, stream: TextIO, *, no_colour: bool = False) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._live: list[str] = []
        self.is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._has_colours = self.is_live and not (no_colour or os.environ.get("NO_COLOR"))

    def colour(self, text: str, name: str) -> str:
        """Return a text in a colour, or as it is where there are none."""
        return f"\x1b[{_COLOURS[name]}m{text}{_RESET}" if self._has_colours and text else text

    def write(self, text: str) -> None:
        """Write lines that stay, above those that are rewritten."""
        with self._lock:
            self._send(f"{self._erased()}{text}\n{self._drawn()}")

    def show(self, lines: Sequence[str]) -> None:
        """Replace the lines that are rewritten; without a terminal this does nothing."""
        if not self.is_live:
            return
        with self._lock:
            erased, size = self._erased(), shutil.get_terminal_size()
            most = max(1, min(_MOST_LIVE_LINES, size.lines - 2))
            rest = len(lines) - most
            shown = [*lines[: most - 1], f"and {rest + 1} more"] if rest > 0 else lines
            self._live = [line[: size.columns - 1] for line in shown]
            self._send(f"{erased}{self._drawn()}")

    def close(self) -> None:
        """Remove the lines that are rewritten."""
        self.show([])

    def _erased(self) -> str:
        return f"\x1b[{len(self._live)}F{_ERASE_BELOW}" if self._live else ""

    def _drawn(self) -> str:
        return "".join(f"{self.colour(line, 'dim')}\n" for line in self._live)

    def _send(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
