import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Left out are bare-jax once more, with other options of the compiler, and bare-torch once more by
# Torch's compiler, which compiles C++ for a minute of a core.
PARTS = ["lanflow-jax", "lanflow-torch", "bare-jax", "bare-torch", "tf32-torch", "options-jax"]
BENCH = [sys.executable, str(REPOSITORY / "bench" / "gpu.py")]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_on_a_cpu_by_the_same_code(tmp_path: Path) -> None:
    options = ["--small", "--device", "cpu", "--output", str(tmp_path), "--parts", *PARTS]
    shown = subprocess.run(
        [*BENCH, *options],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    figures = json.loads((tmp_path / "gpu.json").read_text())["figures"]
    assert [figure["details"] for figure in figures if "FAILED" in figure["what"]] == []
    rates = [figure for figure in figures if figure["case"] is not None]
    assert [*dict.fromkeys(figure["part"] for figure in rates)] == PARTS
    for figure in rates:
        assert figure["unit"] == "rows/s"
        assert min(figure["values"]) > 0
        assert figure["details"]["of_flops"] > 0
    table = (tmp_path / "gpu.md").read_text()
    assert table in shown
    assert all(figure["what"] in table for figure in figures)


def test_the_documentation_shows_what_was_measured(tmp_path: Path) -> None:
    shown = (REPOSITORY / "docs" / "benchmarks_gpu.md").read_text()
    copy = tmp_path / "copy.md"
    copy.write_text(shown)
    results = REPOSITORY / "benchmarks" / "gpu.json"
    subprocess.run([*BENCH, "--tables", str(copy), str(results)], check=True)
    assert copy.read_text() == shown
