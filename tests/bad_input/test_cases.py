"""Every case of the catalogue: one message, a non-zero exit, no traceback, nothing written."""

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Collection
from pathlib import Path

import pytest

from lanflow.cli.main import main as lanflow
from lanflow.cli.train import jaxtrain, torchtrain
from lanflow.core.errors import UserError
from lanflow.study.config import load_study, read_generations
from tests.bad_input import (
    cases_data,
    cases_generation,
    cases_inventories,
    cases_networks,
    cases_options,
    cases_stores,
    cases_study,
    cases_training,
)
from tests.bad_input.case import STORE, Case
from tests.bad_input.cases_study import StudyCase

COMMANDS = {"lanflow": lanflow, "jaxtrain": jaxtrain, "torchtrain": torchtrain}
MODULES = (
    cases_options,
    cases_training,
    cases_generation,
    cases_data,
    cases_inventories,
    cases_networks,
    cases_stores,
)
CASES = [
    (module.__name__.rpartition("cases_")[2], case) for module in MODULES for case in module.CASES
]
# A message is one line; one that lists files or faults has a line for each.
MOST_CHARACTERS = 3000


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder, itself excepted."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir()
    } | {f"{p.relative_to(folder)}/": (0, 0) for p in folder.rglob("*") if p.is_dir()}


def without(
    found: dict[str, tuple[int, int]], names: Collection[str]
) -> dict[str, tuple[int, int]]:
    return {
        path: each
        for path, each in found.items()
        if path not in names and path.split("/")[0] not in names
    }


def count_runs(database: Path) -> int:
    """Runs in an SQLite store."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM runs")
    return int(number)


def run(words: list[str]) -> int:
    """Run a command in this process; its exit status."""
    try:
        return COMMANDS[words[0]](words[1:])
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{kind}: {c.name}") for kind, c in CASES])
def test_bad_input_is_refused(
    case: Case,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    for name, made in case.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(made):
            made(path, base)
        else:
            path.write_bytes(made if isinstance(made, bytes) else made.encode())
    if STORE in case.may_write:
        shutil.copy(base / STORE, STORE)
    words = [word.replace("{base}", str(base)) for word in case.command]
    before, base_before = without(content(tmp_path), case.may_write), content(base)
    status = run(words)
    out, err = capsys.readouterr()
    message = caplog.text + err
    assert status in (1, 2), message + out
    assert out == ""
    assert "Traceback" not in message
    assert "unexpected error" not in message
    assert re.search(case.expected, message), message
    assert len(message) < MOST_CHARACTERS + len(str(base)) * 10, message[:5000]
    assert without(content(tmp_path), case.may_write) == before
    assert content(base) == base_before
    if STORE in case.may_write:
        assert count_runs(tmp_path / STORE) == 0


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in cases_study.CASES])
def test_a_bad_study_is_refused(case: StudyCase) -> None:
    with pytest.raises(UserError, match=case.expected) as caught:
        read_generations(load_study(case.content, []))
    assert len(str(caught.value)) < MOST_CHARACTERS


def test_the_catalogue_is_large_and_names_each_case_once() -> None:
    assert len(CASES) >= 150
    names = [f"{kind}: {case.name}" for kind, case in CASES]
    assert sorted(names) == sorted(set(names))
