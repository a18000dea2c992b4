"""A build whose jobs are forks of a warm process makes what one without it makes, byte for byte."""

import os
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout, make_checkout

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
SAME = (
    *("ddm/generation/chunk_0/training_data/*", "ddm/data_set/arrays/*", "ddm/audit.json"),
    *("networks/lan/ddm/*/model.onnx", "networks/lan/ddm/*/weights_*"),
    *("networks/lan/ddm/*/scores.npz", "networks/lan/ddm/*/plot_*.png"),
)


def study(folder: Path) -> Checkout:
    folder.mkdir()
    made = make_checkout(folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "sitecustomize.py").write_text(NOTES)
    network = {"config": "training.yaml", "threads": 1}
    data = {"generate": {"config": "generation.yaml", "threads": 1}}
    made.write_study(models={"ddm": {"data": data, "networks": {"lan": network}}})
    return made


def snakemake(made: Checkout, *arguments: str, **variables: str) -> tuple[str, list[str]]:
    """What a build prints, and the warm processes that it starts."""
    notes = made.folder / "notes.txt"
    places = [str(made.folder / "notes"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables |= {"LANFLOW_TEST_NOTES": str(notes), "PYTHONPATH": os.pathsep.join(places)}
    output = made.snakemake(*arguments, study="my_study.yaml", **variables)
    started = notes.read_text().splitlines() if notes.exists() else []
    return output, [line for line in started if "lanflow.workflow.warm.server" in line]


def contents(results: Path) -> dict[str, bytes]:
    paths = [path for pattern in SAME for path in results.glob(pattern)]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="jobs are no forks elsewhere")
def test_it_makes_the_same_bytes(tmp_path: Path) -> None:
    made = [study(tmp_path / name) for name in ("warm", "cold")]
    warm, cold = (each.folder / "results" for each in made)
    output, started = snakemake(made[0])
    assert len(started) == 1, output
    assert snakemake(made[1], LANFLOW_WARM="off")[1] == []
    assert contents(warm) == contents(cold)
    assert {path.split("/")[0] for path in contents(warm)} == {"ddm", "networks"}
    assert len(contents(warm)) > len(SAME)


def test_a_dry_run_starts_none(tmp_path: Path) -> None:
    made = study(tmp_path / "study")
    output, started = snakemake(made, "-n")
    assert "train_network" in output
    assert started == []
