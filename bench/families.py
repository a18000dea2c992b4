"""One model of each family of densities: what makes its training files, and the page about labels.

Both benchmarks of labels measure the models of :data:`FAMILIES`, some at a time, each on one core.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from cpu_parts.results import describe_machine, our_versions, today
from cpu_parts.training_files import generation_settings
from pages import fill, require_marks

from lanflow.core.processes import n_cores, worker_pool
from lanflow.core.progress import Progress
from lanflow.core.tables import markdown_table
from lanflow.data.generation.config import GenerationConfig, read_generation_file
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan

THEIRS = "ssm-simulators"
# Columns of a table after those of the model.
Cells = list[str]
# Makes the next training file, by its number.
MakeOne = Callable[[int], None]

# A model of each family -> what is special about its density.
FAMILIES = {
    "ddm": "closed form",
    "angle": "closed form, collapsing boundaries",
    "weibull": "Fokker-Planck equation",
    "conflict_ds": "Fokker-Planck equation, two inputs",
    "full_ddm": "start, drift and non-decision time vary",
    "lba3": "ballistic accumulators",
    "racing_diffusion_3": "race without a floor",
    "race_no_bias_3": "race above a floor",
    "ddm_seq2": "two decisions in sequence",
    "ddm_mic2_adj": "a decision that drives another",
    "levy": "stable noise",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both benchmarks have."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        default=list(FAMILIES),
        help="names of ssm-simulators; one of each family when left out",
    )
    parser.add_argument("--simulations", type=int, default=20_000, help="of a parameter set")
    parser.add_argument("--processes", type=int, default=n_cores(), help="models at a time")
    parser.add_argument("--output", type=Path, metavar="MD", help="a page; printed when left out")


def show_table(
    name: str,
    said: str,
    head: Sequence[str],
    measure: Callable[[str], Sequence[Cells]],
    options: argparse.Namespace,
) -> None:
    """Measure every model, and put the table between the marks of a name on the page, or print it.

    Parameters
    ----------
    name
        Of the marks, and of the work in its progress.
    said
        A sentence on how it was measured.
    head
        Names of the columns after those of the model.
    measure
        The rows of a model.
    options
        The command line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # progress where no bar is seen
    if options.output:
        require_marks(options.output, name)
    table = markdown_table(["model", "density", *head], _of_each_model(name, measure, options))
    text = f"{said} {_provenance()}\n\n{table}\n"
    if options.output:
        fill(options.output, name, text)
    else:
        print(text)


def _of_each_model(
    name: str, measure: Callable[[str], Sequence[Cells]], options: argparse.Namespace
) -> list[Cells]:
    rows: list[Cells] = []
    with (
        worker_pool(min(options.processes, len(options.models))) as pool,
        Progress(len(options.models), name, "model") as progress,
    ):
        for model, found in zip(options.models, pool.map(measure, options.models), strict=True):
            # The first row of each model names it and its density.
            names = [f"`{model}`", FAMILIES.get(model, "")]
            for i, cells in enumerate(found):
                rows.append([*(names if i == 0 else ["", ""]), *cells])
            progress.advance()
    return rows


def _provenance() -> str:
    """A sentence on where and when this was measured."""
    machine, versions = describe_machine(1), our_versions()
    shown = ", ".join(f"{name} {versions[name]}" for name in ("ssm-simulators", "numpy", "jax"))
    return f"{today()}, {machine['processor']}, {machine['cores']} cores; {shown}."


def our_maker(
    folder: Path, model: str, labels: str, *, sets: int, rows: int, simulations: int
) -> MakeOne:
    """Make files of lanflow in a folder, with labels from a source."""
    folder.mkdir(parents=True)
    settings = generation_settings(
        model=model, sets=sets, rows=rows, simulations=simulations, labels=labels
    )
    config = _written(settings, folder)

    def make_one(chunk: int) -> None:
        plan = ChunkPlan(config, seed=1, chunk=chunk, n_files=1)
        generate_chunk(plan, folder / f"chunk_{chunk}", n_processes=1)

    return make_one


def their_maker(folder: Path, model: str, *, sets: int, rows: int, simulations: int) -> MakeOne:
    """Make files as ssm-simulators' command does, by the functions that it calls, on one core."""
    from ssms.cli.generate import collect_data_generator_config
    from ssms.dataset_generators.lan_mlp import TrainingDataGenerator

    folder.mkdir(parents=True)
    settings = generation_settings(
        model=model, sets=sets, rows=rows, simulations=simulations, labels="kde"
    )
    _written(settings, folder)
    config = collect_data_generator_config(folder / _CONFIG, base_path=folder)
    config["data_config"]["pipeline"]["n_cpus"] = 1

    def make_one(_: int) -> None:
        generator = TrainingDataGenerator(config["data_config"], config["model_config"])
        generator.generate_data_training(save=True)

    return make_one


_CONFIG = "generation.yaml"


def _written(settings: dict[str, object], folder: Path) -> GenerationConfig:
    """A generation file, written to a folder and read back."""
    (folder / _CONFIG).write_text(yaml.safe_dump(settings))
    return read_generation_file(folder / _CONFIG)
