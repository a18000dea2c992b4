"""``jaxtrain`` and ``torchtrain``, which can replace LANfactory's commands of the same names."""

import argparse
import importlib.util
import logging
from pathlib import Path
from typing import Any

from lanflow.cli.options import (
    add_extra_files,
    add_log_level,
    add_max_repeated_sets,
    add_models_file,
    add_places,
    add_send_mode,
    add_store,
    at_a_time,
    count,
    parse_path_map,
    plain_name,
    run_command,
    seed,
    title,
    whole_number,
)
from lanflow.core.errors import UserError
from lanflow.core.interrupts import defer_signals
from lanflow.core.processes import DEFAULT_MEMORY_MB, n_cores
from lanflow.networks.types import BackendName
from lanflow.tracking.store import resolve_send_mode

log = logging.getLogger(__name__)

_EPILOG = """\
Settings not given as an option come from the environment variable named with them, then from the
default. The last line of standard output is one JSON object; everything else goes to standard
error. Exit status: 0 if every product asked for exists, 2 for options that make no sense, 130 when
interrupted (the same command goes on from there), 1 otherwise.
"""


def build_parser(backend: BackendName) -> argparse.ArgumentParser:
    """The options of one training command.

    Parameters
    ----------
    backend
        Names the command.
    """
    parser = argparse.ArgumentParser(
        prog=f"{backend}train",
        description=f"Train one network with {backend.capitalize()} on simulated data.",
        epilog=_EPILOG,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    network = parser.add_argument_group("network")
    _add_network(network)
    _add_machine(network)
    _add_outputs(network)
    _add_data(parser.add_argument_group("data (one of the modes described in the README)"))
    _add_mlflow(parser.add_argument_group("MLflow"))
    add_log_level(parser.add_argument_group("logging"))
    return parser


def _add_network(group: Any) -> None:
    group.add_argument(
        "--config-path", type=Path, help="training YAML; LANfactory's default file when left out"
    )
    group.add_argument(
        "--network-id",
        type=whole_number,
        default=0,
        metavar="N",
        help="which network of LAYER_SIZES and ACTIVATIONS to train",
    )
    group.add_argument(
        "--networks-path-base",
        type=Path,
        required=True,
        metavar="DIR",
        help="networks go to DIR/{network_type}/{model}",
        default=argparse.SUPPRESS,
    )
    group.add_argument(
        "--model", type=plain_name, help="cognitive model; takes the place of the file's MODEL"
    )
    add_models_file(group)
    group.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="decides weights, split and order"
    )


def _add_machine(group: Any) -> None:
    group.add_argument(
        "--device",
        choices=["auto", "cpu", "gpu"],
        default="auto",
        help="auto takes a GPU if there is one; gpu fails if there is none",
    )
    group.add_argument(
        "--threads",
        type=at_a_time,
        default=n_cores(),
        metavar="N",
        help="CPU threads; the same number gives the same bytes",
    )
    group.add_argument(
        "--memory-mb",
        type=count,
        default=DEFAULT_MEMORY_MB,
        metavar="N",
        help="megabytes for rows; data of more than half of it passes through a shuffle buffer",
    )


def _add_outputs(group: Any) -> None:
    group.add_argument(
        "--export-onnx",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write model.onnx, checked against the trained network",
    )
    group.add_argument(
        "--network-name",
        type=plain_name,
        metavar="NAME",
        help="name of the network's folder; the run uuid when left out",
    )
    group.add_argument(
        "--run-uuid",
        type=plain_name,
        metavar="HEX",
        help="part of the names of LANfactory's files; a fresh one when left out",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="check configuration and data, do not train"
    )


def _add_data(group: Any) -> None:
    group.add_argument(
        "--training-data-folder",
        type=Path,
        metavar="DIR",
        help="folder of training files; with an experiment id, every tracked file must be in it",
    )
    group.add_argument(
        "--data-generation-experiment-id",
        dest="data_generation_experiment",
        metavar="ID",
        help="MLflow experiment (id or name) that the data came from; switches tracking on",
    )
    group.add_argument(
        "--data-set",
        type=Path,
        metavar="DIR",
        help="data set packed by 'lanflow materialise', in place of the two above",
    )
    group.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="manifest of --data-set; manifest.json beside it when left out",
    )
    group.add_argument(
        "--data-cache",
        type=Path,
        metavar="DIR",
        help="where training files are packed, once; .data_sets in the networks' folder by default",
    )
    add_places(group)
    add_extra_files(group)
    add_max_repeated_sets(group, "refuse data with more repeated parameter sets than this share")
    group.add_argument(
        "--dl-workers",
        type=whole_number,
        default=1,
        metavar="N",
        help="accepted for LANfactory's scripts; packed data needs no loader processes",
    )


def _add_mlflow(group: Any) -> None:
    group.add_argument("--mlflow-on", action="store_true", help="track this training in MLflow")
    group.add_argument(
        "--mlflow-run-name",
        type=title,
        metavar="NAME",
        help="name of the run; switches tracking on",
    )
    group.add_argument(
        "--mlflow-run-id", metavar="ID", help="continue this run; switches tracking on"
    )
    group.add_argument(
        "--mlflow-experiment-name",
        type=title,
        metavar="NAME",
        help="experiment of the run (MLFLOW_EXPERIMENT_NAME, then {model}-training)",
    )
    add_store(group)
    add_send_mode(group)


def jaxtrain(arguments: list[str] | None = None) -> int:
    """Train with JAX."""
    return run_command(build_parser("jax"), lambda parsed: _train("jax", parsed), arguments)


def torchtrain(arguments: list[str] | None = None) -> int:
    """Train with Torch."""
    return run_command(build_parser("torch"), lambda parsed: _train("torch", parsed), arguments)


def _train(backend: BackendName, parsed: argparse.Namespace) -> dict[str, Any]:
    with defer_signals():
        from lanflow.training.run import TrainingOptions, train

    # An option sets the field of TrainingOptions that has its name; these two set none.
    given = {k: v for k, v in vars(parsed).items() if k not in ("log_level", "dl_workers")}
    given["path_map"] = parse_path_map(parsed.path_map)
    given["mlflow_send"] = resolve_send_mode(parsed.mlflow_send)
    options = TrainingOptions(backend=backend, **given)
    if options.is_tracked and importlib.util.find_spec("mlflow") is None:
        _check_goes_without_mlflow(options.data_generation_experiment, options.mlflow_run_id)
        if options.mlflow_send != "later":
            log.warning(
                "MLflow is not installed, so tracking is disabled: pip install lanflow[mlflow]"
            )
            options = options.without_tracking()
    return dict(train(options))


def _check_goes_without_mlflow(experiment: str | None, run_id: str | None) -> None:
    """Refuse options that name something in a store."""
    for given, option in (
        (experiment, "--data-generation-experiment-id"),
        (run_id, "--mlflow-run-id"),
    ):
        if given:
            raise UserError(
                f"{option} needs MLflow, which is not installed: pip install lanflow[mlflow]"
            )
