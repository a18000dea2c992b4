"""The model registry of a tracking server, which is where a group of people shares networks."""

from pathlib import Path

import mlflow

from lanflow.publish.register import register_networks
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import resolve_store
from tests.evaluated import write_network


def test_networks_are_registered_on_a_server_too(server: str, tmp_path: Path) -> None:
    store = resolve_store(uri=server)
    client = connect(store)
    run = client.create_run(ensure_experiment(client, store, "ddm-training").id)
    without_run = write_network(tmp_path / "lan_torch")
    with_run = write_network(tmp_path / "lan_jax", seed=1, mlflow_run_id=run.info.run_id)
    record = register_networks(store, [without_run, with_run], study="mine")
    assert record.aliases == {"ddm-lan": {"best": 1, "mine-best": 1}}
    again = register_networks(store, [with_run])
    assert [entry.is_new for entry in again.registered] == [False]
    assert client.get_model_version("ddm-lan", "2").run_id == run.info.run_id
    version = client.get_model_version_by_alias("ddm-lan", "mine-best")
    copied = mlflow.artifacts.download_artifacts(
        artifact_uri=version.source, dst_path=str(tmp_path), tracking_uri=server
    )
    assert Path(copied, "model.onnx").read_bytes() == (without_run / "model.onnx").read_bytes()
