"""Jobs that are cancelled, requeued, stopped at their time limit, or that lose their server."""

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
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.cluster.conftest import QUICK, ClusterCheckout
from tests.cluster.services import TrackingServer, wait_for
from tests.conftest import sha256
from tests.workflow.conftest import Checkout

# One worker has the servers.
pytestmark = pytest.mark.cluster

N_EPOCHS = 150

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def study(cluster_study: ClusterCheckout, tmp_path: Path) -> ClusterCheckout:
    """The tiny study with its data made, and further networks that train for longer."""
    folder = tmp_path / "study"
    shutil.copytree(cluster_study.folder, folder, symlinks=True)
    shutil.rmtree(folder / ".snakemake" / "slurm_logs")
    training = yaml.safe_load((folder / "config/training/tiny_lan.yaml").read_text())
    # A rate that falls to nothing stops nobody: every epoch is trained.
    (folder / "long.yaml").write_text(yaml.safe_dump({**training, "N_EPOCHS": N_EPOCHS}))
    return ClusterCheckout(Checkout(folder), cluster_study.slurm, cluster_study.environment)


def _start(study: ClusterCheckout, *targets: str, **keys: Any) -> "subprocess.Popen[bytes]":
    """Make targets of the tiny study, with other keys for its model, through Slurm."""
    content = yaml.safe_load((study.folder / "config/examples/tiny.yaml").read_text())
    content["models"]["ddm"] |= keys
    study.write_yaml("long_study.yaml", content)
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    # A run that ends while the server is away waits for longer than that takes.
    variables |= {**study.environment, "LANFLOW_STORE_PATIENCE": "180"}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    with (study.folder / "long.txt").open("ab") as output:
        return subprocess.Popen(
            [
                *("snakemake", "--profile", "slurm", *QUICK, "--slurm-keep-successful-logs"),
                *(*targets, "--configfile", "long_study.yaml"),
            ],
            cwd=study.folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.fixture
def start(study: ClusterCheckout) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start workflows, which are stopped at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(*targets: str, **keys: Any) -> "subprocess.Popen[bytes]":
        started.append(_start(study, *targets, **keys))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for job in study.slurm.jobs():
        study.slurm.ask("scancel", job, check=False)
    wait_for(lambda: not study.slurm.jobs(), "jobs to end")


def _train(start: Start, *names: str) -> "subprocess.Popen[bytes]":
    targets = [f"results/networks/lan/ddm/{name}_torch/model.onnx" for name in names]
    return start(
        *targets,
        networks={name: {"config": "long.yaml", "backends": ["torch"]} for name in names},
    )


def _finish(study: ClusterCheckout, process: "subprocess.Popen[bytes]") -> str:
    status = process.wait(timeout=400)
    output = (study.folder / "long.txt").read_text()
    assert status == 0, output[-5000:]
    return output


def _runs(server: TrackingServer, network: str) -> list[Any]:
    return _runs_of(server, "ddm-training", f"ddm-{network}_torch")


def _runs_of(server: TrackingServer, experiment_name: str, name: str) -> list[Any]:
    client = MlflowClient(tracking_uri=server.url)
    experiment = client.get_experiment_by_name(experiment_name)
    taken = f"attributes.run_name = '{name}'"
    return list(client.search_runs([experiment.experiment_id], filter_string=taken))


def _n_epochs(server: TrackingServer, network: str) -> int:
    """Return the epochs that the server has of a running training."""
    runs = _runs(server, network)
    if not runs or runs[0].info.status != "RUNNING":
        return 0
    client = MlflowClient(tracking_uri=server.url)
    return len(client.get_metric_history(runs[0].info.run_id, "val_loss"))


def _wait_for_epochs(
    process: "subprocess.Popen[bytes]", server: TrackingServer, network: str, n: int = 3
) -> None:
    def has_epochs() -> bool:
        assert process.poll() is None, "the workflow ended"
        return _n_epochs(server, network) >= n

    wait_for(has_epochs, f"epoch {n} of {network}", seconds=300)


def _check_one_whole_run(server: TrackingServer, network: str) -> None:
    """Check that there is one run, FINISHED, with every epoch once."""
    (run,) = _runs(server, network)
    assert run.info.status == "FINISHED"
    client = MlflowClient(tracking_uri=server.url)
    history = client.get_metric_history(run.info.run_id, "val_loss")
    assert sorted(entry.step for entry in history) == list(range(1, N_EPOCHS + 1))


def _job_of(study: ClusterCheckout, part: str) -> str:
    """Find the job with a network, or a model and chunk, in its comment."""
    (job,) = [j for j, (_, rule) in study.slurm.jobs().items() if part in rule]
    return job


def _set_time_limit_over(study: ClusterCheckout, job: str) -> None:
    study.slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=0")


def test_a_training_goes_on_after_a_cancel_a_requeue_and_a_time_limit(
    study: ClusterCheckout, start: Start, server: TrackingServer
) -> None:
    networks = ("requeued", "overrun")
    cancelled = _train(start, *networks)
    for network in networks:
        _wait_for_epochs(cancelled, server, network)
    os.killpg(cancelled.pid, signal.SIGINT)
    assert cancelled.wait(timeout=120) != 0
    wait_for(lambda: not study.slurm.jobs(), "cancelled jobs to end")
    ids = {}
    for network in networks:
        (run,) = _runs(server, network)
        assert run.info.status == "KILLED"
        ids[network] = run.info.run_id

    again = _train(start, *networks)
    for network in networks:
        _wait_for_epochs(again, server, network)
    overrun = _job_of(study, "overrun")
    _set_time_limit_over(study, overrun)
    study.slurm.ask("scontrol", "requeue", _job_of(study, "requeued"))
    output = _finish(study, again)
    for network in networks:
        _check_one_whole_run(server, network)
        assert _runs(server, network)[0].info.run_id == ids[network]
    assert re.search(rf"SLURM-job '{overrun}' failed, SLURM status is: 'TIMEOUT'", output)
    assert "Restarts=1" in study.slurm.ask("scontrol", "show", "job")


def _pause(study: ClusterCheckout, chunk: Path) -> None:
    """Stop the command that makes a chunk until Slurm, which lets jobs go on first, ends it.

    Slurm looks at time limits twice a minute, and a few files are made in less.
    """
    output = str(chunk.relative_to(study.folder)).encode()
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            words = (process / "cmdline").read_bytes().split(b"\0")
            if output in words and (process / "cwd").resolve() == study.folder.resolve():
                state_and_parent = (process / "stat").read_text().rpartition(")")[2].split()
                parents[int(process.name)] = int(state_and_parent[1])
    # A child that the command starts has its command line, until it becomes another program.
    (command,) = (process for process, parent in parents.items() if parent not in parents)
    os.kill(command, signal.SIGSTOP)


def test_a_generation_goes_on_after_a_requeue_and_a_time_limit(
    study: ClusterCheckout, start: Start, server: TrackingServer
) -> None:
    generation = yaml.safe_load((study.folder / "config/generation/tiny.yaml").read_text())
    generation |= {"PIPELINE": {"N_PARAMETER_SETS": 30}, "ESTIMATOR": {"TYPE": "kde"}}
    study.write_yaml("slow.yaml", generation)
    n_files = 5
    source = {"config": "slow.yaml", "chunks": 2, "files_per_chunk": n_files}
    chunks = [study.folder / f"results/ddm/generation/chunk_{i}" for i in range(2)]
    for folder in chunks:
        shutil.rmtree(folder)
    process = start(
        *[str(folder.relative_to(study.folder) / "chunk.json") for folder in chunks],
        data={"generate": source},
    )

    def finished(folder: Path) -> list[Path]:
        assert process.poll() is None, "the workflow ended"
        return list(folder.glob("training_data.partial/*.pickle"))

    kept: dict[Path, int] = {}
    for folder in chunks:
        wait_for(lambda folder=folder: finished(folder), f"a file in {folder}", seconds=300)
        _pause(study, folder)
        kept |= {path: path.stat().st_mtime_ns for path in finished(folder)}
    assert 2 <= len(kept) < 2 * n_files
    overrun = _job_of(study, "ddm_1")
    _set_time_limit_over(study, overrun)
    study.slurm.ask("scontrol", "requeue", _job_of(study, "ddm_0"))
    output = _finish(study, process)
    assert re.search(rf"SLURM-job '{overrun}' failed, SLURM status is: 'TIMEOUT'", output)
    for i, folder in enumerate(chunks):
        files = json.loads((folder / "chunk.json").read_text())["files"]
        assert len(files) == n_files
        for file in files:
            assert sha256(folder / "training_data" / file["filename"]) == file["sha256"]
        runs = _runs_of(server, "ddm-data-generation", f"ddm-chunk-{i}")
        # One of the tiny study itself, and the one that was interrupted and went on.
        assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
        assert [run.data.params["n_files"] for run in runs].count(str(n_files)) == 1
    for path, made in kept.items():
        assert (path.parents[1] / "training_data" / path.name).stat().st_mtime_ns == made


def test_a_server_that_is_away_for_half_a_minute_costs_neither_training_nor_history(
    study: ClusterCheckout, start: Start, server: TrackingServer
) -> None:
    process = _train(start, "lonely")
    _wait_for_epochs(process, server, "lonely")
    server.stop()
    try:
        time.sleep(30)  # the outage itself
        assert process.poll() is None, (study.folder / "long.txt").read_text()
    finally:
        server.start()
    _finish(study, process)
    _check_one_whole_run(server, "lonely")
