"""A run being written: on disk first, and from there into its store.

What a training or a generation tells of itself goes into a record beside the results
(:mod:`lanflow.tracking.record`) and, as far as the store answers, on into MLflow. A store that is
slow, down or out of reach costs neither results nor history: the record stays, and ``lanflow sync``
brings it in.
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
from lanflow.core.files import write_json
from lanflow.core.names import FINISHED, UNFINISHED
from lanflow.tracking.record import (
    DataSetInput,
    RecordFolder,
    RunRecord,
    Status,
    new_key,
    now_ms,
    param_texts,
    source_tags,
    tag_texts,
)
from lanflow.tracking.retry import with_retries
from lanflow.tracking.store import SendMode, Store, redact

log = logging.getLogger(__name__)

# A store that does not answer is tried again after this long, and after ten times what the try
# took: it may slow a training down by a tenth, no more.
_SECONDS_BETWEEN_TRIES = 5.0
_TRIES_COST_AT_MOST = 10


class RunRecorder:
    """A run being written; once it began, a store that does not take it raises nothing here."""

    def __init__(
        self, record: RunRecord, folder: RecordFolder, store: Store, send_mode: SendMode
    ) -> None:
        self._record, self._folder, self._send_mode = record, folder, send_mode
        self._delivery: Any = None
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
        """The run's identity, before it has an id and after."""
        return self._record.key

    @property
    def id(self) -> str | None:
        """The run's id in the store, None as long as the store has not given it one."""
        return self._record.run_id

    @property
    def experiment_id(self) -> str | None:
        """The id of its experiment, None as long as it is not known."""
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
        """Let files become artifacts of the run."""
        for path in paths:
            name = f"{folder}/{path.name}" if folder else path.name
            self._replace_artifact(self._folder.make_artifact(path, name))
        self._changed()

    def log_json(self, content: Mapping[str, Any], name: str) -> None:
        """Let JSON become an artifact of the run."""
        self._replace_artifact(self._folder.write_document(content, name))
        self._changed()

    def _replace_artifact(self, artifact: Any) -> None:
        others = [known for known in self._record.artifacts if known.name != artifact.name]
        self._record.artifacts = [*others, artifact]

    def log_data_set(
        self, *, name: str, digest: str, profile: Mapping[str, Any], source: Mapping[str, Any]
    ) -> None:
        """Record what is trained on."""
        # The record is JSON, and so are the parts of it that MLflow gets.
        content = json.loads(json.dumps({"profile": dict(profile), "source": dict(source)}))
        self._record.data_set = DataSetInput(name=name, digest=digest, **content)
        self._changed()

    def begin(self) -> None:
        """Bring what was recorded so far into the store; from here on nothing waits for it.

        Raises
        ------
        StoreError
            If the store does not take it and must, as nothing says otherwise.
        UserError
            If the run or its experiment were deleted.
        """
        self._folder.save(self._record)
        self._folder.forget_sent()
        if self._delivery is not None:
            try:
                with_retries(self._delivery.send)
            except StoreError as e:
                if self._send_mode == "now":
                    raise
                self._fall_behind(e)
        self._began = True
        self._folder.save(self._record)

    def reach(self) -> str | None:
        """The run's id, if the store can be made to give one; it is asked for a while."""
        if self.id is None and self._delivery is not None:
            try:
                with_retries(self._delivery.reach)
            except UserError as e:
                log.warning("%s", e)
                self._delivery = None  # it was asked long enough
        return self.id

    def _changed(self) -> None:
        """Send what is new; what cannot be sent is safe on disk."""
        if not self._began:
            return
        if self._delivery is not None and time.monotonic() >= self._next_try:
            start = time.monotonic()
            try:
                self._delivery.send()
            except UserError as e:
                took = time.monotonic() - start
                self._fall_behind(e)
                pause = max(_SECONDS_BETWEEN_TRIES, _TRIES_COST_AT_MOST * took)
                self._next_try = time.monotonic() + pause
            else:
                self._is_behind = False
                return
        self._folder.save(self._record)

    def _fall_behind(self, error: UserError) -> None:
        level = logging.DEBUG if self._is_behind else logging.WARNING
        log.log(level, "%s; work goes on, what MLflow missed will be sent later", error)
        self._is_behind = True

    def end(self, status: Status, failure: str | None = None, *, seconds: float | None) -> None:
        """Record how the run ended; ``pending`` names the record if the store did not take it.

        Parameters
        ----------
        status, failure
            What happened, and why.
        seconds
            How long a store that does not answer is asked again.
        """
        record = self._record
        record.status, record.failure, record.end_time = status, failure, now_ms()
        self._folder.save(record)
        is_run = self._began or record.run_id is not None  # no error ended it before
        if not is_run or self._send_end(seconds):
            if is_run and status == "FINISHED":
                self._folder.mark_sent()
            else:
                self._folder.remove()
            return
        self._folder.copy_artifacts(record)
        self._folder.unlock()
        self.pending = self._folder.path.absolute()
        log.warning(
            "the run is not in the MLflow store yet; send it with: lanflow sync %s", self.pending
        )

    def _send_end(self, seconds: float | None) -> bool:
        """Whether the store has all of the run; of one that never began, that it ended."""
        if self._delivery is None:
            return False
        try:
            with_retries(self._delivery.send, seconds=seconds)
        except UserError as e:
            log.warning("%s", e)
            return bool(not self._began and self._delivery.is_ended)
        return True

    def end_with_error(self, error: BaseException) -> None:
        """Record an end that is not good; whoever stops a job does not wait: one try."""
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
    """A run that ends as what happened says: FINISHED, FAILED with a reason, or KILLED.

    Nothing is sent before :meth:`RunRecorder.begin`.

    Parameters
    ----------
    store
        Where it belongs.
    results
        The folder of its results, where its record is kept meanwhile.
    experiment, name, tags
        Of the run.
    send_mode
        Whether the store must answer at the start (``now``), is tried (``try``), or is left alone
        (``later``).
    key
        Of a run that was interrupted, to go on with.
    run_id
        Continue this run instead of creating one.
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
            left = folder.read_checked()
            record.start_time, record.metrics = left.start_time, left.metrics
            record.run_id, record.experiment_id = run_id or left.run_id, left.experiment_id
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


# The mark of a run that was begun: while it is there, the same work goes on with that run.


def fetch_run(store: Store, run_id: str) -> Any:
    """A run of the store, which is asked for a while."""
    with interrupts.defer_signals():
        from lanflow.tracking.client import connect
        from lanflow.tracking.runs import find_run

    return with_retries(lambda: find_run(connect(store), run_id))


def write_unfinished(path: Path, work: Mapping[str, Any], run: RunRecorder) -> None:
    """Write the mark of a run that began; who finishes it removes it.

    Parameters
    ----------
    path
        In the folder of the results.
    work
        What decides the results, and the store: other work is another run.
    run
        That does it.
    """
    write_json(path, {**work, "run_key": run.key, "mlflow_run_id": run.id})


def hide_finished(folder: Path) -> None:
    """Keep the mark of a run that finished, hidden, for :func:`resume_finished`."""
    if (folder / UNFINISHED).exists():
        (folder / UNFINISHED).replace(folder / FINISHED)


def resume_finished(folder: Path) -> None:
    """Let work whose results were removed go on under the run that finished it before.

    Who calls has seen that the results are gone; a run of other work is not taken.
    """
    kept, path = folder / FINISHED, folder / UNFINISHED
    if kept.exists() and not path.exists():
        kept.replace(path)


def find_unfinished(
    store: Store, send_mode: SendMode, path: Path, work: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Key and id of the run of this very work, if one was begun here and did not finish."""
    try:
        left = json.loads(path.read_text())
    except (OSError, ValueError):
        return None, None
    if not isinstance(left, dict):
        return None, None
    key, run_id = left.pop("run_key", None), left.pop("mlflow_run_id", None)
    if key is None or left != work:
        return None, None
    if run_id is not None and send_mode != "later":
        try:
            fetch_run(store, run_id)
        except StoreError as e:
            if send_mode == "now":
                raise
            log.warning("%s", e)
        except UserError as e:
            log.warning("%s; starting another", e)
            return None, None
    return key, run_id
