"""Commands of a study's data, from a store that is ready to a data set that is checked.

``lanflow prepare`` makes the store ready, ``generate`` simulates, and ``query`` to ``audit`` make a
data set of the files and check it.
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

from lanflow.cli.command import Argument, Option, Outcome
from lanflow.cli.options import (
    AtATime,
    Count,
    DropInvalidOption,
    Experiments,
    File,
    Folder,
    Id,
    ModelsFileOption,
    Name,
    Number,
    OutputFile,
    PlaceOptions,
    Seed,
    SendOption,
    Share,
    StoreOptions,
    Text,
    Title,
    limit_mlflow_retries,
)
from lanflow.core.errors import UsageError

log = logging.getLogger(__name__)

ManifestFile = Annotated[Path, Argument(metavar="MANIFEST"), "of 'lanflow manifest'"]


def prepare(
    *,
    experiments: Annotated[Experiments, "names to create"],
    output: Annotated[OutputFile | None, "record of what was prepared"] = None,
    store: StoreOptions,
) -> Outcome:
    """Create, upgrade and check the MLflow store, once."""
    from lanflow.core.files import write_json
    from lanflow.tracking.preflight import prepare

    limit_mlflow_retries()
    record = prepare(store.resolve(), experiments)
    content = record.model_dump(mode="json")
    if output:
        write_json(output, content)
    names = ", ".join(experiment.name for experiment in record.experiments)
    return Outcome(content, f"{record.tracking_uri} is ready for: {names}")


def generate(
    *,
    config_path: Annotated[File, "data-generation YAML"],
    model: Annotated[Name | None, "takes the place of the file's MODEL"] = None,
    models: ModelsFileOption,
    output: Annotated[Folder, "folder of this chunk alone"],
    n_files: Annotated[Count, "files to make"] = 1,
    chunk: Annotated[Number, "number of this chunk"] = 0,
    seed: Annotated[Seed, "of the study"] = 1,
    processes: Annotated[AtATime | None, "sets simulated at a time"] = None,
    mlflow_on: Annotated[bool, "track it as a run"] = False,
    mlflow_run_name: Annotated[Title | None, "switches tracking on"] = None,
    mlflow_experiment_name: Annotated[Title | None, "{model}-data-generation when left out"] = None,
    log_files: Annotated[
        bool,
        "log the files as artifacts of the run, for machines that do not see the folder",
    ] = False,
    store: StoreOptions,
    send: SendOption,
) -> Outcome:
    """Simulate training files, as one MLflow run."""
    from lanflow.core.processes import n_cores
    from lanflow.core.tables import count_of
    from lanflow.data.generation.config import read_generation_file
    from lanflow.data.generation.plan import ChunkPlan
    from lanflow.data.generation.run import generate
    from lanflow.tracking.store import generation_experiment

    config = read_generation_file(config_path, model=model, models_file=models.read())
    tracked = mlflow_on or mlflow_run_name
    if log_files and not tracked:
        raise UsageError("--log-files needs a run: give --mlflow-on")
    record = generate(
        ChunkPlan(config=config, seed=seed, chunk=chunk, n_files=n_files),
        output,
        n_processes=processes or n_cores(),
        store=store.resolve() if tracked else None,
        experiment_name=mlflow_experiment_name or generation_experiment(config.model_name),
        run_name=mlflow_run_name,
        log_files=log_files,
        send_mode=send.resolve(),
    )
    sets = count_of(record["n_parameter_sets"], "parameter set")
    files = count_of(record["n_files"], "file")
    folder = record["folder"]
    return Outcome(record, f"simulated: {sets} in {files}\nfolder:    {folder}")


def query(
    *,
    experiment: Annotated[str, Argument(metavar="EXPERIMENT"), "id or name"],
    output: Annotated[OutputFile, "JSON"],
    policy: Annotated[
        Literal["complete", "salvage"],
        "refuse if a run or file is not whole, or take what is whole",
    ] = "complete",
    batch_id: Annotated[Id | None, "only runs of this generation batch"] = None,
    filter_: Annotated[
        Text | None, Option(names=("--filter",)), "only runs that this MLflow filter takes"
    ] = None,
    run_ids: Annotated[tuple[Id, ...], Option(spreads=True), "only these runs"] = (),
    records: Annotated[
        tuple[File, ...],
        Option(spreads=True),
        "only the runs of these records of 'lanflow generate'",
    ] = (),
    store: StoreOptions,
) -> Outcome:
    """List the runs and files of a data-generation experiment."""
    from lanflow.core.files import write_json
    from lanflow.core.tables import count_of
    from lanflow.data.experiment import RunSelection
    from lanflow.data.prepare import query_experiment
    from lanflow.tracking.sync import read_run_ids

    if run_ids and records:
        raise UsageError("--run-ids and --records both name the runs; give one of them")
    chosen = list(run_ids) or None
    if records:
        chosen = read_run_ids(
            records,
            uri=store.mlflow_tracking_uri,
            artifact_location=store.mlflow_artifact_location,
        )
    selection = RunSelection(policy=policy, batch_id=batch_id, run_ids=chosen, filter=filter_)
    found = query_experiment(store.resolve(), experiment, selection)
    write_json(output, found.model_dump())
    n_files = sum(len(run.files) for run in found.runs)
    content = {
        "query": str(output),
        "n_runs": len(found.runs),
        "n_files": n_files,
        "n_runs_left_out": len(found.left_out),
    }
    counts = f"{count_of(len(found.runs), 'run')}, {count_of(n_files, 'file')}"
    if found.left_out:
        counts += f"; {count_of(len(found.left_out), 'run')} left out"
    return Outcome(content, f"{experiment}: {counts}\nquery: {output}")


def manifest(
    *,
    query: Annotated[File | None, "of 'lanflow query'"] = None,
    folder: Annotated[
        Folder | None,
        "folder of training files; with --query, every tracked file must be in it",
    ] = None,
    model: Annotated[Name | None, "the files must be of this model"] = None,
    relabel: Annotated[
        Literal["auto", "analytic", "solver"] | None,
        "labels are computed anew when the files are packed, in place of those in the files",
    ] = None,
    models: ModelsFileOption,
    drop_invalid: DropInvalidOption = False,
    output: Annotated[OutputFile, "JSON"],
    download: Annotated[
        Folder | None,
        "where files go that runs logged as artifacts, if their folder is not seen here",
    ] = None,
    where: PlaceOptions,
    store: StoreOptions,
) -> Outcome:
    """Find training files and freeze what a network is trained on."""
    from lanflow.core.files import write_json
    from lanflow.data.experiment import read_query
    from lanflow.data.prepare import download_absent, freeze

    if query is None and folder is None:
        raise UsageError("give --query, --folder, or both")
    asked = None if query is None else read_query(query)
    places = where.places(folder)
    if asked is not None and download is not None:
        places = download_absent(store.resolve(), asked, places, download)
    frozen = freeze(
        query=asked,
        places=places,
        model=model,
        relabel=relabel,
        models_file=models.read(),
        drop_invalid=drop_invalid,
    )
    write_json(output, frozen.model_dump())
    content = {"manifest": str(output), "digest": frozen.digest, "n_files": len(frozen.files)}
    files = f"{len(frozen.files):,} training files of {frozen.model}"
    if n_dropped := sum(frozen.dropped_rows.values()):
        files += f", {n_dropped:,} of their rows left out"
    return Outcome(content, f"listed: {files}\nmanifest: {output}")


def verify(*, manifest: ManifestFile) -> Outcome:
    """Check that a manifest's files are still what was frozen."""
    from lanflow.data.manifest import read_manifest, verify_manifest

    frozen = read_manifest(manifest)
    verify_manifest(frozen)
    size = sum(file.size_bytes for file in frozen.files)
    content = {
        "manifest": str(manifest),
        "digest": frozen.digest,
        "n_files": len(frozen.files),
        "size_bytes": size,
    }
    files = f"{len(frozen.files):,} files, {size / 2**20:,.1f} MiB"
    return Outcome(content, f"{manifest}: {files}, as they were frozen")


def materialise(
    *,
    manifest: ManifestFile,
    output: Annotated[Folder, "the data set"],
    models: ModelsFileOption,
    processes: Annotated[
        AtATime | None, "parameter sets relabelled at a time, if the manifest says so"
    ] = None,
) -> Outcome:
    """Pack a manifest's files into arrays for training."""
    from lanflow.core.locks import lock_path, locked
    from lanflow.core.processes import n_cores
    from lanflow.data.manifest import read_manifest, require_own_digest
    from lanflow.data.packing import materialise

    frozen = read_manifest(manifest)
    require_own_digest(frozen, manifest)
    with locked(lock_path(output), f"{output} is being packed"):
        data_set = materialise(
            frozen, output, n_processes=processes or n_cores(), models_file=models.read()
        )
    n_rows = {name: shape[0] for name, shape in data_set.shapes.items()}
    content = {
        "data_set": str(output),
        "digest": data_set.digest,
        "n_parameter_sets": data_set.n_sets,
        "n_rows": n_rows,
    }
    rows = ", ".join(f"{n:,} {name}" for name, n in n_rows.items())
    return Outcome(
        content,
        f"packed: {data_set.n_sets:,} parameter sets; rows: {rows}\ndata set: {output}",
    )


def audit(
    *,
    data_set: Annotated[Path, Argument(metavar="DATA_SET"), "of 'lanflow materialise'"],
    manifest: Annotated[File, "it was packed from"],
    output: Annotated[OutputFile, "JSON"],
    plot: Annotated[OutputFile | None, "PNG"] = None,
    max_repeated_sets: Annotated[
        Share, "fail if more of the parameter sets are repeats of others"
    ] = 1.0,
) -> Outcome:
    """Measure what a data set holds, and warn of what it lacks."""
    from lanflow.core.files import write_bytes, write_json
    from lanflow.data.audit.measure import audit_data_set
    from lanflow.data.dataset import check_repeats
    from lanflow.data.prepare import open_packed
    from lanflow.report.figures.records import draw_audit

    data = open_packed(data_set, manifest)
    found = audit_data_set(data.data_set, data.manifest)
    for warning in found.warnings:
        log.warning("%s: %s", found.model, warning)
    record = found.model_dump()
    write_json(output, record)
    if plot is not None:
        write_bytes(plot, draw_audit(record).png())
    check_repeats(data.data_set, max_repeated_sets=max_repeated_sets)
    content = {
        "audit": str(output),
        "n_distinct_sets": found.sets.distinct,
        "n_claimed_sets": found.sets.claimed,
        "n_warnings": len(found.warnings),
    }
    sets = f"{found.sets.distinct:,} distinct parameter sets of {found.sets.claimed:,}"
    warned = f"{len(found.warnings)} warning(s)" if found.warnings else "no warnings"
    return Outcome(content, f"{found.model}: {sets}, {warned}\naudit: {output}")
