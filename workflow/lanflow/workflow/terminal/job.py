"""One job of a build: its line while it runs, when it ends, and when it fails, and its log.

The log is read while the job runs and after: progress, warnings, the result, the error.
"""

import csv
import json
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanflow.core.progress import WARNING_MARK, Shown, find_progress, format_seconds
from lanflow.workflow.terminal.words import subject_of, words_of

_STATUS = re.compile(r"exit status (\d+)|died with <Signals\.(\w+)")
# A shell adds 128 to the number of the signal that ended a command.
_SIGNALS = {"137": "SIGKILL", "143": "SIGTERM", "130": "SIGINT"}
_OF_EXECUTORS = "For further error details see the cluster/cloud log and the log files of the"

_END_BYTES = 1 << 16
_MOST_ERROR_LINES = 20
# A command names itself, as in "lanflow query: error: ...".
_ERROR = re.compile(r"\w+(?: [\w-]+)?: (?:(?:unexpected )?error\b|interrupted$)")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass
class Job:
    """A job that was started or submitted.

    Attributes
    ----------
    rule, wildcards
        Which job it is.
    log_path, benchmark_path
        Its files; None if it has none.
    is_local
        False if a scheduler runs it, which may let it wait.
    started
        Time of :func:`time.monotonic`.
    """

    rule: str
    wildcards: Mapping[str, str]
    log_path: str | None
    benchmark_path: str | None
    is_local: bool = True
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.log = None if self.log_path is None else JobLog(Path(self.log_path))
        self._benchmark = None if self.benchmark_path is None else JobLog(Path(self.benchmark_path))

    @property
    def title(self) -> str:
        """Words for the job in a sentence: ``training ddm lan lan_jax``."""
        return f"{words_of(self.rule).doing} {subject_of(self.rule, self.wildcards)}".strip()

    @property
    def is_waiting(self) -> bool:
        """True if a scheduler has not begun it, as far as its log tells."""
        return not self.is_local and self.log is not None and not self.log.is_begun

    @property
    def last_sign(self) -> tuple[bool, int]:
        """Sort key: an error's message in its log, and the time of the last write (ns)."""
        if self.log is None:
            return False, 0
        return bool(self.log.error()), self.log.written_ns

    def running_line(self) -> str:
        """Return the line of a running job: seconds, what is done, the rate, the time left."""
        shown = self.log.progress() if self.log is not None else None
        words = "waiting" if self.is_waiting else ""
        progress = words if shown is None else f"{shown.done}, {shown.rate}, {shown.left} left"
        return self._line(words_of(self.rule).doing, time.monotonic() - self.started, progress)

    def finished_line(self) -> str:
        """Return the line of a finished job: seconds, and what came out."""
        words = words_of(self.rule)
        result, lines = ({}, []) if self.log is None else (self.log.result(), self.log.lines())
        try:
            outcome = words.describe(result, lines)
        except (KeyError, TypeError, ValueError, AttributeError):  # a result of another version
            outcome = ""
        return self._line(words.done, self._seconds(), outcome)

    def failed_line(self, reason: str) -> str:
        """Return the line of a job that failed, or that was stopped; arguments as of `error`."""
        how = "STOPPED" if signal_of(reason) in ("SIGINT", "SIGTERM") else "FAILED"
        return f"{how} {self.title} after {format_seconds(time.monotonic() - self.started)}"

    def error(self, reason: str) -> list[str]:
        """Return the message of a failed job, and where its log is.

        Parameters
        ----------
        reason
            What Snakemake or its executor says of how it ended.
        """
        message = [] if self.log is None else self.log.error()
        if not message:
            last = [] if self.log is None else self.log.lines()[-1:]
            message = [*last, _explain(reason) or "it left no message"]
        elif message[-1].endswith("interrupted"):  # by whom, a scheduler knows
            message += filter(None, [_explain(reason)])
        return [*message, *([f"log: {self.log_path}"] if self.log_path else [])]

    def warnings(self) -> Sequence[str]:
        """Return the warnings in its log."""
        return [] if self.log is None else self.log.warnings()

    def _line(self, verb: str, seconds: float, rest: str) -> str:
        subject = subject_of(self.rule, self.wildcards)
        return f"{verb:<11} {subject:<23} {format_seconds(seconds):>8}  {rest}".rstrip()

    def _seconds(self) -> float:
        """Return how long it took where it ran, without the time in a scheduler's queue."""
        rows = list(csv.reader(self._benchmark.lines(), delimiter="\t")) if self._benchmark else []
        try:
            return float(rows[1][0])
        except (IndexError, ValueError):
            return time.monotonic() - self.started


def signal_of(reason: str) -> str | None:
    """Return the name of the signal that ended a job, from what Snakemake says of it."""
    status = _STATUS.search(reason)
    return (status[2] or _SIGNALS.get(status[1])) if status else None


def _explain(reason: str) -> str:
    """Return in one line how a job ended that wrote no message."""
    signal, status = signal_of(reason), _STATUS.search(reason)
    if signal == "SIGKILL":
        return "it was killed, as a system does where memory runs out"
    if signal is not None:
        return f"it was stopped by {signal}"
    if status is not None:
        return f"it ended with {status[0]}"
    return reason.partition(_OF_EXECUTORS)[0].strip()


def pasted(command: str, log_path: str | None) -> str:
    """Return a command as a person would type it, which shows what goes to the log in a build."""
    shown = command.strip().removesuffix(f" > {shlex.quote(log_path or '')} 2>&1")
    return shown.removesuffix(" --json")


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
