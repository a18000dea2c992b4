"""For clusters: the commands ``lanflow check-node``, ``lanflow site`` and ``lanflow sync``."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from lanflow.cli.command import Argument, Option, Outcome
from lanflow.cli.options import (
    Experiments,
    Folder,
    OutputFile,
    StoreOptions,
    Text,
    limit_mlflow_retries,
)
from lanflow.core.errors import UserError
from lanflow.networks.types import BackendName
from lanflow.tracking.store import SEND_MODE_VARIABLE, Store


def check_node_command(
    *,
    experiments: Annotated[Experiments, "names, as prepared"],
    output: Annotated[OutputFile | None, "record of what was seen"] = None,
    gpu_for: Annotated[BackendName | None, "a backend that must see a GPU here"] = None,
    store: StoreOptions,
) -> Outcome:
    """Check that jobs reach the store from this machine, and see its GPU."""
    from lanflow.core.files import write_json

    limit_mlflow_retries()
    # Jobs that do not send their runs need no store: the runs are sent from another machine.
    asked = experiments if os.environ.get(SEND_MODE_VARIABLE) != "later" else ()
    record = check_node(store.resolve(), asked, backend=gpu_for)
    if output:
        write_json(output, record)
    reached = f"reaches {record['tracking_uri']}" if asked else "needs no store"
    sees = f", sees {record['gpu']}" if record["gpu"] else ""
    return Outcome(record, f"{record['node']} {reached}{sees}")


def site(
    *,
    profile: Annotated[Folder, "the profile"] = Path("profiles/slurm"),
    account: Annotated[
        Text | None, Option(metavar="NAME"), "your default one when left out"
    ] = None,
    partitions: Annotated[
        tuple[Text, ...],
        Option(metavar="NAME", spreads=True),
        "that jobs may use; all that are up when left out",
    ] = (),
    overwrite: Annotated[bool, "write over the site file that is there"] = False,
    store: StoreOptions,
) -> Outcome:
    """Write what this cluster has of its own beside the profile, once."""
    from lanflow.cluster.site import write_site
    from lanflow.cluster.slurm import describe_cluster
    from lanflow.tracking.store import ARTIFACT_VARIABLE, URI_VARIABLE

    given = {
        URI_VARIABLE: store.mlflow_tracking_uri,
        ARTIFACT_VARIABLE: store.mlflow_artifact_location,
    }
    found = describe_cluster(account=account, partitions=list(partitions) or None)
    variables = {name: value for name, value in given.items() if value}
    found = found.model_copy(update={"environment": variables})
    path, link = write_site(profile, found, overwrite=overwrite)
    content = {
        "site": str(path),
        "link": str(link),
        "account": found.account,
        "partitions": sorted(found.partitions),
    }
    names = ", ".join(sorted(found.partitions))
    return Outcome(content, f"site file: {path}\naccount:   {found.account}; partitions: {names}")


class DestinationOptions(StoreOptions):
    """The MLflow store that runs are sent to."""

    mlflow_tracking_uri: Annotated[
        str | None,
        Option(names=("--mlflow-tracking-uri", "--to"), metavar="URI"),
        "store (MLFLOW_TRACKING_URI, then sqlite:///mlflow.db)",
    ] = None


def sync(
    *,
    results: Annotated[
        tuple[Path, ...],
        Argument(metavar="RESULTS"),
        "folders of results: of a study, a network, or a chunk of simulations",
    ],
    moved: Annotated[
        bool, "also record finished runs in the store that were recorded in another one"
    ] = False,
    all_runs: Annotated[
        bool,
        Option(names=("--all",)),
        "the same, and those that were recorded in the store but are not there any more",
    ] = False,
    output: Annotated[OutputFile | None, "JSON"] = None,
    store: DestinationOptions,
) -> Outcome:
    """Send runs to the MLflow store whose records wait beside the results."""
    from lanflow.core.files import write_json
    from lanflow.core.tables import count_of
    from lanflow.tracking.sync import move_runs, require_all_sent, sync_runs

    sent = sync_runs(
        results,
        uri=store.mlflow_tracking_uri,
        artifact_location=store.mlflow_artifact_location,
    )
    require_all_sent(sent)
    content: dict[str, object] = {
        "n_runs_sent": len(sent.run_ids),
        "mlflow_run_ids": sent.run_ids,
        "being_written": [str(path) for path in sent.being_written],
    }
    summary = f"{count_of(len(sent.run_ids), 'run')} sent"
    if sent.being_written:
        summary += f", {len(sent.being_written)} still being written"
    if moved or all_runs:
        place = store.resolve()
        found = move_runs(results, place, all_runs=all_runs)
        content |= {"tracking_uri": place.shown_uri, "moved": found}
        summary += f", {count_of(len(found), 'finished run')} recorded in {place.shown_uri}"
    if output is not None:
        write_json(output, content)
    return Outcome(content, summary)


def check_node(
    store: Store, experiments: Sequence[str], *, backend: BackendName | None = None
) -> dict[str, object]:
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
    from lanflow.training.backends.choose import make_backend

    try:
        return make_backend(backend, device="gpu", threads=1).device
    except UserError as e:
        raise UserError(
            f"from node {node}: {e}. The study asks for a GPU (device: gpu), and a job was given "
            "one that its backend does not see; nothing was trained on the CPU instead"
        ) from e
