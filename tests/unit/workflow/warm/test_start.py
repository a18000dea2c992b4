"""When warm processes are started, and where."""

import os
import resource
from pathlib import Path

import pytest

from lanflow.workflow.warm import start
from lanflow.workflow.warm.client import VARIABLE
from lanflow.workflow.warm.start import LEAST_JOBS, WarmProcesses, private_folder, warm_up
from tests.unit.workflow.warm.conftest import wait_for


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(start, "PRELOADED", ())


def ended(warm: WarmProcesses | None) -> WarmProcesses:
    assert warm is not None
    warm.end()
    return warm


def test_several_jobs_of_the_same_threads_share_one() -> None:
    warm = warm_up({1: LEAST_JOBS, 2: LEAST_JOBS + 1, 3: LEAST_JOBS - 1}, [])
    assert warm is not None
    assert os.environ[VARIABLE] == str(warm.folder)
    wait_for(lambda: warm.n_serving() == 2)
    assert len(ended(warm)._started) == 2
    assert VARIABLE not in os.environ
    assert [process.returncode for process in warm._started] == [0, 0]
    assert not warm.folder.exists()


def test_few_jobs_start_by_themselves() -> None:
    assert warm_up({1: LEAST_JOBS - 1, 2: 1}, []) is None
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("value", ["", "off", "/a/folder"])
def test_a_variable_that_is_set_is_left_alone(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert warm_up({1: 9}, []) is None
    assert os.environ[VARIABLE] == value


def test_a_build_with_a_limit_on_memory_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**33, 2**33))
    assert warm_up({1: 9}, []) is None


def test_its_folder_is_private_and_its_path_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = private_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / ("f" * 16))) <= 100
    assert list(long.iterdir()) == []
    folder.rmdir()


def test_without_a_place_for_it_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> str:
        raise PermissionError

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert warm_up({1: 9}, []) is None


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_is_loaded_for_a_backend_is_there(backend: str) -> None:
    for name in start.OF_BACKENDS[backend]:
        module, _, function = name.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))
