"""Speed on a CPU: all of lanflow's steps, beside LANfactory, ssm-simulators and bare Snakemake.

Each part appends its figures to a file as it ends, in place of those that the file has of it, with
machine, versions, command and date. Commands run as processes of their own and in turn: a round
that is not counted, then five, or three where something is varied. No time is asserted.

- ``training``: rows per second in an epoch, whole commands, memory; ``sizes``, ``batches`` and
  ``widths`` vary one thing each;
- ``packing``: megabytes a second of one core, and memory, over rows;
- ``generation``: how busy the cores are, and what a parameter set costs;
- ``starts``: seconds before a first batch, a first score, a first figure;
- ``workflow``: queries over runs, dry-runs over networks;
- ``study``: a build of a hundred small networks.

    python bench/run.py [--lanfactory BIN] [--parts PART ...] [--page docs/benchmarks.md]
    python bench/run.py --parts --page docs/benchmarks.md           # measures nothing

It wants two cores on which nothing else runs; on others the columns of CPU seconds can be read.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cpu_parts import data, starts, training, workflow
from cpu_parts.page import write_page
from cpu_parts.processes import CommandError, Setting
from cpu_parts.results import (
    REPOSITORY,
    Figure,
    Part,
    command_line,
    describe_machine,
    keep_part,
    our_versions,
    read_results,
    their_versions,
    today,
)
from cpu_parts.sizes import FULL, SMALL
from cpu_parts.training_files import TrainingFiles

from lanflow.core.processes import n_cores
from lanflow.core.progress import format_seconds

PARTS: dict[str, Callable[[Setting, TrainingFiles], tuple[Figure, ...]]] = {
    "training": training.measure_training,
    "sizes": partial(training.measure_sweep, what="sizes"),
    "batches": partial(training.measure_sweep, what="batches"),
    "widths": partial(training.measure_sweep, what="widths"),
    "packing": data.measure_packing,
    "generation": data.measure_generation,
    "starts": starts.measure_starts,
    "workflow": workflow.measure_workflow,
    "study": workflow.measure_study,
}
MOST_THREADS = 2
RESULTS = REPOSITORY / "benchmarks" / "results.json"
log = logging.getLogger("bench")


def main() -> int:
    """Measure the parts, and write the page; the exit status."""
    options = parse_options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Every command inherits it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    failed = []
    with tempfile.TemporaryDirectory(prefix="lanflow-bench-") as folder:
        files = TrainingFiles(setting_of(options, Path(folder)))
        for i, name in enumerate(options.parts):
            _say_what_comes(name, i, options)
            try:
                measure_part(name, files, options)
            except CommandError as error:
                log.error("%s failed: %s", name, error)
                failed.append(name)
    if options.page:
        write_page(options.page, options.output)
    return 1 if failed else 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=list(PARTS), help="all when left out"
    )
    parser.add_argument(
        "--lanfactory", type=absolute, metavar="BIN", help="folder of LANfactory's commands"
    )
    parser.add_argument(
        "--lanflow",
        type=absolute,
        metavar="BIN",
        default=Path(sys.executable).parent,
        help="folder of lanflow's commands; those of this environment when left out",
    )
    parser.add_argument("--threads", type=int, default=min(MOST_THREADS, n_cores()))
    parser.add_argument("--small", action="store_true", help="sizes that measure nothing")
    parser.add_argument("--output", type=Path, metavar="JSON", default=RESULTS)
    parser.add_argument("--page", type=Path, metavar="MD", help="write tables and pictures there")
    return parser.parse_args()


def absolute(text: str) -> Path:
    """A folder, wherever a command is run."""
    return Path(text).absolute()


def setting_of(options: argparse.Namespace, folder: Path) -> Setting:
    """The setting that options ask for, in a folder."""
    size = SMALL if options.small else FULL
    return Setting(size, options.lanflow, options.lanfactory, options.threads, folder)


def measure_part(name: str, files: TrainingFiles, options: argparse.Namespace) -> None:
    """Measure one part and keep its figures."""
    machine, start = describe_machine(options.threads), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lanflow-bench-") as folder:
        figures = PARTS[name](setting_of(options, Path(folder)), files)
    versions = {"lanflow's environment": our_versions()}
    if options.lanfactory:
        versions["LANfactory's"] = their_versions(options.lanfactory)
    part = Part(
        figures=figures,
        machine=machine,
        versions=versions,
        command=command_line(sys.argv[1:]),
        date=today(),
        seconds=round(time.monotonic() - start, 1),
    )
    keep_part(options.output, name, part, order=list(PARTS))


def _say_what_comes(name: str, i: int, options: argparse.Namespace) -> None:
    """One line: the part, and how long it and those after it took the last time."""
    earlier = read_results(options.output)
    known = [earlier[left].seconds for left in options.parts[i:] if left in earlier]
    took = f", {format_seconds(earlier[name].seconds)} the last time" if name in earlier else ""
    left = f", {format_seconds(sum(known))} with all that follow" if len(known) > 1 else ""
    log.info("part %d of %d: %s%s%s", i + 1, len(options.parts), name, took, left)


if __name__ == "__main__":
    sys.exit(main())
