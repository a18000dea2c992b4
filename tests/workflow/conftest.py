"""Running the real workflow in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY, TRAINING_YAML
from tests.shared import made_once

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 6, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 500, "DELTA_T": 0.005},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 100},
    "ESTIMATOR": {"TYPE": "kde"},
}
# Tests of other things than what follows the training want it over soon.
QUICK_EVALUATION = {"n_sets": 20, "rows": 20, "n_simulated_sets": 2}
QUICK = {
    "evaluation": QUICK_EVALUATION,
    "register_networks": False,
    "bundle_networks": False,
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the workflow's files that a test may change and run in.

    Attributes
    ----------
    study
        What is made where a test names no study; ``None`` leaves it to the workflow.
    commands
        Folder of the commands; see :mod:`tests.prepared_commands` for those that start at once.
    """

    folder: Path
    study: str | None = None
    commands: Path = Path(sys.executable).parent

    def write_yaml(self, name: str, content: Any) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return name

    def write_study(self, **keys: Any) -> str:
        """A study's YAML with a small generation and training file beside it."""
        self.write_yaml("generation.yaml", GENERATION_YAML)
        self.write_yaml("training.yaml", TRAINING_YAML)
        return self.write_yaml("my_study.yaml", {**QUICK, **keys})

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command of this installation here; what it printed, both streams."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        places = (self.commands, Path(sys.executable).parent, variables["PATH"])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**variables, "PATH": os.pathsep.join(map(str, places)), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        output = done.stdout + done.stderr
        if check:
            assert done.returncode == 0, output
        else:
            assert done.returncode != 0, output
        return output

    def snakemake(self, *arguments: str, study: str | None = None, **keys: Any) -> str:
        study = study or (None if "--configfile" in arguments else self.study)
        given = ["--configfile", study] if study else []
        return self.run("snakemake", *arguments, *given, **keys)

    def planned(self, *arguments: str, study: str | None = None) -> Counter[str]:
        """Jobs that a dry-run would do, by rule."""
        output = self.snakemake("-n", *arguments, study=study)
        # As lanflow's logger writes it, or Snakemake's own where no profile selects that.
        head = r"^job +count[^\n]*\n(?:-[^\n]*\n)?"
        table = re.search(rf"{head}(.*?)^total ", output, re.DOTALL | re.MULTILINE)
        if table is None:
            assert "Nothing to be done" in output, output
            return Counter()
        rows = [line.split()[:2] for line in table[1].splitlines()]
        return Counter({name: int(count) for name, count in rows if name != "all"})


TINY = "config/examples/tiny.yaml"


def make_checkout(folder: Path, **given: Any) -> Checkout:
    """Copy the workflow's files to a folder."""
    for name in ("Snakefile", "config", "profiles", "scripts", "workflow", "environment.yml"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return Checkout(folder, **given)


@pytest.fixture
def checkout(tmp_path: Path, quick_commands: Path) -> Checkout:
    """A fresh copy, nothing made in it."""
    return make_checkout(tmp_path, commands=quick_commands)


@pytest.fixture
def tracked(checkout: Checkout, _prepared_database: Path) -> Checkout:
    """A fresh copy with a store without experiments, which takes MLflow seconds to make."""
    shutil.copy(_prepared_database, checkout.folder)
    return checkout


AS_BUILT = "as_built"


def build_tiny(factory: pytest.TempPathFactory) -> Checkout:
    """The tiny study, run to its end once for all processes.

    A copy of its results and its store as they were then is in the folder :data:`AS_BUILT`.
    """

    def build(folder: Path) -> None:
        made = make_checkout(folder, study=TINY)
        (folder / "output.txt").write_text(made.snakemake())
        shutil.copytree(folder / "results", folder / AS_BUILT / "results")
        shutil.copy(folder / "mlflow.db", folder / AS_BUILT)

    return Checkout(made_once(factory, "tiny", build), TINY)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, quick_commands: Path) -> Checkout:
    """The tiny study, finished; tests look at it and leave it as it was."""
    return replace(build_tiny(tmp_path_factory), commands=quick_commands)
