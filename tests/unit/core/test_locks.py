import fcntl
import json
import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.core.locks import lock_path, locked

# Takes a lock, says so, and holds it until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from lanflow.core.locks import locked
with locked(Path(sys.argv[1]), "it is being made"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / ".lock"


def holder_of(path: Path) -> "subprocess.Popen[str]":
    """Start another process that holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_in_one_line_that_names_the_first(path: Path) -> None:
    with holder_of(path) as process:
        with pytest.raises(UserError) as caught, locked(path, "net is being trained"):
            pass
        process.kill()
    expected = (
        rf"net is being trained by process {process.pid} on {re.escape(socket.gethostname())} "
        r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; wait for it or end it"
    )
    assert re.fullmatch(expected, str(caught.value))


def test_the_lock_of_a_process_that_was_killed_locks_nobody_out(path: Path) -> None:
    with holder_of(path) as process:
        process.kill()
    assert path.exists()
    with locked(path, "it is being made"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_lock_is_free_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(path, "it is being made"):
        raise ZeroDivisionError
    with locked(path, "it is being made"):
        pass


def test_who_waits_says_for_whom_and_goes_on_after_the_other(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lanflow")
    with holder_of(path) as process:
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with locked(path, "it is being made", wait=True):
            assert process.wait() == -signal.SIGKILL
        killer.join()
    assert f"it is being made by process {process.pid} on " in caplog.text
    assert "; waiting for it" in caplog.text


def test_a_forked_child_does_not_hold_the_lock_of_a_parent_that_ended(path: Path) -> None:
    program = """
import os, sys, time
from pathlib import Path
from lanflow.core.locks import locked
with locked(Path(sys.argv[1]), "it is being made"):
    child = os.fork()
    if child == 0:
        os.close(1)
        os.close(2)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    try:
        with locked(path, "it is being made"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def _count_up(folder: Path) -> None:
    for _ in range(50):
        with locked(folder / ".lock", "it is being made", wait=True):
            number = int((folder / "number").read_text())
            time.sleep(0.0005)
            (folder / "number").write_text(str(number + 1))


def test_no_two_processes_ever_hold_it_though_each_removes_its_file(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [
        multiprocessing.get_context("spawn").Process(target=_count_up, args=(tmp_path,))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "number").read_text() == "150"
    assert [entry.name for entry in tmp_path.iterdir()] == ["number"]


def test_a_file_system_without_locks_keeps_nobody_out_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(path, "it is being made"), locked(path, "it is being made"):
        pass
    assert "this file system has no locks (Function not implemented)" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"the lock cannot be written: .*/file: is a file"),
        locked(tmp_path / "file" / ".lock", "it is being made"),
    ):
        pass


def test_a_lock_in_a_folder_that_was_removed_leaves_the_next_ones_alone(path: Path) -> None:
    with locked(path, "it is being made"):
        path.unlink()
        with holder_of(path) as process:
            process.kill()
    assert path.exists()


def test_the_lock_of_a_folder_that_is_replaced_is_beside_it(tmp_path: Path) -> None:
    assert lock_path(tmp_path / "data_set") == tmp_path / ".data_set.lock"
