"""The workflow: a query of many runs, a dry-run of many networks, and a build of a whole study.

- ``lanflow query`` of an experiment in an SQLite store, beside LANfactory's function for the same
  runs, and beside an import of MLflow, which each of them begins with;
- ``snakemake --dry-run`` of a study, beside Snakemake with a workflow that says nothing of its
  jobs: as many jobs, and fifteen for each network;
- ``snakemake`` of a study of small networks, beside the seconds of their trainings alone.
"""

import csv
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cpu_parts.processes import Command, Setting, Task, in_turn, run
from cpu_parts.results import REPOSITORY, Figure
from cpu_parts.sizes import Training
from cpu_parts.training import BACKENDS, training_settings
from cpu_parts.training_files import TrainingFiles, generation_settings

log = logging.getLogger(__name__)

QUERY, THEIR_QUERY, IMPORT = "lanflow query", "LANfactory's query", "import of MLflow"
# For an SQL store MLflow imports half as much again, when it is first asked.
ANSWER = "MLflow's first answer of an SQL store"
_ASK = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).get_experiment('1')"
DRY_RUN, BARE = "dry-run of lanflow", "bare Snakemake, as many jobs"
BARE_15 = "bare Snakemake, 15 jobs a network"
BUILD = "build of a study"
# Of a study whose dry-run is measured.
_N_CHUNKS = 50
_ON_CPU = {"device": "cpu"}
_FILES_PER_RUN, _FILE_BYTES = 10, 5_600_000
# In a process of its own, since MLflow takes memory that this one should not have.
_MAKE_RUNS = """
import sys
from mlflow.tracking import MlflowClient
store, folder, n_runs, n_files, size = *sys.argv[1:3], *map(int, sys.argv[3:])
client = MlflowClient(tracking_uri=store)
experiment = client.create_experiment("ddm-data", artifact_location=folder + "/artifacts")
for i in range(n_runs):
    run = client.create_run(experiment, run_name=f"worker_{i}").info.run_id
    client.log_param(run, "data_output_folder", folder + "/data")
    names = [f"training_data_{i}_{k}.pickle" for k in range(n_files)]
    files = [{"filename": name, "size_bytes": size} for name in names]
    inventory = {"num_files": n_files, "total_size_mb": n_files * size / 1e6, "files": files}
    client.log_dict(run, inventory, "generated_files_inventory.json")
    client.set_terminated(run)
print(experiment)
"""
# The function of LANfactory 0.7.0 that its commands find training data with.
_THEIR_QUERY = """
import sys
from lanfactory.utils.mlflow_utils import get_files_from_data_generation_experiment as find
assert find(sys.argv[1], sys.argv[2])["num_runs"] == int(sys.argv[3])
"""
_BARE_WORKFLOW = """
N = {n_jobs}
rule all:
    input: expand("made/{{i}}", i=range(N))
rule make:
    output: "made/{{i}}"
    shell: "touch {{output}}"
"""


def measure_workflow(setting: Setting, _: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``workflow``: queries and dry-runs."""
    size = setting.size
    tasks = [_task(IMPORT, {}, Command([sys.executable, "-c", "import mlflow"], setting.folder))]
    for n_runs in size.runs:
        tasks += _query_tasks(n_runs, setting)
    for n_networks in size.networks:
        tasks += _dry_run_tasks(n_networks, setting)
    return in_turn(tasks, "workflow", repetitions=size.repetitions, warm_ups=size.warm_ups)


def _task(name: str, case: dict[str, int], command: Command) -> Task:
    return Task(name, case, lambda: run(command).cost)


def _query_tasks(n_runs: int, setting: Setting) -> list[Task]:
    """Ours and theirs, of a store made for them as ssm-simulators' workers leave it."""
    folder = setting.new_folder("runs")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    log.info("making a store of %s runs", f"{n_runs:,}")
    numbers = map(str, (n_runs, _FILES_PER_RUN, _FILE_BYTES))
    made = run(Command([sys.executable, "-c", _MAKE_RUNS, store, folder, *numbers], folder))
    experiment = made.output.split()[-1]
    words = [setting.ours / "lanflow", "query", experiment, "--output", folder / "query.json"]
    ours = Command([*words, "--mlflow-tracking-uri", store], folder)
    tasks = [_task(QUERY, {"runs": n_runs}, ours)]
    if n_runs == setting.size.runs[-1]:
        ask = [sys.executable, "-c", _ASK, store]
        tasks.append(_task(ANSWER, {"runs": n_runs}, Command(ask, folder)))
    if setting.theirs:
        program = [setting.theirs / "python", "-c", _THEIR_QUERY]
        theirs = Command([*program, experiment, store, str(n_runs)], folder, is_ours=False)
        tasks.append(_task(THEIR_QUERY, {"runs": n_runs}, theirs))
    return tasks


def _dry_run_tasks(n_networks: int, setting: Setting) -> list[Task]:
    """A study of so many networks, and bare workflows of as many jobs, and of more."""
    folder = setting.new_folder("dry-run")
    config = REPOSITORY / "config"
    generation = config / "generation" / "first.yaml"
    training = config / "training" / "first_lan.yaml"
    seeds = range(1, max(1, n_networks // len(BACKENDS)) + 1)
    study = _study(folder, generation, training, seeds, n_chunks=_N_CHUNKS)
    ours = snakemake(setting, folder, study, "--dry-run")
    totals = [row.split() for row in run(ours).output.splitlines() if row.startswith("total")]
    n_jobs = int(totals[0][1])
    n_networks = len(BACKENDS) * len(seeds)
    tasks = [_task(DRY_RUN, {"networks": n_networks, "jobs": n_jobs}, ours)]
    for name, n_bare in ((BARE, n_jobs), (BARE_15, 15 * n_networks)):
        bare = setting.new_folder("bare")
        (bare / "Snakefile").write_text(_BARE_WORKFLOW.format(n_jobs=n_bare - 1))
        case = {"networks": n_networks, "jobs": n_bare}
        tasks.append(_task(name, case, snakemake(setting, bare, None, "--dry-run")))
    return tasks


def snakemake(setting: Setting, folder: Path, study: Path | None, *options: str | Path) -> Command:
    """A command of Snakemake's, of a study or of the Snakefile of a folder."""
    words: list[object] = [setting.ours / "snakemake", "--cores", str(setting.threads)]
    words += ["--quiet", "rules", "--directory", folder, *options]
    if study is None:
        return Command([*words, "--snakefile", folder / "Snakefile"], folder)
    words += ["--snakefile", REPOSITORY / "Snakefile", "--configfile", study]
    return Command(words, REPOSITORY)


def _study(
    folder: Path,
    generation: Path,
    training: Path,
    seeds: Sequence[int],
    *,
    n_chunks: int,
    **more: Any,
) -> Path:
    """The file of a study with a network of each seed and backend, in a folder with its results."""
    content = {
        "study": "many",
        "results": str(folder / "results"),
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
        "models": {
            "ddm": {
                "data": {"generate": {"config": str(generation), "chunks": n_chunks}},
                "networks": {
                    "lan": {"config": str(training), "seeds": list(seeds), "threads": 1, **_ON_CPU},
                },
            }
        },
        **more,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def measure_study(setting: Setting, _: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``study``: one build of many small networks, as far as its trainings, then the rest.

    It is built once, since it takes minutes; each of its trainings is a repetition of the others.
    """
    size, folder = setting.size.study, setting.new_folder("study")
    generation, training = folder / "generation.yaml", folder / "training.yaml"
    settings = generation_settings(
        sets=size.sets, rows=size.rows, simulations=2_000, labels="analytic"
    )
    generation.write_text(yaml.safe_dump(settings))
    case = Training(0, batch=size.batch, width=size.width, epochs=size.epochs)
    training.write_text(yaml.safe_dump(training_settings(case)))
    seeds = range(1, max(1, size.networks // len(BACKENDS)) + 1)
    evaluation = {"n_sets": size.evaluated_sets, "n_simulated_sets": size.evaluated_sets}
    study = _study(
        folder, generation, training, seeds, n_chunks=setting.threads, evaluation=evaluation
    )
    sizes = {"networks": len(BACKENDS) * len(seeds), "threads": setting.threads}
    build = partial(_build, setting, folder, study)
    return in_turn([Task(BUILD, sizes, build)], "study", repetitions=1, warm_ups=0)


def _build(setting: Setting, folder: Path, study: Path) -> Mapping[str, float]:
    """Cost of a build, and seconds of its jobs as their own records have them."""
    first = run(snakemake(setting, folder, study, "--until", "train_network"))
    rest = run(snakemake(setting, folder, study))
    histories = list((folder / "results" / "networks").rglob("history.csv"))
    epochs = sum(_total(path, "seconds", ",") for path in histories)
    jobs = (folder / "results" / "benchmarks").rglob("*.tsv")
    record = {"trainings_wall_s": first.wall_s, "wall_s": first.wall_s + rest.wall_s}
    record |= {"cpu_s": first.cpu_s + rest.cpu_s, "epochs_s": epochs}
    return record | {"jobs_s": sum(_total(path, "s", "\t") for path in jobs)}


def _total(path: Path, column: str, delimiter: str) -> float:
    """The sum of a column of a table."""
    with path.open() as file:
        return sum(float(row[column]) for row in csv.DictReader(file, delimiter=delimiter))
