import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from lanflow.core.errors import UserError
from lanflow.core.processes import (
    ONE_CORE,
    WorkerDiedError,
    cgroup_bytes,
    memory_limits,
    one_core,
    require_memory,
    worker_pool,
)


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


def threads_of_products(_: object = None) -> set[int]:
    """Threads that each library of linear algebra takes here."""
    assert np.linalg.norm(np.ones((2, 2)) @ np.ones(2)) > 0  # numpy's is loaded
    known = threadpoolctl.threadpool_info()
    return {library["num_threads"] for library in known if library["user_api"] == "blas"}


def test_a_worker_takes_one_core_whatever_this_process_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ONE_CORE:
        monkeypatch.setenv(name, "2")
    with worker_pool(1) as pool:
        assert list(pool.map(threads_of_products, [None])) == [{1}]
        assert set(pool.map(os.getenv, list(ONE_CORE))) == {"1"}
    assert {os.environ[name] for name in ONE_CORE} == {"2"}


def test_a_process_takes_one_core_where_a_worker_may_do_the_same() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads_of_products()
        with one_core():
            assert threads_of_products() == {1}
        assert threads_of_products() == before


LEADER = """
import os, time
from lanflow.core.processes import worker_pool

def pid_of(_):
    return os.getpid()

with worker_pool(1) as pool:
    print(*pool.map(pid_of, [None]), flush=True)
    list(pool.map(time.sleep, [600]))
"""


def test_a_worker_ends_with_the_process_that_leads_it_and_leaves_nothing(tmp_path: Path) -> None:
    script, temporary = tmp_path / "leader.py", tmp_path / "temporary"
    script.write_text(LEADER)
    temporary.mkdir()
    leader = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert leader.stdout is not None
    worker = int(leader.stdout.readline())
    leader.kill()
    leader.wait()
    leader.stdout.close()
    end = time.monotonic() + 30
    while _is_alive(worker):
        assert time.monotonic() < end, f"process {worker} outlived its leader"
        time.sleep(0.05)
    assert list(temporary.glob("lanflow_results_*")) == []


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not count."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


CGROUPS = [
    # lines of /proc/self/cgroup, limits by path under /sys/fs/cgroup, the least of them
    (["0::/job/step"], {"job/step/memory.max": "max", "job/memory.max": "3000"}, 3000),
    (["0::/job"], {"job/memory.max": "5000", "memory.max": "4000"}, 4000),
    (["0::/"], {"memory.max": "700"}, 700),  # in a container
    (["4:cpu,memory:/a/b"], {"memory/a/b/memory.limit_in_bytes": "900"}, 900),
    (["4:memory:/a", "0::/"], {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
    (["1:cpu:/x", "damaged"], {"x/memory.max": "5"}, None),
    (["0::/job"], {"job/memory.max": "max"}, None),
]


@pytest.mark.parametrize(("lines", "limits", "least"), CGROUPS)
def test_the_least_limit_of_all_cgroups_counts(
    lines: list[str], limits: dict[str, str], least: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("".join(f"{line}\n" for line in lines))
    for name, text in limits.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cgroup_bytes(tmp_path / "own", tmp_path / "fs") == least


def test_without_cgroups_there_is_no_limit_of_theirs(tmp_path: Path) -> None:
    assert cgroup_bytes(tmp_path / "nothing") is None


def test_work_is_refused_by_the_limit_that_it_is_over() -> None:
    advice = "make it smaller"
    require_memory("this test", 2**20, advice=advice)
    with pytest.raises(UserError, match=r"^packing needs about 1,024.00 GiB of memory, and .+ lea"):
        require_memory("packing", 2**40, advice=advice)
    with pytest.raises(UserError, match=r"leaves .* GiB of .* GiB; make it smaller$"):
        require_memory("generating", 2**20, advice=advice, workers_bytes=2**40)
    # Mapped files take address space only, which has no limit here.
    require_memory("training", 2**20, advice=advice, mapped_bytes=2**40)


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_the_limits_of_the_shell_count(kind: int) -> None:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (2**42, hard))
    try:
        (limit,) = (each for each in memory_limits() if "ulimit" in each.name)
        assert limit.total_bytes == 2**42
        assert 0 < limit.used_bytes < 2**42 - limit.left_bytes + 1
        if kind == resource.RLIMIT_AS:
            with pytest.raises(UserError, match=r"address space \(ulimit -v\) leaves 4,09\d"):
                require_memory("training", 2**20, advice="", mapped_bytes=2**42)
        # Worker processes have a limit each.
        assert not limit.is_shared
    finally:
        resource.setrlimit(kind, (soft, hard))
