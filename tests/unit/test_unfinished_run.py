import json
from pathlib import Path

import pytest

from lanflow.recorded_run import recorded_run
from lanflow.store import Store
from lanflow.unfinished_run import interrupted_run, mark_unfinished

WORK = {"mlflow_experiment": "ddm-training", "n_epochs": 3}


@pytest.fixture
def marked(tmp_path: Path) -> tuple[Path, str]:
    """The mark of a run that no store was told of, and the run's key."""
    nowhere = Store(f"sqlite:///{tmp_path}/none.db")
    path = tmp_path / "unfinished.json"
    with recorded_run(
        nowhere, tmp_path, experiment="ddm-training", name="mine", tags={}, sending="later"
    ) as run:
        mark_unfinished(path, WORK, run)
        return path, run.key


def test_the_same_work_finds_its_run_and_other_work_does_not(
    tmp_path: Path, marked: tuple[Path, str]
) -> None:
    path, key = marked
    nowhere = Store(f"sqlite:///{tmp_path}/none.db")
    assert interrupted_run(nowhere, "later", path, WORK) == (key, None)
    assert interrupted_run(nowhere, "later", path, {**WORK, "n_epochs": 4}) == (None, None)
    assert interrupted_run(nowhere, "later", tmp_path / "none.json", WORK) == (None, None)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps(WORK)])
def test_a_damaged_mark_is_none(tmp_path: Path, marked: tuple[Path, str], content: str) -> None:
    path, _ = marked
    path.write_text(content)
    nowhere = Store(f"sqlite:///{tmp_path}/none.db")
    assert interrupted_run(nowhere, "later", path, WORK) == (None, None)


def test_a_run_that_the_store_does_not_know_gives_way_to_another(
    store: Store, marked: tuple[Path, str]
) -> None:
    path, _ = marked
    path.write_text(json.dumps({**json.loads(path.read_text()), "mlflow_run_id": "f" * 32}))
    assert interrupted_run(store, "now", path, WORK) == (None, None)
