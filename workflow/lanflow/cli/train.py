"""``jaxtrain`` and ``torchtrain``: drop-in for LANfactory's commands of the same names."""

import argparse
import importlib.util
import logging
from pathlib import Path
from typing import Any, Literal

from lanflow.cli.options import (
    add_extra_files,
    add_log_level,
    add_max_repeated_sets,
    add_places,
    add_send_mode,
    add_store,
    count,
    n_cores,
    parse_path_map,
    plain_name,
    run_command,
    whole_number,
)
from lanflow.core.errors import UserError
from lanflow.core.interrupts import defer_signals
from lanflow.tracking.store import resolve_send_mode
from lanflow.training.config import DEFAULT_MEMORY_MB

log = logging.getLogger(__name__)

_EPILOG = """\
Settings not given as an option come from the environment variable named with them, then from the
default. The last line of standard output is one JSON object; everything else goes to standard
error. Exit status: 0 if every product asked for exists, 2 for options that make no sense, 130 when
interrupted (the same command goes on from there), 1 otherwise.
"""


def build_parser(backend: Literal["jax", "torch"]) -> argparse.ArgumentParser:
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
    _add_network(parser.add_argument_group("network"))
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
    group.add_argument(
        "--seed", type=whole_number, default=1, metavar="N", help="decides weights, split and order"
    )
    group.add_argument(
        "--device",
        choices=["auto", "cpu", "gpu"],
        default="auto",
        help="auto takes a GPU if there is one; gpu fails if there is none",
    )
    group.add_argument(
        "--threads",
        type=count,
        default=n_cores(),
        metavar="N",
        help="of the CPU; the same number gives the same bytes",
    )
    group.add_argument(
        "--memory-mb",
        type=count,
        default=DEFAULT_MEMORY_MB,
        metavar="N",
        help="of memory for rows; data of more than half of it is shuffled in groups of pieces",
    )
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
        help="stands in the names of LANfactory's files; a fresh one when left out",
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
        type=int,
        default=1,
        metavar="N",
        help="accepted for LANfactory's scripts; packed data needs no loader processes",
    )


def _add_mlflow(group: Any) -> None:
    group.add_argument("--mlflow-on", action="store_true", help="track this training in MLflow")
    group.add_argument(
        "--mlflow-run-name", metavar="NAME", help="name of the run; switches tracking on"
    )
    group.add_argument(
        "--mlflow-run-id", metavar="ID", help="continue this run; switches tracking on"
    )
    group.add_argument(
        "--mlflow-experiment-name",
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


def _train(backend: Literal["jax", "torch"], parsed: argparse.Namespace) -> dict[str, Any]:
    with defer_signals():
        from lanflow.training.config import TrainingOptions, without_tracking
        from lanflow.training.run import train

    options = TrainingOptions(
        backend=backend,
        networks_path_base=parsed.networks_path_base,
        config_path=parsed.config_path,
        network_id=parsed.network_id,
        model=parsed.model,
        seed=parsed.seed,
        device=parsed.device,
        threads=parsed.threads,
        memory_mb=parsed.memory_mb,
        network_name=parsed.network_name,
        run_uuid=parsed.run_uuid,
        export_onnx=parsed.export_onnx,
        dry_run=parsed.dry_run,
        training_data_folder=parsed.training_data_folder,
        data_generation_experiment=parsed.data_generation_experiment_id,
        data_set=parsed.data_set,
        manifest=parsed.manifest,
        data_cache=parsed.data_cache,
        root=parsed.root,
        path_map=parse_path_map(parsed.path_map),
        use_extra_files=parsed.use_extra_files,
        max_repeated_sets=parsed.max_repeated_sets,
        mlflow_on=parsed.mlflow_on,
        mlflow_run_id=parsed.mlflow_run_id,
        mlflow_run_name=parsed.mlflow_run_name,
        mlflow_experiment_name=parsed.mlflow_experiment_name,
        mlflow_tracking_uri=parsed.mlflow_tracking_uri,
        mlflow_artifact_location=parsed.mlflow_artifact_location,
        mlflow_send=resolve_send_mode(parsed.mlflow_send),
    )
    if options.is_tracked and importlib.util.find_spec("mlflow") is None:
        for given, option in (
            (options.data_generation_experiment, "--data-generation-experiment-id"),
            (options.mlflow_run_id, "--mlflow-run-id"),
        ):
            if given:
                raise UserError(
                    f"{option} needs MLflow, which is not installed: pip install lanflow[mlflow]"
                )
        if options.mlflow_send != "later":
            log.warning(
                "MLflow is not installed, so tracking is disabled: pip install lanflow[mlflow]"
            )
            options = without_tracking(options)
    return train(options)
