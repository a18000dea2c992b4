"""Commands that start at once: processes forked from one that has imported what takes seconds.

A command of lanflow's spends most of a small job on importing jax, torch, MLflow and
ssm-simulators. Tests that run many of them, and ask nothing of how they start, put the folder of
:func:`start` first in ``PATH``. A command there passes its words, variables, folder and streams to
a server, which forks a process that runs the command's own entry point and ends with its status.
The tiny study, the pages' commands, those in Slurm and those that signals meet start as for users.

Run as a script, this file is that server.
"""

import atexit
import contextlib
import gc
import importlib.util
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

# Entry points, as pyproject.toml and Snakemake name them.
COMMANDS = {
    "lanflow": "lanflow.cli.main:main",
    "jaxtrain": "lanflow.cli.train:jaxtrain",
    "torchtrain": "lanflow.cli.train:torchtrain",
    "snakemake": "snakemake.cli:main",
}
# What they import of others. Nothing of lanflow's, which reads variables, and not onnxruntime: it
# starts a thread when it is imported, which a forked process has not.
PRELOADED = (
    *("numpy", "scipy.stats", "pandas", "yaml", "pydantic", "jinja2", "tqdm", "click"),
    *("jax", "jax.numpy", "flax.linen", "optax", "torch", "onnx"),
    *("mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "alembic.command", "ssms"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "snakemake.cli", "snakemake.api"),
)
# What JAX compiled for one command is there for the next; with a largest size, it locks the folder.
_KEPT = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_COMPILATION_CACHE_MAX_SIZE": "1000000000",
}
_SOCKET = "socket"
_STARTED_WITHIN = 300.0  # seconds, of a machine that is busy with other tests

# What stands in a command's file: it needs nothing but the standard library, and starts in 20 ms.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    request = [{entry!r}, sys.argv, os.getcwd(), dict(os.environ)]
    content = json.dumps(request).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(content)
    status = server.recv(16)
sys.exit(int(status))
"""


def start(folder: Path, *, owner: int) -> None:
    """Start a server in a folder, and write the commands beside it.

    Parameters
    ----------
    folder
        Empty; its path is short enough for a socket's (100 bytes).
    owner
        The process with whose end the server ends.
    """
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
    streams = [(os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)]
    words = [sys.executable, __file__, str(folder / _SOCKET), str(owner)]
    variables = {**os.environ, **_KEPT, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    server = os.posix_spawn(words[0], words, variables, file_actions=streams, setsid=True)
    os.close(log)
    end = time.monotonic() + _STARTED_WITHIN
    while not (folder / _SOCKET).exists():
        is_starting = time.monotonic() < end and os.waitpid(server, os.WNOHANG) == (0, 0)
        assert is_starting, (folder / "log.txt").read_text()
        time.sleep(0.1)
    for name, entry in COMMANDS.items():
        path = folder / name
        text = _CLIENT.format(python=sys.executable, path=str(folder / _SOCKET), entry=entry)
        path.write_text(text)
        path.chmod(0o755)


def serve(path: str, owner: int) -> None:
    """Fork a process for each command that is asked for, until the owner has ended."""
    for name in PRELOADED:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    gc.freeze()  # what is there now is shared, and looked through by no process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        Path(f"{path}.new").rename(path)
        while _is_alive(owner):
            if not select.select([listener], [], [], 1.0)[0]:
                continue
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(client)
            client.close()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def answer(client: socket.socket) -> NoReturn:
    """Run the command that a client asks for and tell its status; end it if the client is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    size, content = int.from_bytes(head, "big"), b""
    while len(content) < size and (part := client.recv(1 << 16)):
        content += part
    request = json.loads(content)
    process = os.fork()
    if process == 0:
        client.close()
        run(request, streams)
    for stream in streams:
        os.close(stream)
    ended = 0
    while not ended:
        if select.select([client], [], [], 0.02)[0]:
            os.kill(process, signal.SIGTERM)
            os._exit(1)
        ended, status = os.waitpid(process, os.WNOHANG)
    used, code = resource.getrusage(resource.RUSAGE_CHILDREN), os.waitstatus_to_exitcode(status)
    words = " ".join([Path(request[1][0]).name, *request[1][1:]])
    os.write(1, f"{used.ru_utime + used.ru_stime:.2f} s of CPU, status {code}: {words}\n".encode())
    with contextlib.suppress(BrokenPipeError):
        client.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def run(request: list[Any], streams: list[int]) -> NoReturn:
    """Become the command that a client asked for."""
    entry, words, folder, variables = request
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = words
    sys.path[0] = str(Path(sys.executable).parent)  # where a command lies
    random.seed()
    sys.modules["numpy"].random.seed()
    module, _, function = entry.partition(":")
    try:
        sys.exit(getattr(importlib.import_module(module), function)())
    except SystemExit as e:
        end(e.code)
    except BaseException:
        traceback.print_exc()
        end(1)


def end(code: object) -> NoReturn:
    """End as Python does, but for taking down module by module what was imported."""
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
