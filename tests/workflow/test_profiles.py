"""The profiles: what each sets, and what the command line leaves of it."""

import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout, make_checkout

# The workflow, with a job that tells what its environment holds.
PROBE = """
include: "Snakefile"

rule tell_environment:
    output: "told.txt"
    params: seed=STUDY.seed
    shell: "(env; echo SEED={params.seed}) > {output}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, quick_commands: Path) -> Checkout:
    """A copy with a site file, as `lanflow site` would write it, and its link."""
    made = make_checkout(tmp_path_factory.mktemp("profiles"), commands=quick_commands)
    (made.folder / "probe.smk").write_text(PROBE)
    (made.folder / "slurm").symlink_to("profiles/slurm")
    made.write_yaml("mine.yaml", {"seed": 5})
    return made


def told(place: Checkout, *arguments: str, **environment: str) -> dict[str, str]:
    """What a job of the workflow has in its environment, by the executor of this machine."""
    (place.folder / "told.txt").unlink(missing_ok=True)
    place.snakemake(
        *("--snakefile", "probe.smk", "--profile", "slurm", "--executor", "local"),
        *("tell_environment", *arguments),
        **environment,
    )
    lines = (place.folder / "told.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def write_site(place: Checkout, environment: dict[str, str]) -> None:
    place.write_yaml("profiles/slurm/site.yaml", {"environment": environment})


def test_the_profile_sets_the_store_of_every_job(place: Checkout) -> None:
    (place.folder / "profiles/slurm/site.yaml").unlink(missing_ok=True)
    job = told(place)
    assert job["MLFLOW_TRACKING_URI"] == f"sqlite:///{place.folder}/mlflow.db"
    assert job["MLFLOW_ARTIFACT_LOCATION"] == f"{place.folder}/mlartifacts"
    assert job["LANFLOW_SOURCE"] == str(place.folder)  # for environment.post-deploy.sh


@pytest.mark.parametrize(
    ("arguments", "seed"),
    [
        (("--config", "seed=3"), "3"),
        (("--configfile", "config/examples/tiny.yaml", "mine.yaml"), "5"),
    ],
)
def test_config_on_the_command_line_loses_nothing_of_the_profile(
    place: Checkout, arguments: tuple[str, ...], seed: str
) -> None:
    write_site(place, {"MLFLOW_TRACKING_URI": "http://site:5000", "EXTRA": "of the site"})
    job = told(place, *arguments)
    assert job["SEED"] == seed
    assert job["MLFLOW_TRACKING_URI"] == "http://site:5000"
    assert job["EXTRA"] == "of the site"


def test_a_variable_wins_over_the_profile_and_config_over_both(place: Checkout) -> None:
    write_site(place, {"MLFLOW_TRACKING_URI": "http://site:5000"})
    user = {"MLFLOW_TRACKING_URI": "http://user:5000"}
    assert told(place, **user)["MLFLOW_TRACKING_URI"] == "http://user:5000"
    given = told(place, "--config", 'tracking={"uri": "http://config:5000"}', **user)
    assert given["MLFLOW_TRACKING_URI"] == "http://config:5000"


def test_a_password_in_the_configuration_is_refused_and_not_shown(place: Checkout) -> None:
    output = place.snakemake(
        "-n", "--config", 'tracking={"uri": "http://me:secret@host"}', check=False
    )
    assert "tracking.uri: it holds a password" in output
    assert "set MLFLOW_TRACKING_URI" in output
    assert "secret" not in output


@pytest.mark.parametrize("option", ["--profile", "--workflow-profile"])
def test_from_elsewhere_the_slurm_profile_finds_its_site_file_or_says_there_is_none(
    place: Checkout, option: str, tmp_path: Path
) -> None:
    elsewhere = Checkout(tmp_path)
    path = f"{place.folder}/profiles/slurm" if option == "--profile" else "slurm"
    command = ("--snakefile", f"{place.folder}/Snakefile", option, path, "--executor", "local")
    partitions = {"short": {"max_runtime": 60}}
    site = {"account": "lab-7", "partitions": partitions, "environment": {"EXTRA": "of the site"}}
    place.write_yaml("profiles/slurm/site.yaml", site)
    output = elsewhere.snakemake("-n", "--verbose", *command)
    assert "slurm_account=lab-7" in output
    assert "no site file" not in output
    (place.folder / "profiles/slurm/site.yaml").unlink()
    output = elsewhere.snakemake("-n", "--verbose", *command)
    assert "slurm_account" not in output
    told = f"no site file: {place.folder}/profiles/slurm/site.yaml is not there"
    assert output.count(told) == 1


@pytest.mark.parametrize("name", ["laptop", "gpu"])
def test_other_profiles_are_found_by_their_name(place: Checkout, name: str) -> None:
    output = place.snakemake("-n", "--workflow-profile", name)
    assert f"workflow specific profile profiles/{name}" in output
    assert "train_network" in output


def test_a_gpu_is_asked_for_where_the_study_wants_one_and_only_there(place: Checkout) -> None:
    text = (place.folder / "config/examples/tiny.yaml").read_text()
    text = text.replace("backends: [jax, torch]", "backends: [jax]\n        device: gpu")
    (place.folder / "gpu.yaml").write_text(text)
    output = place.snakemake("-n", "-p", "--verbose", "--configfile", "gpu.yaml")
    jobs = output.split("\nrule ")
    asking = [job.split(":")[0] for job in jobs if "gpu=1" in job]
    assert sorted(asking) == ["check_node", "train_network"]
    assert "gpu=0" not in output
    (training,) = [job for job in jobs if job.startswith("train_network")]
    assert "--device gpu" in training
    assert "node_jax_gpu.json" in output


# Python as it is where lanflow was not installed: neither it nor its logger plugin is found.
WITHOUT_LANFLOW = """
import sys
sys.path[:] = [path for path in sys.path if not path.endswith("/workflow")]
sys.modules["lanflow"] = None  # Snakemake looks beside the Snakefile, too
from snakemake.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("name", ["default", "laptop", "gpu"])
def test_a_profile_without_lanflow_says_what_to_install(place: Checkout, name: str) -> None:
    command = (sys.executable, "-c", WITHOUT_LANFLOW, "-n", "--workflow-profile", name)
    output = place.run(*command, check=False)
    assert "lanflow is not installed beside Snakemake" in output
    assert "make setup" in output
    assert "invalid choice" not in output


def test_no_account_partition_or_personal_path_is_in_a_profile(place: Checkout) -> None:
    for path in Path(place.folder, "profiles").glob("*/config.yaml"):
        lines = [x for x in path.read_text().splitlines() if not x.lstrip().startswith("#")]
        text = "\n".join(lines)
        assert "/home" not in text
        assert "slurm_partition" not in text
        assert "slurm_account" not in text.replace("slurm_account: ?site.account", "")
