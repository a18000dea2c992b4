"""What jobs find in their environment, and what a new conda environment gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanflow import environment
from lanflow.environment import export_environment, require_commands
from lanflow.errors import UserError
from lanflow.store import resolve_store
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "environment.post-deploy.sh"


def test_commands_beside_the_interpreter_or_on_the_path_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    with pytest.raises(UserError, match="'lanflow' is neither beside Snakemake nor on the PATH"):
        require_commands()
    for folder in ("other", "bin"):
        command = tmp_path / folder / "lanflow"
        command.parent.mkdir()
        command.touch(mode=0o755)
        require_commands()
        command.unlink()


def test_two_modules_of_one_workflow_share_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_exported", [])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for _ in range(2):
        export_environment(resolve_store(uri="http://one"), contacts=Path("contacts"))
    with pytest.raises(UserError, match=r"in http://one and in http://\*\*\*@two, but all jobs"):
        export_environment(resolve_store(uri="http://me:secret@two"), contacts=Path("contacts"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://one"


def post_deploy(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a Python that tells what it was asked for."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT)],
        cwd=folder,
        env={"PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_conda_environment_gets_the_lanflow_of_the_workflow(tmp_path: Path) -> None:
    source = {environment.SOURCE_VARIABLE: str(REPOSITORY)}
    done = post_deploy(tmp_path, **source)
    assert done.stdout == f"-m pip install --no-deps --editable {REPOSITORY}\n"
    source = {environment.SOURCE_VARIABLE: "git+https://host/lab/lanflow@v1"}
    done = post_deploy(tmp_path, **source)
    assert done.stdout == "-m pip install --no-deps git+https://host/lab/lanflow@v1\n"


def test_without_the_snakefile_nothing_is_installed(tmp_path: Path) -> None:
    done = post_deploy(tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "LANFLOW_SOURCE: it is set by the Snakefile" in done.stderr
