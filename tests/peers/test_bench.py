"""The benchmark beside LANfactory: both are measured and compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.peers


def test_both_are_measured_in_one_run(
    lanfactory: Path, quick_commands: Path, tmp_path: Path
) -> None:
    results, page = tmp_path / "results.json", tmp_path / "benchmarks.md"
    command = [sys.executable, REPOSITORY / "bench" / "run.py", "--small"]
    command += ["--lanflow", quick_commands, "--lanfactory", lanfactory]
    command += ["--threads", str(os.cpu_count()), "--output", results, "--page", page]
    command += ["--parts", "training", "workflow"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = json.loads(results.read_text())["parts"]
    contenders = {figure["contender"] for figure in parts["training"]["figures"]}
    assert {"lanflow, torch", "LANfactory, torch", "lanflow, jax", "LANfactory, jax"} <= contenders
    assert parts["training"]["versions"]["LANfactory's"]["lanfactory"] == "0.7.0"
    assert (tmp_path / "benchmarks_workflow.png").exists()
    text = page.read_text()
    for beginning in ("| ratio, jax |", "| ratio, torch |", "| lanflow query |"):
        assert beginning in text
    assert "LANfactory's query" in text
