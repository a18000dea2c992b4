"""``lanflow prepare``, which makes the store ready, and ``lanflow generate``, which simulates."""

from typing import Annotated

from lanflow.cli.command import Outcome
from lanflow.cli.options import (
    AtATime,
    Count,
    Experiments,
    File,
    Folder,
    ModelsFileOption,
    Name,
    Number,
    OutputFile,
    Seed,
    SendOption,
    StoreOptions,
    Title,
    limit_mlflow_retries,
)
from lanflow.core.errors import UsageError


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
