"""The benchmarks of labels: what each source costs, and what it is worth."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


def run(script: str, *options: str | Path) -> str:
    command = [sys.executable, str(REPOSITORY / "bench" / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows(text: str) -> list[list[str]]:
    """Cells of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_data_of_every_source_are_compared_for_each_model(tmp_path: Path) -> None:
    page = tmp_path / "labels.md"
    page.write_text("before\n<!-- data -->\nold\n<!-- /data -->\nafter\n")
    size = ("--files", 3, "--sets", 2, "--simulations", 500, "--rows", 50, "--processes", 2)
    run("data.py", *map(str, size), "--models", "ddm", "lba3", "--output", page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- /data -->\nafter\n")
    assert "old" not in text
    found = rows(text)
    sources = ["exact_kde", "kde", "pyddm", "solver", "analytic"]
    ddm, lba3 = found[:6], found[6:]
    assert [row[2] for row in ddm] == ["ssm-simulators", *(f"lanflow, `{s}`" for s in sources)]
    assert ddm[0][:2] == ["`ddm`", "closed form"]
    assert lba3[0][:2] == ["`lba3`", "ballistic accumulators"]
    assert ddm[0][4] == "2 of 6"  # every file of theirs holds the same vectors
    assert {row[4] for row in ddm[1:]} == {"6 of 6"}
    assert all(float(row[3].replace(",", "")) > 0 for row in found)
    errors = {row[2]: float(row[5]) for row in ddm}
    assert errors["lanflow, `analytic`"] < 1e-4 < errors["ssm-simulators"]
    assert errors["lanflow, `solver`"] < 1e-2


def test_a_network_of_each_source_is_trained_and_scored() -> None:
    size = ["--seconds", "0.1", "--visits", "20000", "--n-sets", "10", "--simulations", "1000"]
    found = rows(run("labels.py", *size, "--models", "ddm"))
    assert [row[2] for row in found] == ["ssm-simulators", "lanflow, `kde`", "lanflow, `auto`"]
    assert found[0][:2] == ["`ddm`", "closed form"]
    assert [row[3] for row in found[:2]] == ["20 of 40", "40 of 40"]
    for row in found:
        assert all(float(value) > 0 for value in row[5:])


def test_a_page_without_the_marks_is_refused_at_once(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    command = [sys.executable, str(REPOSITORY / "bench" / "data.py")]
    done = subprocess.run([*command, "--output", page], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no marks of 'data'" in done.stderr
    assert page.read_text() == "nothing\n"
