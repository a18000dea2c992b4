"""Data: packing of training files, and simulating them on all cores."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from cpu_parts.processes import Command, Setting, Task, in_turn, run
from cpu_parts.results import Figure
from cpu_parts.training_files import TrainingFiles, generation_settings

PACKING = "lanflow materialise"
KDE, EXACT = "lanflow, kde", "lanflow, exact labels"
# A core that shares its parts with another is slower: beside one process of theirs stands one.
KDE_ALONE = "lanflow, kde, one process"
THEIR_KDE = "ssm-simulators, kde"
MEGABYTE = 1e6
_LEAST_FILES = 10


def measure_packing(setting: Setting, files: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``packing``: training files of several data sets become arrays."""
    size, tasks = setting.size, []
    for rows in size.packing:
        rows_per_file = min(size.file_sets * size.set_rows, rows // _LEAST_FILES)
        folder = files.folder(n_files=rows // rows_per_file, rows_per_file=rows_per_file)
        manifest = setting.new_folder("manifest") / "manifest.json"
        words = [setting.ours / "lanflow", "manifest", "--folder", folder, "--model", "ddm"]
        run(Command([*words, "--output", manifest], setting.folder))
        n_bytes = sum(path.stat().st_size for path in folder.iterdir())
        case = {"rows": rows, "bytes": n_bytes}
        tasks.append(Task(PACKING, case, partial(_pack, manifest, setting)))
    return in_turn(tasks, "packing", repetitions=size.repetitions, warm_ups=size.warm_ups)


def _pack(manifest: Path, setting: Setting) -> Mapping[str, float]:
    """Cost of packing, into a folder that is removed."""
    folder = setting.new_folder("packed")
    words = [setting.ours / "lanflow", "materialise", manifest, "--output", folder / "data_set"]
    done = run(Command(words, setting.folder))
    shutil.rmtree(folder)
    return done.cost


def megabytes_per_core_second(figure: Figure) -> list[float]:
    """Megabytes of training files that a whole command packs in a second of one core."""
    return [figure.case["bytes"] / MEGABYTE / seconds for seconds in figure.values["cpu_s"]]


def packing_rates(small: Figure, large: Figure) -> list[float]:
    """Megabytes in a second of one core by which two commands differ: without their starts."""
    megabytes = (large.case["bytes"] - small.case["bytes"]) / MEGABYTE
    pairs = zip(large.values["cpu_s"], small.values["cpu_s"], strict=True)
    return [megabytes / (more - less) if more > less else float("nan") for more, less in pairs]


def line_through(figures: Sequence[Figure], quantity: str) -> tuple[float, float]:
    """Intercept and slope by row of the straight line through all values over rows."""
    rows = np.repeat([f.case["rows"] for f in figures], [len(f.values[quantity]) for f in figures])
    values = np.concatenate([figure.values[quantity] for figure in figures])
    slope, intercept = np.polyfit(rows, values, 1)
    return float(intercept), float(slope)


def measure_generation(setting: Setting, _: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``generation``: parameter sets on all cores, ours and ssm-simulators'.

    Each command makes few sets and many; what differs is what the sets take, without starting.
    """
    size = setting.size.generation
    tasks = [
        _generation_task(KDE, "kde", size.sets, size.short_sets, setting),
        _generation_task(KDE_ALONE, "kde", size.their_sets, size.their_short_sets, setting),
        _generation_task(THEIR_KDE, "kde", size.their_sets, size.their_short_sets, setting),
        _generation_task(EXACT, "analytic", size.exact_sets, size.exact_short_sets, setting),
    ]
    return in_turn(
        tasks,
        "generation",
        repetitions=setting.size.sweep_repetitions,
        warm_ups=setting.size.warm_ups,
    )


def _generation_task(name: str, labels: str, sets: int, short_sets: int, setting: Setting) -> Task:
    case = {"sets": sets, "short_sets": short_sets, "threads": setting.threads}

    def measure() -> Mapping[str, float]:
        short, long = (
            run(_generation_command(name, labels, n, setting)) for n in (short_sets, sets)
        )
        return long.cost | short.short_cost

    return Task(name, case, measure)


def _generation_command(name: str, labels: str, sets: int, setting: Setting) -> Command:
    """The command that makes one file of so many sets; theirs is one process."""
    size, folder = setting.size.generation, setting.new_folder("generated")
    config = folder / "generation.yaml"
    settings = generation_settings(
        sets=sets, rows=size.rows, simulations=size.simulations, labels=labels
    )
    processes = 1 if name == KDE_ALONE else setting.threads
    program: list[object] = [setting.ours / "lanflow", "generate", "--processes", processes]
    if name == THEIR_KDE:
        settings.pop("ESTIMATOR")  # theirs has one kind of labels
        # Their command is part of this environment, of which lanflow needs the simulators.
        program = [Path(sys.executable).with_name("generate")]
    config.write_text(yaml.safe_dump(settings))
    words = [*program, "--config-path", config, "--output", folder / "made"]
    return Command(words, folder)


def busy_shares(figure: Figure) -> list[float]:
    """Share of all cores' time that a command's sets kept them at work, without its start."""
    pairs = zip(figure.difference("cpu_s"), figure.difference("wall_s"), strict=True)
    return [cpu / (figure.case["threads"] * wall) for cpu, wall in pairs]


def core_seconds_per_set(figure: Figure) -> list[float]:
    """Seconds of one core for a parameter set, without the command's start."""
    n_sets = figure.case["sets"] - figure.case["short_sets"]
    return [seconds / n_sets for seconds in figure.difference("cpu_s")]
