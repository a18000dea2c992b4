"""HSSM 0.3.0, in its own environment, loads bundles as their cards say."""

import math
from pathlib import Path

import pytest

from lanflow.publish.bundle import bundle_files, write_bundle
from tests.environments import last_line, run
from tests.evaluated import judged, write_network
from tests.peers.conftest import HERE

# One worker, where the environments are.
pytestmark = pytest.mark.peers


def test_the_code_on_the_card_of_each_type_runs_in_hssm(hssm: Path, tmp_path: Path) -> None:
    place = tmp_path / "networks"
    kinds = {"lan": "ddm", "cpn": "ddm", "opn": "ddm_deadline"}
    folders = {
        kind: write_network(place / kind, kind, model=model) for kind, model in kinds.items()
    }
    # A model that HSSM does not know by its name.
    race = {name: [0.0, 2.5] for name in ("v0", "v1", "v2")}
    race |= {"a": [1.0, 3.0], "z": [0.0, 0.9], "t": [0.0, 2.0]}
    folders["race"] = write_network(place / "race", model="race_no_bias_3", bounds=race)
    networks = {name: judged(folder) for name, folder in folders.items()}
    for kind, network in networks.items():
        write_bundle(bundle_files(*network), tmp_path / kind)
        # Where HSSM finds its own network by name, which it would download.
        (tmp_path / kind / "ddm.onnx").write_bytes(networks["lan"][0].onnx)
    script = HERE / "scripts" / "run_cards.py"
    results = last_line(run([hssm / "python", script, *networks], folder=tmp_path))
    assert all(math.isfinite(result["log_density"]) for result in results)
    trained = networks["lan"][0].own_card.bounds.to_json()
    assert {name: results[0]["bounds"][name] for name in trained} == trained
