"""Several trainings as one command runs them: each with its own folder, record and MLflow run.

Those that one program can train go together, and the others one after the other. Each is saved and
recorded as it would be alone: a training that fails takes no other with it, and the same command
goes on with those that were interrupted and leaves finished ones as they are.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypedDict

from lanflow.core.errors import UserError
from lanflow.core.files import explain_os_error
from lanflow.core.processes import explain_memory_error
from lanflow.data.prepare import PackedData
from lanflow.tracking.recorder import RunRecorder
from lanflow.tracking.store import redact
from lanflow.training.fit import TrainingResult
from lanflow.training.prepare import PreparedTraining, TrainingOptions, prepare
from lanflow.training.run import (
    FinishedTraining,
    PlannedDryRun,
    describe_dry_run,
    end_training,
    keep_network,
    opened,
)
from lanflow.training.save import PlannedTraining
from lanflow.training.together.fit import fit_together, plan_groups
from lanflow.training.together.names import member_name
from lanflow.training.track import EpochLog, is_finished, track_training

log = logging.getLogger(__name__)


class FailedTraining(TypedDict):
    """One of several trainings that failed, while the others went on."""

    status: Literal["FAILED"]
    network_folder: str
    reason: str


class KeptTraining(TypedDict):
    """One of several trainings that was finished before."""

    status: Literal["KEPT"]
    network_folder: str


Ending = FinishedTraining | FailedTraining | KeptTraining | PlannedDryRun


@dataclass
class _Member:
    """One of several trainings, while its folder is locked."""

    number: int
    prepared: PreparedTraining
    training: PlannedTraining
    lock: contextlib.ExitStack
    record: contextlib.ExitStack
    run: RunRecorder | None = None

    def begin(self) -> EpochLog:
        """Record the training from now on."""
        self.run = self.record.enter_context(track_training(self.training, self.prepared.tracking))
        return EpochLog(self.run, self.training.job, name=self.training.folder.name)

    def end(self, outcome: TrainingResult | Exception) -> Ending:
        """Save and record the network, or the reason why there is none."""
        try:
            with self.record:
                if isinstance(outcome, Exception):
                    raise outcome
                keep_network(self.training, outcome, self.run)
            return end_training(self.training, outcome, self.run)
        except Exception as e:  # whatever it is, the other networks are saved
            return _failed(self.prepared, e)
        finally:
            self.lock.close()


def train_together(options: Sequence[TrainingOptions]) -> list[Ending]:
    """Run several trainings.

    Parameters
    ----------
    options
        Of each. They differ in network, seed and names only, so they name the same data.

    Returns
    -------
    list
        How each ended.

    Raises
    ------
    UserError
        If an option of any of them makes no sense, or another process trains one; none is begun.
    """
    prepared = _prepare(options)
    if options[0].dry_run:
        return [describe_dry_run(each) for each in prepared]
    endings: dict[int, Ending] = {}
    with contextlib.ExitStack() as open_contexts:
        members = []
        for number, each in enumerate(prepared):
            if _is_kept(each):
                log.info("%s is finished; it stays as it is", each.place.folder)
                endings[number] = _kept(each)
            else:
                members.append(_open(number, each, open_contexts))
        for group in plan_groups([member.training.job for member in members]):
            chosen = [members[i] for i in group.members]
            endings |= _train_group(chosen, group.size)
    return [endings[number] for number in range(len(prepared))]


def _prepare(options: Sequence[TrainingOptions]) -> list[PreparedTraining]:
    """Look up what the options name; the data once."""
    data: PackedData | None = None
    prepared = []
    for each in options:
        prepared.append(prepare(each, data))
        data = prepared[0].data
    return prepared


def _open(number: int, prepared: PreparedTraining, opened_so_far: contextlib.ExitStack) -> _Member:
    """Lock the folder of a training, which others in the process need not wait for, and plan it."""
    lock, record = (opened_so_far.enter_context(contextlib.ExitStack()) for _ in range(2))
    training = lock.enter_context(opened(prepared))
    return _Member(number, prepared, training, lock, record)


def _train_group(members: Sequence[_Member], size: int) -> dict[int, Ending]:
    """Train networks as one program and end each; a group of one is trained as it is alone."""
    if len(members) > 1:
        log.info("training %d networks as one program", len(members))
    told = [member.begin() for member in members]
    outcomes = fit_together([m.training.job for m in members], size=size, on_epoch=told)
    return {m.number: m.end(outcome) for m, outcome in zip(members, outcomes, strict=True)}


def _is_kept(prepared: PreparedTraining) -> bool:
    """True if the very network is there; what goes on from another is always trained."""
    config, options = prepared.config, prepared.options
    digest = prepared.data.data_set.digest
    is_there = is_finished(prepared.place.folder, config, options.backend, digest)
    return is_there and options.start_from is None


def _kept(prepared: PreparedTraining) -> KeptTraining:
    return {"status": "KEPT", "network_folder": str(prepared.place.folder.absolute())}


def _failed(prepared: PreparedTraining, error: Exception) -> FailedTraining:
    folder = prepared.place.folder
    match error:
        case UserError():
            reason = str(error)
        case OSError():
            reason = explain_os_error(error)
        case MemoryError():
            reason = explain_memory_error(error)
        case _:  # a bug: with its traceback
            reason = f"{type(error).__name__}: {error}"
            log.error("%s", folder, exc_info=error)
    log.error("%s: error: %s", folder, redact(reason))
    return {
        "status": "FAILED",
        "network_folder": str(folder.absolute()),
        "reason": redact(reason),
    }


def options_of_each(
    options: TrainingOptions, *, network_ids: Sequence[int], seeds: Sequence[int]
) -> list[TrainingOptions]:
    """Options of one training for each network id and seed, each with a name of its own.

    Parameters
    ----------
    options
        What all have in common; the names of folder and run are those of the family.
    network_ids, seeds
        At least one of each.
    """
    members = []
    for network_id in network_ids:
        for seed in seeds:
            named = partial(
                member_name,
                network_id=network_id if len(network_ids) > 1 else None,
                seed=seed if len(seeds) > 1 else None,
            )
            one = replace(
                options,
                network_id=network_id,
                seed=seed,
                network_name=options.network_name and named(options.network_name),
                mlflow_run_name=options.mlflow_run_name and named(options.mlflow_run_name),
            )
            members.append(one)
    return members
