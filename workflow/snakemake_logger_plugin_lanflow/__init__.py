"""The Snakemake logger plugin ``lanflow``: a build in one line a job.

Snakemake finds it by its name. ``logger: [lanflow]`` in a profile, or ``--logger lanflow``, selects
it. What it does not show is in Snakemake's log file and in the logs of the jobs; ``--verbose`` and
``--debug-dag`` show what Snakemake itself would.
"""

import logging
import sys
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from lanflow.workflow.terminal.build import Build, job_of
from lanflow.workflow.terminal.dry_run import DryRun
from lanflow.workflow.terminal.screen import Screen

__all__ = ["LogHandler"]


class LogHandler(LogHandlerBase):
    """Passes on what Snakemake logs to the terminal of a build or of a dry-run."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose how to show things by Snakemake's own options."""
        options = self.common_settings
        stream = sys.stdout if options.stdout else sys.stderr
        self._quiet = set(options.quiet or ())
        self._own: logging.Handler | None = None
        if options.verbose or options.debug_dag:
            self._own = _snakemakes_handler(options, stream)
        screen = Screen(stream, no_colour=options.nocolor)
        self._dry_run = DryRun(screen, show_commands=options.printshellcmds)
        self._build = Build(screen, show_jobs=not self._quiet, show_commands=options.printshellcmds)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        try:
            if self._own is not None:
                self._own.handle(record)
            elif self.common_settings.dryrun:
                self._show_dry_run(record)
            else:
                self._show(record)
        except Exception:  # as every handler of logging does, so that the build goes on
            self.handleError(record)

    def close(self) -> None:
        """Write what is left to be said, and stop."""
        if self._own is None and self.common_settings.dryrun:
            self._dry_run.write()
        self._build.close()
        super().close()

    def _show_dry_run(self, record: logging.LogRecord) -> None:
        match _event_of(record):
            case LogEvent.RUN_INFO:
                self._dry_run.plan(record.__dict__["stats"])
            case LogEvent.JOB_INFO:
                self._dry_run.add(record.__dict__)
            case None | LogEvent.ERROR if not _is_of_dry_run(record.getMessage()):
                self._show_message(record)

    def _show(self, record: logging.LogRecord) -> None:
        told: dict[str, Any] = record.__dict__
        build = self._build
        match _event_of(record):
            case LogEvent.RUN_INFO:
                build.plan(told["stats"])
            case LogEvent.RESOURCES_INFO if "cores" in told or "nodes" in told:
                build.place(cores=told.get("cores"), nodes=told.get("nodes"))
            case LogEvent.JOB_INFO if (job := job_of(told)) is not None:
                build.start(told["jobid"], job, told.get("shellcmd"))
            case LogEvent.JOB_FINISHED:
                build.finish(told["job_id"])
            case LogEvent.JOB_ERROR if not told.get("indent"):  # else it is told with its group
                build.fail(
                    told["jobid"],
                    reason=told.get("rule_msg") or "",
                    command=told.get("shellcmd"),
                    logs=told["log"][1:],
                )
            case LogEvent.GROUP_ERROR:
                numbers = [job["jobid"] for job in told["job_error_info"]]
                build.fail_group(numbers, told["aux_logs"])
            case None | LogEvent.ERROR:
                self._show_message(record)

    def _show_message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._build.report_error(text)
        elif Quietness.ALL not in self._quiet:
            self._build.report(text, is_warning=record.levelno == logging.WARNING)


def _event_of(record: logging.LogRecord) -> LogEvent | None:
    event: LogEvent | None = getattr(record, "event", None)
    return event


def _is_of_dry_run(text: str) -> bool:
    """Tell whether a message repeats what the table of a dry-run says."""
    return text.startswith(
        ("This was a dry-run", "Reasons:", "Some jobs were triggered", "Rules with provenance")
    )


def _snakemakes_handler(options: Any, stream: Any) -> logging.Handler:
    """Return what Snakemake would write with if there were no plugin."""
    handler: logging.Handler = ColorizingTextHandler(
        nocolor=options.nocolor,
        stream=stream,
        formatter=DefaultFormatter(options.quiet, options.show_failed_logs),
        filter=DefaultFilter(
            options.quiet,
            options.debug_dag,
            options.verbose,
            options.dryrun,
            options.printshellcmds,
        ),
    )
    return handler
