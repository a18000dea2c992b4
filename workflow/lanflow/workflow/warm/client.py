"""A job's side: have a fork of a warm process run the command, and end as it ends.

Needs the standard library alone, and some milliseconds. Whatever is missing or unlike (no warm
process, another environment, a process that dies), the job goes on by itself.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import TypedDict

from lanflow.workflow.warm.likeness import likeness

# The folder with the sockets of warm processes, named by their likenesses.
VARIABLE = "LANFLOW_WARM"
# The warm process has the whole request; the job leaves it the work; then its status follows.
READY, GO = b"+", b"!"
# Signals that are passed on to the fork. SIGKILL, which cannot be, closes the socket.
_PASSED_ON = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT),
)
_CREDENTIALS = struct.Struct("3i")  # process, user, group
# A warm process that still imports what jobs need answers later.
SECONDS_TO_ANSWER = 10.0

# True in a process that is such a fork.
is_fork = False


class Request(TypedDict):
    """A command as a fork is given it, beside three streams and a working directory."""

    entry: str
    arguments: list[str]
    variables: dict[str, str]
    search_path: list[str]


def hand_over(entry: str) -> None:
    """Let a fork of a warm process run this command, and end as it does.

    Returns, having done nothing, where no warm process is like this one.

    Parameters
    ----------
    entry
        ``module:function``, called without arguments; or empty: the script that is run.
    """
    if is_fork or not os.environ.get(VARIABLE):
        return
    word = likeness()
    if word is None:
        return
    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError, ValueError):
        server.settimeout(SECONDS_TO_ANSWER)
        server.connect(str(Path(os.environ[VARIABLE], word)))
        if user_of(server) != os.geteuid():
            return
        _ask(server, entry)
        server.settimeout(None)
        _end(_wait(server))


def user_of(connected: socket.socket) -> int:
    """Return the user of the process at the other end of a socket."""
    answer = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(answer)[1])


def _ask(server: socket.socket, entry: str) -> None:
    """Send the command, its streams and its folder, and leave it the work.

    Raises
    ------
    OSError
        If nobody is there to do it.
    """
    request: Request = {
        "entry": entry,
        "arguments": sys.argv,
        "variables": dict(os.environ),
        "search_path": sys.path,
    }
    content = json.dumps(request).encode()
    folder = os.open(".", os.O_PATH)
    try:
        socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2, folder])
        server.sendall(content)
    finally:
        os.close(folder)
    if server.recv(1) != READY:
        raise ConnectionError
    server.sendall(GO)


def _wait(server: socket.socket) -> int:
    """Pass signals on until the fork has ended; return its status, as :mod:`subprocess` has it.

    Raises
    ------
    ConnectionError
        If it was killed together with the process that watches it.
    """

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(OSError):
            server.send(bytes([number]))

    def stop(_number: int, _frame: object) -> None:
        pass_on(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)

    handlers = {**dict.fromkeys(_PASSED_ON, pass_on), signal.SIGTSTP: stop}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        # The fork ignores what this process ignores, unless the job has a handler of its own.
        if number != signal.SIGTSTP or before[number] != signal.SIG_IGN:
            signal.signal(number, handler)
    answer = b""
    while not answer.endswith(b"\n") and (part := server.recv(16)):
        answer += part
    if not answer.endswith(b"\n"):
        for number, original in before.items():
            signal.signal(number, original)
        raise ConnectionError
    return int(answer)


def _end(status: int) -> None:
    """End as the fork did: with its status, or by the signal that ended it."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)
