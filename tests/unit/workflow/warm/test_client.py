"""Where nobody serves, a job does its work itself."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.workflow.warm import client
from lanflow.workflow.warm.likeness import likeness
from lanflow.workflow.warm.start import WarmProcesses
from tests.unit.workflow.warm.conftest import Job, variables

MakeJob = Callable[[str], Job]
IS_FORK = "print(json.dumps(client.is_fork))"


def test_without_the_variable_nobody_is_asked(job: MakeJob) -> None:
    assert job(IS_FORK).told(None) is False


@pytest.mark.parametrize("value", ["off", "/no/such/folder", ""])
def test_a_variable_that_names_nothing_is_no_error(job: MakeJob, value: str) -> None:
    env = variables() | {client.VARIABLE: value}
    assert job(IS_FORK).told(None, env=env) is False


@pytest.mark.parametrize(
    "before",
    [
        ["sh", "-c", 'ulimit -v 8000000; exec "$@"', "-"],
        ["env", "OMP_NUM_THREADS=7"],
    ],
)
def test_a_job_unlike_the_warm_process_does_its_work_itself(
    warm: WarmProcesses, job: MakeJob, before: list[str]
) -> None:
    mine = job(IS_FORK)
    assert mine.told(warm) is True
    assert mine.told(warm, before=before) is False


def test_a_warm_process_that_died_is_not_missed(warm: WarmProcesses, job: MakeJob) -> None:
    warm._started[0].send_signal(signal.SIGKILL)
    warm._started[0].wait(60)
    assert any(path.is_socket() for path in warm.folder.iterdir())
    assert job(IS_FORK).told(warm) is False


def ask(answer: Callable[[socket.socket], None], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Hand over to a server that answers so; returns if the work is to be done here."""
    word = likeness()
    assert word is not None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / word))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as asking:
                answer(asking)

        serving = threading.Thread(target=serve)
        serving.start()
        patch.setenv(client.VARIABLE, str(folder))
        client.hand_over("no.module:at_all")
        serving.join()


def take(asking: socket.socket) -> None:
    """Receive the whole request."""
    head, streams, _, _ = socket.recv_fds(asking, 8, 4)
    left = int.from_bytes(head, "big")
    while left:
        left -= len(asking.recv(left))
    for stream in streams:
        os.close(stream)


def close_at_once(asking: socket.socket) -> None:
    pass


def close_after_the_request(asking: socket.socket) -> None:
    take(asking)


def answer_nonsense(asking: socket.socket) -> None:
    take(asking)
    asking.sendall(b"?")


def die_at_work(asking: socket.socket) -> None:
    take(asking)
    asking.sendall(client.READY)
    assert asking.recv(1) == client.GO


def answer_too_late(asking: socket.socket) -> None:
    take(asking)
    assert asking.recv(1) == b""  # GO never comes


@pytest.mark.parametrize(
    "answer",
    [close_at_once, close_after_the_request, answer_nonsense, die_at_work, answer_too_late],
)
def test_a_server_that_fails_leaves_the_work_to_the_job(
    answer: Callable[[socket.socket], None],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "SECONDS_TO_ANSWER", 1.0)
    before = signal.getsignal(signal.SIGTERM)
    ask(answer, tmp_path_factory.mktemp("w"), monkeypatch)
    assert signal.getsignal(signal.SIGTERM) == before
