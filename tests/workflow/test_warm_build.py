"""A build whose jobs are forks of a warm process makes what one without it makes, byte for byte."""

import os
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Checkout, make_checkout

# Notes what every process starts, without a change of what it does.
NOTES = """\
import os, sys

def note(event, arguments):
    if event == "subprocess.Popen" and "LANFLOW_TEST_NOTES" in os.environ:
        with open(os.environ["LANFLOW_TEST_NOTES"], "a") as file:
            file.write(f"{' '.join(map(str, arguments[1]))}\\n")

sys.addaudithook(note)
"""
# Made with the same bytes by every build; the others hold times, ids of runs and machines.
SAME = {
    "ddm/generation/chunk_*/training_data/*.pickle": 2,
    "ddm/data_set/arrays/*.npy": 12,
    "networks/lan/ddm/*/model.onnx": 2,
    "networks/lan/ddm/*/evaluation.npz": 2,
    "networks/lan/ddm/*/plot_*.png": 8,
}


@pytest.fixture
def noted(tmp_path: Path) -> Checkout:
    """A fresh copy whose processes note what they start."""
    made = make_checkout(tmp_path, study=TINY)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "sitecustomize.py").write_text(NOTES)
    return made


def warm_processes(noted: Checkout, *arguments: str, **variables: str) -> list[str]:
    """Warm processes that a build starts."""
    notes = noted.folder / "notes.txt"
    places = [str(noted.folder / "notes"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables |= {"LANFLOW_TEST_NOTES": str(notes), "PYTHONPATH": os.pathsep.join(places)}
    noted.snakemake(*arguments, **variables)
    started = notes.read_text().splitlines() if notes.exists() else []
    return [line for line in started if "lanflow.workflow.warm.server" in line]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="jobs are no forks elsewhere")
def test_jobs_are_forks_of_one_process(noted: Checkout) -> None:
    assert len(warm_processes(noted, "--until", "audit_data")) == 1
    assert (noted.folder / "results/ddm/audit.json").exists()


@pytest.mark.slow
def test_a_second_build_without_it_and_on_one_core_makes_the_same_bytes(
    tiny: Checkout, noted: Checkout
) -> None:
    given = {"LANFLOW_WARM": "off", "PYTHONHASHSEED": "7"}
    assert warm_processes(noted, "--cores", "1", "--until", "plot_network", **given) == []
    for pattern, n in SAME.items():
        first, second = (
            {path.name + path.parent.name: path.read_bytes() for path in folder.glob(pattern)}
            for folder in (tiny.folder / "results", noted.folder / "results")
        )
        assert len(first) == n
        assert first == second


def test_a_dry_run_starts_none(noted: Checkout) -> None:
    assert warm_processes(noted, "-n") == []
