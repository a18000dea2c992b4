"""Training data side by side: lanflow's sources of labels against ssm-simulators' ``generate``.

For the same model and settings, in one run and on one core: seconds a parameter set, distinct
parameter vectors, and the error of the labels against the exact log-likelihood (of a model without
one, a solution on a finer grid) of all rows where that is above log(1e-7), below which training
cuts labels off.

    python bench/data.py [--model ddm] [--files 3] [--sets 20]
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

from lanflow.core.errors import UserError
from lanflow.data.generation.config import GenerationConfig, read_generation_file
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.evaluation.reference import choose_reference
from lanflow.models.simulators import find_model
from lanflow.models.sources import label_source

OURS = ("exact_kde", "kde", "pyddm", "solver", "analytic")
LEAST_LABEL = np.log(1e-7)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--model", default="ddm", help="one of ssm-simulators'")
    arguments.add_argument("--files", type=int, default=3)
    arguments.add_argument("--sets", type=int, default=20, help="parameter sets a file")
    arguments.add_argument("--simulations", type=int, default=20_000, help="of a parameter set")
    arguments.add_argument("--rows", type=int, default=1000, help="of a parameter set")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")  # numeric warnings of single simulations
    print(
        f"{options.model}: {options.files} files of {options.sets} parameter sets, "
        f"{options.simulations} simulations and {options.rows} rows a set, one core\n"
    )
    print(
        f"{'':28} {'s per set':>10} {'distinct vectors':>17} "
        f"{'mean abs error':>15} {'median abs error':>17}"
    )
    with tempfile.TemporaryDirectory() as folder:
        print_line("ssm-simulators generate", options, Path(folder) / "theirs", make_theirs)
        for source in OURS:
            try:
                config = settings(options, Path(folder), source)
                label_source(config.estimator.type, find_model(config.model_name))
            except UserError:
                continue

            def make(options: argparse.Namespace, folder: Path, source: str = source) -> None:
                make_ours(options, folder, source)

            try:
                print_line(f"lanflow {source}", options, Path(folder) / source, make)
            except UserError:
                continue


def settings(options: argparse.Namespace, folder: Path, source: str) -> GenerationConfig:
    """The generation YAML, written to a folder and read back."""
    path = folder / "generation.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "MODEL": options.model,
        "GENERATOR_APPROACH": "lan",
        "PIPELINE": {"N_PARAMETER_SETS": options.sets, "N_SUBRUNS": 1},
        "SIMULATOR": {"N_SAMPLES": options.simulations, "DELTA_T": 0.001},
        "TRAINING": {"N_SAMPLES_PER_PARAM": options.rows},
        "ESTIMATOR": {"TYPE": source},
    }
    path.write_text(yaml.safe_dump(content))
    return read_generation_file(path)


def make_ours(options: argparse.Namespace, folder: Path, source: str) -> None:
    """Files of lanflow."""
    plan = ChunkPlan(settings(options, folder, source), seed=1, chunk=0, n_files=options.files)
    generate_chunk(plan, folder / "chunk", n_processes=1)


def make_theirs(options: argparse.Namespace, folder: Path) -> None:
    """Files as ssm-simulators' command makes them, by the functions it calls, on one core."""
    from ssms.cli.generate import collect_data_generator_config
    from ssms.dataset_generators.lan_mlp import TrainingDataGenerator

    settings(options, folder, "kde")
    config = collect_data_generator_config(folder / "generation.yaml", base_path=folder)
    config["data_config"]["pipeline"]["n_cpus"] = 1
    for _ in range(options.files):
        generator = TrainingDataGenerator(config["data_config"], config["model_config"])
        generator.generate_data_training(save=True)


def print_line(
    name: str,
    options: argparse.Namespace,
    folder: Path,
    make: Callable[[argparse.Namespace, Path], None],
) -> None:
    """Make files in a folder and say what they cost and hold."""
    start = time.process_time()
    make(options, folder)
    seconds = (time.process_time() - start) / (options.files * options.sets)
    paths = sorted(folder.rglob("*.pickle"))
    files = [read_training_file(path.read_bytes(), path) for path in paths]
    vectors = np.concatenate([file.arrays["cpn"][0] for file in files])
    errors = np.abs(np.concatenate([label_errors(options.model, file) for file in files]))
    distinct = f"{len(np.unique(vectors, axis=0))} of {len(vectors)}"
    print(
        f"{name:28} {seconds:10.4f} {distinct:>17} {errors.mean():15.5f} {np.median(errors):17.5f}",
        flush=True,
    )


def label_errors(model: str, file: TrainingFileContent) -> np.ndarray:
    """Label less truth, of the rows where the truth is not cut off."""
    features, labels = file.arrays["lan"]
    n_parameters = len(file.parameters)
    reference = choose_reference(find_model(model))
    vectors, which = np.unique(features[:, :n_parameters], axis=0, return_inverse=True)
    out = []
    for index, vector in enumerate(vectors):
        rows = which.ravel() == index
        theta = dict(zip(file.parameters, vector.astype(float).tolist(), strict=True))
        density = reference.density(theta, seed=1)
        truth = density.evaluate(features[rows, -2], features[rows, -1])
        out.append((labels.ravel()[rows] - truth)[truth > LEAST_LABEL])
    return np.concatenate(out)


if __name__ == "__main__":
    main()
