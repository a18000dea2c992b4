"""Commands that start at once: forks of processes that have imported what takes seconds.

A command of lanflow's spends most of a small job on importing jax, torch, MLflow and
ssm-simulators. Tests that run many of them, and ask nothing of how they start, put the folder of
:func:`start` first in ``PATH``. A command there hands itself over to a warm process of
:mod:`lanflow.workflow.warm`, as a build's jobs do; so do the jobs of a ``snakemake`` there. The
tiny study, the pages' commands, those in Slurm and those that signals meet start as for users.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from lanflow.workflow.warm.client import VARIABLE
from lanflow.workflow.warm.start import (
    OF_BACKENDS,
    PRELOADED,
    THREAD_VARIABLES,
    WarmProcesses,
    private_folder,
)

# Entry points, as pyproject.toml and Snakemake name them.
COMMANDS = {
    "lanflow": "lanflow.cli.main:main",
    "jaxtrain": "lanflow.cli.train:jaxtrain",
    "torchtrain": "lanflow.cli.train:torchtrain",
    "snakemake": "snakemake.cli:main",
}
_OF_SNAKEMAKE = ("snakemake.cli", "snakemake.api")
_STARTED_WITHIN = 300.0  # seconds, of a machine that is busy with other tests
# What JAX compiled for one command is there for the next; with a largest size, it locks the folder.
_KEPT = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_COMPILATION_CACHE_MAX_SIZE": "1000000000",
}
# Libraries set these when a test imports them; a command would have none of them.
OF_LIBRARIES = (
    *("TF_CPP_MIN_LOG_LEVEL", "TPU_SKIP_MDS_QUERY", "NPROC"),
    *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"),
)
# Jobs of Snakemake have as many threads; its own process and commands without it, one.
_THREADS = ("1", "2")

# Ends well once a warm process serves those who have these variables; who waits is a busy machine.
_WAIT = """
from lanflow.workflow.warm import client
client.SECONDS_TO_ANSWER = 300
client.hand_over("builtins:bool")
raise SystemExit("no warm process is like this one")
"""
_started: list[WarmProcesses] = []  # for as long as tests run

# What stands in a command's file. A process that is not like the warm ones does the work itself.
_COMMAND = """#!{python}
import os, sys
for name in [name for name in os.environ if name.startswith("PYTEST_") or name in {foreign!r}]:
    del os.environ[name]
os.environ |= {variables!r}
for name in {threads!r}:
    os.environ.setdefault(name, "1")
from lanflow.workflow.warm.client import hand_over
hand_over({module!r} + ":" + {function!r})
from {module} import {function}
sys.exit({function}())
"""


def start(folder: Path, *, owner: int) -> None:
    """Start warm processes, and write the commands to a folder.

    Parameters
    ----------
    folder
        Empty, for the commands.
    owner
        The process with whose end they end.
    """
    warm_folder = private_folder()
    assert warm_folder is not None
    kept = {**_KEPT, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name not in OF_LIBRARIES
    }
    preloaded = [*PRELOADED, *_OF_SNAKEMAKE, *(n for names in OF_BACKENDS.values() for n in names)]
    warm = WarmProcesses(warm_folder, ends_with_us=False)
    _started.append(warm)
    given = [own | kept | dict.fromkeys(THREAD_VARIABLES, threads) for threads in _THREADS]
    for variables in given:
        warm.start(variables, preloaded, owner=os.pidfd_open(owner))
    end = time.monotonic() + _STARTED_WITHIN
    while warm.n_serving() < len(given):
        assert time.monotonic() < end, "the warm processes did not start"
        time.sleep(0.05)
    for variables in given:
        asking = variables | {VARIABLE: str(warm_folder)}
        subprocess.run([sys.executable, "-c", _WAIT], env=asking, check=True)
    for name, entry in COMMANDS.items():
        module, _, function = entry.partition(":")
        path = folder / name
        path.write_text(
            _COMMAND.format(
                python=sys.executable,
                variables=kept | {VARIABLE: str(warm_folder)},
                threads=THREAD_VARIABLES,
                foreign=OF_LIBRARIES,
                module=module,
                function=function,
            )
        )
        path.chmod(0o755)
