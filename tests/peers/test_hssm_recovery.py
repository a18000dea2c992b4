"""HSSM 0.3.0, in its own environment, samples posteriors of simulated subjects."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import networks
from tests.environments import last_line, run

# One worker, where the environments are.
pytestmark = pytest.mark.peers


def test_nuts_finds_parameters_again(hssm: Path, tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    command = [Path(sys.executable).with_name("lanflow"), "recover", folder]
    options = ["--hssm-python", hssm / "python", "--n-subjects", "4", "--n-trials", "300", "--json"]
    options += ["--processes", "1"]  # each imports HSSM, which takes as long as half a subject
    output = ["--output", tmp_path / "recovery.json", "--plot", tmp_path / "recovery.png"]
    line = last_line(run([*command, *options, *output], folder=tmp_path))
    record = json.loads((tmp_path / "recovery.json").read_text())
    assert line["method"] == record["method"] == "NUTS (HSSM 0.3.0)"
    assert record["n_not_converged"] == line["n_not_converged"] == 0
    true, found, sd = (
        np.array(each) for each in (record["true"], record["recovered"], record["posterior"]["sd"])
    )
    low, high = np.array(list(record["bounds"].values())).T
    # Much narrower than the prior, which is uniform over the box, and around the truth.
    assert (sd < 0.25 * (high - low)).all()
    assert (np.abs(found - true) < 4 * sd).all()
    assert (tmp_path / "recovery.png").read_bytes().startswith(b"\x89PNG")
