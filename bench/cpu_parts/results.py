"""Figures of each part, and the file that keeps them.

``results.json`` holds each part with its own machine, versions, command and date. It is replaced
after each part in one step, so that an interrupted benchmark keeps the parts that are done, and a
later run of one part changes no other.
"""

import importlib.metadata
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanflow.core.files import write_json

REPOSITORY = Path(__file__).parents[2]
_PACKAGES = (
    *("lanflow", "lanfactory", "ssm-simulators", "jax", "optax", "torch", "numpy"),
    *("mlflow", "snakemake"),
)
# Run by another environment's interpreter.
_VERSIONS = """
import importlib.metadata, json, sys
installed = {each.name.lower(): each.version for each in importlib.metadata.distributions()}
print(json.dumps({name: installed[name] for name in sys.argv[1:] if name in installed}))
"""


@dataclass(frozen=True)
class Figure:
    """Measurements of one contender in one case.

    Attributes
    ----------
    contender
        Name, as tables have it.
    case
        Size of what was done: rows, networks and the like.
    values
        Quantity, with its unit in its name -> one value for each repetition. Contenders of a part
        were measured in turn, so that values at the same place belong together.
    """

    contender: str
    case: dict[str, int]
    values: dict[str, list[float]]

    def difference(self, quantity: str) -> list[float]:
        """The longer of two commands less the shorter; not a number where noise is larger."""
        pairs = zip(self.values[quantity], self.values[f"short_{quantity}"], strict=True)
        return [long - short if long > short else math.nan for long, short in pairs]


@dataclass(frozen=True)
class Part:
    """Everything that one part measured, and on what.

    Attributes
    ----------
    figures
        In the order in which they were measured.
    machine
        Processor, cores and the like, and the load before the part began.
    versions
        Whose environment -> package -> version.
    command, date, seconds
        How and when it was measured, and how long that took.
    """

    figures: tuple[Figure, ...]
    machine: dict[str, Any]
    versions: dict[str, dict[str, str]]
    command: str
    date: str
    seconds: float

    def find(self, contender: str, **case: int) -> Figure | None:
        """The figure of a contender; of several, of the largest case that agrees."""
        for figure in reversed(self.figures):
            is_meant = all(figure.case.get(key) == value for key, value in case.items())
            if figure.contender == contender and is_meant:
                return figure
        return None

    @property
    def contenders(self) -> list[str]:
        """Names in the order of figures."""
        return list(dict.fromkeys(figure.contender for figure in self.figures))


def read_results(path: Path) -> dict[str, Part]:
    """Read the parts that a file has; none where there is no file."""
    if not path.exists():
        return {}
    parts = {}
    for name, content in json.loads(path.read_text())["parts"].items():
        figures = tuple(Figure(**figure) for figure in content.pop("figures"))
        parts[name] = Part(figures=figures, **content)
    return parts


def keep_part(path: Path, name: str, part: Part, order: Sequence[str]) -> None:
    """Write a part into the file, in place of what it had of it."""
    parts = read_results(path) | {name: part}
    shown = {name: asdict(parts[name]) for name in order if name in parts}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"parts": shown})


def describe_machine(threads: int) -> dict[str, Any]:
    """Describe this machine, and how busy it was in the last minute."""
    found = {"cores": os.cpu_count(), "threads": threads, "system": platform.platform()}
    found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    processors = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    found["processor"] = processors[0] if processors else platform.processor()
    return found | {"load": round(os.getloadavg()[0], 2)}


def our_versions() -> dict[str, str]:
    """Versions of what matters here in this environment, and lanflow's commit."""
    installed = {each.name.lower(): each.version for each in importlib.metadata.distributions()}
    found = {"python": platform.python_version()}
    found |= {name: installed[name] for name in _PACKAGES if name in installed}
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)  # noqa: S603
    return found | ({"commit": shown.stdout.strip()} if shown.returncode == 0 else {})


def their_versions(folder: Path) -> dict[str, str]:
    """The same of another environment, by the folder of its commands."""
    command = [str(folder / "python"), "-I", "-c", _VERSIONS, *_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return dict(json.loads(done.stdout))


def command_line(arguments: Sequence[str]) -> str:
    """The command that was given, to be pasted."""
    return shlex.join(["python", "bench/run.py", *arguments])


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios of values that belong together."""
    return [a / b for a, b in zip(above, below, strict=True)]


def median(values: Sequence[float]) -> float:
    """The median of the values that are numbers; not a number if none is."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def spread(values: Sequence[float], words: Callable[[float], str] | None = None) -> str:
    """The median, and from where to where the values are."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "lost in noise"
    shown = words or short_number
    middle = shown(statistics.median(known))
    if len(known) == 1:
        return middle
    return f"{middle} ({shown(min(known))} to {shown(max(known))})"


def short_number(value: float) -> str:
    """A number for people: three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
