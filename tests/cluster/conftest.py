"""Fixtures: the servers, and the tiny study run with them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.services import (
    Slurm,
    TrackingServer,
    missing_packages,
    run_mlflow,
    run_postgres,
    run_s3,
    run_slurm,
)
from tests.readme import commands_with
from tests.workflow.conftest import AS_BUILT, TINY, Checkout, build_tiny, make_checkout

PASSWORD = "correct-horse-battery"

# Quick answers from a cluster of one node; what a profile asks for otherwise is for real ones.
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")

# On a developer's machine these tests are left out where Slurm is not; see tests/conftest.py.
if missing_packages() and not os.environ.get("CI"):
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class ClusterCheckout:
    """A copy of the repository whose jobs go to Slurm and whose runs go to the server."""

    checkout: Checkout
    slurm: Slurm
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.checkout.folder

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        return self.checkout.run(*command, check=check, **{**self.environment, **environment})

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> str:
        study = [] if "--configfile" in arguments else ["--configfile", TINY]
        command = ["snakemake", "--profile", "slurm", *QUICK, *study, *arguments]
        return self.run(*command, check=check, **environment)

    def write_yaml(self, name: str, content: Any) -> str:
        return self.checkout.write_yaml(name, content)


@pytest.fixture(scope="session")
def services_folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need it, that the user of PostgreSQL can read."""
    assert not missing_packages(), f"missing: {missing_packages()}; see .ci/install-system-packages"
    folder = Path(tempfile.mkdtemp(prefix="lanflow-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _subfolder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def slurm(services_folder: Path) -> Iterator[Slurm]:
    with run_slurm(_subfolder(services_folder, "slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def server(services_folder: Path) -> Iterator[TrackingServer]:
    with (
        run_postgres(_subfolder(services_folder, "postgres")) as database,
        run_s3(_subfolder(services_folder, "s3")) as s3,
        run_mlflow(_subfolder(services_folder, "mlflow"), database, s3) as tracking,
    ):
        yield tracking


@pytest.fixture(scope="session")
def _local_build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Future[Checkout | None]"]:
    """A local run of the study, started beside the one in Slurm if a test needs it."""
    is_wanted = any("local_study" in getattr(i, "fixturenames", ()) for i in request.session.items)

    def build() -> Checkout | None:
        return build_tiny(tmp_path_factory) if is_wanted else None

    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(build)


@pytest.fixture(scope="session")
def cluster_study(
    _local_build: "Future[Checkout | None]",
    slurm: Slurm,
    server: TrackingServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> ClusterCheckout:
    """Run the tiny study with the README's commands and a password in the server's URI."""
    built = ClusterCheckout(
        make_checkout(tmp_path_factory.mktemp("cluster")),
        slurm,
        {
            **slurm.environment,
            "MLFLOW_TRACKING_URI": server.url.replace("//", f"//alice:{PASSWORD}@"),
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        },
    )
    (built.folder / "my_study.yaml").symlink_to("config/examples/tiny.yaml")
    site, snakemake = (line.split() for line in commands_with("lanflow site"))
    built.run(*(server.url if "//" in word else word for word in site))
    output = built.run(*snakemake, *QUICK, "--slurm-keep-successful-logs")
    (built.folder / "output.txt").write_text(output)
    return built


@pytest.fixture(scope="session")
def local_study(_local_build: "Future[Checkout | None]") -> Checkout:
    """The same study on this machine, tracked in SQLite, as it was when it was built."""
    built = _local_build.result()
    assert built is not None
    return Checkout(built.folder / AS_BUILT)
