"""Commands for clusters: ``lanflow check-node`` and ``lanflow site``."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lanflow.command import add_store
from lanflow.store import resolve_store

# As cli._command: the commands' parsers, name, help and what is called.
AddCommand = Callable[[Any, str, str, Any], argparse.ArgumentParser]

# MLflow would ask a server that is not there for four minutes; a check may be told at once.
_RETRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

_SENDING = "LANFLOW_MLFLOW_SEND"


def add_check_node(commands: Any, add: AddCommand) -> None:
    """Add ``check-node``."""
    command = add(
        commands,
        "check-node",
        "check that jobs reach the store from this machine, and see its GPU",
        _check_node,
    )
    command.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names, as prepared")
    command.add_argument("--output", type=Path, metavar="FILE", help="record of what was seen")
    command.add_argument(
        "--gpu-for",
        choices=["jax", "torch"],
        metavar="jax|torch",
        help="a backend that must see a GPU here",
    )
    add_store(command)


def _check_node(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_json
    from lanflow.preflight import check_node

    fail_soon()
    # Nodes that reach no server keep their runs beside the results, to be sent from elsewhere.
    experiments = parsed.experiments if os.environ.get(_SENDING) != "later" else []
    store = resolve_store(
        uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
    )
    record = check_node(store, experiments, backend=parsed.gpu_for)
    if parsed.output:
        write_json(parsed.output, record)
    return record


def fail_soon() -> None:
    """Let a check tell of a server that is not there soon; what a user has set stays."""
    os.environ.setdefault(*_RETRIES)


def add_site(commands: Any, add: AddCommand) -> None:
    """Add ``site``."""
    command = add(
        commands,
        "site",
        "write what this cluster has of its own beside the profile, once",
        _site,
    )
    command.add_argument(
        "--profile", type=Path, default=Path("profiles/slurm"), metavar="DIR", help="the profile"
    )
    command.add_argument("--account", metavar="NAME", help="your default one when left out")
    command.add_argument(
        "--partitions",
        nargs="+",
        metavar="NAME",
        help="that jobs may use; all that are up when left out",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="write over the site file that is there"
    )
    add_store(command)


def _site(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.site import write_site
    from lanflow.slurm_report import describe_cluster
    from lanflow.store import ARTIFACT_VARIABLE, URI_VARIABLE

    given = {
        URI_VARIABLE: parsed.mlflow_tracking_uri,
        ARTIFACT_VARIABLE: parsed.mlflow_artifact_location,
    }
    site = describe_cluster(account=parsed.account, partitions=parsed.partitions)
    variables = {name: value for name, value in given.items() if value}
    site = site.model_copy(update={"environment": variables})
    path, link = write_site(parsed.profile, site, overwrite=parsed.overwrite)
    return {
        "site": str(path),
        "link": str(link),
        "account": site.account,
        "partitions": sorted(site.partitions),
    }
