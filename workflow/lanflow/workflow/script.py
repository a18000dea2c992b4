"""The start of a rule that is a script, and its log."""

import logging
import os
import sys
from pathlib import Path

from lanflow.core.progress import LineFormatter


def hand_over() -> None:
    """Let a fork of a process that has imported what scripts need run this one, and end."""
    if os.environ.get("LANFLOW_WARM"):
        from lanflow.workflow.warm import client

        client.hand_over("")


def log_to(path: str) -> None:
    """Send all that this process writes to a file: messages, warnings, the traceback of an error.

    Parameters
    ----------
    path
        The log of the rule; what it held is replaced.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.close(file)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("lanflow").setLevel(logging.INFO)
