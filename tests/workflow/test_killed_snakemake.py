"""``kill -9`` of Snakemake: the training that it started goes on, and no second one beside it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.conftest import TRAINING_YAML
from tests.workflow.conftest import Checkout, make_checkout

N_EPOCHS = 400


@dataclass(frozen=True)
class Story:
    """A network whose Snakemake is killed, in the study that all networks here share."""

    study: Checkout
    network: str

    @property
    def target(self) -> str:
        return f"results/networks/lan/ddm/{self.network}_torch/model.onnx"

    @property
    def folder(self) -> Path:
        return (self.study.folder / self.target).parent

    @property
    def command(self) -> tuple[str, ...]:
        return ("snakemake", self.target, "--configfile", "my_study.yaml")

    def snakemake(self, *more: str, check: bool = True) -> str:
        return self.study.run(*self.command, *more, check=check)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.study.folder}/mlflow.db")

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name("ddm-training")
        taken = f"attributes.run_name = 'ddm-{self.network}_torch'"
        return list(self.client.search_runs([experiment.experiment_id], filter_string=taken))

    def steps(self, run: Any) -> list[int]:
        points = self.client.get_metric_history(run.info.run_id, "val_loss")
        return sorted(point.step for point in points)


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, _prepared_database: Path, quick_commands: Path
) -> Checkout:
    """A study of small networks, with their data; they train long enough to be met at it."""
    checkout = make_checkout(tmp_path_factory.mktemp("prepared"), commands=quick_commands)
    shutil.copy(_prepared_database, checkout.folder)
    network = {"config": "training.yaml", "backends": ["torch"]}
    networks = {name: network for name, *_ in STORIES}
    generate = {"generate": {"config": "generation.yaml"}}
    checkout.write_study(models={"ddm": {"data": generate, "networks": networks}})
    # A rate that falls to nothing stops nobody: every epoch is trained.
    checkout.write_yaml("training.yaml", {**TRAINING_YAML, "N_EPOCHS": N_EPOCHS})
    checkout.snakemake("results/ddm/audit.json", study="my_study.yaml")
    return checkout


@contextlib.contextmanager
def orphaned(story: Story) -> Iterator[int]:
    """The process of a training whose Snakemake was killed in the middle of it."""
    checkpoint, lock = story.folder / "checkpoint.npz", story.folder / ".lock"
    told = story.study.folder / f"{story.network}.txt"
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    with told.open("wb") as output:
        snakemake = subprocess.Popen(
            story.command,
            cwd=story.study.folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: checkpoint.exists() or snakemake.poll() is not None, "an epoch")
        assert snakemake.poll() is None, told.read_text()
        snakemake.kill()
        snakemake.wait()
        yield int(json.loads(lock.read_text())["pid"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(snakemake.pid, signal.SIGKILL)


def refused(story: Story, orphan: int) -> None:
    """Run the same command while the training goes on."""
    # It holds its lock all the same (and its store, perhaps), and does not end before that.
    os.kill(orphan, signal.SIGSTOP)
    assert "cannot be locked" in story.snakemake(check=False)
    story.snakemake("--unlock")
    output = story.snakemake(check=False)
    folder = Path(story.target).parent
    expected = rf"{folder} is being trained by process {orphan} on \S+ since \S+; wait for it"
    told = re.findall(rf"^ +lanflow train: error: .*{expected} or end it$", output, re.MULTILINE)
    assert len(told) == 1, output
    assert "Traceback" not in output
    os.kill(orphan, signal.SIGCONT)


# Name of the network, is the same command refused first, how the training ends, what comes of it.
STORIES = [
    ("alone", False, "by itself", "this training finished before, and its network was removed"),
    ("refused", True, "by itself", "Nothing to be done"),
    ("ended", True, "killed", "continuing after epoch"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "is_refused", "end", "words"), STORIES)
def test_after_kill_9_of_snakemake_there_is_one_training_and_one_finished_run(
    prepared: Checkout, network: str, is_refused: bool, end: str, words: str
) -> None:
    story = Story(prepared, network)
    checkpoint = story.folder / "checkpoint.npz"
    with orphaned(story) as orphan:
        before = checkpoint.stat().st_mtime_ns
        wait_for(lambda: checkpoint.stat().st_mtime_ns > before, "the next epoch")
        if is_refused:
            refused(story, orphan)
        if end == "killed":
            # On a busy machine a training begins before the store has its run.
            wait_for(story.runs, "its run")
            os.kill(orphan, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{orphan}").exists(), "the training to end")
    (run,) = story.runs()
    story.snakemake("--unlock")
    log = prepared.folder / f"results/logs/train_network/lan_ddm_{network}_torch.log"
    assert words in story.snakemake() + log.read_text()

    (again,) = story.runs()
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert story.steps(again) == list(range(1, N_EPOCHS + 1))
    record = json.loads((story.folder / "run.json").read_text())
    assert (record["status"], record["mlflow_run_id"]) == ("FINISHED", run.info.run_id)
    assert len((story.folder / "history.csv").read_text().splitlines()) == N_EPOCHS + 1
    left = {path.name for path in story.folder.iterdir()}
    assert not left & {".lock", "checkpoint.npz", "unfinished.json", "unsent_runs"}
    assert not prepared.planned(story.target, study="my_study.yaml")
