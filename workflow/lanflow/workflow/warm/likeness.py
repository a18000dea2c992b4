"""The likeness of a process: all that a job would have of its own, and a fork has of its parent.

A job may be a fork of another process only if the two are alike, so that it computes what it would
compute alone. What a fork is given anew (arguments, streams, working directory, variables that are
read when they are needed) does not count.
"""

import hashlib
import json
import os
import platform
import resource
import sys
from pathlib import Path

# Variables that may differ: nobody reads them while libraries are loaded. Shells change some for
# each command; programs and temporary folders are looked for when they are needed.
_FREE_VARIABLES = {
    *("_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"),
    *("PATH", "TMPDIR", "TMP", "TEMP", "TEMPDIR"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_LOCATION", "MLFLOW_EXPERIMENT_NAME"),
    # Set by tracking/client.py before it imports MLflow, which reads all but the first late.
    *("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"),
    *("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"),
    *("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_ALLOW_FILE_STORE"),
    "NPROC",  # XLA reads it when its CPU backend starts, and JAX's backend sets it before
}
_OWN_PREFIX = "LANFLOW_"  # lanflow reads these when it needs them

# Lines of /proc/self/status: users, capabilities, processors, and signals that are ignored.
_STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn"),
    *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Cpus_allowed", "Mems_allowed"),
)
_LIMITS = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))


def likeness() -> str | None:
    """Return a word that two processes share if one may be a fork of the other.

    Returns
    -------
    str or None
        Sixteen letters and digits; None for a process that may not be a fork: on a system other
        than Linux, or with a limit on its address space or data, which what other jobs need, too,
        would count against.
    """
    if sys.platform != "linux" or _has_memory_limit():
        return None
    try:
        parts = [_variables(), _python(), _limits(), _status(), _surroundings()]
    except OSError:  # a system that does not show it
        return None
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _has_memory_limit() -> bool:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def is_read_late(name: str) -> bool:
    """Tell whether a variable may differ, since it is read when it is needed."""
    return name in _FREE_VARIABLES or name.startswith(_OWN_PREFIX)


def _variables() -> list[tuple[str, str]]:
    return sorted(item for item in os.environ.items() if not is_read_late(item[0]))


def _python() -> list[str]:
    """Tell which Python this is, how it was started, and whose lanflow it has."""
    how = [*sys.flags, *sys.warnoptions, *sys._xoptions.items()]
    return [sys.version, sys.executable, sys.prefix, __file__, *map(str, how)]


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(getattr(resource, name)) for name in _LIMITS]


def _status() -> list[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line for line in lines if line.partition(":")[0] in _STATUS]


def _surroundings() -> list[object]:
    """Tell the container, the job of a scheduler and the priority that this process has."""
    own = Path("/proc/self")
    spaces = {path.name: path.readlink().name for path in sorted((own / "ns").iterdir())}
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    files = [(own / name).read_text() for name in ("cgroup", "oom_score_adj", "personality")]
    root = str((own / "root").readlink())
    return [spaces, priority, os.sched_getscheduler(0), files, root, platform.node()]
