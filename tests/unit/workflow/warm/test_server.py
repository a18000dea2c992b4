"""A job that is a fork of a warm process is what it would be alone, and ends as it would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanflow.workflow.warm.start import WarmProcesses
from tests.unit.workflow.warm.conftest import Job, variables, wait_for

MakeJob = Callable[[str], Job]

ALL_OF_IT = """\
import resource, signal
sys.stderr.write("an error")
print(json.dumps({
    "is_fork": client.is_fork,
    "arguments": sys.argv,
    "folder": os.getcwd(),
    "variables": {k: v for k, v in os.environ.items() if k != "LANFLOW_WARM"},
    "input": sys.stdin.read(),
    "umask": os.umask(0),
    "limits": [resource.getrlimit(kind) for kind in range(16)],
    "signals": [str(signal.getsignal(n)) for n in range(1, 30)],
    "search_path": sys.path,
    "name": __name__,
    "flags": list(sys.flags),
    "streams": [os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in range(3)],
    "open": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3],
}))
"""


def test_it_is_given_all_that_it_would_have_alone(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    mine = job(ALL_OF_IT)
    (tmp_path / "input.txt").write_text("some input")
    told, errors = [], []
    for where in (None, warm):
        with (tmp_path / "input.txt").open() as given:
            env = {**variables(), "LANFLOW_X": "\udce9 $", "PATH": "/nowhere"}
            status, output, error = mine.run(
                where, "a b", "\udce9", stdin=given, cwd=tmp_path, env=env
            )
        assert status == 0, error
        told.append(json.loads(output))
        errors.append(error)
    alone, forked = told
    assert (alone.pop("is_fork"), forked.pop("is_fork")) == (False, True)
    assert alone == forked
    assert errors == ["an error"] * 2


@pytest.mark.parametrize(
    ("text", "status"),
    [
        *(("sys.exit(3)", 3), ("sys.exit('why')", 1), ("1 / 0", 1), ("os._exit(7)", 7)),
        *(("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6), ("sys.exit(256)", 0)),
        ("import atexit; atexit.register(print, 'last'); sys.exit()", 0),
        ("import threading; threading.Timer(0.2, print, ['late']).start()", 0),
        ("import click; click.echo('x'); sys.exit(True)", 1),
    ],
)
def test_it_ends_as_it_would_alone(
    warm: WarmProcesses, job: MakeJob, text: str, status: int
) -> None:
    mine = job(f"assert client.is_fork or len(sys.argv) > 1\n{text}\n")
    alone, forked = mine.run(None, "alone"), mine.run(warm)
    assert forked[:2] == alone[:2]
    assert forked[0] == status
    assert forked[2].splitlines()[-1:] == alone[2].splitlines()[-1:]


def test_output_that_cannot_be_written_is_a_failure(warm: WarmProcesses, job: MakeJob) -> None:
    mine = job("print('text')")
    with Path("/dev/full").open("w") as full:
        statuses = [mine.run(where, stdout=full)[0] for where in (None, warm)]
    assert statuses[0] == statuses[1] > 0


def test_nothing_of_a_job_is_left_to_the_next(warm: WarmProcesses, job: MakeJob) -> None:
    mine = job(
        "import random, tempfile\n"
        "print(json.dumps([client.is_fork, hasattr(os, 'left'), os.environ.get('LANFLOW_LEFT'),"
        " random.random(), tempfile.gettempdir(), os.umask(0o77)]))\n"
        "os.left = 1; os.environ['LANFLOW_LEFT'] = 'x'; os.chdir('/'); random.seed(1)\n"
    )
    first, second = mine.told(warm), mine.told(warm)
    assert first.pop(3) != second.pop(3)
    assert first == second
    assert first[:3] == [True, False, None]


SLEEPS = """\
import pathlib, signal
assert client.is_fork
{handler}
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(300)
"""
HANDLED = "signal.signal({n}, lambda n, _: sys.exit(f'got {{n}}'))"


def begun(mine: Job, warm: WarmProcesses, path: Path) -> tuple[Any, int]:
    """A job that sleeps, and its process."""
    started = mine.start(warm, str(path))
    wait_for(lambda: path.exists() and path.read_text())
    return started, int(path.read_text())


def state_of(process: int) -> str:
    """The letter that Linux has for it; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_it(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path, number: signal.Signals
) -> None:
    mine = job(SLEEPS.format(handler=HANDLED.format(n=int(number))))
    started, process = begun(mine, warm, tmp_path / "process")
    started.send_signal(number)
    assert started.communicate(timeout=60)[1] == f"got {int(number)}\n"
    assert started.returncode == 1
    assert not state_of(process)


def test_the_command_ends_by_the_signal_that_ended_the_job(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    started, _ = begun(job(SLEEPS.format(handler="")), warm, tmp_path / "process")
    started.terminate()
    started.communicate(timeout=60)
    assert started.returncode == -signal.SIGTERM


def test_it_is_killed_with_the_command_and_all_that_it_started(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    child = (
        "import subprocess; child = subprocess.Popen(['sleep', '300'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))"
    )
    started, process = begun(job(SLEEPS.format(handler=child)), warm, tmp_path / "process")
    started.kill()
    started.communicate(timeout=60)
    wait_for(lambda: state_of(process) in ("", "Z"))
    wait_for(lambda: state_of(int((tmp_path / "child").read_text())) in ("", "Z"))


def test_it_stops_and_goes_on_with_the_command(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    started, process = begun(job(SLEEPS.format(handler="")), warm, tmp_path / "process")
    started.send_signal(signal.SIGTSTP)
    wait_for(lambda: (state_of(process), state_of(started.pid)) == ("T", "T"))
    started.send_signal(signal.SIGCONT)
    wait_for(lambda: state_of(process) == "S")
    started.kill()
    started.communicate(timeout=60)


def test_a_job_goes_on_when_the_build_and_its_warm_process_are_gone(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    text = SLEEPS.replace("time.sleep(300)", "sys.stdin.read(); print('done')")
    started = job(text.format(handler="")).start(
        warm, str(tmp_path / "process"), stdin=subprocess.PIPE
    )
    wait_for((tmp_path / "process").exists)
    warm.end()
    assert not warm.folder.exists()
    assert started.communicate("", timeout=60)[0] == "done\n"
    assert started.returncode == 0


def test_a_job_whose_watcher_is_killed_is_done_by_the_command_itself(
    warm: WarmProcesses, job: MakeJob, tmp_path: Path
) -> None:
    mine = job(
        "import pathlib\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "if client.is_fork:\n"
        "    path.write_text(str(os.getppid())); time.sleep(300)\n"
        "print('alone')\n"
    )
    started, watcher = begun(mine, warm, tmp_path / "watcher")
    os.kill(watcher, signal.SIGKILL)
    assert started.communicate(timeout=60)[0] == "alone\n"


def test_who_cannot_load_what_jobs_need_serves_none(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    warm = WarmProcesses(tmp_path / "warm")
    warm.folder.mkdir(mode=0o700)
    env = {**variables(), "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    warm.start(env, ["broken", "json"])
    mine = job("print(json.dumps(client.is_fork))")
    assert mine.told(warm, env=env) is False
    wait_for(lambda: not warm.folder.exists())
    warm.end()


def test_what_is_not_installed_is_left_out_and_a_function_is_called(
    job: MakeJob, tmp_path: Path
) -> None:
    (tmp_path / "made.py").write_text(
        "import os\nos.environ['LANFLOW_BY_IMPORT'] = 'x'\ndef here():\n    import colorsys\n"
    )
    warm = WarmProcesses(tmp_path / "warm")
    warm.folder.mkdir(mode=0o700)
    env = {**variables(), "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    warm.start(env, ["no_such_module", "made:here"])
    mine = job(
        "loaded = 'colorsys' in sys.modules\n"
        "print(json.dumps([client.is_fork, loaded, os.environ['LANFLOW_BY_IMPORT']]))"
    )
    wait_for(warm.n_serving)
    assert mine.told(warm, env=env) == [True, True, "x"]
    warm.end()


def test_a_job_asks_while_things_are_loaded_and_waits(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(1)")
    warm = WarmProcesses(tmp_path / "warm")
    warm.folder.mkdir(mode=0o700)
    env = {**variables(), "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    warm.start(env, ["slow"])
    wait_for(warm.n_serving)
    assert job("print(json.dumps(client.is_fork))").told(warm, env=env) is True
    warm.end()


def test_many_jobs_at_once(warm: WarmProcesses, job: MakeJob) -> None:
    mine = job("print(json.dumps([client.is_fork, sys.argv[1]]))")
    started = [mine.start(warm, str(i)) for i in range(20)]
    told = [json.loads(each.communicate(timeout=120)[0]) for each in started]
    assert told == [[True, str(i)] for i in range(20)]


ENDS = """
import os, sys, time
from lanflow.workflow.warm.start import warm_up
warm = warm_up({1: 9}, [])
print(warm.folder, *(each.pid for each in warm._started), flush=True)
time.sleep(300)
"""


def test_it_ends_with_the_build_whatever_ends_that() -> None:
    build = subprocess.Popen([sys.executable, "-c", ENDS], stdout=subprocess.PIPE, text=True)
    assert build.stdout is not None
    folder, process = build.stdout.readline().split()
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    build.kill()
    build.wait(60)
    wait_for(lambda: not state_of(int(process)))
    assert not Path(folder).exists()
    build.stdout.close()
