"""``lanflow recover``: simulated subjects, and their parameters found again."""

import argparse
from pathlib import Path
from typing import Any

from lanflow.command import count, n_cores, whole_number


def add_recover(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.add_argument(
        "folder",
        type=Path,
        metavar="NETWORK_DIR",
        help="of a likelihood network (lan), by jaxtrain or torchtrain",
    )
    command.add_argument(
        "--n-subjects", type=count, default=50, metavar="N", help="subjects to simulate"
    )
    command.add_argument(
        "--n-trials", type=count, default=500, metavar="N", help="trials of each subject"
    )
    command.add_argument(
        "--seed", type=whole_number, default=1, metavar="N", help="of parameters and trials"
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="recovery.json")
    command.add_argument("--plot", type=Path, metavar="FILE", help="PNG, true against found")
    command.add_argument(
        "--processes", type=count, default=n_cores(), metavar="N", help="subjects at a time"
    )
    command.set_defaults(call=_recover)


def _recover(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_bytes, write_json
    from lanflow.progress import Progress
    from lanflow.recovery import Recoverable, recover
    from lanflow.recovery_record import recovery_record

    network = Recoverable.from_folder(parsed.folder)
    with Progress(parsed.n_subjects, f"{network.title}: recovering", "subject") as progress:
        subjects = recover(
            network,
            n_subjects=parsed.n_subjects,
            n_trials=parsed.n_trials,
            seed=parsed.seed,
            n_processes=parsed.processes,
            on_subject=progress.advance,
        )
    record = recovery_record(network, subjects, n_trials=parsed.n_trials, seed=parsed.seed)
    if parsed.plot is not None:
        from lanflow.recovery_plots import draw_recovery

        write_bytes(parsed.plot, draw_recovery(record))
    write_json(parsed.output, record)
    return {
        "recovery": str(parsed.output),
        "rank_correlation": {name: one["spearman"] for name, one in record["summary"].items()},
        "n_at_bound": {
            name: one["n_at_lower"] + one["n_at_upper"] for name, one in record["summary"].items()
        },
        "n_below_truth": record["n_below_truth"],
        "n_undecided": record["n_undecided"],
        "plot": None if parsed.plot is None else str(parsed.plot),
    }
