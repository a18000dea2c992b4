"""pyproject.toml, environment.yml and the constraints say the same."""

import re
import tomllib
from fnmatch import fnmatch

import pytest
import yaml
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from lanflow import __version__
from tests.conftest import REPOSITORY

# Where conda-forge has another name.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "huggingface-hub": "huggingface_hub",
    "torch": "pytorch",
    "snakemake": "snakemake-minimal",
}

PARTS = ("jax", "torch", "mlflow", "generate", "evaluate", "publish", "workflow")

CONTENT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = CONTENT["project"]


def _parse(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9_-]+)(?:\[\w+\])? ?([<>=~!].*)?", requirement)
    assert match, requirement
    return match[1].lower(), match[2] or ""


def _required() -> dict[str, str]:
    """Everything that lanflow[all] needs: package -> versions."""
    (everything,) = PROJECT["optional-dependencies"]["all"]
    extras = re.fullmatch(r"lanflow\[(.*)\]", everything)[1].split(",")
    requirements = [*PROJECT["dependencies"]]
    for extra in extras:
        requirements += PROJECT["optional-dependencies"][extra]
    return dict(_parse(requirement) for requirement in requirements)


def test_the_conda_environment_has_the_versions_of_pyproject() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    entries = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    found = dict(_parse(entry) for entry in [*entries, *pip])
    assert found.pop("python") == PROJECT["requires-python"]
    found.pop("pip")
    assert found == {CONDA_NAMES.get(name, name): spec for name, spec in _required().items()}


def test_all_offers_every_part() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == set(PARTS) | {"all", "dev"}
    assert extras["all"] == [f"lanflow[{','.join(PARTS)}]"]


@pytest.mark.parametrize(
    "name", ["constraints.txt", "constraints-3.12.txt", "constraints-3.13.txt"]
)
def test_every_requirement_has_one_exact_version_in_the_constraints(name: str) -> None:
    lines = (REPOSITORY / name).read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^+\s]+", line) for line in pinned)
    versions = {line.split("==")[0].lower().replace("_", "-"): line for line in pinned}
    dev = dict(_parse(requirement) for requirement in PROJECT["optional-dependencies"]["dev"])
    needed = {name.replace("_", "-") for name in {**_required(), **dev}}
    # torch has no small build for the newer Pythons; see tests/newest/left_out.txt.
    assert needed - set(versions) == (set() if name == "constraints.txt" else {"torch"})
    assert len(versions) == len(pinned)


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert PROJECT["version"] == __version__ == citation["version"]


def test_the_logger_plugin_is_in_the_wheel_under_the_name_that_snakemake_looks_for() -> None:
    patterns = CONTENT["tool"]["setuptools"]["packages"]["find"]["include"]
    for folder in (REPOSITORY / "workflow").glob("*/__init__.py"):
        assert any(fnmatch(folder.parent.name, pattern) for pattern in patterns)
    plugins = LoggerPluginRegistry()
    assert plugins.is_installed("lanflow")
    handler = plugins.get_plugin("lanflow").log_handler
    assert handler.writes_to_stream


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    base = REPOSITORY / "workflow"
    found = {path for path in (base / "lanflow").rglob("*") if path.is_file()}
    data = CONTENT["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in base.joinpath(*package.split(".")).glob(pattern)
    }
    others = {path for path in found if path.suffix not in (".py", ".pyc")}
    assert others == packed
