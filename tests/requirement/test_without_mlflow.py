"""MLflow is optional: in an environment without it, both commands train, and say what is off."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import TRAINING_YAML, write_training_file
from tests.environments import own_environment
from tests.requirement.conftest import Place

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def commands() -> Path:
    """Commands of lanflow[jax,torch], installed as a user does who has no MLflow."""
    return own_environment("without_mlflow", "jax,torch")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, "N_EPOCHS": 1}))
    for i in range(2):
        write_training_file(tmp_path / f"data/training_data_{i}.pickle", seed=i)
    return Place(tmp_path)


DATA = "--config-path config.yaml --training-data-folder data --networks-path-base networks"


def test_the_environment_has_no_mlflow(commands: Path, place: Place) -> None:
    place.run(f"{commands}/python -c 'import mlflow'", status=1)
    assert "No module named 'mlflow'" in place.errors
    assert str(commands) != str(Path(sys.executable).parent)


@pytest.mark.parametrize("command", ["jaxtrain", "torchtrain"])
@pytest.mark.parametrize("option", ["", "--mlflow-on", "--mlflow-run-name mine"])
def test_training_works_and_tracking_is_disabled_even_if_asked_for(
    commands: Path, place: Place, command: str, option: str
) -> None:
    output = place.run(f"{commands}/{command} {DATA} {option}")
    result = json.loads(output.splitlines()[-1])
    assert Path(result["onnx"]).exists()
    assert result["mlflow_run_id"] is None
    assert ("tracking is disabled" in place.errors) == bool(option)


@pytest.mark.parametrize("option", ["--mlflow-run-id", "--data-generation-experiment-id"])
def test_what_cannot_work_without_mlflow_is_an_error(
    commands: Path, place: Place, option: str
) -> None:
    place.run(f"{commands}/jaxtrain {DATA} {option} 1", status=1)
    assert f"{option} needs MLflow, which is not installed: pip install lanflow[mlflow]" in (
        place.errors
    )
    assert "Traceback" not in place.errors
