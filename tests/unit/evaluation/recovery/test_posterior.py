"""How HSSM's process is led; that it samples rightly is tested with it, in tests/peers."""

import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.recovery.posterior import sample_subjects
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from tests.made_networks import exact_choice, made

ONE = np.ones(3)


def subjects(n: int = 2) -> list[Subject]:
    return [Subject(np.array([1.0]), ONE, ONE, 0, i) for i in range(n)]


def network(t: tuple[float, float] = (0.0, 2.0)) -> Network:
    return made("ddm", "lan", exact_choice().outputs, Bounds({"v": (-3.0, 1.0), "t": t}))


def write_interpreter(path: Path, body: str) -> str:
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_without_hssm_ends_in_its_last_words() -> None:
    with pytest.raises(UserError, match=r"ddm lan: HSSM does not sample it \(ModuleNot"):
        sample_subjects(network(), subjects(), python=sys.executable, n_processes=2)


def test_a_process_that_says_nothing_is_told_by_its_status(tmp_path: Path) -> None:
    python = write_interpreter(tmp_path / "python", "sys.exit(3)")
    with pytest.raises(UserError, match="no message, exit status 3"):
        sample_subjects(network(), subjects(), python=python, n_processes=1)


# Answers as the script does, with what it was told in place of draws.
ECHO = """
told = json.load(open(sys.argv[2]))
for subject in told["subjects"]:
    start, index = subject["start"], subject["index"]
    draws = {name: [[start[name], index]] for name in told["bounds"]}
    each = dict.fromkeys(told["bounds"], 1.0)
    print(json.dumps({"index": index, "version": "9.9", "draws": draws, "r_hat": each,
                      "ess": each, "n_divergent": 0}), flush=True)
"""


@pytest.mark.parametrize("n_processes", [1, 2, 9])
def test_subjects_come_back_in_order_from_any_number_of_processes(
    n_processes: int, tmp_path: Path
) -> None:
    python = write_interpreter(tmp_path / "python", ECHO)
    done: list[None] = []
    posteriors = sample_subjects(
        network(),
        subjects(5),
        python=python,
        n_processes=n_processes,
        on_subject=lambda: done.append(None),
    )
    assert len(done) == 5
    assert [one.draws[0, 1, 0] for one in posteriors] == [0, 1, 2, 3, 4]
    assert posteriors[0].draws.shape == (1, 2, 2)
    # In the middle of the box, and before the first rt.
    assert posteriors[0].draws[0, 0].tolist() == [-1.0, 0.5]


def test_a_start_stays_within_a_box_behind_the_first_rt(tmp_path: Path) -> None:
    python = write_interpreter(tmp_path / "python", ECHO)
    late = network(t=(1.5, 2.5))
    (posterior,) = sample_subjects(late, subjects(1), python=python, n_processes=1)
    assert posterior.draws[0, 0, 1] == pytest.approx(1.51)


def test_an_interruption_ends_every_process(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    body = f"open({str(pids)!r} + '/' + str(os.getpid()), 'w')\ntime.sleep(600)"
    python = write_interpreter(tmp_path / "python", body)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(KeyboardInterrupt):
            sample_subjects(network(), subjects(), python=python, n_processes=2)
    finally:
        signal.signal(signal.SIGALRM, before)
    started = [int(path.name) for path in pids.iterdir()]
    assert len(started) == 2
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < end
        time.sleep(0.05)
