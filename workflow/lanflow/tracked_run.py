"""A run in a store: params, tags, metrics, files, and an end that says what happened."""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanflow.asking import asking
from lanflow.errors import StoreError
from lanflow.interruption import uninterrupted
from lanflow.run_record import now_ms, param_texts, tag_texts
from lanflow.run_search import find_run
from lanflow.source_tags import source_tags
from lanflow.store import redact
from lanflow.tracking import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    RunTag,
)

log = logging.getLogger(__name__)

# MLflow's limits (mlflow.utils.validation).
_PARAMS_PER_REQUEST, _METRICS_PER_REQUEST = 100, 1000

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
        entries = [Param(key, value) for key, value in param_texts(params).items()]
        for i in range(0, len(entries), _PARAMS_PER_REQUEST):
            self._client.log_batch(self.id, params=entries[i : i + _PARAMS_PER_REQUEST])

    @asking("recording tags")
    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record identity and lineage."""
        entries = [RunTag(key, value) for key, value in tag_texts(tags).items()]
        self._client.log_batch(self.id, tags=entries)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record one value of each metric, in one request."""
        now = now_ms()
        self.log_points([(key, value, now, step) for key, value in metrics.items()])

    @asking("recording metrics")
    def log_points(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Record (name, value, time in milliseconds, step) of metrics."""
        entries = [Metric(key, float(value), time, step) for key, value, time, step in points]
        for i in range(0, len(entries), _METRICS_PER_REQUEST):
            self._client.log_batch(self.id, metrics=entries[i : i + _METRICS_PER_REQUEST])

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
        inputs = [DatasetInput(data_set, [InputTag("mlflow.data.context", "training")])]
        try:
            self._client.log_inputs(self.id, datasets=inputs)
        except MlflowException as e:
            if "unique" not in str(e).lower():
                raise
            # Another run made the same data set a moment before, and now MLflow finds it there.
            self._client.log_inputs(self.id, datasets=inputs)

    @asking("reading metrics")
    def steps(self, metric: str) -> set[int]:
        """The steps that were logged of a metric."""
        return {entry.step for entry in self._client.get_metric_history(self.id, metric)}

    @asking("reopening the run")
    def reopen(self, tags: Mapping[str, Any]) -> None:
        """Go on with a run that ended; why it failed before is not true any more."""
        self.go_on()
        if FAILURE_TAG in self._client.get_run(self.id).data.tags:
            self.forget_failure()
        self.set_tags(tags)

    @asking("removing a tag")
    def forget_failure(self) -> None:
        """Remove why the run failed before."""
        self._client.delete_tag(self.id, FAILURE_TAG)

    @asking("reopening the run")
    def go_on(self) -> None:
        """Let a run that ended read RUNNING again."""
        self._client.update_run(self.id, status="RUNNING")

    @asking("ending the run")
    def end(self, status: str, end_time: int | None = None) -> None:
        """Set how the run ended, and when, in milliseconds; now when left out."""
        self._client.set_terminated(self.id, status, end_time)


def changed_params(run: Any, params: Mapping[str, Any]) -> list[str]:
    """What a run recorded otherwise than ``params`` say, a phrase for each."""
    recorded = run.data.params
    return [
        f"{key} {recorded[key]}, not {text}"
        for key, text in param_texts(params).items()
        if key in recorded and recorded[key] != text
    ]


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
                run = create_run(client, experiment, name=name, tags=all_tags)
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
def create_run(
    client: MlflowClient,
    experiment: Experiment,
    *,
    name: str | None,
    tags: Mapping[str, Any],
    start_time: int | None = None,
) -> TrackedRun:
    """Create a run that started at a time, in milliseconds; now when left out."""
    created = client.create_run(
        experiment.id, start_time=start_time, run_name=name, tags=tag_texts(tags)
    )
    return TrackedRun(client, created.info.run_id, experiment.id)
