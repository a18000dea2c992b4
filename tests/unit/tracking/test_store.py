import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.tracking import store as tracking_store
from lanflow.tracking.store import (
    ARTIFACT_VARIABLE,
    EXPERIMENT_VARIABLE,
    URI_VARIABLE,
    Store,
    export_environment,
    generation_experiment,
    redact,
    require_commands,
    resolve_send_mode,
    resolve_store,
    training_experiment,
)
from tests.conftest import REPOSITORY

FOLDER = Path("/home/me/study")


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        ("http://option:5000", "http://environment:5000", "http://option:5000"),
        (None, "http://environment:5000", "http://environment:5000"),
        ("http://option:5000", None, "http://option:5000"),
        ("", "http://environment:5000", "http://environment:5000"),
        (None, "", "sqlite:////home/me/study/mlflow.db"),
        (None, None, "sqlite:////home/me/study/mlflow.db"),
    ],
)
def test_the_uri_comes_from_option_then_environment_then_default(
    option: str | None, variable: str | None, expected: str
) -> None:
    environment = {} if variable is None else {URI_VARIABLE: variable}
    assert resolve_store(uri=option, environment=environment, folder=FOLDER).uri == expected


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        ("s3://option/a", "s3://environment/a", "s3://option/a"),
        (None, "s3://environment/a", "s3://environment/a"),
        ("", "s3://environment/a", "s3://environment/a"),
        (None, "", None),
        (None, None, None),
    ],
)
def test_the_artifact_location_comes_from_option_then_environment_then_mlflow(
    option: str | None, variable: str | None, expected: str | None
) -> None:
    environment = {} if variable is None else {ARTIFACT_VARIABLE: variable}
    store = resolve_store(artifact_location=option, environment=environment, folder=FOLDER)
    assert store.artifact_location == expected


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        ("option", "environment", "option"),
        (None, "environment", "environment"),
        ("", "environment", "environment"),
        (None, "", "ddm-training"),
        (None, None, "ddm-training"),
    ],
)
def test_the_experiment_comes_from_option_then_environment_then_the_model(
    option: str | None, variable: str | None, expected: str
) -> None:
    environment = {} if variable is None else {EXPERIMENT_VARIABLE: variable}
    assert training_experiment("ddm", name=option, environment=environment) == expected


def test_the_environment_is_that_of_the_process_unless_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URI_VARIABLE, "http://shell:5000")
    monkeypatch.setenv(ARTIFACT_VARIABLE, "s3://shell/a")
    monkeypatch.setenv(EXPERIMENT_VARIABLE, "shell-experiment")
    store = resolve_store()
    assert (store.uri, store.artifact_location) == ("http://shell:5000", "s3://shell/a")
    assert training_experiment("ddm") == "shell-experiment"


def test_data_generation_has_the_ecosystems_experiment() -> None:
    assert generation_experiment("angle") == "angle-data-generation"


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/me/study/mlflow.db"),
        ("sqlite:///stores/a.db?timeout=5", "sqlite:////home/me/study/stores/a.db?timeout=5"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:////home/me/study/a.db"),
        ("sqlite:////shared/mlflow.db", "sqlite:////shared/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("./mlruns", "/home/me/study/mlruns"),
        ("/shared/mlruns", "/shared/mlruns"),
        ("file:///shared/mlruns", "file:///shared/mlruns"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql+psycopg2://u:p@host/db", "postgresql+psycopg2://u:p@host/db"),
    ],
)
def test_a_relative_store_is_made_absolute_against_a_folder(given: str, absolute: str) -> None:
    assert resolve_store(uri=given, environment={}, folder=FOLDER).uri == absolute


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("./mlflow_artifacts", "/home/me/study/mlflow_artifacts"),
        ("/shared/artifacts", "/shared/artifacts"),
        ("s3://bucket/artifacts", "s3://bucket/artifacts"),
    ],
)
def test_a_relative_artifact_location_is_made_absolute_against_a_folder(
    given: str, absolute: str
) -> None:
    store = resolve_store(artifact_location=given, environment={}, folder=FOLDER)
    assert store.artifact_location == absolute


def test_relative_paths_are_against_the_working_directory_unless_a_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = resolve_store(artifact_location="artifacts", environment={})
    assert store.sqlite_path == f"{tmp_path}/mlflow.db"
    assert store.artifact_location == f"{tmp_path}/artifacts"


@pytest.mark.parametrize(
    ("store", "location"),
    [
        (Store("sqlite:////a/mlflow.db"), "/a/mlartifacts"),
        (Store("sqlite+pysqlite:////a/mlflow.db?x=1"), "/a/mlartifacts"),
        (Store("sqlite:////a/mlflow.db", "/b"), "/b"),
        (Store("sqlite:///:memory:"), None),
        (Store("sqlite://"), None),
        (Store("http://host:5000"), None),
        (Store("http://host:5000", "s3://b"), "s3://b"),
    ],
)
def test_new_experiments_of_an_sqlite_store_keep_artifacts_beside_it(
    store: Store, location: str | None
) -> None:
    assert store.new_artifact_location == location


@pytest.mark.parametrize(
    ("uri", "is_folder"),
    [
        ("./mlruns", True),
        ("/shared/mlruns", True),
        ("file:///shared/mlruns", True),
        ("sqlite:///mlflow.db", False),
        ("http://host:5000", False),
        ("postgresql://host/db", False),
    ],
)
def test_a_path_is_mlflows_old_store_of_files(uri: str, is_folder: bool) -> None:
    assert resolve_store(uri=uri, environment={}, folder=FOLDER).is_folder is is_folder


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://user:secret@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql+psycopg2://user:sec/ret@host/db", "postgresql+psycopg2://***@host/db"),
        ("http://user:sec@ret@host:5000", "http://***@host:5000"),
        ("http://:secret@host", "http://***@host"),
        ("https://token-secret@host/path", "https://***@host/path"),
        ("postgresql://host/db?user=u&password=secret", "postgresql://host/db?user=u&password=***"),
        ("http://host:5000/path", "http://host:5000/path"),
        ("sqlite:////shared/a@b/mlflow.db", "sqlite:////shared/a@b/mlflow.db"),
        ("s3://bucket/path", "s3://bucket/path"),
    ],
)
def test_no_credentials_are_shown(uri: str, shown: str) -> None:
    assert Store(uri).shown_uri == shown
    assert "secret" not in shown


def test_credentials_are_taken_out_of_the_middle_of_a_message() -> None:
    message = "cannot reach mysql://u:p1@one/db\nor http://u:p2@two:80 (refused), mail a@b.c"
    assert redact(message) == (
        "cannot reach mysql://***@one/db\nor http://***@two:80 (refused), mail a@b.c"
    )


def test_when_a_run_is_sent_comes_from_option_then_environment_then_default() -> None:
    variables = {"LANFLOW_MLFLOW_SEND": "later"}
    assert resolve_send_mode("try", environment=variables) == "try"
    assert resolve_send_mode(environment=variables) == "later"
    assert resolve_send_mode(environment={"LANFLOW_MLFLOW_SEND": ""}) == "now"
    with pytest.raises(
        UserError, match="LANFLOW_MLFLOW_SEND: 'never' is not one of now, try, later"
    ):
        resolve_send_mode(environment={"LANFLOW_MLFLOW_SEND": "never"})


def test_jobs_of_the_workflow_try_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking_store, "_exported", [])
    for variable in (
        "PATH",
        "MLFLOW_TRACKING_URI",
        "LANFLOW_MLFLOW_SEND",
        "LANFLOW_STORE_CONTACTS",
    ):
        monkeypatch.setenv(variable, "")
    export_environment(resolve_store(uri="http://host"), contacts=Path("results/contacts"))
    assert os.environ["LANFLOW_MLFLOW_SEND"] == "try"
    monkeypatch.setenv("LANFLOW_MLFLOW_SEND", "later")
    export_environment(resolve_store(uri="http://host"), contacts=Path("results/contacts"))
    assert os.environ["LANFLOW_MLFLOW_SEND"] == "later"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://host"


# What jobs find in their environment, and what a new conda environment gets.


SCRIPT = REPOSITORY / "environment.post-deploy.sh"


def test_commands_beside_the_interpreter_or_on_the_path_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    with pytest.raises(UserError, match="'lanflow' is neither beside Snakemake nor on the PATH"):
        require_commands()
    for folder in ("other", "bin"):
        command = tmp_path / folder / "lanflow"
        command.parent.mkdir()
        command.touch(mode=0o755)
        require_commands()
        command.unlink()


def test_two_modules_of_one_workflow_share_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_store, "_exported", [])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for _ in range(2):
        export_environment(resolve_store(uri="http://one"), contacts=Path("contacts"))
    with pytest.raises(UserError, match=r"in http://one and in http://\*\*\*@two, but all jobs"):
        export_environment(resolve_store(uri="http://me:secret@two"), contacts=Path("contacts"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://one"


def post_deploy(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a fake Python that prints its arguments."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT)],
        cwd=folder,
        env={"PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_conda_environment_gets_the_lanflow_of_the_workflow(tmp_path: Path) -> None:
    source = {tracking_store.SOURCE_VARIABLE: str(REPOSITORY)}
    done = post_deploy(tmp_path, **source)
    assert done.stdout == f"-m pip install --no-deps --editable {REPOSITORY}\n"
    source = {tracking_store.SOURCE_VARIABLE: "git+https://host/lab/lanflow@v1"}
    done = post_deploy(tmp_path, **source)
    assert done.stdout == "-m pip install --no-deps git+https://host/lab/lanflow@v1\n"


def test_without_the_snakefile_nothing_is_installed(tmp_path: Path) -> None:
    done = post_deploy(tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "LANFLOW_SOURCE: it is set by the Snakefile" in done.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "http://ada:S3cret@host:5000/mlflow",
        "http://S3cret@host",
        "postgresql://ada:S3c/ret@host/db",
        "postgresql://host/db?user=ada&password=S3cret",
        "postgresql://host/db?PASSWORD=S3cret&sslmode=require",
        "http://host/?token=S3cret",
        "http://host/?passphrase=S3cret",
        "http://host/?x=1&api-key=S3cret#frag",
        "http://host/?oauth=S3cret",
        "DefaultEndpointsProtocol=https;AccountKey=S3cret==;EndpointSuffix=x",
        "https://host/?access_token=S3cret&x=1",
        "wasbs://c@account/x?sv=2&sig=S3cret",
        "s3://bucket/x?aws_secret_access_key=S3cret",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BUID%3Dada%3BPWD%3DS3cret%3BServer%3Dh",
        "mssql+pyodbc:///?odbc_connect=PWD%3DS3cret",
        "mssql+pyodbc:///?odbc_connect=UID=ada;PWD=S3cret;Server=h",
        "http://host/?next=http%3A%2F%2Fada%3AS3cret%40other%2F",
        "http://host/?next=%2Fx%3Fpassword%253DS3cret",
    ],
)
def test_a_secret_is_hidden_wherever_a_uri_can_carry_it(uri: str) -> None:
    shown = redact(f"error: {uri} does not answer")
    assert "S3c" not in shown
    assert "ret" not in shown.replace("secret", "").replace("retry", "")
    assert "***" in shown
    assert shown.startswith("error: ")
    assert shown.endswith(" does not answer")


def test_what_is_no_secret_is_shown() -> None:
    for text in (
        "http://host:5000/#/experiments/3?keyword=x",
        "sqlite:////home/ada/my%20study/mlflow.db",
        "see https://docs/keys for monkeys; x=1",
    ):
        assert redact(text).replace("***", "x") == text


@pytest.mark.parametrize("word", ["databricks", "databricks://profile"])
def test_mlflows_own_words_are_no_folders(word: str) -> None:
    store = resolve_store(uri=word)
    assert store.uri == word
    assert not store.is_folder


@pytest.mark.parametrize("word", ["databricks-uc", "uc", "databricks-uc://profile", "uc:http://h"])
def test_a_catalogue_of_models_is_no_store_of_runs(word: str) -> None:
    with pytest.raises(UserError, match="is a Unity Catalog, which holds models and no runs; acc"):
        resolve_store(uri=word)


def test_no_line_that_a_library_logs_shows_a_secret() -> None:
    uri = "http://127.0.0.1:9/?token=S3cret"
    program = f"""
import sys
from lanflow.cli.main import main
sys.exit(main(["prepare", "e", "--mlflow-tracking-uri", "{uri}"]))"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"LANFLOW_STORE_PATIENCE": "0", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1
    assert "Retrying" in ended.stderr  # urllib3's own line, with the address
    assert "token=***" in ended.stderr
    assert "S3cret" not in ended.stderr


@pytest.mark.parametrize("uri", ["  http://host:5000\n", "\thttp://host:5000 "])
def test_blanks_around_a_uri_are_left_out(uri: str) -> None:
    assert resolve_store(uri=uri).uri == "http://host:5000"
    assert resolve_store(environment={"MLFLOW_TRACKING_URI": uri}).uri == "http://host:5000"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [("http://ho st:5000", "a blank"), ("sqlite:///x\n.db", r"'\\n'"), ("a\x00b", r"'\\x00'")],
)
def test_blanks_and_control_characters_inside_a_uri_are_refused(uri: str, shown: str) -> None:
    with pytest.raises(UserError, match=rf"^MLFLOW_TRACKING_URI: .* holds {shown}, which no"):
        resolve_store(uri=uri)
