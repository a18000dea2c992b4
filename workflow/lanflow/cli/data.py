"""Commands that make a data set and check it, from ``lanflow query`` to ``lanflow audit``."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lanflow.cli.options import (
    add_extra_files,
    add_max_repeated_sets,
    add_models_file,
    add_places,
    add_store,
    at_a_time,
    models_file_of,
    output_file,
    parse_path_map,
    plain_name,
    store_of,
)
from lanflow.core.errors import UsageError
from lanflow.core.processes import n_cores

log = logging.getLogger(__name__)


def add_data(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands; ``add`` makes one (``commands``, name, help, function)."""
    for name, text, add_options, run in (
        ("query", "list the runs and files of a data-generation experiment", _add_query, _query),
        (
            "manifest",
            "find training files and freeze what a network is trained on",
            _add_manifest,
            _manifest,
        ),
        ("verify", "check that a manifest's files are still what was frozen", _add_verify, _verify),
        (
            "materialise",
            "pack a manifest's files into arrays for training",
            _add_materialise,
            _materialise,
        ),
        ("audit", "measure what a data set holds, and warn of what it lacks", _add_audit, _audit),
    ):
        add_options(add(commands, name, text, run))


def _add_query(command: argparse.ArgumentParser) -> None:
    command.add_argument("experiment", help="id or name")
    command.add_argument("--output", type=output_file, required=True, metavar="FILE", help="JSON")
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
    from lanflow.core.files import write_json
    from lanflow.data.experiment import RunSelection
    from lanflow.data.prepare import query_experiment
    from lanflow.tracking.sync import read_run_ids

    run_ids = parsed.run_ids
    if parsed.records is not None:
        run_ids = read_run_ids(
            parsed.records,
            uri=parsed.mlflow_tracking_uri,
            artifact_location=parsed.mlflow_artifact_location,
        )
    selection = RunSelection(
        policy=parsed.policy, batch_id=parsed.batch_id, run_ids=run_ids, filter=parsed.filter
    )
    query = query_experiment(store_of(parsed), parsed.experiment, selection)
    write_json(parsed.output, query.model_dump())
    return {
        "query": str(parsed.output),
        "n_runs": len(query.runs),
        "n_files": sum(len(run.files) for run in query.runs),
        "n_runs_left_out": len(query.left_out),
    }


def _add_manifest(command: argparse.ArgumentParser) -> None:
    command.add_argument("--query", type=Path, metavar="FILE", help="of 'lanflow query'")
    command.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder of training files; with --query, every tracked file must be in it",
    )
    command.add_argument("--model", type=plain_name, help="the files must be of this model")
    command.add_argument(
        "--relabel",
        choices=["auto", "analytic", "solver"],
        help="labels are computed anew when the files are packed, in place of those in the files",
    )
    add_models_file(command)
    command.add_argument("--output", type=output_file, required=True, metavar="FILE", help="JSON")
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
    from lanflow.core.files import write_json
    from lanflow.data.experiment import read_query
    from lanflow.data.locate import Places
    from lanflow.data.prepare import download_absent, freeze

    if parsed.query is None and parsed.folder is None:
        raise UsageError("give --query, --folder, or both")
    query = None if parsed.query is None else read_query(parsed.query)
    places = Places(
        folder=parsed.folder,
        root=parsed.root,
        path_map=parse_path_map(parsed.path_map),
        use_extra_files=parsed.use_extra_files,
    )
    if query is not None and parsed.download is not None:
        places = download_absent(store_of(parsed), query, places, parsed.download)
    manifest = freeze(
        query=query,
        places=places,
        model=parsed.model,
        relabel=parsed.relabel,
        models_file=models_file_of(parsed),
    )
    write_json(parsed.output, manifest.model_dump())
    return {
        "manifest": str(parsed.output),
        "digest": manifest.digest,
        "n_files": len(manifest.files),
    }


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", type=Path, help="of 'lanflow manifest'")


def _verify(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.data.manifest import read_manifest, verify_manifest

    manifest = read_manifest(parsed.manifest)
    verify_manifest(manifest)
    return {
        "manifest": str(parsed.manifest),
        "digest": manifest.digest,
        "n_files": len(manifest.files),
        "size_bytes": sum(file.size_bytes for file in manifest.files),
    }


def _add_materialise(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", type=Path, help="of 'lanflow manifest'")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="the data set")
    add_models_file(command)
    command.add_argument(
        "--processes",
        type=at_a_time,
        default=n_cores(),
        metavar="N",
        help="parameter sets relabelled at a time, if the manifest says so",
    )


def _materialise(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.locks import lock_path, locked
    from lanflow.data.manifest import read_manifest, require_own_digest
    from lanflow.data.packing import materialise

    manifest = read_manifest(parsed.manifest)
    require_own_digest(manifest, parsed.manifest)
    with locked(lock_path(parsed.output), f"{parsed.output} is being packed"):
        data_set = materialise(
            manifest,
            parsed.output,
            n_processes=parsed.processes,
            models_file=models_file_of(parsed),
        )
    return {
        "data_set": str(parsed.output),
        "digest": data_set.digest,
        "n_parameter_sets": data_set.n_sets,
        "n_rows": {name: shape[0] for name, shape in data_set.shapes.items()},
    }


def _add_audit(command: argparse.ArgumentParser) -> None:
    command.add_argument("data_set", type=Path, help="of 'lanflow materialise'")
    command.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="it was packed from"
    )
    command.add_argument("--output", type=output_file, required=True, metavar="FILE", help="JSON")
    command.add_argument("--plot", type=output_file, metavar="FILE", help="PNG")
    add_max_repeated_sets(command, "fail if more of the parameter sets are repeats of others")


def _audit(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_bytes, write_json
    from lanflow.data.audit.measure import audit_data_set
    from lanflow.data.dataset import check_repeats
    from lanflow.data.prepare import open_packed
    from lanflow.report.figures.records import draw_audit

    data = open_packed(parsed.data_set, parsed.manifest)
    audit = audit_data_set(data.data_set, data.manifest)
    for warning in audit.warnings:
        log.warning("%s: %s", audit.model, warning)
    record = audit.model_dump()
    write_json(parsed.output, record)
    if parsed.plot is not None:
        write_bytes(parsed.plot, draw_audit(record).png())
    check_repeats(data.data_set, max_repeated_sets=parsed.max_repeated_sets)
    return {
        "audit": str(parsed.output),
        "n_distinct_sets": audit.sets.distinct,
        "n_claimed_sets": audit.sets.claimed,
        "n_warnings": len(audit.warnings),
    }
