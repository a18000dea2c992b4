from pathlib import Path

import mlflow
import numpy as np
import onnx
import onnxruntime
import pytest
from mlflow.models import Model

from lanflow.core.errors import StoreError, UserError
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import ContractError
from lanflow.publish.registry import Entry, Registry, Version, shorten
from lanflow.tracking.client import MlflowClient, connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store, resolve_store
from tests import networks

ROW = np.array([[1.0, 1.2, 0.5, 0.3, 0.9, 1.0]], dtype=np.float32)


def entry(seed: int = 0, **keys: object) -> Entry:
    given = {
        "name": "ddm-lan",
        "onnx": export_onnx(*networks.made_up("lan", 6, seed=seed)),
        "description": "what a user must know",
        "tags": {"model": "ddm", "verdict": "passed"},
        "files": {"card.json": b"{}", "README.md": b"# ddm"},
        "metadata": {"inputs": ["v", "a", "z", "t", "rt", "choice"]},
        "experiment_name": "ddm-training",
    }
    return Entry(**{**given, **keys})  # type: ignore[arg-type]


@pytest.fixture
def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client; and whoever asks MLflow without naming a store asks the test's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return connect(store)


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


def test_a_model_comes_back_by_alias_and_gives_the_same_outputs(
    registry: Registry, client: MlflowClient
) -> None:
    given = entry()
    version = registry.register(given, about="ddm networks")
    registry.set_alias("best", version)
    loaded = mlflow.onnx.load_model("models:/ddm-lan@best")
    assert loaded == onnx.load_from_string(given.onnx)
    session = onnxruntime.InferenceSession(given.onnx)
    expected = session.run(None, {"input": ROW})[0]
    served = mlflow.pyfunc.load_model("models:/ddm-lan@best")
    np.testing.assert_array_equal(served.predict({"input": ROW})["output"], expected)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        served.predict({"input": np.concatenate([ROW, ROW])})


def test_what_is_registered_is_the_file_with_its_card_signature_and_tags(
    registry: Registry, client: MlflowClient, tmp_path: Path
) -> None:
    given = entry()
    registry.register(given, about="ddm networks")
    assert client.get_registered_model("ddm-lan").description == "ddm networks"
    found = client.get_model_version("ddm-lan", "1")
    assert found.description == "what a user must know"
    assert found.tags == {"model": "ddm", "verdict": "passed"}
    folder = mlflow.artifacts.download_artifacts("models:/ddm-lan/1", dst_path=str(tmp_path))
    model = Model.load(folder)
    for name, content in {**given.files, "model.onnx": given.onnx}.items():
        assert Path(folder, name).read_bytes() == content
    assert model.metadata == given.metadata
    (spec,) = model.signature.inputs.inputs
    assert (spec.name, spec.shape, spec.type) == ("input", (1, 6), np.dtype("float32"))
    (spec,) = model.signature.outputs.inputs
    assert (spec.name, spec.shape) == ("output", (1, 1))


def test_a_model_is_filed_with_the_run_that_made_it(
    registry: Registry, client: MlflowClient, store: Store
) -> None:
    run = client.create_run(ensure_experiment(client, store, "elsewhere").id)
    assert registry.has_run(run.info.run_id)
    assert not registry.has_run("f" * 32)
    registry.register(entry(run_id=run.info.run_id), about="")
    assert client.get_model_version("ddm-lan", "1").run_id == run.info.run_id
    (output,) = client.get_run(run.info.run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.source_run_id) == ("ddm-lan", run.info.run_id)
    assert logged.experiment_id == run.info.experiment_id
    assert str(logged.status) == "READY"


def test_versions_are_numbered_and_listed_with_their_tags(registry: Registry) -> None:
    assert registry.versions("ddm-lan") == []
    first = registry.register(entry(), about="")
    second = registry.register(entry(seed=1, tags={"a": "1"}), about="")
    assert registry.versions("ddm-lan") == [first, second]
    changed = registry.set_tags(second, {"a": "2", "b": "3"})
    assert changed == Version("ddm-lan", 2, {"a": "2", "b": "3"})
    assert registry.versions("ddm-lan")[1] == changed


def test_nothing_of_this_needs_the_store_that_mlflow_last_spoke_of(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all.db")
    registry = Registry(store)
    registry.set_alias("best", registry.register(entry(), about=""))
    assert mlflow.active_run() is None


def test_the_registry_of_a_folder_store_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mlruns is a folder.*migrate-filestore"):
        Registry(resolve_store(uri=f"{tmp_path}/mlruns"))


def test_a_model_without_the_contract_is_refused_and_leaves_no_version(
    registry: Registry, client: MlflowClient
) -> None:
    with pytest.raises(ContractError):
        registry.register(entry(onnx=b"no model"), about="")
    assert registry.versions("ddm-lan") == []
    experiment = client.get_experiment_by_name("ddm-training")
    (logged,) = client.search_logged_models([experiment.experiment_id])
    assert str(logged.status) == "FAILED"


def test_a_store_that_refuses_is_one_message(registry: Registry) -> None:
    version = Version("not-there", 1, {})
    with pytest.raises(StoreError, match="setting an alias failed"):
        registry.set_alias("best", version)


def test_a_long_description_is_cut_at_a_line() -> None:
    assert shorten("short") == "short"
    text = "\n".join(f"line {i}" for i in range(2000))
    cut = shorten(text)
    assert len(cut) <= 5000
    kept, rest = cut.split("\n\n")
    assert text.startswith(kept + "\n")
    assert "README.md" in rest
