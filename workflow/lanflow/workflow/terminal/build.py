"""A build on the terminal: an opening, one line a job, its progress, failures, how it ended."""

import re
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lanflow.workflow.terminal.job import Job, pasted, signal_of
from lanflow.workflow.terminal.screen import Screen

_SECONDS_BETWEEN_LOOKS = 1.0
# Of a long job in a file: the first line of progress, and the longest time between two.
_FIRST_PROGRESS, _LAST_PROGRESS = 30.0, 1800.0
# Of a warning of a job; a list of files may be long.
_MOST_CHARACTERS = 300

# What Snakemake and its executor for Slurm tell of their own work; it is in Snakemake's log file.
_NOISE = re.compile(
    "|".join(
        (
            *("Building DAG of jobs", "Using shell: ", "Assuming unrestricted shared filesystem"),
            *("Select jobs to execute", "Processed \\d+ potential jobs", "Group jobs: inactive"),
            *("Conda environments: ignored", "Singularity containers: ignored"),
            *("Config file .* is extended by additional config", "Complete log", "Elapsed time: "),
            *("Shutting down, this", "Removing output files of failed job"),
            *("Exiting because a job execution failed", "SLURM run ID: "),
            *("Job \\d+ has been submitted with", "Submitted array job"),
            *("Submitted (?:group )?job .* with external jobid",),
            *("Cleaning up SLURM log files", "Reading SLURM partition"),
            *("Falling back to 'sacct'", "'sacct' unavailable"),
        )
    )
)
_INTERRUPTED = "Terminating processes on user request"
_RESTART = re.compile(r"Trying to restart job (\S+)\.")
_END_OF_FAILED_BUILD = "At least one job did not complete successfully."
# Snakemake reports the failed command of a job before the job; that of a script is a file of its.
_FAILED_COMMAND = "RuleException:\nCalledProcessError in file "
_SCRIPT = "/.snakemake/scripts/"


class Build:
    """Writes what happens in a build to a screen.

    Parameters
    ----------
    screen
        Where to write.
    show_jobs
        False for ``--quiet``: failures and the end alone.
    show_commands
        True for ``-p``: each command as it can be pasted.
    """

    def __init__(self, screen: Screen, *, show_jobs: bool = True, show_commands: bool) -> None:
        self._screen = screen
        self._show_jobs, self._show_commands = show_jobs, show_commands
        self._lock = threading.RLock()
        self._running: dict[int, Job] = {}
        self._next_line: dict[int, float] = {}
        self._failed: dict[int, Job] = {}
        self._n_done, self._n_jobs = 0, 0
        self._place = ""
        self._reasons: list[str] = []
        self._is_opened = self._is_interrupted = False
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    def plan(self, stats: Mapping[str, int]) -> None:
        """Take the number of jobs of each rule; one that only names the targets does not count."""
        targets = sum(n for name, n in stats.items() if name.split("_")[-1] == "all")
        self._n_jobs = stats.get("total", 0) - targets

    def place(self, *, cores: int | None, nodes: int | None) -> None:
        """Take where jobs run."""
        if cores is not None:
            self._place = f" on {cores} core{'s' * (cores != 1)}"
        elif nodes is not None:
            self._place = f", up to {nodes} at a time"

    def start(self, number: int, job: Job, command: str | None) -> None:
        """Show that a job was started or submitted."""
        with self._lock:
            self._open()
            self._running[number] = job
            self._next_line[number] = job.started + _FIRST_PROGRESS
            if command and self._show_commands:
                self._screen.write(pasted(command, job.log_path))
        if self._watch is None and self._show_jobs:
            self._watch = threading.Thread(target=self._look_again, daemon=True)
            self._watch.start()

    def finish(self, number: int) -> None:
        """Write the line of a job that ended well, and its warnings."""
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return
            self._n_done += 1
            self._failed.pop(number, None)
            if self._show_jobs:
                self._show_running()
                count = self._screen.colour(self._count(), "dim")
                warnings = [_shortened(f"warning: {w}", job.log_path) for w in job.warnings()]
                self._screen.write(f"{count} {job.finished_line()}")
                self._write_below(warnings, "yellow")

    def fail(
        self, number: int, *, reason: str = "", command: str | None = None, logs: Iterable[str] = ()
    ) -> None:
        """Write the message of a job that failed, and where its log is.

        Parameters
        ----------
        number
            Of the job.
        reason
            What an executor says of how it ended.
        command
            What it ran; None for a script.
        logs
            Paths of an executor's logs of it.
        """
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return
            reason = self._take_reason((command or _SCRIPT).strip()) or reason
            if signal_of(reason) != "SIGINT":
                self._failed[number] = job
            self._show_running()
            head = self._screen.colour(job.failed_line(reason), "red")
            lines = [*job.error(reason), *(f"log: {path}" for path in logs)]
            self._write_below([head, *(f"  {line}" for line in lines)])

    def fail_group(self, numbers: Iterable[int], logs: Iterable[str]) -> None:
        """Write the message of the job that failed among those that were one."""
        with self._lock:
            known = sorted(
                (number for number in numbers if number in self._running),
                key=lambda number: self._running[number].last_sign,
            )
            for number in known[:-1]:
                del self._running[number]
            for number in known[-1:]:
                self.fail(number, logs=logs)

    def report_error(self, text: str) -> None:
        """Write an error of Snakemake's own; at the end of a failed build, what failed."""
        if _END_OF_FAILED_BUILD in text:
            self._end_failed()
        elif text.startswith(_FAILED_COMMAND):
            self._reasons.append(text)
        elif not _NOISE.match(text):
            self._screen.write(self._screen.colour(text, "red"))

    def report(self, text: str, *, is_warning: bool = False) -> None:
        """Write a message of Snakemake or of the Snakefile, unless it is of no use to people."""
        if restarted := _RESTART.match(text):
            if restarted[1].isdecimal():
                self._failed.pop(int(restarted[1]), None)
            self._write_below(["it is tried again"])
        elif text.startswith(_INTERRUPTED):
            self._is_interrupted = True
        elif not _NOISE.match(text):
            self._screen.write(self._screen.colour(text, "yellow") if is_warning else text)

    def close(self) -> None:
        """Stop looking at jobs, and remove what is rewritten in place."""
        self._over.set()
        if self._watch is not None:
            self._watch.join()
        self._screen.close()

    def _take_reason(self, command: str) -> str:
        """Return what Snakemake said of how a command ended, once; empty if it said nothing."""
        for i, text in enumerate(self._reasons):
            if command in text:
                return self._reasons.pop(i)
        return ""

    def _open(self) -> None:
        if not self._is_opened and self._n_jobs and self._show_jobs:
            jobs = f"{self._n_jobs} job{'s' * (self._n_jobs != 1)}"
            self._screen.write(f"{jobs}{self._place}\n")
        self._is_opened = True

    def _count(self) -> str:
        width = len(str(self._n_jobs))
        return f"[{self._n_done:>{width}}/{self._n_jobs}]"

    def _blank(self) -> str:
        return " " * len(self._count())

    def _write_below(self, lines: Iterable[str], colour: str | None = None) -> None:
        """Write lines that stand below those that have a count."""
        shown = [line if colour is None else self._screen.colour(line, colour) for line in lines]
        if shown:
            self._screen.write("\n".join(f"{self._blank()} {line}" for line in shown))

    def _look_again(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            with self._lock:
                self._show_running()
                if not self._screen.is_live:
                    self._write_progress(time.monotonic())

    def _show_running(self) -> None:
        """Rewrite the lines of running jobs, on a terminal."""
        if self._screen.is_live and self._show_jobs:
            running = self._running.values()
            self._screen.show([f"{self._blank()} {job.running_line()}" for job in running])

    def _write_progress(self, now: float) -> None:
        """Write a line for each long job; twice as long after the last one each time."""
        for number, job in self._running.items():
            if now >= self._next_line[number] and not job.is_waiting:
                pause = min(max(_FIRST_PROGRESS, now - job.started), _LAST_PROGRESS)
                self._next_line[number] = now + pause
                self._screen.write(f"{self._blank()} {job.running_line()}")

    def _end_failed(self) -> None:
        """Write what failed, what is finished, and how to go on."""
        with self._lock:
            if not self._is_interrupted:  # Snakemake names no job whose output is missing
                self._failed |= self._running
            self._running.clear()
            self._screen.show([])
        names = list(dict.fromkeys(job.title for job in self._failed.values()))
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        head = f"{len(names)} of {self._n_jobs} jobs failed" if names else "interrupted"
        kept = f"{self._n_done} of {self._n_jobs} finished and are kept"
        if not self._show_jobs:  # Snakemake does not say then which finished
            kept = "what finished is kept"
        program, *arguments = sys.argv
        name = Path(program).name
        words = ["python", "-m", "snakemake"] if name == "__main__.py" else [name]
        self._screen.write(
            f"\n{self._screen.colour(head, 'red')}{': ' * bool(names)}{shown}\n"
            f"{kept}; the same command goes on from there: {shlex.join([*words, *arguments])}"
        )


def _shortened(line: str, log_path: str | None) -> str:
    """Return a line, or its beginning and where the whole of it is."""
    if len(line) <= _MOST_CHARACTERS:
        return line
    return f"{line[:_MOST_CHARACTERS]}... (the rest is in {log_path})"


def job_of(record: Mapping[str, Any]) -> Job | None:
    """Return the job that Snakemake reports as started; None for a rule that only names targets."""
    if not record["log"] and not record["output"] and not record.get("shellcmd"):
        return None
    return Job(
        rule=record["rule_name"],
        wildcards=dict(record["wildcards"]),
        log_path=record["log"][0] if record["log"] else None,
        benchmark_path=record["benchmark"],
        is_local=record["local"],
    )
