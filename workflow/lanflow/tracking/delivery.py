"""Sending a run's record to its MLflow store: what the store lacks, and no more.

:class:`Delivery` compares a record with the run in the store, and :class:`MlflowRun` makes the
requests. A request whose answer was lost may have been carried out, so after every failure the
state of the store is read again. A run that was created without our learning its id is found by
the record's key.
"""

import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lanflow.core.errors import StoreUnavailableError, UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.client import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    RunTag,
    connect,
)
from lanflow.tracking.experiments import Experiment, ensure_experiment, remove_partial_uploads
from lanflow.tracking.record import (
    Artifact,
    Point,
    RecordFolder,
    RunRecord,
    now_ms,
    param_texts,
    tag_texts,
)
from lanflow.tracking.retry import store_request
from lanflow.tracking.runs import find_run, find_run_by_tag, found_run
from lanflow.tracking.store import FoundRun, Store

# Tag of every run that has a record: the record's key.
KEY_TAG = "lanflow.run_key"
# Tag of a FAILED run: why it failed.
FAILURE_TAG = "lanflow.failure"

# MLflow's limits (mlflow.utils.validation).
_PARAMS_PER_REQUEST, _METRICS_PER_REQUEST = 100, 1000
_DIGEST_LENGTH = 36

# Files that are uploaded at the same time: most of a small file's time is the store's answer.
_N_UPLOADS = 8


class MlflowRun:
    """The requests that write to one run of a store.

    Each method raises :class:`~lanflow.core.errors.StoreError` if the store refuses or does not
    answer.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.id = run_id

    @property
    def tracking_uri(self) -> str:
        """The address of the run's store."""
        return str(self._client.tracking_uri)

    @store_request("recording configuration")
    def log_params(self, params: Mapping[str, object]) -> None:
        """Record configuration; MLflow refuses to change a value that it has."""
        entries = [Param(key, value) for key, value in param_texts(params).items()]
        for i in range(0, len(entries), _PARAMS_PER_REQUEST):
            self._client.log_batch(self.id, params=entries[i : i + _PARAMS_PER_REQUEST])

    @store_request("recording tags")
    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Record identity and lineage."""
        entries = [RunTag(key, value) for key, value in tag_texts(tags).items()]
        self._client.log_batch(self.id, tags=entries)

    @store_request("removing a tag")
    def remove_failure(self) -> None:
        """Remove the tag that says why the run failed before."""
        self._client.delete_tag(self.id, FAILURE_TAG)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record one value of each metric, in one request."""
        now = now_ms()
        self.log_points([(key, value, now, step) for key, value in metrics.items()])

    @store_request("recording metrics")
    def log_points(self, points: Sequence[Point]) -> None:
        """Record values of metrics."""
        entries = [Metric(key, float(value), time, step) for key, value, time, step in points]
        for i in range(0, len(entries), _METRICS_PER_REQUEST):
            self._client.log_batch(self.id, metrics=entries[i : i + _METRICS_PER_REQUEST])

    @store_request("reading metrics")
    def steps(self, metric: str) -> set[int]:
        """Return the steps at which a metric was recorded."""
        return {entry.step for entry in self._client.get_metric_history(self.id, metric)}

    @store_request("copying files")
    def log_files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Copy files into the run's artifacts."""
        for path in paths:
            self._client.log_artifact(self.id, str(path), folder)

    @store_request("removing what is left of files")
    def remove_partial_files(self, artifact_uri: str) -> None:
        """Remove parts of files that a killed process left among the run's artifacts."""
        remove_partial_uploads(artifact_uri)

    @store_request("recording the data set")
    def log_data_set(
        self, *, name: str, digest: str, profile: Mapping[str, object], source: Mapping[str, object]
    ) -> None:
        """Record the training data, as the same entity that ``mlflow.log_input`` makes."""
        data_set = Dataset(
            name=name,
            digest=digest[:_DIGEST_LENGTH],
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

    @store_request("reopening the run")
    def reopen(self) -> None:
        """Set the status of a run that ended back to RUNNING."""
        self._client.update_run(self.id, status="RUNNING")

    @store_request("ending the run")
    def end(self, status: str, end_time: int | None = None) -> None:
        """Set how the run ended, and when, in milliseconds since 1970; now when left out."""
        self._client.set_terminated(self.id, status, end_time)


@store_request("creating the run")
def create_run(
    client: MlflowClient,
    experiment: Experiment,
    *,
    name: str | None,
    tags: Mapping[str, object],
    start_time: int | None = None,
) -> FoundRun:
    """Create a run that started at a time, in milliseconds since 1970; now when left out."""
    created = client.create_run(
        experiment.id, start_time=start_time, run_name=name, tags=tag_texts(tags)
    )
    return found_run(created)


class Delivery:
    """Sends one record to a store, step by step as the record grows.

    One thread at a time may use it, and it need not be the one that writes the record: whoever
    writes replaces mappings and lists of the record, or appends to its metrics, and sets its status
    last.

    Parameters
    ----------
    store
        The store.
    record
        The record; it gets the run's id once the store has the run.
    folder
        The record's folder, which has its files.

    Attributes
    ----------
    is_ended
        Whether the store has been told how the run ended.
    may_have_run
        Whether the answer to the request that creates the run was lost.
    n_answers, last_answer
        How many requests the store has answered so far, and when, on the monotonic clock.
    """

    def __init__(self, store: Store, record: RunRecord, folder: RecordFolder) -> None:
        self._store, self._record, self._folder = store, record, folder
        self._is_cancelled = False
        self.is_ended = self.may_have_run = False
        self.n_answers = 0
        self.last_answer = time.monotonic()
        self._files: set[str] = set()  # what has arrived stays there, whatever fails later
        self._forget()

    def _forget(self) -> None:
        """Forget what the store has, so that it is read again."""
        self._run: MlflowRun | None = None
        self._status = ""
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._n_points = 0
        self._has_data_set = False

    @property
    def progress(self) -> str:
        """Progress, for a person."""
        n_files = len(self._record.artifacts)
        return f"{self.n_answers} answers so far, {len(self._files)} of {n_files} files sent"

    def cancel(self) -> None:
        """Make no further request; to be called from another thread."""
        self._is_cancelled = True

    def _answered(self) -> None:
        """Count an answer of the store."""
        self.n_answers += 1
        self.last_answer = time.monotonic()
        if self._is_cancelled:
            raise StoreUnavailableError(f"MLflow store {self._store.shown_uri}: given up")

    def ensure_run(self) -> str:
        """Return the run's id; the run is created if the store does not have it.

        Raises
        ------
        StoreError
            If the store does not answer or refuses.
        UserError
            If the run or its experiment was deleted.
        """
        try:
            return self._open().id
        except UserError:
            self._forget()
            raise

    def send(self) -> None:
        """Send what the store lacks; raises as :meth:`ensure_run`.

        The status FINISHED is sent last, when all else is there. Any other end is sent first,
        because what follows may fail.
        """
        try:
            run = self._open()
            record = self._record.model_copy()  # its status is of now, and so is all else
            if record.status != "FINISHED":
                self._send_status(run, record)
            self._send_start(run, record)
            self._send_points(run, record)
            self._send_files(run, record)
            self._send_status(run, record)
        except UserError:
            self._forget()
            raise

    def _open(self) -> MlflowRun:
        """Find or create the run, and read what the store has of it."""
        if self._run is None:
            client = connect(self._store)
            self._answered()
            with defer_signals():  # else the store could keep a run whose id nobody knows
                found = self._find_or_create(client)
                self._record.run_id, self._record.experiment_id = found.id, found.experiment_id
            run = MlflowRun(client, found.id)
            # A run that somebody else began may be written to by others, too.
            if found.tags.get(KEY_TAG) == self._record.key:
                run.remove_partial_files(found.artifact_uri)
            self._status = found.status
            self._params, self._tags = dict(found.params), dict(found.tags)
            self._answered()
            self._steps = {name: run.steps(name) for name in found.metrics}
            self._run = run
        return self._run

    def is_in_store(self) -> bool:
        """Tell whether the store has the run, which is not created; raises as `ensure_run`."""
        record = self._record
        client = connect(self._store)
        if record.run_id is not None:
            find_run(client, record.run_id)
            return True
        experiment = ensure_experiment(client, self._store, record.experiment)
        return find_run_by_tag(client, experiment, KEY_TAG, record.key) is not None

    def _find_or_create(self, client: MlflowClient) -> FoundRun:
        record = self._record
        if record.run_id is not None:
            return find_run(client, record.run_id)
        experiment = ensure_experiment(client, self._store, record.experiment)
        self._answered()
        if found := find_run_by_tag(client, experiment, KEY_TAG, record.key):
            return found
        self._answered()
        try:
            return create_run(
                client,
                experiment,
                name=record.name,
                tags={**record.tags, KEY_TAG: record.key},
                start_time=record.start_time,
            )
        except StoreUnavailableError:
            self.may_have_run = True
            raise

    def _send_status(self, run: MlflowRun, record: RunRecord) -> None:
        status = record.status
        if status == self._status:
            return
        if status == "RUNNING":
            run.reopen()
        else:
            run.end(status, record.end_time)
            self.is_ended = True
        self._status = status
        self._answered()

    def _send_start(self, run: MlflowRun, record: RunRecord) -> None:
        """Send tags, params and the data set."""
        tags = dict(record.tags)
        if record.failure is not None:
            tags[FAILURE_TAG] = record.failure
        elif FAILURE_TAG in self._tags:
            run.remove_failure()
            del self._tags[FAILURE_TAG]
        if changed := {k: v for k, v in tags.items() if self._tags.get(k) != v}:
            run.set_tags(changed)
            self._tags |= changed
            self._answered()
        if new := {k: v for k, v in record.params.items() if self._params.get(k) != v}:
            run.log_params(new)
            self._params |= new
            self._answered()
        if record.data_set is not None and not self._has_data_set:
            run.log_data_set(**record.data_set.model_dump())
            self._has_data_set = True
            self._answered()

    def _send_points(self, run: MlflowRun, record: RunRecord) -> None:
        """Send values of metrics, except at steps that the store has."""
        points = record.metrics[self._n_points :]
        new = [point for point in points if point[3] not in self._steps.get(point[0], ())]
        if new:
            run.log_points(new)
            self._answered()
        self._n_points += len(points)

    def _send_files(self, run: MlflowRun, record: RunRecord) -> None:
        """Send artifacts that this object has not sent yet, those of one folder side by side.

        Artifacts of the next folder follow when all of these have arrived: an inventory comes
        after the files that it lists.
        """

        def send(artifact: Artifact) -> None:
            run.log_files([self._folder.file_of(artifact)], _folder_of(artifact))
            self._files.add(artifact.name)
            self._answered()

        unsent = (each for each in record.artifacts if each.name not in self._files)
        for _, artifacts in itertools.groupby(unsent, _folder_of):
            _call_side_by_side(send, list(artifacts))


def _folder_of(artifact: Artifact) -> str | None:
    return artifact.name.rpartition("/")[0] or None


def _call_side_by_side(function: Callable[[Artifact], None], items: Sequence[Artifact]) -> None:
    """Call a function for each item, some at a time; the first error ends it, and is raised.

    The threads are daemons, which do not keep a process that must stop from ending; those of
    :mod:`concurrent.futures` do.
    """
    if len(items) == 1:
        function(items[0])
        return
    waiting: queue.SimpleQueue[Artifact] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            try:
                function(waiting.get_nowait())
            except queue.Empty:
                return
            except BaseException as e:
                errors.append(e)

    threads = [
        threading.Thread(target=work, name="lanflow-upload", daemon=True)
        for _ in range(min(_N_UPLOADS, len(items)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
