"""One training that takes others of a study with it, as a job of the workflow runs it.

Every network has a job of its own. The first to run trains with it all networks that one program
can, as far as the checkpoint of their last epoch; their own jobs go on from there, which takes them
no epoch: each writes its network and records its run. So whoever fails, is killed or is added, the
others are not touched, and no network is trained twice.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lanflow.core.errors import UserError
from lanflow.training.checkpoints import Epoch, load_checkpoint
from lanflow.training.fit import OnEpoch, TrainingResult
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
from lanflow.training.together.fit import fit_together, plan_groups, size_begun_with
from lanflow.training.together.names import Beside
from lanflow.training.track import EpochLog, is_finished, track_training

log = logging.getLogger(__name__)


def train_beside(
    options: TrainingOptions, others: Sequence[Beside]
) -> FinishedTraining | PlannedDryRun:
    """Run one training, and take others with it.

    Parameters
    ----------
    options
        Of the one.
    others
        Networks that differ from it in these words only.

    Returns
    -------
    FinishedTraining or PlannedDryRun
        As of :func:`lanflow.training.run.train`.

    Raises
    ------
    UserError
        As there. What is wrong with another network is left to its own job.
    """
    prepared = prepare(options)
    if options.dry_run:
        return describe_dry_run(prepared)
    # Another job may be training this network, and leaves nothing to train then.
    with opened(prepared, wait=True) as training:
        with track_training(training, prepared.tracking) as run:
            told = EpochLog(run, training.job)
            result = _fit(prepared, training, others, told)
            keep_network(training, result, run)
        return end_training(training, result, run)


def _fit(
    prepared: PreparedTraining,
    training: PlannedTraining,
    others: Sequence[Beside],
    told: OnEpoch,
) -> TrainingResult:
    """Train the network, and those beside it whose folders nobody else has locked."""
    with contextlib.ExitStack() as locks:
        plan = _plan(prepared, training, others)
        taken = [other for other in plan.others if _take(other, plan.size, locks)]
        if taken:
            names = ", ".join(other.training.folder.name for other in taken)
            log.info("training %d networks as one program; beside this: %s", 1 + len(taken), names)
        jobs = [training.job, *(other.training.job for other in taken)]
        on_epoch = [told, *(_nothing for _ in taken)]
        own, *outcomes = fit_together(jobs, size=plan.size, on_epoch=on_epoch)
    for other, outcome in zip(taken, outcomes, strict=True):
        if isinstance(outcome, Exception):
            log.warning("%s: %s; its own job meets it again", other.training.folder, outcome)
    if isinstance(own, Exception):
        raise own
    return own


def _nothing(history: Sequence[Epoch]) -> None:
    """Log nothing of an epoch: the network's own job does."""


@dataclass(frozen=True)
class _Other:
    """A network that may be trained beside the job's own."""

    prepared: PreparedTraining
    training: PlannedTraining


@dataclass(frozen=True)
class _Plan:
    """Places of the program that trains a network, and who else is to be trained there."""

    size: int
    others: list[_Other]


def _plan(prepared: PreparedTraining, training: PlannedTraining, others: Sequence[Beside]) -> _Plan:
    """Find the networks that go with this one.

    The number of places follows from the study alone: also those that are finished or that another
    process trains have one, so that the same study gives the same bytes in whatever order its jobs
    run.
    """
    begun = _size_if_trained(training)
    if begun is not None:
        return _Plan(begun, [])
    planned = [other for other in (_prepare(prepared, each) for each in others) if other]
    planned.append(_Other(prepared, training))
    planned.sort(key=lambda other: other.prepared.place.name)
    own = next(i for i, other in enumerate(planned) if other.training is training)
    groups = plan_groups([other.training.job for other in planned])
    group = next(group for group in groups if own in group.members)
    members = [planned[i] for i in group.members if i != own]
    return _Plan(group.size, [other for other in members if not _is_done(other.prepared)])


def _size_if_trained(training: PlannedTraining) -> int | None:
    """Places among which this network was trained to its last epoch, if it was."""
    job = training.job
    checkpoint = None if job.checkpoint_path is None else load_checkpoint(job.checkpoint_path)
    if checkpoint is None or len(checkpoint.history) != job.config.n_epochs:
        return None
    return checkpoint.n_stacked if checkpoint.fingerprint == job.fingerprint() else None


def _prepare(own: PreparedTraining, other: Beside) -> _Other | None:
    """Plan another network; None if something is wrong with it, which its own job says."""
    options = replace(
        own.options,
        network_name=other.name,
        seed=other.seed,
        network_id=other.network_id,
        config_path=other.config_path,
        run_uuid=None,
        mlflow_on=False,
        mlflow_run_id=None,
        mlflow_run_name=None,
        data_generation_experiment=None,
    )
    try:
        prepared = prepare(options, own.data)
        return _Other(prepared, prepared.plan())
    except UserError as e:
        log.warning("%s is not trained beside this network: %s", other.name, e)
        return None


def _is_done(prepared: PreparedTraining) -> bool:
    """True if a network is there as it is wanted."""
    digest = prepared.data.data_set.digest
    return is_finished(prepared.place.folder, prepared.config, prepared.options.backend, digest)


def _take(other: _Other, size: int, locks: contextlib.ExitStack) -> bool:
    """Lock the folder of another network until it is trained.

    False if another process has it, or if it was begun among another number of places.
    """
    try:
        locks.enter_context(opened(other.prepared, other.training))
    except UserError as e:
        log.info("not trained beside this network: %s", e)
        return False
    return size_begun_with(other.training.job) in (None, size)
