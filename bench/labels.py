"""What labels are worth: the same network trained on data of the same cost from three sources.

Each source makes training files until it has used up its time on one core: ssm-simulators' own
``generate`` functions, lanflow's ``kde`` and lanflow's best (``auto``). The same network is trained
on each with the same number of updates, and scored as ``lanflow evaluate`` does: error of the
log-likelihood on simulated trials at random parameters inside the box.

    python bench/labels.py [--model ddm] [--seconds 60] [--visits 20000000]
"""

import os

# One core each, also for the linear algebra, which is decided when numpy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from lanflow.data.generation.config import GenerationConfig, read_generation_file
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.training_file import read_training_file
from lanflow.evaluation.evaluate import evaluate
from lanflow.evaluation.record import EvaluationSettings
from lanflow.networks.network import Network
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train

SETS_PER_FILE = 20
# Rows of a parameter set: a set that costs more is used more.
ROWS = {"auto": 200, "kde": 1000}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="ddm", help="one of ssm-simulators'")
    parser.add_argument("--seconds", type=float, default=60, help="of one core, for each source")
    parser.add_argument(
        "--visits", type=int, default=20_000_000, help="rows trained on, repeats too"
    )
    parser.add_argument("--n-sets", type=int, help="parameter vectors of the score")
    parser.add_argument(
        "--n-samples", type=int, default=20_000, help="simulated trials of each kernel density"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # numeric warnings of single simulations
    print(
        f"{options.model}: {options.seconds:g} core-seconds of data, "
        f"{options.visits:,} rows visited in training\n"
    )
    print(
        f"{'':24} {'distinct vectors':>17} {'rows':>10} {'mean abs':>9} {'median':>9} "
        f"{'99th pct':>9} {'mean diff':>10}"
    )
    makers: dict[str, Callable[[argparse.Namespace, Path], None]] = {
        "ssm-simulators generate": make_theirs,
        "lanflow kde": lambda options, folder: make_ours(options, folder, "kde"),
        "lanflow auto": lambda options, folder: make_ours(options, folder, "auto"),
    }
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            make(options, Path(folder) / "data")
            print_line(name, options, Path(folder))


def settings(options: argparse.Namespace, folder: Path, source: str) -> GenerationConfig:
    """The generation YAML, written to a folder and read back."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "generation.yaml"
    content = {
        "MODEL": options.model,
        "GENERATOR_APPROACH": "lan",
        "PIPELINE": {"N_PARAMETER_SETS": SETS_PER_FILE, "N_SUBRUNS": 1},
        "SIMULATOR": {"N_SAMPLES": options.n_samples, "DELTA_T": 0.001},
        "TRAINING": {"N_SAMPLES_PER_PARAM": ROWS[source]},
        "ESTIMATOR": {"TYPE": source},
    }
    path.write_text(yaml.safe_dump(content))
    return read_generation_file(path)


def until_spent(seconds: float, make_one: Callable[[int], None]) -> None:
    """Make files, at least two, until the time on this core is used up."""
    start, made = time.process_time(), 0
    while made < 2 or time.process_time() - start < seconds:
        make_one(made)
        made += 1


def make_ours(options: argparse.Namespace, folder: Path, source: str) -> None:
    """Files of lanflow."""
    config = settings(options, folder, source)

    def make_one(chunk: int) -> None:
        generate_chunk(
            ChunkPlan(config, seed=1, chunk=chunk, n_files=1),
            folder / f"chunk_{chunk}",
            n_processes=1,
        )

    until_spent(options.seconds, make_one)


def make_theirs(options: argparse.Namespace, folder: Path) -> None:
    """Files as ssm-simulators' command makes them, by the functions it calls, on one core."""
    from ssms.cli.generate import collect_data_generator_config
    from ssms.dataset_generators.lan_mlp import TrainingDataGenerator

    settings(options, folder, "kde")
    config = collect_data_generator_config(folder / "generation.yaml", base_path=folder)
    config["data_config"]["pipeline"]["n_cpus"] = 1

    def make_one(_: int) -> None:
        generator = TrainingDataGenerator(config["data_config"], config["model_config"])
        generator.generate_data_training(save=True)

    until_spent(options.seconds, make_one)


def print_line(name: str, options: argparse.Namespace, folder: Path) -> None:
    """Train on a folder of files and say what came of it."""
    files = folder / "files"
    files.mkdir()
    vectors, n_rows = [], 0
    for path in (folder / "data").rglob("*.pickle"):
        arrays = read_training_file(path.read_bytes(), path).arrays
        vectors.append(arrays["cpn"][0])
        n_rows += len(arrays["lan"][0])
        path.rename(files / path.name)
    network = train_on(files, options, folder, n_epochs=max(round(options.visits / n_rows), 1))
    settings = EvaluationSettings(n_sets=options.n_sets, n_simulated_sets=1)
    scores = evaluate(Network.from_folder(network), settings=settings)[0].scores
    assert scores is not None
    distinct = len(np.unique(np.concatenate(vectors), axis=0))
    print(
        f"{name:24} {f'{distinct:,} of {sum(map(len, vectors)):,}':>17} {n_rows:10,} "
        f"{scores.mean_abs_error:9.4f} {scores.median_abs_error:9.4f} "
        f"{scores.p99_abs_error:9.3f} {scores.mean_difference:10.5f}",
        flush=True,
    )


def train_on(files: Path, options: argparse.Namespace, folder: Path, *, n_epochs: int) -> Path:
    """The folder of a network like the laptop study's."""
    template = Path(__file__).parents[1] / "config" / "training" / "laptop_lan.yaml"
    config = yaml.safe_load(template.read_text()) | {"N_EPOCHS": n_epochs}
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(config))
    result = train(
        TrainingOptions(
            backend="jax",
            networks_path_base=folder / "networks",
            config_path=path,
            model=options.model,
            training_data_folder=files,
            network_name="net",
            device="cpu",
            threads=1,
        )
    )
    return Path(result["network_folder"])


if __name__ == "__main__":
    main()
