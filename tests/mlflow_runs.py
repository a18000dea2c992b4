"""Runs in an MLflow store that lanflow did not record."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow.tracking import MlflowClient

from lanflow.tracking.delivery import MlflowRun, create_run
from lanflow.tracking.experiments import Experiment


@contextlib.contextmanager
def made_run(
    client: MlflowClient,
    experiment: Experiment,
    *,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Iterator[MlflowRun]:
    """Create a run, which is finished when the body is."""
    run = MlflowRun(client, create_run(client, experiment, name=name, tags=tags or {}).id)
    yield run
    run.end("FINISHED")
