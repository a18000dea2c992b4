"""Queries of a Slurm cluster, whose commands are replaced by programs that print."""

import os
from pathlib import Path

import pytest

from lanflow.cluster.slurm import describe_cluster, parse_partitions
from lanflow.core.errors import UserError

SINFO = """\
short|up|4:00:00|192000|48|(null)
long|up|7-00:00:00|192000+|32+|(null)
gpu|up|1-00:00:00|512000|64|gpu:a100:4(S:0-1),nvme:1
gpu|up|1-00:00:00|256000|32|gpu:2
open|up|infinite|1000|2|(null)
old|down|infinite|1000|2|(null)
"""


def test_the_largest_figures_of_each_partition_that_is_up() -> None:
    assert parse_partitions(SINFO) == {
        "short": {"max_runtime": 240, "max_mem_mb": 192000, "max_threads": 48},
        "long": {"max_runtime": 10080, "max_mem_mb": 192000, "max_threads": 32},
        "gpu": {"max_runtime": 1440, "max_mem_mb": 512000, "max_threads": 64, "max_gpu": 4},
        "open": {"max_mem_mb": 1000, "max_threads": 2},
    }


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands, the only ones on the PATH besides the shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/bin", "/usr/bin"]))
    _program(folder, "sinfo", SINFO)
    _program(folder, "scontrol", "AccountingStorageType   = accounting_storage/slurmdbd\n")
    _program(folder, "sacctmgr", "lab\nteaching\n")
    return folder


def _program(folder: Path, name: str, output: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {status}\n")
    path.chmod(0o755)


def test_where_there_is_accounting_it_tells_status_and_account(programs: Path) -> None:
    site = describe_cluster(account=None, partitions=["gpu", "short"])
    assert (site.account, site.status_command) == ("lab", "sacct")
    assert list(site.partitions) == ["gpu", "short"]
    assert describe_cluster(account="teaching", partitions=None).account == "teaching"


def test_without_accounting_squeue_tells_status(programs: Path) -> None:
    _program(programs, "scontrol", "AccountingStorageType   = accounting_storage/none\n")
    site = describe_cluster(account=None, partitions=None)
    assert (site.account, site.status_command) == (None, "squeue")


def test_an_account_or_partition_that_is_not_there_is_told_with_those_that_are(
    programs: Path,
) -> None:
    with pytest.raises(UserError, match=r"--account other.*you have: lab, teaching"):
        describe_cluster(account="other", partitions=None)
    with pytest.raises(UserError, match=r"--partitions big.*gpu, long, open, short"):
        describe_cluster(account=None, partitions=["big", "gpu"])


def test_a_cluster_that_does_not_answer_is_one_message(programs: Path) -> None:
    _program(programs, "sinfo", "Unable to contact slurm controller\n", status=1)
    with pytest.raises(UserError, match=r"sinfo .* failed: Unable to contact"):
        describe_cluster(account=None, partitions=None)


def test_a_machine_without_slurm_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sinfo is not here; run 'lanflow site' on a machine"):
        describe_cluster(account=None, partitions=None)
