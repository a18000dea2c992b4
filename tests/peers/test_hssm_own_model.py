"""HSSM 0.3.0, in its own environment, runs networks of models that it does not know."""

import math
from pathlib import Path

import pytest

import lanflow
from lanflow.publish.bundle import bundle_files, write_bundle
from tests.environments import last_line, run
from tests.evaluated import judged, write_evaluation
from tests.own_models import write_models_file
from tests.peers.conftest import HERE

# One worker, where the environments are.
pytestmark = pytest.mark.peers


def test_the_code_of_the_bundle_registers_an_own_model_in_hssm(hssm: Path, tmp_path: Path) -> None:
    file = write_models_file(tmp_path)
    names = ("exp_ramp", "lognormal_race")
    bounds = []
    for name in names:
        data = lanflow.generate(
            name, models_file=file, n_sets=20, rows_per_set=40, n_simulations=500, n_processes=1
        )
        net = lanflow.train(
            data, layers=(8,), epochs=1, batch_size=64, threads=1, folder=tmp_path / "networks"
        )
        assert net.folder is not None
        write_evaluation(net.folder)
        write_bundle(bundle_files(*judged(net.folder)), tmp_path / name)
        bounds.append(net.own_card.bounds.to_json())
    script = HERE / "scripts" / "run_cards.py"
    results = last_line(run([hssm / "python", script, *names], folder=tmp_path))
    for result, trained in zip(results, bounds, strict=True):
        assert math.isfinite(result["log_density"])
        assert {name: result["bounds"][name] for name in trained} == trained
