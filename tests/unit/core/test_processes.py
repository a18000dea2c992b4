import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lanflow.core.processes import WorkerDiedError, worker_pool


def test_results_come_in_order_whatever_their_size() -> None:
    sizes = [5_000_000, 0, 3, 70_000]
    with worker_pool(2) as pool:
        assert [len(made) for made in pool.map(bytes, sizes)] == sizes
        assert [len(made) for made in pool.map(bytes, sizes, chunksize=3)] == sizes


def test_a_scheduler_s_signal_costs_no_result_and_leaves_nobody_waiting() -> None:
    """A result of 50 MB takes a while to hand over; signals arrive meanwhile."""
    with worker_pool(1) as pool:
        (worker,) = pool.map(_pid, [None])
        for number in (signal.SIGTERM, signal.SIGINT):
            sender = threading.Thread(target=_send, args=(worker, number))
            sender.start()
            (made,) = pool.map(bytes, [50_000_000])
            sender.join()
            assert len(made) == 50_000_000
        assert list(pool.map(_pid, [None])) == [worker]


def _pid(_: object) -> int:
    return os.getpid()


def _send(pid: int, number: int) -> None:
    for _ in range(20):
        os.kill(pid, number)
        time.sleep(0.002)


def _die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return number


def test_a_killed_worker_ends_the_work_at_once_with_the_likely_reason() -> None:
    begun = time.monotonic()
    with (
        pytest.raises(
            WorkerDiedError, match=r"was killed \(SIGKILL\), most likely because memory ran out: 2"
        ),
        worker_pool(2) as pool,
    ):
        list(pool.map(_die, range(1000)))
    assert time.monotonic() - begun < 30


def test_what_has_not_begun_is_dropped_when_the_body_ends() -> None:
    begun = time.monotonic()
    with worker_pool(1) as pool:
        results = pool.map(time.sleep, [0.2] * 1000)
        next(results)
    assert time.monotonic() - begun < 60


def test_the_environment_is_that_of_the_processes_alone() -> None:
    with worker_pool(1, environment={"LANFLOW_OF_A_WORKER": "yes"}) as pool:
        assert list(pool.map(os.getenv, ["LANFLOW_OF_A_WORKER"])) == ["yes"]
    assert "LANFLOW_OF_A_WORKER" not in os.environ


LEADER = """
import os, time
from lanflow.core.processes import worker_pool

def pid_of(_):
    return os.getpid()

with worker_pool(1) as pool:
    print(*pool.map(pid_of, [None]), flush=True)
    list(pool.map(time.sleep, [600]))
"""


def test_a_worker_ends_with_the_process_that_leads_it(tmp_path: Path) -> None:
    script = tmp_path / "leader.py"
    script.write_text(LEADER)
    leader = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    worker = int(leader.stdout.readline())
    leader.kill()
    leader.wait()
    leader.stdout.close()
    end = time.monotonic() + 30
    while _is_alive(worker):
        assert time.monotonic() < end, f"process {worker} outlived its leader"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not count."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
