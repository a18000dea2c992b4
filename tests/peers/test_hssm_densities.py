"""HSSM's own likelihoods, in its own environment, are our exact densities."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.environments import last_line, run
from tests.peers.conftest import HERE

pytestmark = pytest.mark.peers

# Largest differences in nats: rounding of HSSM's, and what hddm-wfpt's adaptive rule is off by.
LARGEST = {"lba2": 1e-5, "lba3": 1e-5, "racing_diffusion_3": 1e-5, "poisson_race": 1e-5}
WITHIN = {**LARGEST, "full_ddm": 0.2}


def test_hssm_has_the_same_log_likelihoods(hssm: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_exact", REPOSITORY / "bench" / "exact.py")
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    cases = bench.peer_cases(5, 20)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = HERE / "scripts" / "hssm_densities.py"
    theirs = last_line(run([hssm / "python", script, "cases.json"], folder=tmp_path))
    found = bench.peer_differences(cases, theirs)
    assert found.keys() == WITHIN.keys()
    for name, off in found.items():
        assert off.mean() < min(WITHIN[name], 5e-3)
        assert off.max() < WITHIN[name]
