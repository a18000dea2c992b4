"""What a change of a finished study makes again: exactly what the table says, in one call."""

import contextlib
import gc
import itertools
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from snakemake.exceptions import WorkflowError

from lanflow.data.generation.config import GenerationConfig
from lanflow.study.config import StudyConfig
from lanflow.training.config import TrainingFile
from tests.workflow.changes import plan as plans
from tests.workflow.changes.page import PATH, page
from tests.workflow.changes.plan import build, make_finished_study, plan
from tests.workflow.changes.table import Change, changed, read_table

TABLE = read_table()
BATCH = 250
# Two changes may make a study that says two things at once; it is refused.
CONTRADICTION = r"'root' and 'path_map' say where recorded folders are, but 'folder' already says"
# One row for each kind of file and effect is paired with every sixth of the others; with this
# variable (`make changes`, half an hour of one core) every row is paired with every other.
EVERY_PAIR = bool(os.environ.get("LANFLOW_EVERY_PAIR"))
KINDS = {(change.section, change.says): change for change in reversed(TABLE)}
SOME = [
    (one, other)
    for (i, one), (j, other) in itertools.combinations(enumerate(reversed(KINDS.values())), 2)
    if (i + j) % 6 == 0
]
PAIRS = list(itertools.combinations(TABLE, 2)) if EVERY_PAIR else SOME
# Each slice is one more finished study to make, on a worker of its own.
N_SLICES = 2 if EVERY_PAIR else 1


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study; each test leaves it as it was."""
    folder = tmp_path_factory.mktemp("finished")
    make_finished_study(folder)
    return folder


def surprises(finished: Path, changes: tuple[Change, ...]) -> str:
    """How a plan differs from what the table says of the changes together; empty if it does not."""
    with changed(finished, changes) as edited:
        try:
            jobs, planned = plan(finished, edited.environment)
        except WorkflowError as error:
            if len(changes) == 2 and re.search(CONTRADICTION, str(error)):
                return ""
            raise
    expected = set().union(*(change.expects(jobs) for change in changes))
    lines = [f"{' + '.join(change.id for change in changes)}:"]
    lines += [f"  not planned: {' '.join(job)}" for job in sorted(expected - planned)]
    lines += [f"  planned all the same: {' '.join(job)}" for job in sorted(planned - expected)]
    return "\n".join(lines) if len(lines) > 1 else ""


def test_a_finished_study_has_nothing_to_do(finished: Path) -> None:
    jobs, planned = plan(finished, {})
    assert len(jobs) > 50
    assert not planned


@pytest.mark.parametrize("change", TABLE, ids=lambda change: change.id)
def test_a_change_makes_what_the_table_says(finished: Path, change: Change) -> None:
    assert not surprises(finished, (change,))


@pytest.mark.parametrize("change", TABLE[::40], ids=lambda change: change.id)
def test_what_is_kept_from_plan_to_plan_changes_none(
    finished: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    with changed(finished, (change,)) as edited:
        kept = plan(finished, edited.environment)
        monkeypatch.setattr(plans, "answers_kept", contextlib.nullcontext)
        assert plan(finished, edited.environment) == kept


@pytest.mark.slow
@pytest.mark.parametrize("change", KINDS.values(), ids=lambda change: change.id)
def test_after_the_build_of_a_change_nothing_is_left_to_do(
    finished: Path, tmp_path: Path, change: Change
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    with changed(folder, (change,)) as edited:
        build(folder, edited.environment)
        _, planned = plan(folder, edited.environment)
    assert not planned


@pytest.mark.slow
@pytest.mark.parametrize("number", range(N_SLICES))
def test_two_changes_make_what_each_of_them_makes(finished: Path, number: int) -> None:
    pairs = PAIRS[number::N_SLICES]
    batches = [pairs[first : first + BATCH] for first in range(0, len(pairs), BATCH)]
    found = [text for batch in batches for text in surprises_of(finished, batch)]
    assert not found, f"{len(found)} pairs:\n" + "\n".join(found[:20])


def surprises_of(finished: Path, pairs: Sequence[tuple[Change, Change]]) -> list[str]:
    """What differs of several pairs, by a process that ends: Snakemake keeps plans in memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def tell() -> None:
        gc.disable()  # between plans, too: all is gone with this process
        sender.send([text for pair in pairs if (text := surprises(finished, pair))])

    process = context.Process(target=tell)
    process.start()
    sender.close()
    try:
        found: list[str] = receiver.recv()
    finally:
        process.join()
    return found


def test_the_page_for_people_is_this_table() -> None:
    assert PATH.read_text() == page(), "run 'make generated'"


def keys_of(settings: type[BaseModel]) -> Iterator[str]:
    """Dotted keys of a file's settings; a name that a person chooses is left out."""
    for name, field in settings.model_fields.items():
        inner = [t for t in _types_in(field.annotation) if issubclass(t, BaseModel)]
        key = field.alias or name
        yield from (f"{key}.{rest}" for t in inner for rest in keys_of(t)) if inner else [key]


def _types_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)


def changed_keys(file: str) -> set[str]:
    """Keys that a row of the table sets, without the names of models and networks."""
    rows = [change.does for change in TABLE if change.does.get("file") == file]
    given = [does.get(kind, {}) for does in rows for kind in ("set", "add")]
    dotted = {key for keys in given for key in _dotted(keys)}
    named = r"^models\.[^.]+(?:\.(networks)\.[^.]+)?"
    return {re.sub(named, lambda m: f"models.{m[1]}" if m[1] else "models", key) for key in dotted}


def _dotted(keys: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys, and those inside their values."""
    for key, value in keys.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in _dotted(value))


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("study.yaml", StudyConfig),
        ("generation.yaml", GenerationConfig),
        ("lan.yaml", TrainingFile),
    ],
)
def test_every_key_has_a_row(file: str, settings: type[BaseModel]) -> None:
    assert not set(keys_of(settings)) - changed_keys(file)
