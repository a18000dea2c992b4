"""Runs the torture's parts and prints their table."""

import argparse
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from lanflow.core.tables import plain_table
from tests.torture.trial import Trial, rows, write_page

PARTS = ("crash", "concurrency", "outage", "disk", "memory", "workers")


def existing_parts() -> list[str]:
    """Names of the parts, in order."""
    return [name for name in PARTS if importlib.util.find_spec(f"tests.torture.{name}")]


def run_part(name: str, *, seed: int, trials: int, folder: Path) -> list[Trial]:
    """Run one part in a folder of its own."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    made: list[Trial] = importlib.import_module(f"tests.torture.{name}").run(seed, trials, place)
    return made


def main() -> int:
    """Run the parts that were asked for; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(existing_parts())}"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--trials", type=int, default=50, metavar="N", help="of each command")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where trials run and stay")
    parser.add_argument("--output", type=Path, metavar="FILE", help="Markdown, part by part")
    parsed = parser.parse_args()
    if unknown := set(parsed.parts) - set(existing_parts()):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="lanflow_torture_") as temporary:
        for name in parsed.parts or existing_parts():
            folder = (parsed.folder or Path(temporary)).absolute()
            trials += run_part(name, seed=parsed.seed, trials=parsed.trials, folder=folder)
    sys.stdout.write(plain_table(rows(trials)) + "\n")
    for trial in trials:
        if not trial.is_clean:
            sys.stdout.write(f"{trial.part}, {trial.name}: {trial.remark}\n")
    if parsed.output is not None:
        write_page(parsed.output, trials, seed=parsed.seed, n_trials=parsed.trials)
    return 0 if all(trial.is_clean for trial in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
