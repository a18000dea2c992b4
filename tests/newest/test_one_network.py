"""A network of lanflow's that was made before, in HSSM's samplers and LANfactory's upload."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lanflow.publish.bundle import bundle_files, write_bundle
from tests import networks
from tests.environments import last_line
from tests.evaluated import judged, write_network
from tests.newest.conftest import HERE, entry_point, run

pytestmark = pytest.mark.newest


def test_vi_and_gradients_are_finite_by_onnx_and_by_our_function(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    script = HERE / "scripts" / "gradients.py"
    by_onnx, by_function = last_line(run([sys.executable, script, folder], tmp_path))
    for result in (by_onnx, by_function):
        assert np.isfinite(result["gradient"]).all()
        assert np.isfinite(result["bounds_of_evidence"]).all()
    assert by_function["log_density"] == pytest.approx(by_onnx["log_density"], rel=1e-4)
    np.testing.assert_allclose(by_function["gradient"], by_onnx["gradient"], rtol=1e-2, atol=1e-2)


def test_nuts_finds_parameters_again(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    command = [*entry_point("lanflow", "lanflow"), "recover", folder, "--json"]
    options = ["--hssm-python", sys.executable, "--n-subjects", "2", "--n-trials", "200"]
    line = last_line(run([*command, *options, "--output", "recovery.json"], tmp_path))
    assert line["method"].startswith("NUTS (HSSM 0.5")
    record = json.loads((tmp_path / "recovery.json").read_text())
    true, found, sd = (
        np.array(each) for each in (record["true"], record["recovered"], record["posterior"]["sd"])
    )
    assert (np.abs(found - true) < 4 * sd).all()


def test_lanfactorys_upload_takes_our_bundle(tmp_path: Path) -> None:
    write_bundle(bundle_files(*judged(write_network(tmp_path / "net", "lan"))), tmp_path / "bundle")
    folder = tmp_path / "bundle" / "lan" / "ddm"
    options = ["--model-folder", folder, "--network-type", "lan", "--model-name", "ddm"]
    options += ["--canonical-onnx", folder / "model.onnx", "--dry-run"]
    printed = run([*entry_point("lanfactory", "upload-hf"), *options], tmp_path)
    for name in ("model.onnx", "validation_report.json", "ddm.onnx (root alias of model.onnx)"):
        assert f"  - {name}" in printed
