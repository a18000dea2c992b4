"""``lanflow``: the steps of the workflow that a person would type."""

import argparse
from pathlib import Path
from typing import Any

from lanflow import cli_sync
from lanflow.cli_cluster import add_check_node, add_site, fail_soon
from lanflow.cli_evaluate import add_check_gates, add_evaluate
from lanflow.cli_plot import add_plot
from lanflow.cli_publish import add_publishing
from lanflow.cli_recover import add_recover
from lanflow.command import (
    add_extra_files,
    add_log_level,
    add_places,
    add_sending,
    add_store,
    count,
    n_cores,
    parse_path_map,
    run_command,
    share,
    whole_number,
)
from lanflow.errors import UsageError
from lanflow.interruption import uninterrupted
from lanflow.store import generation_experiment, resolve_sending, resolve_store


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="lanflow",
        description="From simulations of a cognitive model to a trained likelihood network.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_prepare,
        _add_generate,
        _add_query,
        _add_manifest,
        _add_verify,
        _add_materialise,
        _add_audit,
        _add_sync,
    ):
        add(commands)
    for add_with in (add_check_node, add_site):
        add_with(commands, _command)
    add_evaluate(_command(commands, "evaluate", "lead a network through its gates, and score it"))
    add_check_gates(_command(commands, "check-gates", "fail if a network did not pass its gates"))
    add_recover(_command(commands, "recover", "find the parameters of simulated subjects again"))
    add_publishing(commands, _command)
    add_plot(_command(commands, "plot", "draw how a network compares with its model"))
    return parser


def _command(commands: Any, name: str, help_text: str, call: Any = None) -> argparse.ArgumentParser:
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
    command.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names to create")
    command.add_argument("--output", type=Path, metavar="FILE", help="record of what was prepared")
    add_store(command)


def _prepare(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_json
    from lanflow.preflight import prepare

    fail_soon()
    record = prepare(_store(parsed), parsed.experiments)
    if parsed.output:
        write_json(parsed.output, record)
    return record


def _add_generate(commands: Any) -> None:
    command = _command(
        commands, "generate", "simulate training files, as one MLflow run", _generate
    )
    command.add_argument("--config-path", type=Path, required=True, help="data-generation YAML")
    command.add_argument("--model", help="takes the place of the file's MODEL")
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of this chunk alone"
    )
    command.add_argument("--n-files", type=count, default=1, metavar="N", help="files to make")
    command.add_argument(
        "--chunk", type=whole_number, default=0, metavar="N", help="number of this chunk"
    )
    command.add_argument("--seed", type=whole_number, default=1, metavar="N", help="of the study")
    command.add_argument(
        "--processes", type=count, default=n_cores(), metavar="N", help="sets simulated at a time"
    )
    command.add_argument("--mlflow-on", action="store_true", help="track it as a run")
    command.add_argument("--mlflow-run-name", metavar="NAME", help="switches tracking on")
    command.add_argument(
        "--mlflow-experiment-name", metavar="NAME", help="{model}-data-generation when left out"
    )
    command.add_argument(
        "--log-files",
        action="store_true",
        help="log the files as artifacts of the run, for machines that do not see the folder",
    )
    add_store(command)
    add_sending(command)


def _generate(parsed: argparse.Namespace) -> dict[str, Any]:
    with uninterrupted():
        from lanflow.generation import ChunkPlan
        from lanflow.generation_config import read_generation_file
        from lanflow.generation_step import generate

    config = read_generation_file(parsed.config_path, model=parsed.model)
    tracked = parsed.mlflow_on or parsed.mlflow_run_name
    if parsed.log_files and not tracked:
        raise UsageError("--log-files needs a run: give --mlflow-on")
    return generate(
        ChunkPlan(config=config, seed=parsed.seed, chunk=parsed.chunk, n_files=parsed.n_files),
        parsed.output,
        n_processes=parsed.processes,
        store=_store(parsed) if tracked else None,
        experiment_name=parsed.mlflow_experiment_name or generation_experiment(config.model_name),
        run_name=parsed.mlflow_run_name,
        log_files=parsed.log_files,
        sending=resolve_sending(parsed.mlflow_send),
    )


def _add_query(commands: Any) -> None:
    command = _command(
        commands, "query", "list the runs and files of a data-generation experiment", _query
    )
    command.add_argument("experiment", help="id or name")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON")
    command.add_argument(
        "--policy",
        choices=["complete", "salvage"],
        default="complete",
        help="refuse if a run or file is not whole, or take what is whole",
    )
    command.add_argument("--batch-id", metavar="ID", help="only runs of this generation batch")
    command.add_argument("--filter", metavar="TEXT", help="only runs that this MLflow filter takes")
    runs = command.add_mutually_exclusive_group()
    runs.add_argument("--run-ids", nargs="+", metavar="ID", help="only these runs")
    runs.add_argument(
        "--records",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="only the runs of these records of 'lanflow generate'",
    )
    add_store(command)


def _query(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_json
    from lanflow.data_source import query_experiment
    from lanflow.run_query import RunSelection
    from lanflow.unsent_runs import run_ids_of

    run_ids = parsed.run_ids
    if parsed.records is not None:
        run_ids = run_ids_of(
            parsed.records,
            uri=parsed.mlflow_tracking_uri,
            artifact_location=parsed.mlflow_artifact_location,
        )
    selection = RunSelection(
        policy=parsed.policy, batch_id=parsed.batch_id, run_ids=run_ids, filter=parsed.filter
    )
    query = query_experiment(_store(parsed), parsed.experiment, selection)
    write_json(parsed.output, query)
    return {
        "query": str(parsed.output),
        "n_runs": len(query["runs"]),
        "n_files": sum(len(run["files"]) for run in query["runs"]),
        "n_runs_left_out": len(query["left_out"]),
    }


def _add_manifest(commands: Any) -> None:
    command = _command(
        commands,
        "manifest",
        "find training files and freeze what a network is trained on",
        _manifest,
    )
    command.add_argument("--query", type=Path, metavar="FILE", help="of 'lanflow query'")
    command.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder of training files; with --query, every tracked file must be in it",
    )
    command.add_argument("--model", help="the files must be of this model")
    command.add_argument(
        "--relabel",
        choices=["auto", "analytic", "solver"],
        help="labels are computed anew when the files are packed, in place of those in the files",
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON")
    command.add_argument(
        "--download",
        type=Path,
        metavar="DIR",
        help="where files go that runs logged as artifacts, if their folder is not seen here",
    )
    add_places(command)
    add_extra_files(command)
    add_store(command)


def _manifest(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_json
    from lanflow.data_source import download_absent, freeze, read_record
    from lanflow.lineage import Places
    from lanflow.run_query import QUERY_VERSION

    if parsed.query is None and parsed.folder is None:
        raise UsageError("give --query, --folder, or both")
    query = None
    if parsed.query is not None:
        query = read_record(parsed.query, "query_version", QUERY_VERSION)
    places = Places(
        folder=parsed.folder,
        root=parsed.root,
        path_map=parse_path_map(parsed.path_map),
        use_extra_files=parsed.use_extra_files,
    )
    if query is not None and parsed.download is not None:
        places = download_absent(_store(parsed), query, places, parsed.download)
    manifest = freeze(query=query, places=places, model=parsed.model, relabel=parsed.relabel)
    write_json(parsed.output, manifest)
    return {
        "manifest": str(parsed.output),
        "digest": manifest["digest"],
        "n_files": len(manifest["files"]),
    }


def _add_verify(commands: Any) -> None:
    command = _command(
        commands, "verify", "check that a manifest's files are still what was frozen", _verify
    )
    command.add_argument("manifest", type=Path, help="of 'lanflow manifest'")


def _verify(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.data_source import read_manifest, verify

    manifest = read_manifest(parsed.manifest)
    verify(manifest)
    return {
        "manifest": str(parsed.manifest),
        "digest": manifest["digest"],
        "n_files": len(manifest["files"]),
        "size_bytes": sum(file["size_bytes"] for file in manifest["files"]),
    }


def _add_materialise(commands: Any) -> None:
    command = _command(
        commands, "materialise", "pack a manifest's files into arrays for training", _materialise
    )
    command.add_argument("manifest", type=Path, help="of 'lanflow manifest'")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="the data set")
    command.add_argument(
        "--processes",
        type=count,
        default=n_cores(),
        metavar="N",
        help="parameter sets relabelled at a time, if the manifest says so",
    )


def _materialise(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.data_source import pack, read_manifest

    manifest = read_manifest(parsed.manifest)
    data_set = pack(manifest, parsed.output, n_processes=parsed.processes)
    return {
        "data_set": str(parsed.output),
        "digest": data_set.digest,
        "n_parameter_sets": data_set.n_sets,
        "n_rows": {name: shape[0] for name, shape in data_set.shapes.items()},
    }


def _add_audit(commands: Any) -> None:
    command = _command(
        commands, "audit", "measure what a data set holds, and warn of what it lacks", _audit
    )
    command.add_argument("data_set", type=Path, help="of 'lanflow materialise'")
    command.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="it was packed from"
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON")
    command.add_argument("--plot", type=Path, metavar="FILE", help="PNG")
    command.add_argument(
        "--max-repeated-sets",
        type=share,
        default=1.0,
        metavar="SHARE",
        help="fail if more of the parameter sets are repeats of others",
    )


def _audit(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_bytes, write_json
    from lanflow.audit import check_repeats
    from lanflow.audit_plots import draw_audit
    from lanflow.data_source import audit, open_packed

    record = audit(open_packed(parsed.data_set, parsed.manifest))
    write_json(parsed.output, record)
    if parsed.plot is not None:
        write_bytes(parsed.plot, draw_audit(record))
    check_repeats(record, max_repeated_sets=parsed.max_repeated_sets)
    return {
        "audit": str(parsed.output),
        "n_distinct_sets": record["sets"]["distinct"],
        "n_claimed_sets": record["sets"]["claimed"],
        "n_warnings": len(record["warnings"]),
    }


def _add_sync(commands: Any) -> None:
    help_text = "send runs to the MLflow store whose records wait beside the results"
    cli_sync.add_options(_command(commands, "sync", help_text, cli_sync.sync))


def _store(parsed: argparse.Namespace) -> Any:
    return resolve_store(
        uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    return run_command(build_parser(), lambda parsed: parsed.call(parsed), arguments)
