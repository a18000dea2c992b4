"""A run being written: params, tags, metrics, files, and an end that says what happened."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lanflow import __version__
from lanflow.errors import StoreError
from lanflow.interruption import uninterrupted
from lanflow.store import redact
from lanflow.tracking import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    MlflowClient,
    Param,
    RunTag,
    asking,
    find_run,
)

log = logging.getLogger(__name__)

# MLflow refuses longer values (mlflow.utils.validation).
_MAX_PARAM_LENGTH, _MAX_TAG_LENGTH, _PARAMS_PER_REQUEST = 6000, 8000, 100

# Tag of a FAILED run: why.
FAILURE_TAG = "lanflow.failure"


class TrackedRun:
    """A run being written; each method raises :class:`StoreError` if the store does not take it."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.id = run_id
        self.experiment_id = experiment_id

    @asking("recording configuration")
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record configuration; MLflow refuses to change a value once recorded."""
        entries = [Param(key, _param_text(value)) for key, value in params.items()]
        for i in range(0, len(entries), _PARAMS_PER_REQUEST):
            self._client.log_batch(self.id, params=entries[i : i + _PARAMS_PER_REQUEST])

    @asking("recording tags")
    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record identity and lineage."""
        entries = [RunTag(key, value) for key, value in _tags(tags).items()]
        self._client.log_batch(self.id, tags=entries)

    @asking("recording metrics")
    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record one value of each metric, in one request."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self._client.log_batch(self.id, metrics=entries)

    @asking("copying files")
    def log_files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Copy files into the run's artifacts."""
        for path in paths:
            self._client.log_artifact(self.id, str(path), folder)

    @asking("writing a file")
    def log_json(self, content: Mapping[str, Any], name: str) -> None:
        """Write a JSON artifact."""
        self._client.log_dict(self.id, dict(content), name)

    @asking("recording the data set")
    def log_data_set(
        self, *, name: str, digest: str, profile: Mapping[str, Any], source: Mapping[str, Any]
    ) -> None:
        """Record what is trained on, natively (the same entity as ``mlflow.log_input``)."""
        data_set = Dataset(
            name=name,
            digest=digest[:36],  # MLflow's limit
            source_type="lanflow_manifest",
            source=json.dumps(source),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self.id, datasets=[DatasetInput(data_set, tags)])

    @asking("reading metrics")
    def last_step(self, metric: str) -> int | None:
        """The last step logged of a metric, None before the first."""
        history = self._client.get_metric_history(self.id, metric)
        return max((entry.step for entry in history), default=None)

    @asking("reopening the run")
    def reopen(self, tags: Mapping[str, Any]) -> None:
        """Go on with a run that ended; why it failed before is not true any more."""
        self._client.update_run(self.id, status="RUNNING")
        if FAILURE_TAG in self._client.get_run(self.id).data.tags:
            self._client.delete_tag(self.id, FAILURE_TAG)
        self.set_tags(tags)

    @asking("ending the run")
    def end(self, status: str) -> None:
        """Set how the run ended."""
        self._client.set_terminated(self.id, status)


def _param_text(value: Any) -> str:
    return str(value)[:_MAX_PARAM_LENGTH]


def changed_params(run: Any, params: Mapping[str, Any]) -> list[str]:
    """What a run recorded otherwise than ``params`` say, a phrase for each."""
    recorded = run.data.params
    return [
        f"{key} {recorded[key]}, not {_param_text(value)}"
        for key, value in params.items()
        if key in recorded and recorded[key] != _param_text(value)
    ]


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:_MAX_TAG_LENGTH] for key, value in tags.items()}


@contextlib.contextmanager
def tracked_run(
    client: MlflowClient,
    experiment: Experiment,
    *,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """A run that ends as what happened says: FINISHED, FAILED with a reason, or KILLED.

    Parameters
    ----------
    client, experiment
        Where it belongs.
    name
        Shown in MLflow; made up by MLflow when left out.
    tags
        Set at the start.
    run_id
        Continue this run instead of creating one.

    Raises
    ------
    UserError
        If ``run_id`` is not in the store.
    StoreError
        If the store does not take the run's start or its good end.
    """
    all_tags = {**source_tags(), **(tags or {})}
    run = None
    try:
        with uninterrupted():  # or a run could be left behind that nobody knows
            if run_id is None:
                run = _create(client, experiment, name, all_tags)
            else:
                run = TrackedRun(client, run_id, find_run(client, run_id).info.experiment_id)
                run.reopen(all_tags)
        yield run
        run.end("FINISHED")
    except BaseException as e:
        if run is not None:
            _end_badly(run, e)
        raise


def _end_badly(run: TrackedRun, error: BaseException) -> None:
    """Record what happened; that the store does not take it must not hide it."""
    try:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            run.end("KILLED")
        else:
            run.end("FAILED")
            run.set_tags({FAILURE_TAG: redact(f"{type(error).__name__}: {error}")})
    except StoreError as e:
        log.warning("run %s could not be ended: %s", run.id, e)


@asking("creating the run")
def _create(
    client: MlflowClient, experiment: Experiment, name: str | None, tags: Mapping[str, Any]
) -> TrackedRun:
    created = client.create_run(experiment.id, run_name=name, tags=_tags(tags))
    return TrackedRun(client, created.info.run_id, experiment.id)


def source_tags() -> dict[str, str]:
    """Tags every run of lanflow carries: who made it, and the Slurm job it ran in."""
    tags = {"schema_version": "1", "lanflow_version": __version__, "mlflow.source.name": "lanflow"}
    for variable in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags
