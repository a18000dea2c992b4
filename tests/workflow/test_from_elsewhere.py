"""The workflow where it is not the working directory: by its path, and as a module of another one.

Each way is run to its end: ``--directory`` here, a module as it is, with a prefix for its paths,
and with other names for its rules. A deployment is in test_deployment.py.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import REPOSITORY, write_training_file
from tests.workflow.conftest import Checkout

NETWORKS: dict[str, Any] = {"lan": {"config": "training.yaml", "backends": ["jax"]}}
GENERATED: dict[str, Any] = {
    "data": {"generate": {"config": "generation.yaml"}},
    "networks": NETWORKS,
}
FROM_A_FOLDER: dict[str, Any] = {"data": {"folder": "files"}, "networks": NETWORKS}


def module_of_lanflow(
    place: Checkout, *, use: str = "use rule * from lanflow", **parts: str
) -> None:
    """Write a workflow of somebody else that uses this one."""
    given = {"snakefile": f'"{REPOSITORY}/Snakefile"', "config": "config", **parts}
    lines = "\n".join(f"    {key}: {value}" for key, value in given.items())
    (place.folder / "Snakefile").write_text(f"module lanflow:\n{lines}\n\n{use}\n")


def write_files(folder: Path) -> None:
    for i in range(2):
        write_training_file(folder / f"training_data_{i}.pickle", seed=i)


def snakemake(place: Checkout, *arguments: str, **options: Any) -> str:
    return place.snakemake("--cores", "2", *arguments, **options)


def nothing_is_left_to_do(place: Checkout, *arguments: str) -> bool:
    return "Nothing to be done" in snakemake(place, "-n", *arguments)


def is_whole(results: Path) -> bool:
    """Whether results hold a report on one network that has been trained and evaluated."""
    (onnx,) = pd.read_csv(results / "leaderboard.csv")["onnx"]
    evaluation = (results / "networks/lan/ddm/lan_jax/evaluation.json").read_text()
    report = (results / "report.html").read_text()
    return onnx.endswith("lan_jax/model.onnx") and "verdict" in evaluation and "lan_jax" in report


@pytest.fixture
def elsewhere(tmp_path: Path, quick_commands: Path) -> Checkout:
    """A working directory that has nothing of the workflow."""
    (tmp_path / "elsewhere").mkdir()
    return Checkout(tmp_path / "elsewhere", commands=quick_commands)


@pytest.mark.slow
def test_another_working_directory_makes_the_study_that_is_in_it(elsewhere: Checkout) -> None:
    study = elsewhere.folder / "study"
    shutil.copytree(REPOSITORY / ".test", study, ignore=shutil.ignore_patterns("results", ".*"))
    command = ("--snakefile", f"{REPOSITORY}/Snakefile", "--directory", "study")
    snakemake(elsewhere, *command)
    assert is_whole(study / "results")
    assert (study / "results/bundles/lan/ddm/lan_jax.tar.gz").exists()
    assert (study / "mlflow.db").exists()
    assert nothing_is_left_to_do(elsewhere, *command)
    assert [path.name for path in elsewhere.folder.iterdir()] == ["study"]


@pytest.mark.slow
def test_a_module_makes_a_study_and_sends_runs_that_wait_when_it_fails_too(
    elsewhere: Checkout,
) -> None:
    module_of_lanflow(elsewhere)
    with (elsewhere.folder / "Snakefile").open("a") as file:
        file.write("\nrule fail:\n    output: 'never.txt'\n    shell: 'exit 3'\n")
    study = elsewhere.write_study(models={"ddm": GENERATED})
    targets = ["results/ddm/generation/chunk_0/chunk.json", "never.txt"]
    later = {"LANFLOW_MLFLOW_SEND": "later"}
    # Typed in another folder, which is the working directory again when the process ends.
    typed = Checkout(elsewhere.folder.parent)
    output = snakemake(
        *(typed, "--snakefile", "elsewhere/Snakefile", "--directory", "elsewhere"),
        *("--keep-going", *targets),
        study=f"elsewhere/{study}",
        check=False,
        **later,
    )
    assert "MLflow: every run was sent" in output
    output = snakemake(elsewhere, study=study)
    assert "generate_data" not in output  # it was done before, and its run sent
    assert is_whole(elsewhere.folder / "results")
    client = MlflowClient(tracking_uri=f"sqlite:///{elsewhere.folder}/mlflow.db")
    for name in ("ddm-data-generation", "ddm-training"):
        experiment = client.get_experiment_by_name(name)
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
    assert nothing_is_left_to_do(elsewhere, "--configfile", study)


@pytest.mark.slow
def test_a_module_with_a_prefix_puts_everything_under_it(elsewhere: Checkout) -> None:
    module_of_lanflow(elsewhere, prefix='"networks_of_ours"')
    lab = Checkout(elsewhere.folder.parent / "lab")
    lab.write_study(models={"ddm": FROM_A_FOLDER})
    write_files(lab.folder / "files")
    study = "../lab/my_study.yaml"  # what it names lies beside it
    snakemake(elsewhere, study=study)
    results = elsewhere.folder / "networks_of_ours" / "results"
    assert is_whole(results)
    assert "results: networks_of_ours/results" in (results / "study.yaml").read_text()
    made = {path.name for path in elsewhere.folder.iterdir()} - {"mlflow.db", "mlartifacts"}
    assert made == {"Snakefile", ".snakemake", "networks_of_ours"}
    assert nothing_is_left_to_do(elsewhere, "--configfile", study)
    snakemake(elsewhere, "refresh_manifests", study=study)
    log = (results / "logs/refresh_manifests.log").read_text()
    assert log.endswith("no manifest changed\n")


@pytest.mark.slow
def test_a_module_whose_rules_have_other_names_makes_a_study(elsewhere: Checkout) -> None:
    elsewhere.write_study(models={"ddm": FROM_A_FOLDER})
    write_files(elsewhere.folder / "files")
    module_of_lanflow(elsewhere, use="use rule * from lanflow as lanflow_*")
    with (elsewhere.folder / "Snakefile").open("a") as file:
        file.write("\nprint('local:', *sorted(workflow._localrules))\n")
    output = snakemake(elsewhere, study="my_study.yaml")
    assert is_whole(elsewhere.folder / "results")
    (local,) = set(re.findall(r"^local: (.*)$", output, re.MULTILINE))
    assert {"lanflow_all", "lanflow_record_runs", "lanflow_write_report"} <= set(local.split())
    assert "lanflow_train_network" not in local
    assert nothing_is_left_to_do(elsewhere, "--configfile", "my_study.yaml")


def test_nobodys_study_is_the_first_one_and_standard_error_says_what_was_taken(
    elsewhere: Checkout,
) -> None:
    command = ("--snakefile", f"{REPOSITORY}/workflow/Snakefile")
    output = snakemake(elsewhere, "-n", *command)
    first = REPOSITORY / "config/examples/first.yaml"
    assert output.count(f"no study is named, so the one that is made is {first}") == 1
    for name in ("generation/first.yaml", "training/first_lan.yaml"):
        line = f"config/{name} of {first}: taken from {REPOSITORY}/config/{name}"
        assert output.count(line) == 1
    assert len(re.findall(r"^rule train_network:", output, re.MULTILINE)) == 2
    # A study of one's own may name the workflow's files as its examples do, or from its config/.
    networks = {"lan": {"config": "config/training/tiny_lan.yaml", "backends": ["jax"]}}
    data = {"generate": {"config": "generation/tiny.yaml"}}
    study = elsewhere.write_study(models={"ddm": {"data": data, "networks": networks}})
    output = snakemake(elsewhere, "-n", "-p", *command, study=study)
    assert "no study is named" not in output
    assert f"--config-path {REPOSITORY}/config/training/tiny_lan.yaml" in output
    assert f"--config-path {REPOSITORY}/config/generation/tiny.yaml" in output


@pytest.mark.parametrize("key", [None, "nets"])
def test_a_mistake_in_a_study_of_a_module_names_file_and_key(
    elsewhere: Checkout, key: str | None
) -> None:
    wrong = {"models": {"ddm": {**GENERATED, "netwroks": {}}}}
    elsewhere.write_yaml("study.yaml", wrong if key is None else {key: wrong})
    module_of_lanflow(elsewhere, config="config" if key is None else f'config["{key}"]')
    output = snakemake(elsewhere, "-n", study="study.yaml", check=False)
    assert "study.yaml: unknown key 'models.ddm.netwroks'; did you mean 'networks'?" in output
    assert "Traceback" not in output


def test_a_module_may_have_its_configuration_in_the_snakefile(elsewhere: Checkout) -> None:
    module_of_lanflow(elsewhere, config='{"seed": 8, "results": "out"}')
    output = snakemake(elsewhere, "-n", "-p")
    assert "no study is named" in output
    assert "--seed 8" in output
    assert "--output out/ddm/manifest.json" in output
    module_of_lanflow(elsewhere, config='{"sead": 8}')
    output = snakemake(elsewhere, "-n", check=False)
    assert "--config or the config of a module: unknown key 'sead'; did you mean 'seed'?" in output


@pytest.fixture
def hub(elsewhere: Checkout) -> dict[str, str]:
    """A stand-in for GitHub with this repository as lab/lanflow, version v1: variables for git."""
    folder = elsewhere.folder.parent / "hub" / "lab" / "lanflow"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
    for name in ("workflow", "config", "scripts"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    shutil.copy(REPOSITORY / "environment.yml", folder)
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    for command in (
        ("init", "-q"),
        ("add", "."),
        (*identity, "commit", "-qm", "All"),
        ("tag", "v1"),
    ):
        elsewhere.run("git", "-C", str(folder), *command)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder.parents[1]}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(elsewhere.folder.parent / "cache"),
        "GITHUB_TOKEN": "",
    }


def test_a_module_from_the_web_takes_its_own_files_and_tells_conda_where_it_is(
    elsewhere: Checkout, hub: dict[str, str]
) -> None:
    source = 'github("lab/lanflow", path="workflow/Snakefile", tag="v1")'
    module_of_lanflow(elsewhere, snakefile=source)
    with (elsewhere.folder / "Snakefile").open("a") as file:
        file.write("\nimport os\nprint('source:', os.environ['LANFLOW_SOURCE'])\n")
    outputs = [snakemake(elsewhere, "-n", "-p", **hub) for _ in range(2)]
    for output in outputs:
        assert "source: git+https://github.com/lab/lanflow@v1" in output
        assert "rule write_report:" in output
    # The same path every time: another one would train the network again.
    (path,) = {
        path
        for output in outputs
        for path in re.findall(r"train --backend \w+ --config-path (\S+)", output)
    }
    assert path.endswith("first_lan.yaml")
    own = (REPOSITORY / "config/training/first_lan.yaml").read_text()
    assert Path(path).read_text().strip() == own.strip()
