"""``lanflow recover``: simulated subjects, and their parameters found again."""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanflow.command import count, n_cores, whole_number

log = logging.getLogger(__name__)


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
    command.add_argument(
        "--method",
        choices=["auto", "nuts", "maximum-likelihood"],
        default="auto",
        help="nuts samples posteriors with HSSM; auto does where HSSM is installed",
    )
    command.add_argument(
        "--hssm-python",
        metavar="PATH",
        help="interpreter that has HSSM; this one when left out",
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
    from lanflow.simulated_subjects import Recoverable, simulate_subjects

    python = _hssm_python(parsed)
    network = Recoverable.from_folder(parsed.folder)
    size: dict[str, Any] = {"n_trials": parsed.n_trials, "seed": parsed.seed}
    subjects = simulate_subjects(network, n_subjects=parsed.n_subjects, **size)
    with Progress(len(subjects), f"{network.title}: recovering", "subject") as progress:
        how: dict[str, Any] = {"n_processes": parsed.processes, "on_subject": progress.advance}
        if python is None:
            from lanflow.recovery import fit_subjects
            from lanflow.recovery_record import likelihood_record

            record = likelihood_record(
                network, subjects, fit_subjects(network, subjects, **how), **size
            )
        else:
            from lanflow.posterior_sampling import sample_subjects
            from lanflow.recovery_record import posterior_record

            record = posterior_record(
                network, subjects, sample_subjects(network, subjects, python=python, **how), **size
            )
    if parsed.plot is not None:
        from lanflow.recovery_plots import draw_recovery

        write_bytes(parsed.plot, draw_recovery(record))
    write_json(parsed.output, record)
    return {
        "recovery": str(parsed.output),
        "method": record["method"],
        "rank_correlation": {name: one["spearman"] for name, one in record["summary"].items()},
        **_of_method(record),
        "n_undecided": record["n_undecided"],
        "plot": None if parsed.plot is None else str(parsed.plot),
    }


def _hssm_python(parsed: argparse.Namespace) -> str | None:
    """The interpreter to sample with, or None for maximum likelihood."""
    from lanflow.errors import UserError
    from lanflow.hssm_process import find_hssm

    if parsed.method == "maximum-likelihood":
        return None
    python: str = parsed.hssm_python or sys.executable
    missing = find_hssm(python)
    if missing is None:
        return python
    if parsed.method == "nuts" or parsed.hssm_python is not None:
        raise UserError(f"posteriors are sampled with HSSM, but {missing}")
    log.info("maximum likelihood: %s", missing)
    return None


def _of_method(record: Mapping[str, Any]) -> dict[str, Any]:
    """What only one of the methods has to tell."""
    summary = record["summary"].items()
    if "posterior" in record:
        keys = ("coverage", "rank_uniformity_p")
        of_each = {key: {name: one[key] for name, one in summary} for key in keys}
        return {**of_each, "n_not_converged": record["n_not_converged"]}
    at_bound = {name: one["n_at_lower"] + one["n_at_upper"] for name, one in summary}
    return {"n_at_bound": at_bound, "n_below_truth": record["n_below_truth"]}
