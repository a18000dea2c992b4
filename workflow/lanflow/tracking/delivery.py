"""Bringing a run's record into its store: what the store lacks, and no more.

A request whose answer was lost may have been taken, so what the store has is read again after every
failure, and a run that was created without our learning its id is found by the record's key.
"""

from lanflow.core.errors import UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.client import connect, ensure_experiment
from lanflow.tracking.record import RecordFolder, RunRecord
from lanflow.tracking.runs import FAILURE_TAG, MlflowRun, create_run, find_run, find_run_by_tag
from lanflow.tracking.store import Store

# Tag of every run that has a record: the record's key.
KEY_TAG = "lanflow.run_key"


class Delivery:
    """Brings one record into a store, step by step as the record grows.

    Parameters
    ----------
    store
        Where to.
    record
        Gets the run's id once it has one.
    folder
        Where the files of the record are.
    """

    def __init__(self, store: Store, record: RunRecord, folder: RecordFolder) -> None:
        self._store, self._record, self._folder = store, record, folder
        self._run: MlflowRun | None = None
        self.is_ended = False
        self._forget()

    def _forget(self) -> None:
        """Know nothing of what the store has."""
        self._run = None
        self._status = ""
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._n_points = 0
        self._has_data_set = False
        self._files: set[str] = set()

    def reach(self) -> str:
        """The run's id; the run is created if it is not there.

        Raises
        ------
        StoreError
            If the store does not answer or refuses.
        UserError
            If the run was deleted, or its experiment.
        """
        try:
            return self._reach().id
        except UserError:
            self._forget()
            raise

    def send(self) -> None:
        """Bring what the store has not got; raises as :meth:`reach`.

        FINISHED comes last, when all else is there; another end first, lest it be left out.
        """
        try:
            run = self._reach()
            if self._record.status != "FINISHED":
                self._send_status(run)
            self._send_start(run)
            self._send_points(run)
            self._send_files(run)
            self._send_status(run)
        except UserError:
            self._forget()
            raise

    def _reach(self) -> MlflowRun:
        if self._run is None:
            record = self._record
            client = connect(self._store)
            with defer_signals():  # or a run could be left behind that nobody knows
                if record.run_id is not None:
                    found = find_run(client, record.run_id)
                else:
                    experiment = ensure_experiment(client, self._store, record.experiment)
                    found = find_run_by_tag(client, experiment, KEY_TAG, record.key)
                    if found is None:
                        created = create_run(
                            client,
                            experiment,
                            name=record.name,
                            tags={**record.tags, KEY_TAG: record.key},
                            start_time=record.start_time,
                        )
                        found = find_run(client, created.id)
                record.run_id, record.experiment_id = found.info.run_id, found.info.experiment_id
            run = MlflowRun(client, found.info.run_id, found.info.experiment_id)
            self._status = found.info.status
            self._params, self._tags = dict(found.data.params), dict(found.data.tags)
            self._steps = {name: run.steps(name) for name in found.data.metrics}
            self._run = run
        return self._run

    def _send_status(self, run: MlflowRun) -> None:
        status = self._record.status
        if status == self._status:
            return
        if status == "RUNNING":
            run.go_on()
        else:
            run.end(status, self._record.end_time)
            self.is_ended = True
        self._status = status

    def _send_start(self, run: MlflowRun) -> None:
        record = self._record
        tags = dict(record.tags)
        if record.failure is not None:
            tags[FAILURE_TAG] = record.failure
        elif FAILURE_TAG in self._tags:
            run.forget_failure()
            del self._tags[FAILURE_TAG]
        if changed := {k: v for k, v in tags.items() if self._tags.get(k) != v}:
            run.set_tags(changed)
            self._tags |= changed
        if new := {k: v for k, v in record.params.items() if self._params.get(k) != v}:
            run.log_params(new)
            self._params |= new
        if record.data_set is not None and not self._has_data_set:
            run.log_data_set(**record.data_set.model_dump())
            self._has_data_set = True

    def _send_points(self, run: MlflowRun) -> None:
        points = self._record.metrics[self._n_points :]
        new = [point for point in points if point[3] not in self._steps.get(point[0], ())]
        if new:
            run.log_points(new)
        self._n_points += len(points)

    def _send_files(self, run: MlflowRun) -> None:
        for artifact in self._record.artifacts:
            if artifact.name not in self._files:
                folder, _, _ = artifact.name.rpartition("/")
                run.log_files([self._folder.file_of(artifact)], folder or None)
                self._files.add(artifact.name)
