"""The steps of the Dockerfile, each run in a clean environment: no engine is needed for that."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.newest


class Container:
    """A folder that stands for the container's root, and a virtual environment for its Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workdir = root
        self.command: list[str] = []
        # Of this machine: how it reaches the package index.
        dropped = ("MLFLOW_", "PYTHON", "VIRTUAL_ENV", "SNAKEMAKE")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}

    def place(self, path: str) -> Path:
        """Where a path of the container is."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.workdir / path

    def apply(self, word: str, rest: str) -> None:
        match word:
            case "FROM":
                assert rest == "python:3.12-slim"
                subprocess.run([sys.executable, "-m", "venv", self.root / "venv"], check=True)
                self.variables["PATH"] = f"{self.root / 'venv' / 'bin'}:{os.environ['PATH']}"
                self.variables["VIRTUAL_ENV"] = str(self.root / "venv")
            case "ENV":
                named = dict(pair.split("=", 1) for pair in shlex.split(rest))
                # The environment stands for the container's own Python; no time for bytecode.
                left_out = ("UV_SYSTEM_PYTHON", "UV_COMPILE_BYTECODE")
                self.variables |= {k: v for k, v in named.items() if k not in left_out}
            case "WORKDIR":
                self.workdir = self.place(rest)
                self.workdir.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    assert f"!{source}" in (REPOSITORY / ".dockerignore").read_text().splitlines()
                    self._copy(REPOSITORY / source, self.place(target))
            case "RUN":
                # The cache makes it quicker here, and has no place in an image.
                self.run(rest.replace("--no-cache ", ""))
            case "CMD":
                self.command = json.loads(rest)
            case _:
                assert word == "USER"

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "site.yaml")
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.workdir,
            env=self.variables,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_each_step_of_the_container_s_recipe_runs_and_a_study_is_planned_in_it(
    tmp_path: Path,
) -> None:
    container = Container(tmp_path)
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, rest = line.split(maxsplit=1)
            container.apply(word, re.sub(r"\s+", " ", rest))
    assert "generate" in container.run(shlex.join(container.command))
    shutil.copy(REPOSITORY / "config" / "examples" / "first.yaml", tmp_path / "study")
    plan = (
        f"snakemake --snakefile {tmp_path}/lanflow/Snakefile --configfile first.yaml --cores 2 -n"
    )
    assert "train_network" in container.run(plan)
