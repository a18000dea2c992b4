"""Runs that are there already: searched for, found, and what they logged."""

import contextlib
import functools
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.core.errors import StoreError, UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.client import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    RunTag,
    ViewType,
    artifacts,
)
from lanflow.tracking.record import now_ms, param_texts, source_tags, tag_texts
from lanflow.tracking.retry import error_reason, is_temporary, store_error, store_request
from lanflow.tracking.store import INVENTORY_NAME, redact

_INVENTORY_READERS = 16


@dataclass(frozen=True)
class FoundRun:
    """A run of an experiment, with its inventory where it has one."""

    id: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inventory: Mapping[str, Any] | None
    deleted: bool = False


@store_request("searching for runs")
def search_runs(
    client: MlflowClient,
    experiment: Experiment,
    *,
    filter_string: str = "",
    deleted: bool = False,
) -> list[FoundRun]:
    """Runs of an experiment, oldest first, with their inventories.

    The runs come in pages of one search; inventories are read in parallel.

    Parameters
    ----------
    client, experiment
        Where they are.
    filter_string
        MLflow's; all runs when left out.
    deleted
        Give deleted runs too, without inventory.

    Raises
    ------
    UserError
        If MLflow does not understand the filter, or an inventory cannot be read.
    """
    runs = _search(client, experiment, filter_string, deleted=deleted)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(_INVENTORY_READERS) as pool,
    ):
        inventories = list(pool.map(lambda run: _read_inventory(client, run, folder), runs))
    return [
        FoundRun(
            id=run.info.run_id,
            name=run.info.run_name,
            status=run.info.status,
            params=dict(run.data.params),
            tags=dict(run.data.tags),
            inventory=inventory,
            deleted=_is_deleted(run),
        )
        for run, inventory in zip(runs, inventories, strict=True)
    ]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of a training."""

    id: str
    name: str
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@store_request("searching for trainings")
def search_trainings(
    client: MlflowClient, experiment_name: str, data_digest: str
) -> list[TrainedRun]:
    """Finished runs of an experiment that trained on the data of a digest, oldest first."""
    found = client.get_experiment_by_name(experiment_name)
    if found is None or found.lifecycle_stage != "active":
        return []
    experiment = Experiment(found.experiment_id, found.name, found.artifact_location)
    wanted = f"tags.data_digest = '{data_digest}' and attributes.status = 'FINISHED'"
    return [
        TrainedRun(
            id=run.info.run_id,
            name=run.info.run_name,
            artifact_uri=run.info.artifact_uri,
            params=dict(run.data.params),
            tags=dict(run.data.tags),
            metrics=dict(run.data.metrics),
        )
        for run in _search(client, experiment, wanted, deleted=False)
    ]


def _search(
    client: MlflowClient, experiment: Experiment, filter_string: str, *, deleted: bool
) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        try:
            page = client.search_runs(
                [experiment.id],
                filter_string=filter_string,
                run_view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
        except MlflowException as e:
            if filter_string and e.error_code == "INVALID_PARAMETER_VALUE":
                raise UserError(f"filter {filter_string!r}: {error_reason(e)}") from e
            raise
        runs += page
        token = page.token
        if not token:
            return runs


def _is_deleted(run: Any) -> bool:
    return bool(run.info.lifecycle_stage != "active")


def _read_inventory(client: MlflowClient, run: Any, folder: str) -> Mapping[str, Any] | None:
    """The inventory a run logged, or None; a file that is not an inventory is an error.

    By its address, so that no run is asked for a second time.
    """
    if _is_deleted(run):
        return None
    run_id, place = run.info.run_id, run.info.artifact_uri.rstrip("/")
    uri = client.tracking_uri
    try:
        listed = artifacts.list_artifacts(artifact_uri=place, tracking_uri=uri)
        if all(Path(entry.path).name != INVENTORY_NAME for entry in listed):
            return None
        path = artifacts.download_artifacts(
            artifact_uri=f"{place}/{INVENTORY_NAME}",
            dst_path=str(Path(folder, run_id)),
            tracking_uri=uri,
        )
        content = json.loads(Path(path).read_text())
    except (MlflowException, OSError, ValueError) as e:
        if is_temporary(e):
            raise
        raise UserError(f"run {run_id}: {INVENTORY_NAME} cannot be read ({redact(str(e))})") from e
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise UserError(f"run {run_id}: {INVENTORY_NAME} is not an inventory (no list 'files')")
    return content


def artifact_fetcher(client: MlflowClient) -> Callable[[str, str, Path], Path]:
    """A function that downloads an artifact of a run into a folder, from any thread.

    Each run is asked once where its artifacts are.

    Raises
    ------
    StoreError
        From the function: if it cannot be downloaded.
    """

    @functools.cache
    def place_of(run_id: str) -> str:
        return str(find_run(client, run_id).info.artifact_uri).rstrip("/")

    def fetch(run_id: str, path: str, folder: Path) -> Path:
        place = place_of(run_id)
        try:
            fetched = artifacts.download_artifacts(
                artifact_uri=f"{place}/{path}",
                dst_path=str(folder),
                tracking_uri=client.tracking_uri,
            )
        except Exception as e:  # MLflow, requests, boto3: each has its own
            raise store_error(f"run {run_id}: {path} cannot be downloaded", e) from e
        return Path(fetched)

    return fetch


@store_request("looking for the run")
def find_run(client: MlflowClient, run_id: str) -> Any:
    """Get an existing run.

    Raises
    ------
    UserError
        If there is none, or it is deleted.
    """
    try:
        found = client.get_run(run_id)
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"run {run_id!r} is not in this MLflow store") from e
    if found.info.lifecycle_stage != "active":
        raise UserError(f"run {run_id!r} is deleted in MLflow")
    return found


@store_request("looking for the run")
def find_run_by_tag(client: MlflowClient, experiment: Experiment, tag: str, value: str) -> Any:
    """The run of an experiment that carries a tag, the oldest if there are several, or None."""
    found = client.search_runs(
        [experiment.id],
        filter_string=f"tags.`{tag}` = '{value}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None


# A run in a store: params, tags, metrics, files, and an end that says what happened.


log = logging.getLogger(__name__)

# MLflow's limits (mlflow.utils.validation).
_PARAMS_PER_REQUEST, _METRICS_PER_REQUEST = 100, 1000

# Tag of a FAILED run: why.
FAILURE_TAG = "lanflow.failure"


class MlflowRun:
    """A run being written; each method raises :class:`StoreError` if the store does not take it."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.id = run_id
        self.experiment_id = experiment_id

    @store_request("recording configuration")
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record configuration; MLflow refuses to change a value once recorded."""
        entries = [Param(key, value) for key, value in param_texts(params).items()]
        for i in range(0, len(entries), _PARAMS_PER_REQUEST):
            self._client.log_batch(self.id, params=entries[i : i + _PARAMS_PER_REQUEST])

    @store_request("recording tags")
    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record identity and lineage."""
        entries = [RunTag(key, value) for key, value in tag_texts(tags).items()]
        self._client.log_batch(self.id, tags=entries)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record one value of each metric, in one request."""
        now = now_ms()
        self.log_points([(key, value, now, step) for key, value in metrics.items()])

    @store_request("recording metrics")
    def log_points(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Record (name, value, time in milliseconds, step) of metrics."""
        entries = [Metric(key, float(value), time, step) for key, value, time, step in points]
        for i in range(0, len(entries), _METRICS_PER_REQUEST):
            self._client.log_batch(self.id, metrics=entries[i : i + _METRICS_PER_REQUEST])

    @store_request("copying files")
    def log_files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Copy files into the run's artifacts."""
        for path in paths:
            self._client.log_artifact(self.id, str(path), folder)

    @store_request("writing a file")
    def log_json(self, content: Mapping[str, Any], name: str) -> None:
        """Write a JSON artifact."""
        self._client.log_dict(self.id, dict(content), name)

    @store_request("recording the data set")
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

    @store_request("reading metrics")
    def steps(self, metric: str) -> set[int]:
        """The steps that were logged of a metric."""
        return {entry.step for entry in self._client.get_metric_history(self.id, metric)}

    @store_request("reopening the run")
    def reopen(self, tags: Mapping[str, Any]) -> None:
        """Go on with a run that ended; why it failed before is not true any more."""
        self.go_on()
        if FAILURE_TAG in self._client.get_run(self.id).data.tags:
            self.forget_failure()
        self.set_tags(tags)

    @store_request("removing a tag")
    def forget_failure(self) -> None:
        """Remove why the run failed before."""
        self._client.delete_tag(self.id, FAILURE_TAG)

    @store_request("reopening the run")
    def go_on(self) -> None:
        """Let a run that ended read RUNNING again."""
        self._client.update_run(self.id, status="RUNNING")

    @store_request("ending the run")
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
) -> Iterator[MlflowRun]:
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
        with defer_signals():  # or a run could be left behind that nobody knows
            if run_id is None:
                run = create_run(client, experiment, name=name, tags=all_tags)
            else:
                run = MlflowRun(client, run_id, find_run(client, run_id).info.experiment_id)
                run.reopen(all_tags)
        yield run
        run.end("FINISHED")
    except BaseException as e:
        if run is not None:
            _end_with_error(run, e)
        raise


def _end_with_error(run: MlflowRun, error: BaseException) -> None:
    """Record what happened; that the store does not take it must not hide it."""
    try:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            run.end("KILLED")
        else:
            run.end("FAILED")
            run.set_tags({FAILURE_TAG: redact(f"{type(error).__name__}: {error}")})
    except StoreError as e:
        log.warning("run %s could not be ended: %s", run.id, e)


@store_request("creating the run")
def create_run(
    client: MlflowClient,
    experiment: Experiment,
    *,
    name: str | None,
    tags: Mapping[str, Any],
    start_time: int | None = None,
) -> MlflowRun:
    """Create a run that started at a time, in milliseconds; now when left out."""
    created = client.create_run(
        experiment.id, start_time=start_time, run_name=name, tags=tag_texts(tags)
    )
    return MlflowRun(client, created.info.run_id, experiment.id)
