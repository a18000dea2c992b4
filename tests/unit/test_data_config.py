from typing import Any

import pytest

from lanflow.config import parse_settings
from lanflow.data_config import DataConfig
from lanflow.errors import UserError
from lanflow.run_query import RunSelection


def data_of(content: dict[str, Any]) -> DataConfig:
    return parse_settings(DataConfig, content, "study.yaml")


@pytest.mark.parametrize(
    ("data", "source"),
    [
        ({"generate": {"config": "g.yaml"}}, "generate"),
        ({"experiment": "ddm-data-generation"}, "mlflow"),
        ({"experiment": "e", "root": "/shared"}, "mlflow"),
        ({"experiment": "e", "path_map": {"/old": "/new"}}, "mlflow"),
        ({"experiment": "e", "folder": "data"}, "validation"),
        ({"folder": "data"}, "traditional"),
    ],
)
def test_what_is_given_chooses_the_source(data: dict[str, Any], source: str) -> None:
    assert data_of(data).source == source


def test_an_experiment_id_may_be_a_number_to_yaml() -> None:
    assert data_of({"experiment": 123}).experiment == "123"


def test_which_runs_of_an_experiment_to_take_is_said_with_it() -> None:
    keys = {"policy": "salvage", "batch_id": "b", "run_ids": ["r"], "filter": "params.x = 'y'"}
    data = data_of({"experiment": "e", **keys})
    assert vars(data.run_selection) == keys
    assert data_of({"experiment": "e"}).run_selection == RunSelection()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"folder": "f", "policy": "salvage"}, "only go with 'experiment'"),
        ({"generate": {"config": "g"}, "batch_id": "b"}, "only go with 'experiment'"),
        ({"folder": "f", "run_ids": ["r"]}, "only go with 'experiment'"),
        ({"folder": "f", "filter": "x"}, "only go with 'experiment'"),
        ({}, "give one of 'generate', 'experiment', 'folder'"),
        ({"folder": ""}, "folder: '' cannot be a path here"),
        ({"experiment": ""}, "experiment: '' cannot be used here"),
        ({"generate": {"config": "g"}, "experiment": "e"}, "give either 'generate', or"),
        ({"generate": {"config": "g"}, "folder": "f"}, "give either 'generate', or"),
        ({"generate": {"config": "g"}, "root": "/r"}, "only go with 'experiment'"),
        ({"folder": "f", "root": "/r"}, "only go with 'experiment'"),
        ({"folder": "f", "path_map": {"a": "b"}}, "only go with 'experiment'"),
        ({"experiment": "e", "folder": "f", "root": "/r"}, "'folder' already says where"),
        ({"experiment": "e", "folder": "f", "path_map": {"a": "b"}}, "'folder' already says"),
    ],
)
def test_contradictory_sources_are_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        data_of(data)
    assert str(caught.value).startswith("study.yaml: ")
    assert said in str(caught.value)
