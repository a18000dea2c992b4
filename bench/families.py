"""One model of each family of densities, measured some at a time and shown in docs/labels.md."""

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lanflow.core.files import write_text
from lanflow.core.processes import n_cores, worker_pool
from lanflow.core.progress import Progress

# Columns of a table after those of the model.
Cells = list[str]

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
    """Add the options that all of these benchmarks have."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        default=list(FAMILIES),
        help="names of ssm-simulators; one of each family when left out",
    )
    parser.add_argument("--processes", type=int, default=n_cores(), help="models at a time")
    parser.add_argument("--output", type=Path, metavar="MD", help="a page; printed when left out")


def of_each_model(
    measure: Callable[[str], Sequence[Cells]], options: argparse.Namespace, what: str
) -> list[Cells]:
    """Rows of a table: every model is measured on one core, some of them at a time."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # progress where no bar is seen
    rows: list[Cells] = []
    with (
        worker_pool(min(options.processes, len(options.models))) as pool,
        Progress(len(options.models), what, "model") as progress,
    ):
        for model, found in zip(options.models, pool.map(measure, options.models), strict=True):
            # The first row of each model names it and its density.
            names = [f"`{model}`", FAMILIES.get(model, "")]
            for i, cells in enumerate(found):
                rows.append([*(names if i == 0 else ["", ""]), *cells])
            progress.advance()
    return rows


def require_marks(name: str, page: Path | None) -> None:
    """Refuse a page that has no place for a text, before it takes long to be made."""
    if page is not None and not _between(name).search(page.read_text()):
        raise SystemExit(f"{page} has no marks of {name!r}, between which the table goes")


def show(name: str, text: str, page: Path | None) -> None:
    """Put a text between the two marks of its name on a page, or print it."""
    if page is None:
        print(text)
        return
    filled = _between(name).sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page.read_text())
    write_text(page, filled)


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)


def provenance() -> str:
    """A sentence on where and when this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    packages = ("ssm-simulators", "numpy", "jax")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    processor = f"{names[0]}, {n_cores()} cores" if names else f"{n_cores()} cores"
    return f"{datetime.now(UTC):%Y-%m-%d}, {processor}; {versions}."
