"""Queries of a Slurm cluster: its partitions, the user's accounts, whether it has accounting."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Sequence

from lanflow.cluster.site import Site
from lanflow.core.errors import UserError

# Partition, availability, time limit, memory (MB) and cores of a node, generic resources.
_PARTITION_FORMAT = "%R|%a|%l|%m|%c|%G"
_GPUS = re.compile(r"\bgpu:(?:[^:,()]+:)?(\d+)")
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)")


def describe_cluster(*, account: str | None, partitions: Sequence[str] | None) -> Site:
    """Describe this cluster with ``sinfo``, ``scontrol`` and, if it has accounting, ``sacctmgr``.

    Parameters
    ----------
    account
        Account to use in place of the user's default account.
    partitions
        Names of the partitions to use; all that are up when left out.

    Raises
    ------
    UserError
        If there is no Slurm here, it does not answer, or has no such partition or account.
    """
    found = parse_partitions(_run("sinfo", "--noheader", f"--format={_PARTITION_FORMAT}"))
    if partitions:
        unknown = sorted(set(partitions) - set(found))
        if unknown:
            raise UserError(
                f"--partitions {' '.join(unknown)}: not on this cluster, or down; it has: "
                f"{', '.join(sorted(found)) or 'none'}"
            )
        found = {name: found[name] for name in partitions}
    settings = _run("scontrol", "show", "config")
    has_accounts = re.search(r"AccountingStorageType\s*=\s*\S*slurmdbd", settings) is not None
    if has_accounts:
        account = _check_account(account)
    return Site(
        account=account,
        status_command="sacct" if has_accounts else "squeue",
        partitions=found,
    )


def parse_partitions(report: str) -> dict[str, dict[str, int]]:
    """Read the limits of each partition that is up, under the Slurm executor plugin's names.

    The report of ``sinfo`` has one line for each kind of node in a partition; the largest value of
    each limit is taken.
    """
    limits: dict[str, dict[str, int]] = {}
    for line in report.splitlines():
        name, state, time, memory, cores, resources = line.strip().split("|")
        if state != "up":
            continue
        entry = limits.setdefault(name, {})
        figures = {
            "max_runtime": _minutes(time),
            "max_mem_mb": int(memory.rstrip("+")),
            "max_threads": int(cores.rstrip("+")),
            "max_gpu": sum(map(int, _GPUS.findall(resources))) or None,
        }
        for key, value in figures.items():
            if value is not None:
                entry[key] = max(value, entry.get(key, 0))
    return limits


def _minutes(time: str) -> int | None:
    """Convert a time limit to minutes; None if there is no limit."""
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


def _check_account(account: str | None) -> str | None:
    """Return the given account if the user has it, or the user's default account if left out."""
    user = getpass.getuser()
    if account is None:
        report = _run(
            *("sacctmgr", "--noheader", "--parsable2"),
            *("show", "user", user, "format=DefaultAccount"),
        )
        return next((line.strip() for line in report.splitlines() if line.strip()), None)
    report = _run(
        *("sacctmgr", "--noheader", "--parsable2"),
        *("show", "associations", f"user={user}", "format=Account"),
    )
    accounts = {line.strip() for line in report.splitlines() if line.strip()}
    if account not in accounts:
        raise UserError(
            f"--account {account}: not one of yours; you have: "
            f"{', '.join(sorted(accounts)) or 'none'}"
        )
    return account


def _run(*command: str) -> str:
    """Run a command of Slurm and return what it prints."""
    program = shutil.which(command[0])
    if program is None:
        raise UserError(
            f"{command[0]} is not here; run 'lanflow site' on a machine of the cluster that "
            "submits jobs"
        )
    done = subprocess.run(  # noqa: S603
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        reason = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"{' '.join(command)} failed: {reason}")
    return done.stdout
