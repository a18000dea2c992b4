"""What is asked for can be installed: one command for all of it, lower bounds, conda's list."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.unit.test_packaging import CONDA_NAMES

# They ask the package index for metadata; nothing is installed.
pytestmark = pytest.mark.peers

EXTRAS = "jax,mlflow,generate,evaluate,publish,workflow"


def compiled(lines: list[str], folder: Path, *options: str) -> dict[str, str]:
    """What uv resolves requirements to: versions by name."""
    (folder / "wanted.in").write_text("\n".join(lines) + "\n")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "wanted.in", "--no-annotate", "--no-header", *options]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", done.stdout, re.MULTILINE))


def names_in_one_spelling(pins: list[str]) -> list[str]:
    """Pins in order; of `a_b` and `a-b`, which are one package, an index may say either."""
    return sorted(canonicalize_name(name) + rest for name, rest in (split_pin(pin) for pin in pins))


def split_pin(pin: str) -> tuple[str, str]:
    name, equals, version = pin.partition("==")
    return name, equals + version


def test_one_command_resolves_all_of_lanflow_with_lanfactory_and_hssm(tmp_path: Path) -> None:
    wanted = [f"lanflow[all] @ {REPOSITORY.as_uri()}", "lanfactory>=0.9", "hssm>=0.5"]
    found = compiled(wanted, tmp_path, "--python-version", "3.12")
    assert {"torch", "lanfactory", "hssm", "ssm-simulators"} <= set(found)
    major, minor, *_ = map(int, found["ssm-simulators"].split("."))
    assert (major, minor) >= (0, 15)


@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_the_constraints_are_what_their_command_still_takes(python: str, tmp_path: Path) -> None:
    path = REPOSITORY / f"constraints-{python}.txt"
    content = path.read_text()
    said = re.search(r"#    uv (.*)\n", content)
    assert said is not None
    arguments = said[1].replace(f"--output-file {path.name}", "").split()
    # With its versions given, nothing contradicts what is asked for today.
    command = [str(Path(sys.executable).with_name("uv")), *arguments, "--no-header"]
    command += ["--constraint", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    pinned = [line for line in content.splitlines() if not line.startswith("#")]
    assert names_in_one_spelling(done.stdout.splitlines()) == names_in_one_spelling(pinned)


def test_the_lower_bounds_are_versions_that_exist(tmp_path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for e in EXTRAS.split(",") for line in extras[e])]
    lowest = [line.replace(">=", "==") + ".*" for line in asked]
    found = compiled(
        lowest, tmp_path, "--python-version", "3.11", "--no-deps", "--resolution", "lowest"
    )
    assert len(found) == len(lowest)


def test_conda_s_list_is_of_versions_that_exist(tmp_path: Path) -> None:
    content = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    listed = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    there = {conda: name for name, conda in CONDA_NAMES.items()}
    wanted = []
    for entry in (*listed, *pip):
        name, _, version = entry.partition(" ")
        if name not in ("python", "pip", "pytorch"):  # torch's index has gigabytes
            wanted.append(f"{there.get(name, name)}{version}")
    found = compiled(wanted, tmp_path, "--python-version", "3.12")
    assert {re.split("[<>=]", line)[0].replace("_", "-") for line in wanted} <= set(found)
