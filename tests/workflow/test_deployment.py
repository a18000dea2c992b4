"""A deployment in the layout that ``snakedeploy deploy-workflow`` writes."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, TRAINING_YAML
from tests.workflow.conftest import GENERATION_YAML, QUICK, Checkout

# What snakedeploy writes, with the path of a workflow in place of its address on the web.
SNAKEFILE = f"""\
from snakemake.utils import min_version

min_version("6.10.0")

configfile: "config/config.yaml"

module lanflow:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"
    config:
        config

use rule * from lanflow
"""


@pytest.fixture
def deployment(tmp_path: Path, quick_commands: Path) -> Checkout:
    """A folder with a Snakefile that uses the workflow, and a copy of its config/."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "Snakefile").write_text(SNAKEFILE)
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return Checkout(tmp_path, commands=quick_commands)


@pytest.mark.slow
def test_a_fresh_deployment_plans_the_first_study_with_the_files_that_were_copied(
    deployment: Checkout,
) -> None:
    output = deployment.snakemake("-n", "-p", "--cores", "2")
    assert "no study is named, so the one that is made is" in output
    assert "--config-path config/training/first_lan.yaml" in output
    assert deployment.planned("--cores", "2")["train_network"] == 2
    given = ("--configfile", "config/examples/two_models.yaml")
    assert deployment.planned("--cores", "2", *given)["train_network"] == 8


@pytest.mark.slow
def test_a_deployment_makes_the_study_in_its_config_and_snakemakes_report(
    deployment: Checkout,
) -> None:
    path = deployment.folder / "config" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    data = {"generate": {"config": "generation/mine.yaml"}}
    networks = {"lan": {"config": "training/mine.yaml", "backends": ["torch"]}}
    models = {"ddm": {"data": data, "networks": networks}}
    deployment.write_yaml("config/config.yaml", {**content, **QUICK, "models": models})
    deployment.write_yaml("config/generation/mine.yaml", GENERATION_YAML)
    deployment.write_yaml("config/training/mine.yaml", TRAINING_YAML)
    deployment.snakemake("--cores", "2")
    network = deployment.folder / "results/networks/lan/ddm/lan_torch"
    assert json.loads((network / "evaluation.json").read_text())["verdict"]
    assert "Nothing to be done" in deployment.snakemake("-n", "--cores", "2")
    deployment.snakemake("--report", "report.zip")
    with zipfile.ZipFile(deployment.folder / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    figures = {path.name for path in network.glob("*.png")}
    assert len(figures) == 5
    assert names >= {"leaderboard.csv", "report.html", "audit.png", *figures}
    for caption in (REPOSITORY / "workflow" / "report").glob("*.rst"):
        if caption.stem != "recovery":
            assert caption.read_text().split(".")[0].split("**")[0][:30] in page, caption
    assert '"category": "Networks"' in page or "lan of ddm" in page
