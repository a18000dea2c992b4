"""Files that a study names: the places searched, and the lines for the user."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.study.config import load_study
from lanflow.study.files import FileSearch, locate_files, print_once

STUDY: dict[str, Any] = {
    "models": {
        "ddm": {
            "data": {"generate": {"config": "generation.yaml"}},
            "networks": {"lan": {"config": "net/training.yaml"}},
        }
    }
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The folder of the study file."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path / "lab"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The workflow's own folder."""
    (tmp_path / "workflow").mkdir()
    return tmp_path / "workflow"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def located(
    *config_paths: Path | str,
    own: Path,
    content: dict[str, Any] = STUDY,
    with_prefix: Callable[[str], str] = lambda path: path,
) -> tuple[dict[str, Any], list[str]]:
    def workflow_file(name: str) -> str | None:
        return str(own / name) if (own / name).exists() else None

    study, lines = locate_files(
        load_study(content, config_paths), FileSearch(config_paths, workflow_file, with_prefix)
    )
    return study.models["ddm"].model_dump(), lines


def configs(model: dict[str, Any]) -> tuple[str, str]:
    return model["data"]["generate"]["config"], model["networks"]["lan"]["config"]


def test_beside_the_study_comes_first_then_here_then_the_workflow(
    here: Path, beside: Path, own: Path
) -> None:
    study = beside / "study.yaml"
    touch(own / "generation.yaml", own / "net/training.yaml")
    model, lines = located(study, own=own)
    assert configs(model) == (f"{own}/generation.yaml", f"{own}/net/training.yaml")
    assert lines == [
        f"generation.yaml of {study}: taken from {own}/generation.yaml",
        f"net/training.yaml of {study}: taken from {own}/net/training.yaml",
    ]
    touch(here / "generation.yaml", here / "net/training.yaml")
    model, lines = located(study, own=own)
    assert configs(model) == ("generation.yaml", "net/training.yaml")
    assert lines == []
    touch(beside / "generation.yaml")
    model, lines = located(study, own=own)
    assert configs(model) == (f"{beside}/generation.yaml", "net/training.yaml")
    # A file of the same name is here, too.
    assert lines == [f"generation.yaml of {study}: taken from {beside}/generation.yaml"]
    (here / "generation.yaml").unlink()
    assert located(study, own=own)[1] == []


def test_a_path_in_the_working_directory_stays_relative(here: Path, own: Path) -> None:
    touch(here / "lab/generation.yaml", here / "lab/net/training.yaml")
    (here / "lab/study.yaml").write_text(yaml.safe_dump(STUDY))
    for path in ("lab/study.yaml", here / "lab/study.yaml"):
        model, lines = located(path, own=own)
        assert configs(model) == ("lab/generation.yaml", "lab/net/training.yaml")
        assert lines == []


def test_names_are_kept_as_they_were_written_where_they_hold(here: Path, own: Path) -> None:
    content = yaml.safe_load(yaml.safe_dump(STUDY).replace("generation.yaml", "./generation.yaml"))
    (here / "study.yaml").write_text(yaml.safe_dump(content))
    touch(here / "generation.yaml", here / "net/training.yaml")
    model, _ = located("study.yaml", own=own, content=content)
    assert configs(model) == ("./generation.yaml", "net/training.yaml")


def test_a_prefix_of_a_module_does_not_reach_what_the_study_names(here: Path, own: Path) -> None:
    touch(here / "generation.yaml", here / "net/training.yaml")
    model, _ = located(own=own, with_prefix=lambda path: f"prefix/{path}")
    assert configs(model) == (f"{here}/generation.yaml", f"{here}/net/training.yaml")


def test_what_the_command_line_says_is_not_looked_for_beside_a_file(
    here: Path, beside: Path, own: Path
) -> None:
    touch(beside / "generation.yaml", beside / "net/other.yaml", here / "net/other.yaml")
    content = yaml.safe_load(yaml.safe_dump(STUDY).replace("training.yaml", "other.yaml"))
    model, _ = located(beside / "study.yaml", own=own, content=content)
    assert configs(model) == (f"{beside}/generation.yaml", "net/other.yaml")


def test_of_two_studies_each_file_is_looked_for_beside_the_one_that_names_it(
    here: Path, beside: Path, own: Path
) -> None:
    touch(beside / "generation.yaml", here / "more/net/own.yaml", beside / "net/own.yaml")
    more = {"models": {"ddm": {"networks": {"lan": {"config": "net/own.yaml"}}}}}
    (here / "more/study.yaml").write_text(yaml.safe_dump(more))
    content = yaml.safe_load(yaml.safe_dump(STUDY).replace("training.yaml", "own.yaml"))
    model, _ = located(beside / "study.yaml", "more/study.yaml", own=own, content=content)
    assert configs(model) == (f"{beside}/generation.yaml", "more/net/own.yaml")


def test_a_study_may_be_a_key_of_another_workflow(beside: Path, own: Path) -> None:
    touch(beside / "generation.yaml", beside / "net/training.yaml")
    (beside / "study.yaml").write_text(yaml.safe_dump({"samples": "x.csv", "nets": STUDY}))
    model, _ = located(beside / "study.yaml", own=own)
    assert configs(model) == (f"{beside}/generation.yaml", f"{beside}/net/training.yaml")


def test_a_file_that_is_nowhere_is_named_with_study_key_and_where_it_was_looked_for(
    here: Path, beside: Path, own: Path
) -> None:
    study = beside / "study.yaml"
    with pytest.raises(UserError) as caught:
        located(study, own=own)
    message = str(caught.value)
    key = "models.ddm.data.generate.config"
    assert message.startswith(f"{study}: {key}: generation.yaml: no such file; looked for beside")
    assert str(here) in message


def test_folders_and_interpreters_are_found_beside_a_study_or_left_as_they_are(
    here: Path, beside: Path, own: Path
) -> None:
    touch(beside / "net/training.yaml", beside / "files/a.pickle", beside / "venv/bin/python")
    networks = STUDY["models"]["ddm"]["networks"]
    content: dict[str, Any] = {
        "evaluation": {"hssm_python": "venv/bin/python"},
        "models": {"ddm": {"data": {"folder": "files"}, "networks": networks}},
    }
    study = beside / "study.yaml"
    study.write_text(yaml.safe_dump(content))
    search = FileSearch([study], lambda _: None, lambda path: path)
    found, _ = locate_files(load_study(content, [study]), search)
    assert found.models["ddm"].data.folder == f"{beside}/files"
    assert found.evaluation.hssm_python == f"{beside}/venv/bin/python"
    content["models"]["ddm"]["data"] = {
        "experiment": "e",
        "root": "later",
        "path_map": {"/recorded": "files"},
    }
    content["evaluation"] = {"hssm_python": "python3"}
    study.write_text(yaml.safe_dump(content))
    found, _ = locate_files(load_study(content, [study]), search)
    data = found.models["ddm"].data
    assert (data.root, data.path_map) == ("later", {"/recorded": f"{beside}/files"})
    assert found.evaluation.hssm_python == "python3"


def test_a_line_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        print_once("x.yaml of study.yaml: taken from /x.yaml")
    assert capsys.readouterr().err == "x.yaml of study.yaml: taken from /x.yaml\n"
