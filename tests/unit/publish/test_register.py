import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest

from lanflow.core.errors import UsageError
from lanflow.evaluation.record import NotPassedError
from lanflow.networks import folder as network_folder
from lanflow.publish.register import best_version, register_networks
from lanflow.publish.registry import Version
from lanflow.tracking.client import MlflowClient, connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store
from tests.evaluated import FAILED_GATE, write_evaluation, write_network

Network = Callable[..., Path]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Networks with an evaluation; each seed is another network."""

    def make(seed: int = 0, network_type: str = "lan", error: float = 0.02) -> Path:
        folder = write_network(tmp_path / f"{network_type}_{seed}", network_type, seed=seed)
        write_evaluation(folder, error=error)
        return folder

    return make


@pytest.fixture
def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return connect(store)


def test_the_best_of_a_study_is_loaded_by_its_alias(
    store: Store, network: Network, client: MlflowClient
) -> None:
    folders = [network(0, error=0.05), network(1, error=0.01), network(2, error=0.03)]
    record = register_networks(store, folders, study="tiny")
    assert record.aliases == {"ddm-lan": {"best": 2, "tiny-best": 2}}
    row = np.array([[1.0, 1.2, 0.5, 0.3, 0.9, 1.0]], dtype=np.float32)
    session = onnxruntime.InferenceSession((folders[1] / "model.onnx").read_bytes())
    loaded = mlflow.pyfunc.load_model("models:/ddm-lan@tiny-best")
    np.testing.assert_array_equal(
        loaded.predict({"input": row})["output"], session.run(None, {"input": row})[0]
    )


def test_tags_say_what_was_registered_and_files_are_beside_it(
    store: Store, network: Network, client: MlflowClient, tmp_path: Path
) -> None:
    folder = network()
    register_networks(store, [folder], study="tiny")
    card = json.loads((folder / network_folder.CARD).read_text())
    evaluation = json.loads((folder / network_folder.EVALUATION).read_text())
    version = client.get_model_version("ddm-lan", "1")
    assert version.tags == {
        "model": "ddm",
        "network_type": "lan",
        "backend": "torch",
        "data_digest": card["data_digest"],
        "run_uuid": card["run_uuid"],
        "verdict": "passed",
        "onnx_sha256": evaluation["onnx_sha256"],
        "mean_abs_error": "0.02",
        "score_unit": "nats",
        "lanflow_version": "0.1.0",
        "study": "tiny",
    }
    assert version.description.startswith("# ddm: likelihood approximation network")
    place = Path(mlflow.artifacts.download_artifacts("models:/ddm-lan/1", dst_path=str(tmp_path)))
    assert json.loads((place / "card.json").read_text()) == card
    assert json.loads((place / "evaluation.json").read_text()) == evaluation
    assert (place / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    about = client.get_registered_model("ddm-lan").description
    assert about == (
        "ddm networks of type lan: log-likelihood of (rt, choice) given the parameters"
    )


def test_a_network_is_registered_once(store: Store, network: Network) -> None:
    folder = network(error=0.02)
    first = register_networks(store, [folder, folder])
    write_evaluation(folder, error=0.01)
    second = register_networks(store, [folder])
    assert [entry.is_new for entry in first.registered] == [True, False]
    assert [entry.is_new for entry in second.registered] == [False]
    (version,) = [entry.version for entry in second.registered]
    found = connect(store).search_model_versions("name = 'ddm-lan'")
    assert [(int(v.version), v.tags["mean_abs_error"]) for v in found] == [(version, "0.01")]


def test_types_are_models_of_their_own(store: Store, network: Network) -> None:
    record = register_networks(store, [network(), network(network_type="cpn")])
    assert record.aliases == {"ddm-lan": {"best": 1}, "ddm-cpn": {"best": 1}}


def test_best_is_of_all_networks_and_the_studys_best_of_those_given(
    store: Store, network: Network
) -> None:
    register_networks(store, [network(0, error=0.01)], study="first")
    record = register_networks(store, [network(1, error=0.04)], study="second")
    assert record.aliases == {"ddm-lan": {"best": 1, "second-best": 2}}
    aliases = connect(store).get_registered_model("ddm-lan").aliases
    assert {alias: int(number) for alias, number in aliases.items()} == {
        "best": 1,
        "first-best": 1,
        "second-best": 2,
    }


def test_a_network_that_failed_is_never_registered(store: Store, network: Network) -> None:
    folders = [network(0), network(1)]
    write_evaluation(folders[1], gates=[FAILED_GATE])
    with pytest.raises(NotPassedError, match=r"lan_1: did not pass its gates: density"):
        register_networks(store, folders)
    assert connect(store).search_registered_models() == []


def test_with_a_study_those_that_failed_are_listed_and_the_others_registered(
    store: Store, network: Network
) -> None:
    failed, passed, not_evaluated, changed = (network(seed) for seed in range(4))
    write_evaluation(failed, gates=[FAILED_GATE], error=0.001)
    (not_evaluated / network_folder.EVALUATION).unlink()
    write_evaluation(changed, onnx_sha256="0" * 64)
    record = register_networks(
        store, [failed, passed, not_evaluated, changed], study="tiny", skip_failed=True
    )
    assert [entry.network for entry in record.registered] == [str(passed)]
    reasons = {Path(e.network).name: e.reason for e in record.not_registered}
    assert "density (mass_error is 0.21" in reasons["lan_0"]
    assert "no evaluation.json" in reasons["lan_2"]
    assert "of another network" in reasons["lan_3"]
    assert record.aliases == {"ddm-lan": {"best": 1, "tiny-best": 1}}


def test_where_none_passed_no_store_is_made(tmp_path: Path, network: Network) -> None:
    folder = network()
    write_evaluation(folder, gates=[FAILED_GATE])
    store = Store(f"sqlite:///{tmp_path}/none.db")
    record = register_networks(store, [folder], skip_failed=True)
    assert (record.registered, record.aliases) == ([], {})
    assert not (tmp_path / "none.db").exists()


def test_without_a_score_a_network_is_not_the_best_of_anything(
    store: Store, network: Network
) -> None:
    folder = network()
    write_evaluation(folder, scores=None)
    assert register_networks(store, [folder], study="tiny").aliases == {"ddm-lan": {}}


def test_a_network_is_linked_to_the_run_that_made_it(
    store: Store, tmp_path: Path, client: MlflowClient
) -> None:
    experiment = ensure_experiment(client, store, "elsewhere")
    run_id = client.create_run(experiment.id).info.run_id
    register_networks(store, [write_network(tmp_path / "lan", mlflow_run_id=run_id)])
    assert client.get_model_version("ddm-lan", "1").run_id == run_id
    assert len(client.get_run(run_id).outputs.model_outputs) == 1


def test_a_run_of_another_store_is_said_and_left_out(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_network(tmp_path / "lan", mlflow_run_id="f" * 32)
    register_networks(store, [folder])
    assert f"its run {'f' * 32} is not in this store" in caplog.text
    assert not connect(store).get_model_version("ddm-lan", "1").run_id


def test_a_name_that_no_alias_may_have_is_refused(store: Store, network: Network) -> None:
    with pytest.raises(UsageError, match=r"--study 'my study': expected letters"):
        register_networks(store, [network()], study="my study")


def test_the_older_of_equals_is_the_best() -> None:
    def version(number: int, **tags: str) -> Version:
        return Version("ddm-lan", number, tags)

    equal = [version(n, mean_abs_error="0.5", verdict="passed") for n in (3, 2)]
    others = [version(1, verdict="passed"), version(4, mean_abs_error="0.1", verdict="failed")]
    assert best_version([*equal, *others]) == equal[1]
    assert best_version(others) is None
