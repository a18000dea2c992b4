"""The site file, and the variables that a profile sets."""

from pathlib import Path

import pytest
import yaml

from lanflow.cluster.site import ProfilePlace, Site, enter_profile, write_site
from lanflow.core.errors import UserError

URI, LOCATION = "MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_LOCATION"
OWN = {URI: "sqlite:///mlflow.db", LOCATION: "mlartifacts"}


def enter(profile: Path, environment: dict[str, str]) -> Site:
    return enter_profile(ProfilePlace(profile, Path.cwd()), environment, **OWN)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile without a site file, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = Path("profiles/slurm")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("executor: slurm\n")
    return folder


def test_a_profile_sets_the_store_as_seen_from_every_job(profile: Path) -> None:
    environment: dict[str, str] = {}
    assert enter(profile, environment) == Site()
    here = Path.cwd()
    assert environment == {URI: f"sqlite:///{here}/mlflow.db", LOCATION: f"{here}/mlartifacts"}


def test_what_the_user_has_set_wins_over_the_site_and_that_over_the_profile(profile: Path) -> None:
    write_site(profile, Site(environment={URI: "http://site:5000", "OTHER": "site"}))
    environment = {"OTHER": "user"}
    enter(profile, environment)
    # The profile's artifact location belongs to the profile's store.
    assert environment == {URI: "http://site:5000", "OTHER": "user"}
    environment = {URI: "http://user:5000"}
    enter(profile, environment)
    assert environment == {URI: "http://user:5000", "OTHER": "site"}


def test_relative_paths_are_of_the_directory_that_jobs_run_in(profile: Path) -> None:
    environment: dict[str, str] = {}
    enter_profile(ProfilePlace(profile, Path("/study")), environment, **OWN)
    assert environment == {URI: "sqlite:////study/mlflow.db", LOCATION: "/study/mlartifacts"}


def test_a_missing_site_file_is_told_of_once_with_its_path_and_how_to_write_it(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        enter(profile.absolute(), {})
    told = capsys.readouterr().err
    assert told.count("no site file") == 1
    assert f"{profile.absolute()}/site.yaml is not there" in told
    assert f"lanflow site --profile {profile.absolute()}" in told
    write_site(profile, Site(account="lab"))
    assert enter(profile.absolute(), {}).account == "lab"
    assert capsys.readouterr().err == ""


def test_an_artifact_location_of_the_user_stays(profile: Path) -> None:
    environment = {LOCATION: "/mine"}
    enter(profile, environment)
    assert environment == {URI: f"sqlite:///{Path.cwd()}/mlflow.db", LOCATION: "/mine"}


def test_an_empty_variable_is_not_set(profile: Path) -> None:
    environment = {URI: ""}
    enter(profile, environment)
    assert environment[URI].startswith("sqlite:///")


def test_a_mistake_in_a_site_file_names_file_and_key(profile: Path) -> None:
    (profile / "site.yaml").write_text("acount: x\n")
    with pytest.raises(UserError, match=r"site\.yaml.*'acount'.*did you mean 'account'"):
        enter(profile, {})


def test_a_site_file_is_written_with_a_link_for_its_name(profile: Path) -> None:
    site = Site(account="lab", partitions={"main": {"max_runtime": 60}})
    path, link = write_site(profile, site)
    assert yaml.safe_load(path.read_text()) == {
        "account": "lab",
        "partitions": {"main": {"max_runtime": 60}},
    }
    assert (link / "config.yaml").samefile(profile / "config.yaml")
    assert enter(link, {}) == site
    with pytest.raises(UserError, match="--overwrite"):
        write_site(profile, site)
    write_site(profile, Site(), overwrite=True)
    assert enter(profile, {}) == Site()


def test_no_password_gets_into_a_site_file(profile: Path) -> None:
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI: http://\*\*\*@host holds a pass"):
        write_site(profile, Site(environment={URI: "http://me:secret@host"}))
    assert not (profile / "site.yaml").exists()


def test_something_else_of_the_links_name_is_left_alone(profile: Path) -> None:
    Path("slurm").mkdir()
    with pytest.raises(UserError, match="slurm is there"):
        write_site(profile, Site())
    assert Path("slurm").is_dir()


def test_a_folder_that_is_no_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no profile \(no config\.yaml in it\)"):
        write_site(tmp_path, Site())
