"""The commands ``lanflow check-node``, ``lanflow site`` and ``lanflow sync``."""

import argparse
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lanflow.cli.options import add_store, output_file, store_of
from lanflow.core.errors import UserError
from lanflow.networks.types import BackendName
from lanflow.tracking.store import SEND_MODE_VARIABLE, Store

# The type of cli.main._command: takes the subparsers, name, help, and the function to call.
AddCommand = Callable[[Any, str, str, Any], argparse.ArgumentParser]

# MLflow retries a server that does not answer for four minutes; a check can fail sooner.
_RETRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def add_check_node(commands: Any, add: AddCommand) -> None:
    """Add ``check-node``."""
    command = add(
        commands,
        "check-node",
        "check that jobs reach the store from this machine, and see its GPU",
        _check_node,
    )
    command.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names, as prepared")
    command.add_argument(
        "--output", type=output_file, metavar="FILE", help="record of what was seen"
    )
    command.add_argument(
        "--gpu-for",
        choices=["jax", "torch"],
        metavar="jax|torch",
        help="a backend that must see a GPU here",
    )
    add_store(command)


def _check_node(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_json

    limit_mlflow_retries()
    # Jobs that do not send their runs need no store: the runs are sent from another machine.
    experiments = parsed.experiments if os.environ.get(SEND_MODE_VARIABLE) != "later" else []
    record = check_node(store_of(parsed), experiments, backend=parsed.gpu_for)
    if parsed.output:
        write_json(parsed.output, record)
    return record


def limit_mlflow_retries() -> None:
    """Let checks of a server that does not answer fail soon, unless the user set the variable."""
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
    from lanflow.cluster.site import write_site
    from lanflow.cluster.slurm import describe_cluster
    from lanflow.tracking.store import ARTIFACT_VARIABLE, URI_VARIABLE

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


def add_sync_options(command: argparse.ArgumentParser) -> None:
    """Add the options of ``sync``."""
    command.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULTS",
        help="folders of results: of a study, a network, or a chunk of simulations",
    )
    command.add_argument(
        "--moved",
        action="store_true",
        help="also record finished runs in the store that were recorded in another one",
    )
    command.add_argument(
        "--all",
        action="store_true",
        dest="all_runs",
        help="the same, and those that were recorded in the store but are not there any more",
    )
    command.add_argument("--output", type=output_file, metavar="FILE", help="JSON")
    add_store(command)


def sync(parsed: argparse.Namespace) -> dict[str, Any]:
    """Send unsent runs and, with ``--moved`` or ``--all``, finished runs that a store lacks."""
    from lanflow.core.files import write_json
    from lanflow.tracking.sync import move_runs, require_all_sent, sync_runs

    sent = sync_runs(
        parsed.results,
        uri=parsed.mlflow_tracking_uri,
        artifact_location=parsed.mlflow_artifact_location,
    )
    require_all_sent(sent)
    result: dict[str, Any] = {
        "n_runs_sent": len(sent.run_ids),
        "mlflow_run_ids": sent.run_ids,
        "being_written": [str(path) for path in sent.being_written],
    }
    if parsed.moved or parsed.all_runs:
        store = store_of(parsed)
        moved = move_runs(parsed.results, store, all_runs=parsed.all_runs)
        result |= {"tracking_uri": store.shown_uri, "moved": moved}
    if parsed.output is not None:
        write_json(parsed.output, result)
    return result


def check_node(
    store: Store, experiments: Sequence[str], *, backend: BackendName | None = None
) -> dict[str, Any]:
    """Check from a node that its jobs can reach the store and see a GPU.

    Parameters
    ----------
    store, experiments
        The store, and the names of its experiments; none if jobs do not contact the store.
    backend
        A backend that needs a GPU; ``None`` if none does.

    Returns
    -------
    dict
        The node, the store, and the GPU that was found.

    Raises
    ------
    UserError
        If the node cannot reach the store or sees no GPU.
    """
    node = platform.node()
    try:
        if experiments:
            from lanflow.tracking.preflight import prepare

            prepare(store, experiments)  # not done yet for a module of another workflow
    except UserError as e:
        raise UserError(f"from node {node}: {e}") from e
    device = None if backend is None else _find_gpu(backend, node)
    return {"node": node, "tracking_uri": store.shown_uri, "gpu": device}


def _find_gpu(backend: BackendName, node: str) -> str:
    """Return the name of the GPU that a backend sees."""
    from lanflow.training.backend import make_backend

    try:
        return make_backend(backend, device="gpu", threads=1).device
    except UserError as e:
        raise UserError(
            f"from node {node}: {e}. The study asks for a GPU (device: gpu), and a job was given "
            "one that its backend does not see; nothing was trained on the CPU instead"
        ) from e
