"""An unusable store fails before the first job, not on a node an hour later."""

from pathlib import Path

import pytest

from tests.cluster.conftest import ClusterCheckout
from tests.cluster.services import Slurm, TrackingServer, free_port
from tests.workflow.conftest import make_checkout

# One worker has the servers.
pytestmark = pytest.mark.cluster


@pytest.fixture
def study(slurm: Slurm, tmp_path: Path) -> ClusterCheckout:
    """A fresh copy of the repository with a site file."""
    fresh = ClusterCheckout(make_checkout(tmp_path), slurm, dict(slurm.environment))
    fresh.run("lanflow", "site")
    return fresh


def _n_jobs(slurm: Slurm) -> int:
    return slurm.ask("scontrol", "show", "job").count("JobId=")


def test_a_wrong_uri_stops_before_any_job(study: ClusterCheckout) -> None:
    before = _n_jobs(study.slurm)
    uri = f"http://alice:hidden@127.0.0.1:{free_port()}"
    output = study.snakemake("--retries", "0", check=False, MLFLOW_TRACKING_URI=uri)
    assert f"MLflow store {uri.replace('alice:hidden', '***')}: cannot be opened" in output
    assert "hidden" not in output
    assert _n_jobs(study.slurm) == before


def test_an_artifact_location_that_takes_no_files_stops_before_any_job(
    study: ClusterCheckout, server: TrackingServer
) -> None:
    before = _n_jobs(study.slurm)
    output = study.snakemake(
        "--retries",
        "0",
        check=False,
        **server.s3_environment,
        MLFLOW_TRACKING_URI=f"sqlite:///{study.folder}/mlflow.db",
        MLFLOW_ARTIFACT_LOCATION="s3://no-such-bucket/artifacts",
    )
    assert "writing to the artifact location s3://no-such-bucket/artifacts" in output
    assert _n_jobs(study.slurm) == before


def test_a_gpu_that_slurm_gives_and_the_backend_does_not_see_is_an_error(
    study: ClusterCheckout,
) -> None:
    text = (study.folder / "config/examples/tiny.yaml").read_text()
    text = text.replace("backends: [jax, torch]", "backends: [torch]\n        device: gpu")
    (study.folder / "gpu.yaml").write_text(text)
    target = "results/tracking/node_torch_gpu.json"
    study.snakemake(target, "--configfile", "gpu.yaml", check=False)
    log = (study.folder / "results/logs/check_node/torch_gpu.log").read_text()
    assert "Torch sees no GPU" in log
    assert "nothing was trained on the CPU instead" in log
    jobs = study.slurm.ask("scontrol", "show", "job").split("\n\n")
    (job,) = [job for job in jobs if str(study.folder) in job]
    assert "gres/gpu=1" in job or "gres:gpu" in job or "gpu:1" in job
