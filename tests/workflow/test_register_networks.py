import json
import tarfile
from pathlib import Path

import pytest

from lanflow.networks import folder as network_folder
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from tests.evaluated import FAILED_GATE, write_evaluation, write_network
from tests.workflow.conftest import Checkout

BACKENDS = ("jax", "torch")


@pytest.fixture
def evaluated(checkout: Checkout) -> tuple[Checkout, str]:
    """A checkout with a study whose networks have been trained and evaluated; one failed."""
    results = checkout.folder / "results"
    for seed, backend in enumerate(BACKENDS):
        write_network(results / "networks" / "lan" / "ddm" / f"lan_{backend}", seed=seed)
    failed = results / "networks" / "lan" / "ddm" / "lan_torch"
    write_evaluation(failed, gates=[FAILED_GATE], error=0.001)
    (results / "tracking").mkdir()
    (results / "tracking" / "recorded.json").write_text("{}")
    study = checkout.write_study(
        study="mine",
        register_networks=True,
        bundle_networks=True,
        models={
            "ddm": {
                "data": {"generate": {"config": "generation.yaml"}},
                "networks": {"lan": {"config": "training.yaml"}},
            }
        },
    )
    return checkout, study


def test_a_study_registers_what_passed_and_lists_the_rest(
    evaluated: tuple[Checkout, str], store: Store
) -> None:
    checkout, study = evaluated
    rule = ("register_networks", "--allowed-rules", "register_networks", "--cores", "1")
    checkout.snakemake(*rule, study=study, MLFLOW_TRACKING_URI=store.uri)
    record = json.loads((checkout.folder / "results" / "registered.json").read_text())
    (registered,) = record["registered"]
    assert Path(registered["network"]).name == "lan_jax"
    (left_out,) = record["not_registered"]
    assert "lan_torch: did not pass its gates: density" in left_out["reason"]
    assert record["aliases"] == {"ddm-lan": {"best": 1, "mine-best": 1}}
    version = connect(store).get_model_version_by_alias("ddm-lan", "mine-best")
    assert version.tags["study"] == "mine"
    log = (checkout.folder / "results" / "logs" / "register_networks.log").read_text()
    assert "not registered: " in log


def test_a_study_packs_every_network_and_its_verdict(evaluated: tuple[Checkout, str]) -> None:
    checkout, study = evaluated
    place = "results/bundles/lan/ddm"
    archives = [f"{place}/lan_{backend}.tar.gz" for backend in BACKENDS]
    rule = (*archives, "--allowed-rules", "bundle_network", "--cores", "2")
    checkout.snakemake(*rule, study=study)
    for backend, gate in zip(BACKENDS, ("structure | passed", "density | failed"), strict=True):
        folder = checkout.folder / place / f"lan_{backend}"
        assert (folder / "ddm.onnx").exists()
        assert f"| {gate} |" in (folder / "README.md").read_text()
        with tarfile.open(f"{folder}.tar.gz") as archive:
            assert any(name.endswith("ddm.onnx") for name in archive.getnames())
    plan = checkout.planned("--forceall", study=study)
    assert plan["bundle_network"] == 2


def test_registering_waits_for_every_networks_evaluation(evaluated: tuple[Checkout, str]) -> None:
    checkout, study = evaluated
    evaluation = f"results/networks/lan/ddm/lan_jax/{network_folder.EVALUATION}"
    (checkout.folder / evaluation).unlink()
    rule = ("register_networks", "--allowed-rules", "register_networks")
    output = checkout.snakemake("-n", *rule, study=study, check=False)
    assert evaluation in output


@pytest.mark.slow
def test_the_tiny_networks_own_evaluation_keeps_it_from_the_registry_and_is_on_its_card(
    tiny: Checkout, tmp_path: Path
) -> None:
    network = "results/networks/lan/ddm/lan_jax"
    evaluation = json.loads((tiny.folder / network / network_folder.EVALUATION).read_text())
    failed = [gate["name"] for gate in evaluation["gates"] if gate["verdict"] == "failed"]
    assert "density" in failed
    database = tmp_path / "mlflow.db"
    store = ("--mlflow-tracking-uri", f"sqlite:///{database}")
    output = tiny.run("lanflow", "register", network, *store, check=False)
    assert "lan_jax: did not pass its gates: " in output
    assert not database.exists()
    tiny.run("lanflow", "bundle", network, "--output", str(tmp_path / "bundle"))
    card = (tmp_path / "bundle" / "README.md").read_text()
    for name in failed:
        assert f"| {name} | failed |" in card
