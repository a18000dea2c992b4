"""Recording a run: on disk first, and from there into its store.

A training or a generation writes to a record beside the results (:mod:`lanflow.tracking.record`),
and a thread (:mod:`lanflow.tracking.sender`) sends the record to MLflow as far as the store
answers. A store that is slow, down or out of reach costs neither results nor history, nor does it
hold the work up: the record stays, and ``lanflow sync`` sends it later.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lanflow.core import interrupts
from lanflow.core.errors import (
    StoreError,
    StoreSilentError,
    StoreUnavailableError,
    UserError,
)
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
from lanflow.tracking.retry import retry_seconds, with_retries
from lanflow.tracking.store import FoundRun, SendMode, Store, redact

if TYPE_CHECKING:
    from lanflow.tracking.sender import Sender

log = logging.getLogger(__name__)

T = TypeVar("T")

# Metrics are written to disk so rarely that the writing slows the work down by a fiftieth at most,
# but not more rarely than every second.
_PAUSE_PER_SAVE, _LONGEST_PAUSE = 50, 1.0
# The work waits this long for the store to have the run, and then begins all the same; with "now"
# for a server alone. A database without one is slow while its schema is made.
_SECONDS_TO_BEGIN = 3.0
# A job that must stop waits this long for the store: Slurm kills it 30 s after its signal.
_SECONDS_TO_STOP = 20.0
# At the end, a store is given up that has not answered for this time, nor for the user's patience.
# Over HTTP MLflow itself gives a request up after 30 s. A database may be busy with others, and a
# large file takes its time.
_LONGEST_SILENCE, _LONGEST_SILENCE_OF_DATABASE = 35.0, 300.0
_SLOWEST_BYTES_PER_SECOND = 2**20


class RunRecorder:
    """Writes the record of one run and has it sent to the store.

    Once the run began, a store that does not answer raises nothing here. One that refuses raises as
    long as the run is not in it, if the send mode is ``now``.

    Parameters
    ----------
    record, folder
        What is recorded, and where.
    store, send_mode
        Where it is sent, and when.

    Attributes
    ----------
    pending
        The record's folder, if the run ended and the store does not have all of it.
    """

    def __init__(
        self, record: RunRecord, folder: RecordFolder, store: Store, send_mode: SendMode
    ) -> None:
        self._record, self._folder, self._send_mode = record, folder, send_mode
        self._sender = None if send_mode == "later" else _make_sender(store, record, folder)
        self._known = {(point[0], point[3]) for point in record.metrics}
        self._began = self._is_unsure = False
        self._first_answer: Future[None] | None = None
        self._next_save = 0.0
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
        """True if there is a run that has to be ended, in the store or when it gets there."""
        if self._sender is not None:
            self._is_unsure |= self._sender.delivery.may_have_run
        return self._began or self.id is not None or self._is_unsure

    @property
    def experiment_id(self) -> str | None:
        """The id of its experiment; None until it is known."""
        return self._record.experiment_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record configuration."""
        self._record.params = self._record.params | param_texts(params)
        self._changed()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Record identity and lineage."""
        self._record.tags = self._record.tags | tag_texts(tags)
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

    def log_json(self, content: Mapping[str, object], name: str) -> None:
        """Record JSON as an artifact of the run."""
        self._replace_artifact(self._folder.write_document(content, name))
        self._changed()

    def _replace_artifact(self, artifact: Artifact) -> None:
        others = [known for known in self._record.artifacts if known.name != artifact.name]
        self._record.artifacts = [*others, artifact]

    def log_data_set(
        self, *, name: str, digest: str, profile: Mapping[str, object], source: Mapping[str, object]
    ) -> None:
        """Record the training data."""
        # The record is JSON, and so are the parts of it that MLflow gets.
        content = json.loads(json.dumps({"profile": dict(profile), "source": dict(source)}))
        self._record.data_set = DataSetInput(name=name, digest=digest, **content)
        self._changed()

    def begin(self) -> None:
        """Send everything recorded so far; from here on the work does not wait for the store.

        A server that takes its time is not waited for here either. If it refuses later what was
        recorded so far, what is recorded next raises that.

        Raises
        ------
        StoreError
            If the store refuses or cannot be reached, and the send mode is ``now``.
        UserError
            If the run or its experiment was deleted.
        """
        self._folder.save(self._record)
        self._folder.remove_sent()
        if self._sender is not None:
            self._send_beginning(self._sender)
        self._began = True
        self._folder.save(self._record)

    def _send_beginning(self, sender: "Sender") -> None:
        """Have the run made, and wait for that as long as its send mode says."""
        must_answer = self._send_mode == "now"
        seconds = _SECONDS_TO_BEGIN if self._is_http or not must_answer else math.inf

        def send() -> None:
            self._first_answer = sender.begin(sender.delivery.send)
            sender.wait(self._first_answer, seconds=seconds)
            self._raise_refusal()

        try:
            with_retries(send, seconds=None if must_answer else 0)
        except StoreSilentError:
            log.info("MLflow store %s takes its time; work begins", self._record.tracking_uri)
        except StoreError as e:
            if must_answer:
                raise
            sender.fall_behind(e)
            sender.notify()

    @property
    def _is_http(self) -> bool:
        return self._record.tracking_uri.startswith("http")

    def _raise_refusal(self) -> None:
        """Raise an error of the first request, if there was one by now."""
        answer = self._first_answer
        if answer is not None and answer.done():
            self._first_answer = None
            answer.result()

    def _notice_refusal(self) -> None:
        """Raise a refusal that came after the work had begun, if the store must take the run."""
        try:
            self._raise_refusal()
        except StoreError as e:  # the sender goes on asking
            if self._send_mode == "now" and not isinstance(e, StoreUnavailableError):
                raise

    def _ask_for(self, request: Callable[[], T]) -> Callable[[], T]:
        """Return a function that lets the sender make a request, and waits while it is answered."""
        sizes = [artifact.size_bytes for artifact in self._record.artifacts]
        silence = _LONGEST_SILENCE if self._is_http else _LONGEST_SILENCE_OF_DATABASE
        silence += max(sizes, default=0) / _SLOWEST_BYTES_PER_SECOND
        sender = self._sender
        assert sender is not None
        return lambda: sender.ask(request, seconds=0, silence=max(silence, retry_seconds()))

    def ensure_id(self) -> str | None:
        """Return the run's id, retrying for a while; None if the store does not give one."""
        if self.id is None and self._sender is not None:
            try:
                with_retries(self._ask_for(self._sender.delivery.ensure_run))
            except UserError as e:
                log.warning("%s", e)
                self.stop_sending()  # so that the end of the run does not wait once more
        return self.id

    def _changed(self) -> None:
        """Save new entries, unless that was done a moment ago, and have them sent."""
        if not self._began:
            return
        start = time.monotonic()
        if start >= self._next_save:
            self._folder.save(self._record)
            end = time.monotonic()
            self._next_save = end + min(_PAUSE_PER_SAVE * (end - start), _LONGEST_PAUSE)
        if self._sender is not None:
            self._notice_refusal()
            self._sender.notify()

    def end(self, status: Status, failure: str | None = None, *, seconds: float | None) -> None:
        """Record how the run ended; sets :attr:`pending` if the store lacks part of the run.

        Parameters
        ----------
        status, failure
            The status, and the reason of a failure.
        seconds
            How long an unavailable store is retried; None for the default. With 0 the job must
            stop, and waits for a few seconds in all.
        """
        record = self._record
        record.failure, record.end_time = failure, now_ms()
        record.status = status  # last, as the sender may read it at any time
        try:
            self._folder.save(record)
        except OSError as e:  # a full disk: the store can be told of it nevertheless
            log.warning("%s", explain_os_error(e))
        is_sent = self._send_end(seconds)
        self.stop_sending()
        if is_sent:
            if self.may_be_in_store and status == "FINISHED":
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
        """Send the rest; True if the store has all of the run, or if there is no run.

        For a run that never began, it is enough that the store has its end.
        """
        sender = self._sender
        try:
            if sender is not None and not self.may_be_in_store:
                # An interruption does not end a request that the sender makes, and that may be
                # the one that creates the run.
                self._is_unsure = True
                sender.ask(lambda: None, seconds=_SECONDS_TO_STOP)
                self._is_unsure = False
            if not self.may_be_in_store:
                return True
            if sender is None:
                return False
            if seconds == 0:
                sender.ask(sender.delivery.send, seconds=_SECONDS_TO_STOP)
            else:
                with_retries(self._ask_for(sender.delivery.send), seconds=seconds)
        except UserError as e:
            log.warning("%s", e)
            return bool(not self._began and sender is not None and sender.delivery.is_ended)
        return True

    def stop_sending(self) -> None:
        """Make no further request."""
        if self._sender is not None:
            self._is_unsure |= self._sender.delivery.may_have_run
            self._sender.stop()
            self._sender = None

    def end_with_error(self, error: BaseException) -> None:
        """Record a failure or an interruption; the store is tried once, as the job must stop."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.end("KILLED", seconds=0)
        else:
            self.end("FAILED", redact(f"{type(error).__name__}: {error}"), seconds=0)


def _make_sender(store: Store, record: RunRecord, folder: RecordFolder) -> "Sender":
    with interrupts.defer_signals():
        from lanflow.tracking.delivery import Delivery
        from lanflow.tracking.sender import Sender

    return Sender(Delivery(store, record, folder), store.shown_uri)


@contextlib.contextmanager
def record_run(
    store: Store,
    results: Path,
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, object],
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
        Whether the store must be there at the start (``now``), is tried (``try``), or is not
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
            run.stop_sending()
    finally:
        folder.unlock()


def fetch_run(store: Store, run_id: str, *, seconds: float | None = None) -> FoundRun:
    """Read a run of the store, retrying as :func:`lanflow.tracking.retry.with_retries` does.

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

    return with_retries(lambda: find_run(connect(store), run_id), seconds=seconds)
