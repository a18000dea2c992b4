"""Recording a run: on disk first, and from there into its store.

A training or a generation writes to a record beside the results (:mod:`lanflow.tracking.record`),
and the record is sent to MLflow as far as the store answers. A store that is slow, down or out of
reach costs neither results nor history: the record stays, and ``lanflow sync`` sends it later.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lanflow.core import interrupts
from lanflow.core.errors import StoreError, UserError
from lanflow.core.files import explain_os_error
from lanflow.tracking.record import (
    Artifact,
    DataSetInput,
    RecordFolder,
    RunRecord,
    Status,
    new_key,
    now_ms,
    param_texts,
    source_tags,
    sync_command,
    tag_texts,
)
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import FoundRun, SendMode, Store, redact

log = logging.getLogger(__name__)

# A store that does not answer is tried again after this many seconds, and not before ten times the
# duration of the last try: so it slows a training down by a tenth at most.
_SECONDS_BETWEEN_TRIES = 5.0
_PAUSE_PER_TRY = 10


class RunRecorder:
    """Writes the record of one run and sends it to the store.

    Once the run began, a store that refuses or does not answer raises nothing here.

    Attributes
    ----------
    pending
        The record's folder, if the run ended and the store does not have all of it.
    """

    def __init__(
        self, record: RunRecord, folder: RecordFolder, store: Store, send_mode: SendMode
    ) -> None:
        self._record, self._folder, self._send_mode = record, folder, send_mode
        self._delivery = None
        if send_mode != "later":
            with interrupts.defer_signals():
                from lanflow.tracking.delivery import Delivery

            self._delivery = Delivery(store, record, folder)
        self._known = {(point[0], point[3]) for point in record.metrics}
        self._began = False
        self._is_behind = False
        self._next_try = 0.0
        self.pending: Path | None = None

    @property
    def key(self) -> str:
        """The run's identity, whether or not it has an id."""
        return self._record.key

    @property
    def id(self) -> str | None:
        """The run's id in the store; None until the store has given it one."""
        return self._record.run_id

    @property
    def may_be_in_store(self) -> bool:
        """Whether there is a run that has to be ended, in the store or when it gets there."""
        is_unsure = self._delivery is not None and self._delivery.may_have_run
        return self._began or self.id is not None or is_unsure

    @property
    def experiment_id(self) -> str | None:
        """The id of its experiment; None until it is known."""
        return self._record.experiment_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record configuration."""
        self._record.params |= param_texts(params)
        self._changed()

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record identity and lineage."""
        self._record.tags |= tag_texts(tags)
        self._changed()

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record one value of each metric; a step that was recorded before stays as it is."""
        self.log_history([(metrics, step)])

    def log_history(self, history: Iterable[tuple[Mapping[str, float], int]]) -> None:
        """Record metrics of several steps at once, as :meth:`log_metrics`."""
        now = now_ms()
        for metrics, step in history:
            for name, value in metrics.items():
                if (name, step) not in self._known:
                    self._known.add((name, step))
                    self._record.metrics.append((name, float(value), now, step))
        self._changed()

    def log_files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Record files as artifacts of the run."""
        for path in paths:
            name = f"{folder}/{path.name}" if folder else path.name
            self._replace_artifact(self._folder.make_artifact(path, name))
        self._changed()

    def log_json(self, content: Mapping[str, Any], name: str) -> None:
        """Record JSON as an artifact of the run."""
        self._replace_artifact(self._folder.write_document(content, name))
        self._changed()

    def _replace_artifact(self, artifact: Artifact) -> None:
        others = [known for known in self._record.artifacts if known.name != artifact.name]
        self._record.artifacts = [*others, artifact]

    def log_data_set(
        self, *, name: str, digest: str, profile: Mapping[str, Any], source: Mapping[str, Any]
    ) -> None:
        """Record the training data."""
        # The record is JSON, and so are the parts of it that MLflow gets.
        content = json.loads(json.dumps({"profile": dict(profile), "source": dict(source)}))
        self._record.data_set = DataSetInput(name=name, digest=digest, **content)
        self._changed()

    def begin(self) -> None:
        """Send everything recorded so far; from here on the work does not wait for the store.

        Raises
        ------
        StoreError
            If the store refuses or does not answer, and the send mode is ``now``.
        UserError
            If the run or its experiment was deleted.
        """
        self._folder.save(self._record)
        self._folder.remove_sent()
        if self._delivery is not None:
            try:
                with_retries(self._delivery.send)
            except StoreError as e:
                if self._send_mode == "now":
                    raise
                self._fall_behind(e)
        self._began = True
        self._folder.save(self._record)

    def ensure_id(self) -> str | None:
        """Return the run's id, retrying for a while; None if the store does not give one."""
        if self.id is None and self._delivery is not None:
            try:
                with_retries(self._delivery.ensure_run)
            except UserError as e:
                log.warning("%s", e)
                self._delivery = None  # so that the end of the run does not wait once more
        return self.id

    def _changed(self) -> None:
        """Send new entries, or save them to the record if that is not possible."""
        if not self._began:
            return
        if self._delivery is not None and time.monotonic() >= self._next_try:
            start = time.monotonic()
            try:
                self._delivery.send()
            except UserError as e:
                seconds = time.monotonic() - start
                self._fall_behind(e)
                pause = max(_SECONDS_BETWEEN_TRIES, _PAUSE_PER_TRY * seconds)
                self._next_try = time.monotonic() + pause
            else:
                self._is_behind = False
                return
        self._folder.save(self._record)

    def _fall_behind(self, error: UserError) -> None:
        """Note that the store lacks part of the run; only the first of several errors warns."""
        level = logging.DEBUG if self._is_behind else logging.WARNING
        log.log(level, "%s; work goes on, what MLflow missed will be sent later", error)
        self._is_behind = True

    def end(self, status: Status, failure: str | None = None, *, seconds: float | None) -> None:
        """Record how the run ended; sets :attr:`pending` if the store lacks part of the run.

        Parameters
        ----------
        status, failure
            The status, and the reason of a failure.
        seconds
            How long an unavailable store is retried; None for the default.
        """
        record = self._record
        record.status, record.failure, record.end_time = status, failure, now_ms()
        try:
            self._folder.save(record)
        except OSError as e:  # a full disk: the store can be told of it nevertheless
            log.warning("%s", explain_os_error(e))
        has_run = self.may_be_in_store
        if not has_run or self._send_end(seconds):
            if has_run and status == "FINISHED":
                self._folder.mark_sent()
            else:
                self._folder.remove()
            return
        self._folder.copy_artifacts(record)
        self._folder.unlock()
        self.pending = self._folder.path.absolute()
        log.warning(
            "the run is not in the MLflow store yet; send it with: %s",
            sync_command([self.pending], record.tracking_uri),
        )

    def _send_end(self, seconds: float | None) -> bool:
        """Send the rest; True if the store has all of the run.

        For a run that never began, it is enough that the store has its end.
        """
        if self._delivery is None:
            return False
        try:
            with_retries(self._delivery.send, seconds=seconds)
        except UserError as e:
            log.warning("%s", e)
            return bool(not self._began and self._delivery.is_ended)
        return True

    def end_with_error(self, error: BaseException) -> None:
        """Record a failure or an interruption; the store is tried once, as the job must stop."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.end("KILLED", seconds=0)
        else:
            self.end("FAILED", redact(f"{type(error).__name__}: {error}"), seconds=0)


@contextlib.contextmanager
def record_run(
    store: Store,
    results: Path,
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, Any],
    send_mode: SendMode,
    key: str | None = None,
    run_id: str | None = None,
) -> Iterator[RunRecorder]:
    """Record the body as a run that ends as FINISHED, FAILED with a reason, or KILLED.

    Nothing is sent before :meth:`RunRecorder.begin`.

    Parameters
    ----------
    store
        The store of the run.
    results
        The folder of its results, which holds the record meanwhile.
    experiment, name, tags
        Of the run.
    send_mode
        Whether the store must answer at the start (``now``), is tried (``try``), or is not
        contacted (``later``).
    key
        Key of an interrupted run that is to be continued.
    run_id
        Id of a run that is to be continued.

    Raises
    ------
    UserError
        If another process is writing the same record.
    """
    folder = RecordFolder.of_run(results, key or new_key())
    if not folder.lock():
        raise UserError(f"{folder.path}: another process is writing this run")
    try:
        record = RunRecord(
            key=folder.path.name,
            tracking_uri=store.shown_uri,
            experiment=experiment,
            name=name,
            run_id=run_id,
            start_time=now_ms(),
        )
        if folder.exists():
            saved = folder.read()  # without its files, which are recorded anew
            record.start_time, record.metrics = saved.start_time, saved.metrics
            record.run_id, record.experiment_id = run_id or saved.run_id, saved.experiment_id
        record.tags = tag_texts({**source_tags(), **tags})
        run = RunRecorder(record, folder, store, send_mode)
        try:
            yield run
            interrupts.check()
            run.end("FINISHED", seconds=None)
        except BaseException as e:
            run.end_with_error(e)
            raise
    finally:
        folder.unlock()


def fetch_run(store: Store, run_id: str) -> FoundRun:
    """Read a run of the store, with retries.

    Raises
    ------
    UserError
        If there is no such run, or it is deleted.
    StoreError
        If the store refuses or does not answer in time.
    """
    with interrupts.defer_signals():
        from lanflow.tracking.client import connect
        from lanflow.tracking.runs import find_run

    return with_retries(lambda: find_run(connect(store), run_id))
