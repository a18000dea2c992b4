import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lanflow.core.processes import worker_pool


def test_a_scheduler_s_signal_costs_no_result_and_leaves_nobody_waiting() -> None:
    """A result of 50 MB is sent in many pieces; signals arrive between them."""
    with worker_pool(1) as executor:
        worker = executor.submit(os.getpid).result()
        for number in (signal.SIGTERM, signal.SIGINT):
            handed_over = executor.submit(bytes, 50_000_000)
            for _ in range(20):
                os.kill(worker, number)
                time.sleep(0.002)
            assert len(handed_over.result(timeout=60)) == 50_000_000
        assert executor.submit(os.getpid).result() == worker


LEADER = """
import os, time
from lanflow.core.processes import worker_pool

if __name__ == "__main__":
    with worker_pool(1) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, 600).result()
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
