from pathlib import Path
from typing import Any

import pytest

from lanflow.training_options import TrainingOptions, without_tracking


def options(**keys: Any) -> TrainingOptions:
    return TrainingOptions(backend="jax", networks_path_base=Path("networks"), **keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"mlflow_on": True},
        {"mlflow_run_id": "abc"},
        {"mlflow_run_name": "first try"},
        {"data_generation_experiment": "1"},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_some_options_switch_tracking_on(keys: dict[str, Any]) -> None:
    assert options(**keys).is_tracked


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"mlflow_tracking_uri": "sqlite:///mlflow.db"},
        {"mlflow_artifact_location": "artifacts"},
        {"mlflow_experiment_name": "tries"},
        {"training_data_folder": Path("data")},
    ],
    ids=lambda keys: next(iter(keys), "nothing"),
)
def test_other_options_do_not(keys: dict[str, Any]) -> None:
    assert not options(**keys).is_tracked


def test_without_tracking_the_rest_stays() -> None:
    tracked = options(mlflow_on=True, mlflow_run_name="first try", seed=7)
    assert without_tracking(tracked) == options(seed=7)
