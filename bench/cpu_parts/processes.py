"""Commands as processes of their own: what each costs, and several of them in turn.

A process is started by a small one that does nothing else. Linux counts the memory of a process
from before its program was loaded, when it still shared that of the process that started it: the
peak of any command would be at least that of this benchmark.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpu_parts.results import Figure
from cpu_parts.sizes import Size
from lanflow.core.progress import Progress

_LAUNCHER = """
import json, os, re, signal, sys, threading, time
words, folder, variables, output, errors, line = json.load(sys.stdin)
seen = []
if line:
    source, sink = os.pipe()
    sinks = (sink, sink)
else:
    sinks = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in (output, errors)]
def read():
    with open(source, errors="replace") as lines, open(errors, "w") as kept:
        for each in lines:
            if re.match(line, each):
                seen.append(time.perf_counter() - start)
            kept.write(each)
start = time.perf_counter()
process = os.fork()
if process == 0:
    try:
        os.chdir(folder)
        os.dup2(sinks[0], 1)
        os.dup2(sinks[1], 2)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python
            signal.signal(ignored, signal.SIG_DFL)
        os.execve(words[0], words, variables)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
    finally:
        os._exit(127)
if line:
    os.close(sink)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
_, status, usage = os.wait4(process, 0)
wall_s = time.perf_counter() - start
if line:
    reader.join(10)  # a process that outlives the command may hold its output
unit = 1024 if sys.platform == "linux" else 1024**2
print(json.dumps([os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime,
                  usage.ru_maxrss / unit, seen]))
"""
_SHOWN_CHARACTERS = 3_000
# Lanflow's commands have an option for it.
NO_GPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}


@dataclass(frozen=True)
class Setting:
    """Place and means of a part's measurements.

    Attributes
    ----------
    size
        What it measures.
    ours
        Folder of lanflow's commands.
    theirs
        Folder of LANfactory's; None measures lanflow alone.
    threads
        Cores that every command may use.
    folder
        For everything that is made; it is removed at the end.
    """

    size: Size
    ours: Path
    theirs: Path | None
    threads: int
    folder: Path

    def new_folder(self, name: str) -> Path:
        """A folder that nothing else uses."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


@dataclass(frozen=True)
class Command:
    """A command, by its words and the folder that it runs in.

    Attributes
    ----------
    words
        Texts, paths and numbers; the first is the path of a program.
    folder
        The working directory.
    is_ours
        It belongs to this environment; a peer's gets none of this environment's variables.
    variables
        More variables.
    statuses
        Exit statuses that are no failure.
    line
        Regular expression of lines whose times are wanted, as the command begins to write them.
    """

    words: Sequence[object]
    folder: Path
    is_ours: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (0,)
    line: str = ""

    @property
    def name(self) -> str:
        """The command's own name, for messages."""
        return Path(str(self.words[0])).name


@dataclass(frozen=True)
class Done:
    """A command that ended: its cost, and what it wrote to standard output.

    ``cpu_s`` are the seconds of all cores, of the processes that it started, too; ``peak_mib`` is
    the memory of the largest of them. ``lines_s`` are the seconds from the start to each line that
    was waited for; of a command with such lines there is no other output.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str
    lines_s: tuple[float, ...] = ()

    @property
    def cost(self) -> dict[str, float]:
        """The cost as a figure has it."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mib": self.peak_mib}

    @property
    def short_cost(self) -> dict[str, float]:
        """The cost of the shorter of two commands."""
        return {"short_wall_s": self.wall_s, "short_cpu_s": self.cpu_s}


class CommandError(Exception):
    """A command failed; its last words."""


def environment(*, is_ours: bool) -> dict[str, str]:
    """Variables of a command: no store of the user's; for a peer nothing of ours, and no GPU.

    Bytecode may be written, which the rounds that are not counted do: without it, every command
    would compile what it imports.
    """
    dropped = ("VIRTUAL_ENV", "MLFLOW_", "LANFLOW_", "PYTHONDONTWRITEBYTECODE")
    dropped += ("PYTHONPATH",) * (not is_ours)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return kept if is_ours else kept | NO_GPU


def run(command: Command) -> Done:
    """Run a command as a process of its own.

    Raises
    ------
    CommandError
        If it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        output, errors = Path(name) / "output", Path(name) / "errors"
        variables = environment(is_ours=command.is_ours) | dict(command.variables)
        given = [list(map(str, command.words)), str(command.folder), variables]
        launched = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", _LAUNCHER],
            input=json.dumps([*given, str(output), str(errors), command.line]),
            capture_output=True,
            text=True,
        )
        if launched.returncode:
            raise CommandError(f"{command.name} did not start:\n{launched.stderr}")
        status, wall_s, cpu_s, peak_mib, lines_s = json.loads(launched.stdout)
        shown = "" if command.line else output.read_text(errors="replace")
        if status not in command.statuses:
            last = (shown + errors.read_text(errors="replace"))[-_SHOWN_CHARACTERS:]
            raise CommandError(f"{command.name} ended with status {status}:\n{last}")
    return Done(wall_s, cpu_s, peak_mib, shown, tuple(lines_s))


@dataclass(frozen=True)
class Task:
    """Something to be measured again and again: whose, how large, and how."""

    contender: str
    case: dict[str, int]
    measure: Callable[[], Mapping[str, float]]


def in_turn(
    tasks: Sequence[Task], what: str, *, repetitions: int, warm_ups: int
) -> tuple[Figure, ...]:
    """Measure all tasks in turn, then all of them again.

    Parameters
    ----------
    tasks
        Of each, a figure is returned.
    what
        Name of the part, for its progress.
    repetitions, warm_ups
        Rounds that are counted, and those before them that are not.
    """
    found: list[dict[str, list[float]]] = [{} for _ in tasks]
    n_rounds = warm_ups + repetitions
    with Progress(n_rounds * len(tasks), what, "measurement") as progress:
        for i in range(n_rounds):
            for task, values in zip(tasks, found, strict=True):
                for quantity, value in task.measure().items():
                    if i >= warm_ups:
                        values.setdefault(quantity, []).append(_rounded(value))
                progress.advance()
    return tuple(
        Figure(task.contender, task.case, values) for task, values in zip(tasks, found, strict=True)
    )


def _rounded(value: float) -> float:
    """Six digits: more are noise, and make the file of results hard to read."""
    return float(f"{value:.6g}") if math.isfinite(value) else value
