"""The tiny study through Slurm, with an MLflow server, compared with a local run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.cluster.conftest import PASSWORD, ClusterCheckout
from tests.cluster.services import TrackingServer
from tests.conftest import sha256
from tests.workflow.conftest import Checkout

# One worker has the servers.
pytestmark = pytest.mark.cluster

# What says where and when, not what.
_PLACES = re.compile(r"slurm_|mlflow\.user|_folder$|experiment_id|source|run_key")
# How long it took.
_TIMES = {"cost.seconds", "cost.rows_per_second"}


def _runs(uri: str) -> dict[str, dict[str, Any]]:
    """Read every run of a store, by name, without its paths and times."""
    client = MlflowClient(tracking_uri=uri)
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    found = {}
    for run in client.search_runs(list(experiments)):
        metrics = {
            key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
            if key not in _TIMES
        }
        found[run.info.run_name] = {
            "experiment": experiments[run.info.experiment_id],
            "status": run.info.status,
            "params": _without_places(run.data.params),
            "tags": _without_places(run.data.tags),
            "metrics": {key: sorted(values) for key, values in metrics.items()},
            "artifacts": sorted(_artifacts(client, run.info.run_id)),
            "inputs": [i.dataset.digest for i in run.inputs.dataset_inputs],
        }
    return found


def _without_places(entries: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in entries.items() if not _PLACES.search(key)}


def _artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> list[str]:
    files = []
    for entry in client.list_artifacts(run_id, path):
        files += _artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return files


def test_the_same_runs_metrics_and_artifacts_as_a_local_run(
    cluster_study: ClusterCheckout, local_study: Checkout, server: TrackingServer
) -> None:
    here = _runs(f"sqlite:///{local_study.folder}/mlflow.db")
    assert len(here) == 4
    there = _runs(server.url)
    assert {name: there[name] for name in here} == here
    assert not (cluster_study.folder / "mlflow.db").exists()


def test_the_same_bytes_as_a_local_run(
    cluster_study: ClusterCheckout, local_study: Checkout
) -> None:
    names = [
        path.relative_to(local_study.folder)
        for pattern in ("results/networks/lan/ddm/lan_*/model.onnx", "results/**/*.pickle")
        for path in local_study.folder.glob(pattern)
        if path.name == "model.onnx" or "generation" in path.parts
    ]
    assert len(names) == 4
    for name in names:
        assert sha256(cluster_study.folder / name) == sha256(local_study.folder / name)
    assert (cluster_study.folder / "results/report.html").exists()


def _slurm_records(study: ClusterCheckout) -> str:
    """Return everything that Slurm shows of every job, with its script."""
    records = study.slurm.ask("scontrol", "show", "job", "--details")
    for job in re.findall(r"JobId=(\d+)", records):
        records += study.slurm.ask("scontrol", "write", "batch_script", job, "-", check=False)
    return records


def test_jobs_went_to_slurm_with_the_threads_and_memory_they_asked_for(
    cluster_study: ClusterCheckout,
) -> None:
    records = _slurm_records(cluster_study)
    jobs = {
        comment: record
        for record in records.split("\n\n")
        if (comment := _field(record, "Comment")) and str(cluster_study.folder) in record
    }
    kinds = ["check_node", "generate_data", "train_network", "data"]
    found = {
        kind: [job for name, job in jobs.items() if name.startswith(f"rule_{kind}")]
        for kind in kinds
    }
    assert [len(found[kind]) for kind in kinds] == [1, 2, 2, 1], list(jobs)
    for job in found["train_network"]:
        assert _field(job, "NumCPUs") == "2"
        assert _field(job, "MinMemoryNode") == "8000M"
        assert _field(job, "TimeLimit") == "12:00:00"
    network = cluster_study.folder / "results/networks/lan/ddm/lan_jax"
    assert json.loads((network / "run.json").read_text())["device"] == "cpu, 2 thread(s)"
    node = json.loads((cluster_study.folder / "results/tracking/node_cpu.json").read_text())
    assert node["node"]


def _field(record: str, name: str) -> str:
    match = re.search(rf"\b{name}=(\S+)", record)
    return match[1] if match else ""


def test_a_password_in_the_uri_is_in_no_file_and_no_record_of_slurm(
    cluster_study: ClusterCheckout, server: TrackingServer
) -> None:
    """Only the environments of jobs, which only root can read, hold the password."""
    secret = PASSWORD.encode()
    searched = 0
    for root in (cluster_study.folder, cluster_study.slurm.folder):
        for path in root.rglob("*"):
            if not path.is_file() or path.is_symlink():
                continue
            if root == cluster_study.slurm.folder and path.name == "environment":
                continue
            assert secret not in path.read_bytes(), path
            searched += 1
    assert searched > 100
    assert PASSWORD not in _slurm_records(cluster_study)
    assert PASSWORD not in json.dumps(_runs(server.url))
    logs = list(Path(cluster_study.folder, ".snakemake/slurm_logs").rglob("*.log"))
    assert len(logs) >= 6


def test_a_second_run_does_nothing(cluster_study: ClusterCheckout) -> None:
    assert "Nothing to be done" in cluster_study.snakemake()
