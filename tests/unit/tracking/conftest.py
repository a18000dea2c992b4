"""A client of the store of each test, and an experiment in it."""

import pytest
from mlflow import MlflowClient

from lanflow.tracking.client import connect
from lanflow.tracking.experiments import Experiment, ensure_experiment
from lanflow.tracking.store import Store


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return connect(store)


@pytest.fixture
def experiment(client: MlflowClient, store: Store) -> Experiment:
    return ensure_experiment(client, store, "ddm-training")
