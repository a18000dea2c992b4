"""The loop of epochs of several networks that are trained as one program.

A network of a hundred units a layer leaves most of a GPU idle at batches of a thousand rows: its
kernels are short. Beside each other, 32 such networks train 7.4 times as many rows a second as one
in JAX, 9 times in Torch (``docs/benchmarks_gpu.md``). On a CPU, one network keeps all cores busy
with products, so networks are put together only where the device keeps the rows.

Every network has its own split, order of rows, learning rates, history and checkpoint, and ends as
it would alone but for the rounding of sums. How those are rounded depends on the number of networks
in the program, so a checkpoint holds that number, and its network goes on among as many places,
whoever takes the others: to the same bytes. One that is finished or has failed rests in its place.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lanflow.training.backend import Stack, backend_at_work
from lanflow.training.backends.choose import make_stack
from lanflow.training.batches import ORDER_BYTES
from lanflow.training.checkpoints import load_checkpoint
from lanflow.training.fit import OnEpoch, OngoingTraining, TrainingResult, fit, validation_loss
from lanflow.training.job import TrainingJob

# Outputs of units in one update that keep a GPU busy: those of 50,000 rows and 301 units, from
# where on JAX has a third of an H200's memory rate and Torch a quarter of its product rate.
_FILLING = 50_000 * 301


@dataclass(frozen=True)
class Group:
    """Trainings that go together.

    Attributes
    ----------
    members
        Numbers of the jobs, ascending.
    size
        Places of the program that trains them, at least one for each.
    """

    members: tuple[int, ...]
    size: int


def plan_groups(jobs: Sequence[TrainingJob]) -> list[Group]:
    """Put those trainings together that one program can do; the others are groups of one.

    Networks go together that differ in seed, learning rate and schedule only, and have as many rows
    to train on. One that was begun keeps the number of places that it was begun among; others take
    those that are free there, as they did if all were begun together.
    """
    alike: dict[object, list[int]] = {}
    for i, job in enumerate(jobs):
        alike.setdefault(_kind(job) if job.keeps_rows_on_device else i, []).append(i)
    groups = [group for members in alike.values() for group in _divide(jobs, members)]
    return sorted(groups, key=lambda group: group.members)


def _kind(job: TrainingJob) -> object:
    """All that must be the same of networks that one program trains."""
    config = job.config
    return (
        *(job.data_set.digest, job.data_set.folder, job.architecture, job.batch_size),
        *(job.backend.name, job.backend.device, len(job.split.train)),
        *(config.optimizer, config.weight_decay, config.n_epochs, config.shuffle),
        config.labels_lower_bound,
    )


def _divide(jobs: Sequence[TrainingJob], members: list[int]) -> list[Group]:
    """Groups of networks of one kind: those begun before, with others in free places, and new."""
    sizes = {i: size_begun_with(jobs[i]) for i in members}
    fresh = [i for i in members if sizes[i] is None]
    groups = []
    for size in sorted({size for size in sizes.values() if size is not None}):
        begun = [i for i in members if sizes[i] == size]
        n_free = -len(begun) % size
        begun, fresh = begun + fresh[:n_free], fresh[n_free:]
        groups += [_group(begun[i : i + size], size) for i in range(0, len(begun), size)]
    if fresh:
        n_groups = math.ceil(len(fresh) / most_together(jobs[fresh[0]]))
        parts = np.array_split(fresh, n_groups)
        groups += [_group(part.tolist(), len(part)) for part in parts]
    return groups


def _group(members: list[int], size: int) -> Group:
    return Group(tuple(sorted(members)), size)


def size_begun_with(job: TrainingJob) -> int | None:
    """Places among which this very training was begun, if it was."""
    if job.checkpoint_path is None:
        return None
    checkpoint = load_checkpoint(job.checkpoint_path)
    if checkpoint is None or checkpoint.fingerprint != job.fingerprint():
        return None
    return checkpoint.n_stacked


def most_together(job: TrainingJob) -> int:
    """Networks like this one that fill its device, and whose orders of rows it has room for."""
    n_rows, _, _ = job.data_set.shapes[job.config.network_type]
    n_filling = _FILLING // (job.batch_size * sum(job.architecture.layer_sizes))
    # The rows of all of them may be all rows of the data, each with an order of its own.
    order_bytes = ORDER_BYTES * (len(job.split.train) + len(job.split.val))
    n_with_room = (job.backend.bytes_for_rows() - n_rows * job.row_bytes) // order_bytes
    return max(min(n_filling, n_with_room), 1)


@dataclass
class _Member:
    """One of several trainings: where it is, and why it stopped if it failed."""

    job: TrainingJob
    told: OnEpoch
    training: OngoingTraining | None = None
    result: TrainingResult | None = None
    error: Exception | None = None

    @contextlib.contextmanager
    def failing_alone(self) -> Iterator[None]:
        """Keep an error to oneself, so that the others go on."""
        try:
            yield
        except Exception as e:  # whatever it is, it is raised for this training later
            self.error = e

    @property
    def goes_on(self) -> bool:
        """``True`` while there are epochs to train."""
        return self.training is not None and self.error is None and not self.training.is_over

    def outcome(self) -> TrainingResult | Exception:
        """The result, or the error in its place."""
        outcome = self.error or self.result
        assert outcome is not None
        return outcome


def fit_together(
    jobs: Sequence[TrainingJob], *, size: int, on_epoch: Sequence[OnEpoch]
) -> list[TrainingResult | Exception]:
    """Train the members of a group, each from the start or from its own checkpoint.

    Parameters
    ----------
    jobs
        Of one group of :func:`plan_groups`, each with a backend of its own.
    size
        Of that group.
    on_epoch
        For each job, as of :func:`lanflow.training.fit.fit`.

    Returns
    -------
    list
        For each job the result, as of :func:`lanflow.training.fit.fit`, or the error with which it
        failed while the others went on.
    """
    members = [_Member(job, told) for job, told in zip(jobs, on_epoch, strict=True)]
    try:
        if size == 1:
            for member in members:
                _fit_alone(member)
        else:
            _fit_members(members, size)
    finally:
        for job in jobs:
            job.backend.drop_rows()
    return [member.outcome() for member in members]


def _fit_members(members: Sequence[_Member], size: int) -> None:
    for member in members:
        with member.failing_alone():
            member.training = OngoingTraining.begin(member.job, member.told, n_stacked=size)
            member.result = member.training.result
    going = [member for member in members if member.goes_on]
    if not going:
        return
    stack = _put_together([member.training for member in going if member.training], size)
    while any(member.goes_on for member in going):
        _run_epoch(stack, going)


def _fit_alone(member: _Member) -> None:
    with member.failing_alone():
        member.result = fit(member.job, on_epoch=member.told)


def _put_together(trainings: Sequence[OngoingTraining], size: int) -> Stack:
    """Give the device the rows of all, once, and the networks as one program."""
    jobs = [training.job for training in trainings]
    first = jobs[0].backend
    with backend_at_work():
        for job in jobs:
            held_by = None if job.backend is first else first
            job.backend.hold_rows(job.held_rows(jobs), held_by=held_by)
        return make_stack([job.backend for job in jobs], size=size)


def _run_epoch(stack: Stack, members: Sequence[_Member]) -> None:
    """Train each network that goes on for its next epoch, and end that epoch for each."""
    start = time.perf_counter()
    trainings = [member.training for member in members if member.training is not None]
    going = [member.goes_on for member in members]
    rates = np.stack([training.learning_rates() for training in trainings])
    with backend_at_work():
        losses = stack.train_epoch(
            [t.order_seed() if on else None for t, on in zip(trainings, going, strict=True)],
            batch_size=members[0].job.batch_size,
            learning_rates=rates,
        )
    trained_s = time.perf_counter() - start
    for member, training, rate, loss in zip(members, trainings, rates[:, -1], losses, strict=True):
        if not member.goes_on:
            continue
        start = time.perf_counter()
        with member.failing_alone():
            training.end_epoch(
                train_loss=loss / member.job.n_train_losses,
                val_loss=validation_loss(member.job, None),
                learning_rate=float(rate),
                # Of the whole program: the networks share it.
                seconds=trained_s + time.perf_counter() - start,
            )
