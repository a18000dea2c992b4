"""``lanflow sync``: bring runs into the MLflow store whose records wait beside the results."""

import argparse
from pathlib import Path
from typing import Any

from lanflow.command import add_store


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULTS",
        help="folders of results: of a study, a network, or a chunk of simulations",
    )
    add_store(command)


def sync(parsed: argparse.Namespace) -> dict[str, Any]:
    """Send what waits."""
    from lanflow.unsent_runs import check_sent, send_runs

    sent = send_runs(
        parsed.results,
        uri=parsed.mlflow_tracking_uri,
        artifact_location=parsed.mlflow_artifact_location,
    )
    check_sent(sent)
    return {
        "n_runs_sent": len(sent.run_ids),
        "mlflow_run_ids": sent.run_ids,
        "being_written": [str(path) for path in sent.being_written],
    }
