"""Starts warm processes for the jobs of a build on this machine, and ends them with it."""

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lanflow.workflow.warm.client import VARIABLE
from lanflow.workflow.warm.likeness import likeness

# Fewer jobs take less time to import what they need than a warm process takes to import it all.
LEAST_JOBS = 4
# Snakemake tells each job its number of threads by these; libraries read them as they are loaded.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
# Jobs import these, the first ones first; MLflow after the file that says how it is used. Not
# onnxruntime: it starts a thread when it is imported, which a fork would not have.
PRELOADED = (
    *("click", "yaml", "pydantic", "numpy", "lanflow.tracking.client", "mlflow.tracking"),
    *("mlflow.store.tracking.sqlalchemy_store", "alembic.command", "pandas", "tqdm", "jinja2"),
    *("scipy.stats", "ssms", "onnx", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("lanflow.training.run", "lanflow.evaluation.evaluate", "lanflow.report.page"),
    "snakemake.script",
)
OF_BACKENDS = {
    "jax": ("lanflow.training.backends.choose:load_jax",),
    "torch": ("lanflow.training.backends.choose:load_torch",),
}
_LONGEST_PATH = 100  # bytes, of a socket's address; it has 108
_NAME_LENGTH = len("/") + 16 + len(".new")
_SECONDS_TO_END = 10.0


class WarmProcesses:
    """The warm processes of a build.

    Parameters
    ----------
    folder
        The folder with their sockets, which a job finds by a variable.
    ends_with_us
        Whether they end with this process, at the latest.
    """

    def __init__(self, folder: Path, *, ends_with_us: bool = True) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        if ends_with_us:
            atexit.register(self.end)

    def start(
        self, variables: Mapping[str, str], preloaded: Iterable[str], *, owner: int | None = None
    ) -> None:
        """Start a process for jobs with these variables; it needs some seconds until it serves.

        Parameters
        ----------
        variables
            Its own, which jobs must have, too, unless nobody reads them while libraries are loaded.
        preloaded
            Modules to import, and ``module:function`` to call.
        owner
            Can be read once the process is to end, as a file descriptor of another process can;
            without it, it ends with this process.
        """
        command = [sys.executable, "-m", "lanflow.workflow.warm.server", str(self.folder)]
        with (self.folder / f"log{len(self._started)}.txt").open("wb") as log:
            started = subprocess.Popen(  # noqa: S603
                [*command, *preloaded],
                stdin=subprocess.PIPE if owner is None else owner,
                stdout=log,
                stderr=log,
                env=dict(variables),
                start_new_session=True,  # Ctrl-C is for the jobs
            )
        self._started.append(started)

    def n_serving(self) -> int:
        """Count those that jobs can ask; until they have imported everything, jobs wait."""
        sockets = [path for path in self.folder.iterdir() if path.is_socket()]
        return sum(path.suffix == "" for path in sockets)

    def end(self) -> None:
        """End them, and wait for them; jobs that run go on."""
        atexit.unregister(self.end)
        if os.environ.get(VARIABLE) == str(self.folder):
            del os.environ[VARIABLE]
        for process in self._started:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
        shutil.rmtree(self.folder, ignore_errors=True)


def warm_up(jobs: Mapping[int, int], backends: Iterable[str]) -> WarmProcesses | None:
    """Start a warm process for each number of threads that several jobs have.

    Jobs find them by a variable. If the variable is set already, to a folder of such processes or
    to anything else, none is started.

    Parameters
    ----------
    jobs
        Number of threads -> number of jobs that run on this machine.
    backends
        Those that networks are trained on.

    Returns
    -------
    WarmProcesses or None
        To be ended with the build; None if there are none.
    """
    wanted = [threads for threads, n_jobs in jobs.items() if n_jobs >= LEAST_JOBS]
    if not wanted or VARIABLE in os.environ or likeness() is None:
        return None
    folder = private_folder()
    if folder is None:
        return None
    warm = WarmProcesses(folder)
    preloaded = [*PRELOADED, *(name for each in backends for name in OF_BACKENDS[each])]
    for threads in wanted:
        warm.start(os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)), preloaded)
    os.environ[VARIABLE] = str(folder)
    return warm


def private_folder() -> Path | None:
    """Make a folder of this user's alone, with a path that is short enough for sockets."""
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="lanflow-", dir=place))
            if len(os.fsencode(folder)) + _NAME_LENGTH <= _LONGEST_PATH:
                return folder
            folder.rmdir()
    return None
