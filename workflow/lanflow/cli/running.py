"""Runs a command: its exit status, its last line, its errors, and signals."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from lanflow.cli.command import Command, Json, LogLevel, Outcome, bind, make_command
from lanflow.core.errors import DID_NOT_PASS, GatesError, UsageError, UserError, short


def declare(name: str, function: Callable[..., Any], *, about: str) -> Command:
    """Make a command that people and programs run: with ``--json`` and ``--log-level``.

    Parameters
    ----------
    name, about
        Of the command, for its help.
    function
        Does the work; its annotated parameters are the options.
    """

    def options(*, json: Json = False, log_level: LogLevel = "INFO") -> None: ...

    return _declare(name, function, options, about)


def declare_for_programs(
    name: str, function: Callable[..., Any], *, about: str, epilog: str
) -> Command:
    """Make a command that always ends with one line of JSON, which programs of others read."""

    def options(*, log_level: LogLevel = "INFO") -> None: ...

    return _declare(name, function, options, about, epilog)


def _declare(
    name: str,
    function: Callable[..., Any],
    options: Callable[..., Any],
    about: str,
    epilog: str = "",
) -> Command:
    def callback(**values: Any) -> int:
        return carry_out(
            click.get_current_context().command_path,
            lambda: function(**bind(function, values)),
            log_level=values["log_level"],
            as_json=values.get("json", True),
            summarises="json" in values,
        )

    command = make_command(name, function, callback, about=about, epilog=epilog)
    command.params += make_command(name, options, callback, about=about).params
    return command


def hand_over(entry: str) -> None:
    """In a build, let a fork of a process that has imported what it needs do the work, and end.

    Parameters
    ----------
    entry
        ``module:function`` of the command.
    """
    if os.environ.get("LANFLOW_WARM"):
        from lanflow.workflow.warm import client

        client.hand_over(entry)


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Parse a command line and run the command.

    Parameters
    ----------
    command
        As declared.
    name
        Of the program.
    arguments
        The words after it; those of this process when left out.

    Returns
    -------
    int
        The exit status: 0; 1 for an error, of the user or of lanflow; 2 for options that make no
        sense; 3 for networks that did not pass their gates; 130 after an interruption.
    """
    # Numpy's products are small here: more threads gain a third at most, and OpenBLAS's spin while
    # they wait. On a busy machine a command took ten times the processor's time for that.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as e:
        sys.stderr.write(f"{e.message}\n")
        return 2
    except click.UsageError as e:
        path = name if e.ctx is None else e.ctx.command_path
        return _refuse(path, _explain_usage(e))
    except click.Abort:
        return 130
    return int(status or 0)


def carry_out(
    name: str,
    call: Callable[[], Outcome | None],
    *,
    log_level: str = "INFO",
    as_json: bool = False,
    summarises: bool = True,
) -> int:
    """Do the work of a command, and end with its result or its error.

    Parameters
    ----------
    name
        Of the command, as it was typed.
    call
        Does the work.
    log_level
        The least that is logged to standard error.
    as_json
        Whether the last line of standard output is JSON; a summary for people otherwise.
    summarises
        Whether the summary is printed beside the JSON, to standard error.

    Returns
    -------
    int
        The exit status, as of :func:`run`.
    """
    import json
    import traceback

    from lanflow.core.interrupts import interruptible

    log, outcome = _start_log(log_level), None
    try:
        with interruptible():
            outcome = call()
            if outcome is not None:
                if as_json and summarises:
                    sys.stderr.write(f"{outcome.summary}\n")
                _print_line(json.dumps(outcome.content) if as_json else outcome.summary)
    except UsageError as e:
        return _refuse(name, str(e))
    except (UserError, OSError, MemoryError) as e:
        log.error("%s: error: %s", name, _redacted(_explain(e)))
        log.debug("%s", _redacted(traceback.format_exc()))
        return DID_NOT_PASS if isinstance(e, GatesError) else 1
    except KeyboardInterrupt:
        log.error("%s: interrupted", name)
        return 130
    except Exception:  # a bug: print its traceback, without the password that a URI may hold
        log.error("%s: unexpected error\n%s", name, _redacted(traceback.format_exc()))
        return 1
    return 0 if outcome is None else outcome.status


def _start_log(level: str) -> Any:
    import logging

    from lanflow.core.progress import LineFormatter
    from lanflow.tracking.store import RedactedRecord

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log = logging.getLogger("lanflow")
    log.setLevel(level)
    logging.setLogRecordFactory(RedactedRecord)
    return log


def _refuse(name: str, message: str) -> int:
    """Say in one line why a command line makes no sense, without the password it may hold."""
    sys.stderr.write(f"{name}: error: {_redacted(message)}\n")
    return 2


def _redacted(text: str) -> str:
    from lanflow.tracking.store import redact

    return redact(text)


def _explain_usage(error: click.UsageError) -> str:
    """One line for a command line that click refuses."""
    parameter = getattr(error, "param", None)
    match error:
        case click.NoSuchOption():
            return explain_unknown("option", error.option_name, _options_of(error.ctx), error.ctx)
        case click.MissingParameter() if parameter is not None:
            is_option = isinstance(parameter, click.Option)
            words = [*parameter.opts[:is_option], parameter.make_metavar(error.ctx)]
            return f"give {' '.join(words)}: {parameter.help}"  # ours all have a help
        case click.BadParameter() if parameter is not None:
            is_option = isinstance(parameter, click.Option)
            name = parameter.opts[0] if is_option else parameter.make_metavar(error.ctx)
            return f"{name}: {error.message}"
    message = error.format_message()
    return message[:1].lower() + message[1:].rstrip(".")


def _options_of(ctx: click.Context | None) -> list[str]:
    parameters = [] if ctx is None else ctx.command.get_params(ctx)
    return [
        name for p in parameters for name in (*p.opts, *p.secondary_opts) if name.startswith("--")
    ]


def explain_unknown(
    kind: str, name: str, known: list[str], ctx: click.Context | None = None
) -> str:
    """Say that there is no option or command of a name, and which one may have been meant.

    Parameters
    ----------
    kind
        What it would be: ``option`` or ``command``.
    name
        As typed.
    known
        The names there are.
    ctx
        Of the command whose help lists them.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    path = "" if ctx is None else ctx.command_path
    hint = f"did you mean {close[0]}?" if close else f"'{path} --help' lists them"
    return f"no {kind} {short(name)}; {hint}"


def _explain(error: UserError | OSError | MemoryError) -> str:
    """One line for what a person can mend: in the input, on the disk, or in the memory."""
    match error:
        case OSError():
            from lanflow.core.files import explain_os_error

            return explain_os_error(error)
        case MemoryError():
            from lanflow.core.processes import explain_memory_error

            return explain_memory_error(error)
    return str(error)


def _print_line(text: str) -> None:
    """Write a line to standard output, which may be a file on a full disk.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as e:
        # Python would write the rest once more as it ends, and fail with a message of its own.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UserError(f"standard output: {e.strerror}; the work itself is done") from e
