"""``lanflow sync``: bring runs into the MLflow store whose records wait beside the results."""

import argparse
from pathlib import Path
from typing import Any

from lanflow.command import add_store, store_of


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
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
    command.add_argument("--output", type=Path, metavar="FILE", help="JSON")
    add_store(command)


def sync(parsed: argparse.Namespace) -> dict[str, Any]:
    """Send what waits, and what another store has, if that is asked for."""
    from lanflow.atomic import write_json
    from lanflow.moved_runs import move_runs
    from lanflow.unsent_runs import check_sent, send_runs

    sent = send_runs(
        parsed.results,
        uri=parsed.mlflow_tracking_uri,
        artifact_location=parsed.mlflow_artifact_location,
    )
    check_sent(sent)
    result: dict[str, Any] = {
        "n_runs_sent": len(sent.run_ids),
        "mlflow_run_ids": sent.run_ids,
        "being_written": [str(path) for path in sent.being_written],
    }
    if parsed.moved:
        store = store_of(parsed)
        moved = move_runs(parsed.results, store)
        result |= {"tracking_uri": store.shown_uri, "moved": moved}
    if parsed.output is not None:
        write_json(parsed.output, result)
    return result
