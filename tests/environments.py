"""Virtual environments of other projects, under ``.cache/peers``.

LANfactory and HSSM need other versions than ours, so each has an environment of its own, made once
from pinned requirements, and is only ever run as a command.

Most of what they need is installed already, for us, in the very version that they pin. Those files
are linked, which takes a second where installing takes minutes; uv, which takes a quarter of pip's
time, then checks them and installs what is missing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY
from tests.shared import alone

CACHE = REPOSITORY / ".cache" / "peers"
_REQUIREMENTS = Path(__file__).parent / "peers"
_UV = Path(sys.executable).with_name("uv")


def run(command: Sequence[str | Path], *, folder: Path, **variables: str) -> str:
    """Run a command in a folder; its standard output. A failure ends the test with its output."""
    dropped = ("MLFLOW_", "PYTHONPATH", "PIP_CONSTRAINT", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    here = {
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "Agg",
        "PYTENSOR_FLAGS": f"base_compiledir={CACHE / 'pytensor'}",
    }
    return _output(command, folder, kept | here | variables)


def run_ours(command: Sequence[str | Path], *, folder: Path) -> str:
    """The same of a command of lanflow's that is there at once, which other variables prevent."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return _output(command, folder, kept)


def _output(command: Sequence[str | Path], folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=variables,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{tail}")
    return done.stdout


def last_line(output: str) -> Any:
    """The JSON that a command prints last."""
    return json.loads(output.splitlines()[-1])


def peer_environment(name: str) -> Path:
    """The folder of a peer's commands."""
    path = _REQUIREMENTS / f"{name}.txt"
    lines = path.read_text().splitlines()
    return _environment(name, map(Requirement, lines), ["--requirement", path], path.read_text())


def notebook_environment() -> Path:
    """The folder of commands of an environment with HSSM, lanflow, and what runs a notebook."""
    paths = [_REQUIREMENTS / f"{name}.txt" for name in ("hssm", "notebooks")]
    texts = [path.read_text() for path in paths]
    lines = [line for text in texts for line in text.splitlines() if not line.startswith("#")]
    wanted = [part for path in paths for part in ("--requirement", path)]
    wanted += ["--editable", f"{REPOSITORY}[jax,generate,evaluate]"]
    project = (REPOSITORY / "pyproject.toml").read_text()
    return _environment("notebooks", map(Requirement, lines), wanted, "".join([*texts, project]))


def own_environment(name: str, extras: str) -> Path:
    """The folder of commands of lanflow as a user installs it who wants some of its extras."""
    constraints, project = REPOSITORY / "constraints.txt", REPOSITORY / "pyproject.toml"
    wanted = ["--constraint", constraints, "--editable", f"{REPOSITORY}[{extras}]"]
    needed = _needed_by(Requirement(f"lanflow[{extras}]"))
    return _environment(name, needed, wanted, constraints.read_text() + project.read_text())


def _environment(
    name: str, needed: Iterable[Requirement], wanted: Sequence[str | Path], made_of: str
) -> Path:
    folder = CACHE / name
    stamp, digest = folder / "made_of.sha256", hashlib.sha256(made_of.encode()).hexdigest()
    with alone(CACHE / f"{name}.lock"):
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            run([_UV, "venv", "--python", sys.executable, folder], folder=CACHE)
            _link(needed, folder)
            python = folder / "bin" / "python"
            run([_UV, "pip", "install", "--python", python, *wanted], folder=CACHE)
            stamp.write_text(digest)
    return folder / "bin"


def _needed_by(root: Requirement) -> list[Requirement]:
    """What pip would install for a requirement, itself excepted."""
    found: dict[tuple[str, str], Requirement] = {}
    waiting = [root]
    while waiting:
        wanted = waiting.pop()
        package = _installed(wanted)
        for extra in ("", *wanted.extras):
            if package is None or (package.name, extra) in found:
                continue
            found[package.name, extra] = wanted
            for needed in map(Requirement, package.requires or []):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return [wanted for wanted in found.values() if wanted.name != root.name]


def _installed(wanted: Requirement) -> Distribution | None:
    """A package of this environment, if it is there in a version that is wanted."""
    try:
        package = distribution(wanted.name)
    except PackageNotFoundError:
        return None
    is_wanted = wanted.specifier.contains(package.version, prereleases=True)
    return package if is_wanted else None


def _link(needed: Iterable[Requirement], folder: Path) -> None:
    """Give an environment the files of packages of this one."""
    source = Path(sysconfig.get_path("purelib"))
    target = folder / source.relative_to(sys.prefix)
    for package in filter(None, map(_installed, needed)):
        for name in package.files or []:
            if ".." in name.parts or not (source / name).exists():
                continue  # commands, which name the interpreter they belong to
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if not (target / name).exists():
                (target / name).hardlink_to(source / name)
