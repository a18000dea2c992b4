"""The log of a job, read while it runs and after: progress, warnings, the result, the error."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanflow.core.progress import WARNING_MARK, Shown, find_progress

_END_BYTES = 1 << 16
_MOST_ERROR_LINES = 20
# A command names itself, as in "lanflow query: error: ...".
_ERROR = re.compile(r"\w+(?: [\w-]+)?: (?:(?:unexpected )?error\b|interrupted$)")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass
class JobLog:
    """The log file of a job. What an earlier run of the same job left in it does not count.

    Attributes
    ----------
    path
        The file; it need not exist.
    """

    path: Path
    _before: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._before = self._state()

    @property
    def is_begun(self) -> bool:
        """Tell whether this run of the job has written the file."""
        return self.written_ns > 0

    @property
    def written_ns(self) -> int:
        """The time at which this run of the job last wrote the file, in ns; 0 if it did not."""
        state = self._state()
        return state[0] if state is not None and state != self._before else 0

    def progress(self) -> Shown | None:
        """Return what the last line of progress says."""
        return find_progress(self.lines())

    def warnings(self) -> list[str]:
        """Return the warnings, without their mark; each once."""
        found = [line for line in self.lines() if line.startswith(WARNING_MARK)]
        return [line.removeprefix(WARNING_MARK) for line in dict.fromkeys(found)]

    def result(self) -> dict[str, Any]:
        """Return the line of JSON that a command ends with; empty if there is none."""
        try:
            content = json.loads(self.lines()[-1])
        except (IndexError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def error(self) -> list[str]:
        """Return the message of a command that ended with an error; empty without one."""
        lines = [line for line in self.lines() if line.strip()]
        begins = [i for i, line in enumerate(lines) if _ERROR.match(line)]
        message = lines[begins[-1] :] if begins else []
        if _TRACEBACK in lines and (_TRACEBACK in message or not message):
            message = [*message[:1], lines[-1]]
        if len(message) > _MOST_ERROR_LINES:
            rest = len(message) - _MOST_ERROR_LINES
            message = [*message[:_MOST_ERROR_LINES], f"and {rest} more lines in the log"]
        return message

    def lines(self) -> list[str]:
        """Return the last lines of the file; none if this run has not written it."""
        if not self.is_begun:
            return []
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
