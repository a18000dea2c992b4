"""Cost of the workflow before anything is computed: a query of many runs, a dry-run of a study.

- ``lanflow query`` of an experiment of 1,000 runs in an SQLite store, beside LANfactory's function
  for the same runs, and beside an import of MLflow, which each of them begins with;
- ``snakemake --dry-run`` of a study of 1,000 networks, beside Snakemake with as many jobs of a
  workflow that says nothing of them.

Whole commands, in turn, after a round that is not counted; seconds on the wall, the median and the
range. Nothing is asserted.

    python bench/workflow.py [--lanfactory BIN] [--output benchmarks/workflow.json]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from mlflow.tracking import MlflowClient

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[1]
N_CHUNKS, FILES_PER_RUN, FILE_BYTES = 50, 10, 5_600_000
# The function of LANfactory 0.7.0 that its commands find training data with.
THEIR_QUERY = """
import sys
from lanfactory.utils.mlflow_utils import get_files_from_data_generation_experiment as find
assert find(sys.argv[1], sys.argv[2])["num_runs"] == int(sys.argv[3])
"""
BARE_WORKFLOW = """
N = {n_jobs}
rule all:
    input: expand("made/{{i}}", i=range(N))
rule make:
    output: "made/{{i}}"
    shell: "touch {{output}}"
"""


def main() -> None:
    """Measure, print the table, and write all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lanfactory", type=absolute, metavar="BIN")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--networks", type=int, default=1_000)
    parser.add_argument("--repetitions", type=int, default=5, help="after one that is not counted")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_jobs = make_study(folder / "study", options.networks)
        make_bare_workflow(folder / "bare", n_jobs)
        commands = {
            f"query of {options.runs:,} runs": our_query(folder, options.runs),
            "import of MLflow": [sys.executable, "-c", "import mlflow"],
            f"dry-run of {options.networks:,} networks, {n_jobs:,} jobs": dry_run(folder / "study"),
            f"bare Snakemake, {n_jobs:,} jobs": dry_run(folder / "bare"),
        }
        if options.lanfactory:
            theirs = their_query(options.lanfactory, folder, options.runs)
            commands[f"LANfactory's query of {options.runs:,} runs"] = theirs
        seconds = measure(commands, options.repetitions)
    for what, values in seconds.items():
        print(
            f"{what:44} {statistics.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})"
        )
    if options.output:
        machine = {"cores": os.cpu_count(), "system": platform.platform()}
        command = " ".join(["python", "bench/workflow.py", *sys.argv[1:]])
        content = {"machine": machine, "command": command, "seconds": seconds}
        options.output.write_text(json.dumps(content, indent=1) + "\n")


def absolute(text: str) -> Path:
    """A folder, wherever a command is run."""
    return Path(text).absolute()


def store_of(folder: Path) -> str:
    """The address of the store."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def make_runs(folder: Path, n_runs: int) -> str:
    """Runs as ssm-simulators' workers leave them, with an inventory each; the experiment's id."""
    client = MlflowClient(tracking_uri=store_of(folder))
    experiment = client.create_experiment("ddm-data", artifact_location=str(folder / "artifacts"))
    for i in range(n_runs):
        run = client.create_run(experiment, run_name=f"worker_{i}").info.run_id
        client.log_param(run, "data_output_folder", str(folder / "data"))
        files = [
            {"filename": f"training_data_{i}_{k}.pickle", "size_bytes": FILE_BYTES}
            for k in range(FILES_PER_RUN)
        ]
        inventory = {"num_files": len(files), "total_size_mb": 1.0, "files": files}
        client.log_dict(run, inventory, "generated_files_inventory.json")
        client.set_terminated(run)
    return experiment


def our_query(folder: Path, n_runs: int) -> list[str | Path]:
    """The command, with a store made for it."""
    experiment = make_runs(folder, n_runs)
    command = [BIN / "lanflow", "query", experiment, "--output", folder / "query.json"]
    return [*command, "--mlflow-tracking-uri", store_of(folder)]


def their_query(lanfactory: Path, folder: Path, n_runs: int) -> list[str | Path]:
    """A program that finds the same runs."""
    experiment = MlflowClient(tracking_uri=store_of(folder)).get_experiment_by_name("ddm-data")
    program = [lanfactory / "python", "-c", THEIR_QUERY]
    return [*program, experiment.experiment_id, store_of(folder), str(n_runs)]


def make_study(folder: Path, n_networks: int) -> int:
    """A study of so many networks, half of them of each backend; how many jobs it has."""
    folder.mkdir()
    config = REPOSITORY / "config"
    study = {
        "study": "many",
        "results": str(folder / "results"),
        "models": {
            "ddm": {
                "data": {
                    "generate": {
                        "config": str(config / "generation" / "first.yaml"),
                        "chunks": N_CHUNKS,
                    }
                },
                "networks": {
                    "lan": {
                        "config": str(config / "training" / "first_lan.yaml"),
                        "seeds": list(range(1, n_networks // 2 + 1)),
                    }
                },
            }
        },
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    shown = subprocess.run(  # noqa: S603
        dry_run(folder), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    totals = [line.split() for line in shown.stdout.splitlines() if line.startswith("total")]
    return int(totals[0][1])


def make_bare_workflow(folder: Path, n_jobs: int) -> None:
    """As many jobs with nothing but names."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE_WORKFLOW.format(n_jobs=n_jobs - 1))


def dry_run(folder: Path) -> list[str | Path]:
    """The command."""
    command = [BIN / "snakemake", "--dry-run", "--quiet", "rules", "--cores", "2"]
    study = folder / "study.yaml"
    if study.exists():
        return [*command, "--snakefile", REPOSITORY / "Snakefile", "--configfile", study]
    return [*command, "--snakefile", folder / "Snakefile", "--directory", folder]


def measure(commands: dict[str, list[str | Path]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of every command, each time all of them in turn."""
    seconds: dict[str, list[float]] = {what: [] for what in commands}
    for repetition in range(repetitions + 1):
        for what, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(  # noqa: S603
                command, cwd=REPOSITORY, capture_output=True, text=True, env=environment(command)
            )
            spent = time.perf_counter() - start
            if done.returncode:
                raise SystemExit(f"{what} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            print(f"{repetition}: {what}: {spent:.2f} s", file=sys.stderr, flush=True)
            if repetition:
                seconds[what].append(spent)
    return seconds


def environment(command: Sequence[str | Path]) -> dict[str, str]:
    """Variables of a command; of this environment nothing for a peer."""
    dropped = ("MLFLOW_", "VIRTUAL_ENV")
    if Path(command[0]).parent != BIN:
        dropped += ("PYTHONPATH",)
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


if __name__ == "__main__":
    main()
