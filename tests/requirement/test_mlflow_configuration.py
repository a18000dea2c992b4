"""One test for each statement of the requirement "MLflow Configuration", in its order."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.cli.train import training_command
from tests.conftest import sha256, write_training_file
from tests.requirement.conftest import GENERATION_EXPERIMENT, Place

COMMANDS = ("jaxtrain", "torchtrain")
DATA = "--config-path config.yaml --training-data-folder ./data --networks-path-base ./networks"


# Overview


@pytest.mark.parametrize("command", COMMANDS)
def test_overview_tracking_is_optional(place: Place, command: str) -> None:
    before = sha256(place.folder / "mlflow.db")
    result = place.train(f"{command} {DATA}")
    assert result["mlflow_run_id"] is None
    assert sha256(place.folder / "mlflow.db") == before


def test_overview_sqlite_backend_with_configurable_artifact_storage(place: Place) -> None:
    result = place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-artifact-location ./artifacts")
    run = place.client().get_run(result["mlflow_run_id"])
    assert run.info.artifact_uri.startswith(f"{place.folder}/artifacts/")
    assert (Path(run.info.artifact_uri) / "training_output/model.onnx").exists()


# Configuration options: CLI arguments


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_both_commands_support_every_documented_option(backend: str) -> None:
    parameters = training_command(backend).params
    options = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    documented = {
        "--mlflow-tracking-uri",
        "--mlflow-artifact-location",
        "--mlflow-on",
        "--mlflow-run-id",
        "--data-generation-experiment-id",
    }
    lanfactory = {
        "--config-path",
        "--training-data-folder",
        "--networks-path-base",
        "--network-id",
        "--dl-workers",
        "--mlflow-run-name",
        "--mlflow-experiment-name",
        "--dry-run",
        "--export-onnx",
        "--no-export-onnx",
        "--log-level",
        "--mlflow",  # its next release
        "--no-mlflow",
    }
    assert documented | lanfactory <= options


@pytest.mark.parametrize("option", ["--mlflow-on", "--mlflow-run-name r", "--mlflow-run-id r"])
def test_no_mlflow_beside_what_switches_it_on_is_refused(place: Place, option: str) -> None:
    place.run(f"jaxtrain {DATA} --no-mlflow {option}", status=2)
    assert "--no-mlflow contradicts another option" in place.errors


def test_a_store_in_the_environment_alone_switches_nothing_on(place: Place) -> None:
    place.train(f"jaxtrain {DATA}", MLFLOW_TRACKING_URI="sqlite:///other.db")
    assert "MLFLOW_TRACKING_URI alone switches no tracking on: give --mlflow-on" in place.errors
    assert not (place.folder / "other.db").exists()
    place.train(f"jaxtrain {DATA} --mlflow", MLFLOW_TRACKING_URI="sqlite:///other.db")
    assert (place.folder / "other.db").exists()


def test_tracking_uri_relative_sqlite(place: Place) -> None:
    result = place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-tracking-uri sqlite:///mlflow.db")
    assert place.client().get_run(result["mlflow_run_id"]).info.status == "FINISHED"


def test_tracking_uri_absolute_sqlite(place: Place) -> None:
    (place.folder / "shared").mkdir()
    shutil.copy(place.folder / "mlflow.db", place.folder / "shared/other.db")
    uri = f"sqlite:///{place.folder}/shared/other.db"
    result = place.train(f"torchtrain {DATA} --mlflow-on --mlflow-tracking-uri {uri}")
    assert place.client(uri).get_run(result["mlflow_run_id"]).info.status == "FINISHED"


def test_tracking_uri_http_server(place: Place, server: str) -> None:
    result = place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-tracking-uri {server}")
    client = place.client(server)
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    names = [entry.path for entry in client.list_artifacts(run.info.run_id, "training_output")]
    assert "training_output/model.onnx" in names


def test_tracking_uri_falls_back_to_the_variable_then_to_the_default(place: Place) -> None:
    shutil.copy(place.folder / "mlflow.db", place.folder / "named.db")
    uri = "sqlite:///named.db"
    named = place.train(f"jaxtrain {DATA} --mlflow-on", MLFLOW_TRACKING_URI=uri)
    default = place.train(f"jaxtrain {DATA} --mlflow-on")
    client = place.client("sqlite:///{folder}/named.db")
    assert client.get_run(named["mlflow_run_id"])
    assert place.client().get_run(default["mlflow_run_id"])


def test_artifact_location_falls_back_to_the_variable_then_to_mlflows(place: Place) -> None:
    where = {"MLFLOW_ARTIFACT_LOCATION": "./from_variable"}
    place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-experiment-name one", **where)
    place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-experiment-name two")
    client = place.client()
    one, two = (client.get_experiment_by_name(name) for name in ("one", "two"))
    assert one.artifact_location == f"{place.folder}/from_variable"
    assert two.artifact_location.startswith(str(place.folder))


@pytest.mark.parametrize("command", COMMANDS)
def test_mlflow_on_enables_tracking(place: Place, command: str) -> None:
    result = place.train(f"{command} {DATA} --mlflow-on")
    run = place.client().get_run(result["mlflow_run_id"])
    assert run.data.params["backend"] == command.removesuffix("train")


def test_run_id_resumes_a_run_and_enables_tracking(place: Place) -> None:
    client = place.client()
    experiment = client.create_experiment("mine", artifact_location=str(place.folder / "mine"))
    run_id = client.create_run(experiment).info.run_id
    result = place.train(f"torchtrain {DATA} --mlflow-run-id {run_id}")
    assert result["mlflow_run_id"] == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "val_loss" in run.data.metrics


def test_a_run_id_that_does_not_exist_is_an_error(place: Place) -> None:
    place.run(f"jaxtrain {DATA} --mlflow-run-id {'0' * 32}", status=1)
    assert "0" * 32 in place.errors
    assert "Traceback" not in place.errors


def test_experiment_id_finds_the_folder_logs_lineage_and_enables_tracking(place: Place) -> None:
    client = place.client()
    experiment = place.track_data(client)
    options = f"--config-path config.yaml --data-generation-experiment-id {experiment}"
    result = place.train(f"jaxtrain {options} --networks-path-base ./networks")
    run = client.get_run(result["mlflow_run_id"])
    assert run.data.tags["data_generation_experiment_id"] == experiment
    names = [entry.path for entry in client.list_artifacts(run.info.run_id)]
    assert "training_data_lineage.json" in names


# Configuration options: environment variables, priority


def test_the_experiment_variable_names_the_experiment(place: Place) -> None:
    result = place.train(f"jaxtrain {DATA} --mlflow-on", MLFLOW_EXPERIMENT_NAME="model-v2-training")
    experiment = place.client().get_experiment_by_name("model-v2-training")
    assert result["mlflow_experiment_id"] == experiment.experiment_id


def test_option_beats_variable_beats_default(place: Place) -> None:
    for name in ("option", "variable"):
        shutil.copy(place.folder / "mlflow.db", place.folder / f"{name}.db")
    variables = {
        "MLFLOW_TRACKING_URI": "sqlite:///variable.db",
        "MLFLOW_ARTIFACT_LOCATION": "./variable",
        "MLFLOW_EXPERIMENT_NAME": "variable",
    }
    options = (
        "--mlflow-tracking-uri sqlite:///option.db --mlflow-artifact-location ./option "
        "--mlflow-experiment-name option"
    )
    place.train(f"jaxtrain {DATA} --mlflow-on {options}", **variables)
    place.train(f"jaxtrain {DATA} --mlflow-on", **variables)
    place.train(f"jaxtrain {DATA} --mlflow-on")
    for name, experiment in (("option", "option"), ("variable", "variable")):
        client = place.client(f"sqlite:///{{folder}}/{name}.db")
        found = client.get_experiment_by_name(experiment)
        assert found.artifact_location == str(place.folder / name)
        assert len(client.search_runs([found.experiment_id])) == 1
    assert place.client().get_experiment_by_name("ddm-training")


# Usage examples, as printed


def test_example_local_development(place: Place) -> None:
    result = place.train("""
        jaxtrain \\
          --config-path config.yaml \\
          --training-data-folder ./data \\
          --networks-path-base ./networks \\
          --mlflow-on \\
          --mlflow-tracking-uri sqlite:///mlflow.db \\
          --mlflow-artifact-location ./mlflow_artifacts
    """)
    assert Path(result["onnx"]).is_relative_to(place.folder / "networks/lan/ddm")
    assert (place.folder / "mlflow_artifacts" / result["mlflow_run_id"]).exists()


def test_example_shared_cluster_storage(place: Place) -> None:
    shared = place.folder / "shared"
    (shared / "storage/mlflow").mkdir(parents=True)
    shutil.copy(place.folder / "mlflow.db", shared / "storage/mlflow/tracking.db")
    shutil.copytree(place.folder / "data", shared / "data")
    script = """
        export MLFLOW_TRACKING_URI="sqlite:////shared/storage/mlflow/tracking.db"
        export MLFLOW_ARTIFACT_LOCATION="/shared/storage/mlflow/artifacts"
        export MLFLOW_EXPERIMENT_NAME="model-v2-training"

        torchtrain \\
          --config-path config.yaml \\
          --training-data-folder /shared/data \\
          --networks-path-base /shared/networks \\
          --mlflow-on
    """
    script = script.replace("sqlite:////shared", f"sqlite:///{shared}")
    script = script.replace('"/shared', f'"{shared}').replace(" /shared", f" {shared}")
    result = place.train(script)
    client = place.client(f"sqlite:///{shared}/storage/mlflow/tracking.db")
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.artifact_uri.startswith(str(shared / "storage/mlflow/artifacts"))
    assert Path(result["onnx"]).is_relative_to(shared / "networks")


def test_example_with_data_lineage(place: Place) -> None:
    experiment = place.track_data(place.client())
    result = place.train(f"""
        jaxtrain \\
          --config-path config.yaml \\
          --data-generation-experiment-id "{experiment}" \\
          --networks-path-base ./networks \\
          --mlflow-tracking-uri sqlite:///mlflow.db
    """)
    assert place.client().get_run(result["mlflow_run_id"]).info.status == "FINISHED"


def test_example_resume_existing_run(place: Place) -> None:
    first = place.train(f"torchtrain {DATA} --mlflow-on")
    result = place.train(f"""
        torchtrain \\
          --config-path config.yaml \\
          --training-data-folder ./data \\
          --networks-path-base ./networks \\
          --mlflow-run-id "{first["mlflow_run_id"]}"
    """)
    assert result["mlflow_run_id"] == first["mlflow_run_id"]
    history = place.client().get_metric_history(first["mlflow_run_id"], "val_loss")
    assert [entry.step for entry in history] == [1, 2]  # nothing twice


@pytest.mark.parametrize("what", ["data", "model"])
def test_a_run_of_another_model_or_data_set_cannot_be_resumed(place: Place, what: str) -> None:
    first = place.train(f"torchtrain {DATA} --mlflow-on")
    if what == "data":
        write_training_file(place.folder / "data/training_data_9.pickle", seed=9)
    else:
        shutil.rmtree(place.folder / "data")
        write_training_file(place.folder / "data/training_data_0.pickle", model="angle")
    model = "--model angle" if what == "model" else ""
    command = f"torchtrain {DATA} {model} --mlflow-run-id {first['mlflow_run_id']}"
    place.run(command, status=1)
    assert first["mlflow_run_id"] in place.errors
    assert "Traceback" not in place.errors
    assert place.client().get_run(first["mlflow_run_id"]).info.status == "FINISHED"


# Data management modes


def test_mode_mlflow_first(place: Place) -> None:
    experiment = place.track_data(place.client())
    result = place.train(f"""
        jaxtrain \\
          --data-generation-experiment-id "{experiment}" \\
          --networks-path-base ./networks
    """)
    assert "using LANfactory's default configuration" in place.errors
    assert result["best_val_loss"] > 0


def test_mode_validation_checks_that_every_tracked_file_exists(place: Place) -> None:
    experiment = place.track_data(place.client(), folder="somewhere/else")
    script = f"""
        jaxtrain \\
          --data-generation-experiment-id "{experiment}" \\
          --training-data-folder ./data \\
          --networks-path-base ./networks
    """
    place.train(script)
    (place.folder / "data/training_data_1.pickle").unlink()
    place.run(script, status=1)
    assert "training_data_1.pickle" in place.errors


def test_mode_traditional_has_no_lineage(place: Place) -> None:
    result = place.train("""
        jaxtrain \\
          --training-data-folder ./data \\
          --networks-path-base ./networks
    """)
    assert result["mlflow_run_id"] is None
    lineage = Path(result["network_folder"]) / "training_data_lineage.json"
    assert '"data_generation_experiment_id": null' in lineage.read_text()


# Experiment creation and artifact location


def test_an_experiment_keeps_its_artifact_location_and_a_warning_says_so(place: Place) -> None:
    place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-artifact-location ./first")
    result = place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-artifact-location ./second")
    assert f"exists with artifact location {place.folder}/first, which is used" in place.errors
    run = place.client().get_run(result["mlflow_run_id"])
    assert run.info.artifact_uri.startswith(f"{place.folder}/first/")
    assert not (place.folder / "second").exists()


# Best practices


def test_practice_local_development_with_relative_paths(place: Place) -> None:
    result = place.train(f"""
        export MLFLOW_TRACKING_URI="sqlite:///mlflow.db"
        export MLFLOW_ARTIFACT_LOCATION="./mlflow_artifacts"
        jaxtrain {DATA} --mlflow-on
    """)
    assert (place.folder / "mlflow_artifacts" / result["mlflow_run_id"]).is_dir()


def test_practice_relative_paths_mean_the_folder_the_command_was_typed_in(place: Place) -> None:
    result = place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-artifact-location file_store")
    run = place.client().get_run(result["mlflow_run_id"])
    assert Path(run.info.artifact_uri).is_absolute()


def test_practice_production_server_with_s3_artifacts(
    place: Place, server_with_s3: tuple[str, dict[str, str]]
) -> None:
    server, environment = server_with_s3
    variables = {
        **environment,
        "MLFLOW_TRACKING_URI": server,
        "MLFLOW_ARTIFACT_LOCATION": "s3://my-bucket/mlflow-artifacts",
    }
    command = f"torchtrain {DATA} --mlflow-on --mlflow-experiment-name in-s3"
    result = place.train(command, **variables)
    run = place.client(server).get_run(result["mlflow_run_id"])
    assert run.info.artifact_uri.startswith("s3://my-bucket/mlflow-artifacts/")
    assert _s3_keys(environment, "my-bucket") >= {
        f"mlflow-artifacts/{run.info.run_id}/artifacts/training_output/model.onnx",
        f"mlflow-artifacts/{run.info.run_id}/artifacts/training_data_lineage.json",
    }


@pytest.mark.slow
def test_practice_files_that_a_run_logged_to_s3_are_fetched_on_another_machine(
    place: Place, server_with_s3: tuple[str, dict[str, str]]
) -> None:
    server, environment = server_with_s3
    variables = {
        **environment,
        "MLFLOW_TRACKING_URI": server,
        "MLFLOW_ARTIFACT_LOCATION": "s3://my-bucket/generated",
    }
    (place.folder / "generation.yaml").write_text(
        "{MODEL: ddm, PIPELINE: {N_PARAMETER_SETS: 3}, SIMULATOR: {N_SAMPLES: 9, DELTA_T: 0.01}, "
        "TRAINING: {N_SAMPLES_PER_PARAM: 20}}"
    )
    place.run(
        "lanflow generate --config-path generation.yaml --output made --n-files 2 --processes 1 "
        "--mlflow-on --log-files --mlflow-experiment-name generated-in-s3",
        **variables,
    )
    made = {path.name: path.read_bytes() for path in (place.folder / "made").rglob("*.pickle")}
    shutil.rmtree(place.folder / "made")
    # By the steps of the workflow, and by the training command that does all of them.
    place.run(
        """
        lanflow query generated-in-s3 --output query.json
        lanflow manifest --query query.json --download fetched --output manifest.json
        lanflow verify manifest.json
        """,
        **variables,
    )
    fetched = {
        path.name: path.read_bytes() for path in (place.folder / "fetched").rglob("*.pickle")
    }
    assert len(made) == 2
    assert fetched == made
    result = place.train(
        "torchtrain --config-path config.yaml --data-generation-experiment-id generated-in-s3 "
        "--networks-path-base networks",
        **variables,
    )
    lineage = Path(result["network_folder"], "training_data_lineage.json").read_text()
    assert json.loads(lineage)["num_files_used"] == 2


def _s3_keys(environment: dict[str, str], bucket: str) -> set[str]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    listing = client.list_objects_v2(Bucket=bucket)
    return {entry["Key"] for entry in listing.get("Contents", [])}


# Migration from the filesystem backend


def test_migration_the_default_is_sqlite(place: Place) -> None:
    (place.folder / "mlflow.db").unlink()
    place.train(f"jaxtrain {DATA} --mlflow-on")
    assert (place.folder / "mlflow.db").exists()


def test_migration_the_filesystem_backend_still_works_when_named(place: Place) -> None:
    result = place.train(f"""
        export MLFLOW_TRACKING_URI="./mlruns"
        jaxtrain {DATA} --mlflow-on
    """)
    assert place.errors.count("mlflow migrate-filestore") == 1
    assert list((place.folder / "mlruns").glob(f"*/{result['mlflow_run_id']}/metrics/val_loss"))


# Troubleshooting


def test_trouble_mlruns_is_never_created_with_sqlite(place: Place) -> None:
    (place.folder / "mlflow.db").unlink()
    place.run("lanflow prepare some-experiment")
    place.train(f"jaxtrain {DATA} --mlflow-on")
    assert not list(place.folder.rglob("mlruns"))


def test_trouble_the_artifact_location_can_be_asked_by_api(place: Place) -> None:
    place.train(f"jaxtrain {DATA} --mlflow-on --mlflow-artifact-location ./artifacts")
    script = (
        "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); "
        "print(mlflow.get_experiment_by_name('ddm-training').artifact_location)"
    )
    assert place.run(f'python -c "{script}"').strip() == str(place.folder / "artifacts")


def test_trouble_missing_files_are_listed_ten_and_how_many_more(place: Place) -> None:
    for i in range(3, 14):
        write_training_file(place.folder / f"data/training_data_{i:02}.pickle", seed=i)
    experiment = place.track_data(place.client())
    for path in sorted((place.folder / "data").glob("*.pickle"))[1:]:
        path.unlink()
    place.run(f"jaxtrain {DATA} --data-generation-experiment-id {experiment}", status=1)
    assert f"experiment '{GENERATION_EXPERIMENT}' tracks 14 file(s), 13 missing" in place.errors
    assert place.errors.count(".pickle") == 10
    assert "and 3 more" in place.errors
    assert "data" in place.errors


@pytest.fixture(scope="module")
def server_with_s3(start_server: Callable[..., str], server: str) -> tuple[str, dict[str, str]]:
    """The same server; its clients write artifacts to an S3 store that they find by variables."""
    endpoint = start_server("moto.server", "-H", "127.0.0.1", "-p", "{port}", probe="/moto-api/")
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import boto3

    boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    ).create_bucket(Bucket="my-bucket")
    return server, environment
