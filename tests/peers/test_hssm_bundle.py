"""HSSM 0.3.0, in its own environment, loads bundles as their cards say."""

import math
from pathlib import Path

import pytest

from lanflow.bundle import bundle_files, write_bundle
from lanflow.evaluated_network import read_evaluated
from tests.evaluated import write_network
from tests.peers.conftest import HERE, last_line, run

# One worker, where the environments are.
pytestmark = pytest.mark.peers


def test_the_code_on_the_card_of_each_type_runs_in_hssm(hssm: Path, tmp_path: Path) -> None:
    kinds = {"lan": "ddm", "cpn": "ddm", "opn": "ddm_deadline"}
    networks = {
        kind: read_evaluated(write_network(tmp_path / "networks" / kind, kind, model=model))
        for kind, model in kinds.items()
    }
    for kind, network in networks.items():
        write_bundle(bundle_files(network), tmp_path / kind)
        # Where HSSM finds its own network by name, which it would download.
        (tmp_path / kind / "ddm.onnx").write_bytes(networks["lan"].onnx)
    script = HERE / "scripts" / "run_cards.py"
    results = last_line(run([hssm / "python", script, *kinds], folder=tmp_path))
    assert all(math.isfinite(result["log_density"]) for result in results)
    trained = networks["lan"].card["bounds"]
    assert {name: results[0]["bounds"][name] for name in trained} == trained
