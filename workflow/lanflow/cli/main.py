"""The command ``lanflow``; its subcommands are the steps of the workflow."""

import argparse
from pathlib import Path
from typing import Any

from lanflow.cli.cluster import (
    add_check_node,
    add_site,
    add_sync_options,
    limit_mlflow_retries,
    sync,
)
from lanflow.cli.data import add_data
from lanflow.cli.evaluate import add_check_gates, add_evaluate, add_plot, add_recover
from lanflow.cli.options import (
    add_log_level,
    add_models_file,
    add_send_mode,
    add_store,
    at_a_time,
    count,
    models_file_of,
    output_file,
    plain_name,
    run_command,
    seed,
    store_of,
    title,
    whole_number,
)
from lanflow.cli.publish import add_publishing
from lanflow.core.errors import UsageError
from lanflow.core.interrupts import defer_signals
from lanflow.core.processes import n_cores
from lanflow.tracking.store import generation_experiment, resolve_send_mode


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands and their options."""
    parser = argparse.ArgumentParser(
        prog="lanflow",
        description="From simulations of a cognitive model to a trained likelihood network.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands)
    _add_generate(commands)
    add_data(commands, _command)
    _add_sync(commands)
    add_check_node(commands, _command)
    add_site(commands, _command)
    add_evaluate(_command(commands, "evaluate", "lead a network through its gates, and score it"))
    add_check_gates(_command(commands, "check-gates", "fail if a network did not pass its gates"))
    add_recover(_command(commands, "recover", "find the parameters of simulated subjects again"))
    add_publishing(commands, _command)
    add_plot(_command(commands, "plot", "draw how a network compares with its model"))
    return parser


def _command(commands: Any, name: str, help_text: str, call: Any = None) -> argparse.ArgumentParser:
    """Add a subcommand with ``--log-level``; ``call`` does its work."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add_log_level(command)
    command.set_defaults(call=call)
    return command


def _add_prepare(commands: Any) -> None:
    command = _command(
        commands, "prepare", "create, upgrade and check the MLflow store, once", _prepare
    )
    command.add_argument(
        "experiments", nargs="+", type=title, metavar="EXPERIMENT", help="names to create"
    )
    command.add_argument(
        "--output", type=output_file, metavar="FILE", help="record of what was prepared"
    )
    add_store(command)


def _prepare(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_json
    from lanflow.tracking.preflight import prepare

    limit_mlflow_retries()
    record = prepare(store_of(parsed), parsed.experiments).model_dump(mode="json")
    if parsed.output:
        write_json(parsed.output, record)
    return record


def _add_generate(commands: Any) -> None:
    command = _command(
        commands, "generate", "simulate training files, as one MLflow run", _generate
    )
    command.add_argument("--config-path", type=Path, required=True, help="data-generation YAML")
    command.add_argument("--model", type=plain_name, help="takes the place of the file's MODEL")
    add_models_file(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of this chunk alone"
    )
    command.add_argument("--n-files", type=count, default=1, metavar="N", help="files to make")
    command.add_argument(
        "--chunk", type=whole_number, default=0, metavar="N", help="number of this chunk"
    )
    command.add_argument("--seed", type=seed, default=1, metavar="N", help="of the study")
    command.add_argument(
        "--processes",
        type=at_a_time,
        default=n_cores(),
        metavar="N",
        help="sets simulated at a time",
    )
    command.add_argument("--mlflow-on", action="store_true", help="track it as a run")
    command.add_argument(
        "--mlflow-run-name", type=title, metavar="NAME", help="switches tracking on"
    )
    command.add_argument(
        "--mlflow-experiment-name",
        type=title,
        metavar="NAME",
        help="{model}-data-generation when left out",
    )
    command.add_argument(
        "--log-files",
        action="store_true",
        help="log the files as artifacts of the run, for machines that do not see the folder",
    )
    add_store(command)
    add_send_mode(command)


def _generate(parsed: argparse.Namespace) -> dict[str, Any]:
    with defer_signals():
        from lanflow.data.generation.config import read_generation_file
        from lanflow.data.generation.plan import ChunkPlan
        from lanflow.data.generation.run import generate

    config = read_generation_file(
        parsed.config_path, model=parsed.model, models_file=models_file_of(parsed)
    )
    tracked = parsed.mlflow_on or parsed.mlflow_run_name
    if parsed.log_files and not tracked:
        raise UsageError("--log-files needs a run: give --mlflow-on")
    summary = generate(
        ChunkPlan(config=config, seed=parsed.seed, chunk=parsed.chunk, n_files=parsed.n_files),
        parsed.output,
        n_processes=parsed.processes,
        store=store_of(parsed) if tracked else None,
        experiment_name=parsed.mlflow_experiment_name or generation_experiment(config.model_name),
        run_name=parsed.mlflow_run_name,
        log_files=parsed.log_files,
        send_mode=resolve_send_mode(parsed.mlflow_send),
    )
    return dict(summary)


def _add_sync(commands: Any) -> None:
    help_text = "send runs to the MLflow store whose records wait beside the results"
    add_sync_options(_command(commands, "sync", help_text, sync))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return run_command(build_parser(), lambda parsed: parsed.call(parsed), arguments)
