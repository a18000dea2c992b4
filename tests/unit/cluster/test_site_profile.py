"""The profile that Snakemake reads, found from its command line."""

from pathlib import Path

import pytest

from lanflow.cluster.site import find_profile

CALLING = "__definitions__:\n  - enter_profile(find_profile())\n"


def write(folder: Path, content: str = CALLING) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(content)
    return folder


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A checkout of a workflow with two profiles, of which one has a site file."""
    folder = tmp_path / "workflow"
    write(folder / "profiles" / "slurm")
    write(folder / "profiles" / "default", "cores: 1\n")
    (folder / "Snakefile").write_text("")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command; the user has no profiles."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return folder


def test_a_profile_by_its_path(workflow: Path) -> None:
    for path in (str(workflow / "profiles" / "slurm"), "../workflow/profiles/slurm"):
        place = find_profile(["-n", "--profile", path])
        assert place.folder.samefile(workflow / "profiles" / "slurm")
        assert place.site_path.is_absolute()


def test_a_profile_by_the_link_that_stands_here(workflow: Path, here: Path) -> None:
    (here / "slurm").symlink_to(workflow / "profiles" / "slurm")
    assert find_profile(["--profile=slurm"]).folder == here / "slurm"


def test_a_profile_of_the_user_by_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "configuration" / "snakemake" / "cluster")
    assert find_profile(["--profile", "cluster"]).folder == folder


def test_a_profile_named_by_the_environment(
    workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(workflow / "profiles" / "slurm"))
    assert find_profile(["-n"]).folder == workflow / "profiles" / "slurm"


def test_a_workflow_profile_beside_the_snakefile(workflow: Path, here: Path) -> None:
    command = ["--snakefile", str(workflow / "Snakefile"), "--workflow-profile", "slurm"]
    assert find_profile(command).folder == workflow / "profiles" / "slurm"
    own = write(here / "profiles" / "slurm")  # one that is here comes first
    assert find_profile(command).folder == own


def test_the_default_profile_beside_it_is_not_taken_for_the_one_that_asks(workflow: Path) -> None:
    profile = workflow / "profiles" / "slurm"
    command = ["--snakefile", str(workflow / "Snakefile"), "--profile", str(profile)]
    assert find_profile(command).folder == profile


def test_the_working_directory_is_the_one_that_jobs_will_have(workflow: Path, here: Path) -> None:
    command = ["--profile", str(workflow / "profiles" / "slurm")]
    assert find_profile(command).directory == here
    assert find_profile([*command, "--directory", "study"]).directory == here / "study"
    assert find_profile([*command, "-d", "/study"]).directory == Path("/study")
