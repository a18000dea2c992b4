"""Training side by side: ``jaxtrain`` and ``torchtrain`` of lanflow and of LANfactory.

Every command trains the same network on the same files, as a process of its own, and in turn: all
of them once, then all of them again. Each is run with one epoch and with several, and the
difference is what an epoch takes, without starting, packing and compiling. Rows per second are put
beside what the rate of a large product of matrices allows, measured in the same run: an update
multiplies matrices three times, forward and twice backward.

    python bench/training.py [--lanfactory BIN] [--output benchmarks/training.json]

It takes half an hour on two quiet cores, and asserts no time. On a machine that others use, give
``--threads 1`` and read the columns of CPU seconds.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from lanflow.core.processes import n_cores
from lanflow.data.generation.config import read_generation_file
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.training.config import DEFAULT_PATH

N_FILES, SET_ROWS, N_INPUTS = 10, 1_000, 6
# LANfactory splits whole files, lanflow the rows of each: nine tenths are the same number of rows.
TRAINED = 0.9
HERE = Path(sys.executable).parent
# The rate of a product of two of these is what a machine can do: operations per second.
PRODUCT = """
import sys, time
n = 2048
if sys.argv[1] == "jax":
    import jax
    a = jax.random.normal(jax.random.key(1), (n, n))
    multiply = jax.jit(lambda a: a @ a)
    run = lambda: multiply(a).block_until_ready()
else:
    import torch
    torch.set_num_threads(int(sys.argv[2]))
    a = torch.randn(n, n)
    run = lambda: a @ a
run()
seconds = []
for _ in range(9):
    start = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - start)
print(2 * n**3 / sorted(seconds)[4])
"""


@dataclass(frozen=True)
class Contender:
    """A command that trains: whose it is, with which backend, and from which folder."""

    owner: str
    backend: str
    folder: Path

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.owner}, {self.backend}"


@dataclass(frozen=True)
class Timing:
    """Cost of a command: seconds on the wall and of all cores together, and peak memory."""

    contender: str
    n_epochs: int
    wall_s: float
    cpu_s: float
    peak_mib: float


def main() -> None:
    """Measure, print the table, and write all figures."""
    options = parse_options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    contenders = [
        Contender(owner, backend, folder)
        for backend in options.backends
        for owner, folder in (("lanflow", HERE), ("LANfactory", options.lanfactory))
        if folder is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder) / "data", options.rows)
        timings = measure(contenders, Path(folder), options)
    content = {
        "machine": machine(options),
        "versions": {owner: versions(path) for owner, path in owners(contenders).items()},
        "command": " ".join(["python", "bench/training.py", *sys.argv[1:]]),
        "rows": round(TRAINED * options.rows),
        "operations_per_row": operations_per_row(options.layers),
        "products_per_s": {backend: product_rate(backend, options) for backend in options.backends},
        "timings": [asdict(timing) for timing in timings],
    }
    print(table(content, options))
    if options.output:
        options.output.write_text(json.dumps(content, indent=1) + "\n")


def absolute(text: str) -> Path:
    """A folder, wherever a command is run."""
    return Path(text).absolute()


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--lanfactory", type=absolute, metavar="BIN", help="folder of LANfactory's commands"
    )
    parser.add_argument("--backends", nargs="+", choices=["jax", "torch"], default=["jax", "torch"])
    parser.add_argument("--rows", type=int, default=2_000_000, help="of all files")
    parser.add_argument("--layers", type=int, nargs="+", default=[100, 100, 100])
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=4, help="of the longer trainings")
    parser.add_argument("--repetitions", type=int, default=5, help="after one that is not counted")
    parser.add_argument("--threads", type=int, default=n_cores(), help="cores that all may use")
    parser.add_argument("--output", type=Path, metavar="JSON")
    return parser.parse_args()


def make_data(folder: Path, n_rows: int) -> None:
    """Training files of the diffusion model with labels by formula."""
    settings = {
        "MODEL": "ddm",
        "GENERATOR_APPROACH": "lan",
        "PIPELINE": {"N_PARAMETER_SETS": n_rows // (N_FILES * SET_ROWS), "N_SUBRUNS": 1},
        "SIMULATOR": {"N_SAMPLES": 20_000, "DELTA_T": 0.001},
        "TRAINING": {"N_SAMPLES_PER_PARAM": SET_ROWS},
        "ESTIMATOR": {"TYPE": "analytic"},
    }
    path = folder.with_name("generation.yaml")
    path.write_text(yaml.safe_dump(settings))
    plan = ChunkPlan(read_generation_file(path), seed=1, chunk=0, n_files=N_FILES)
    made = folder.with_name("made")
    generate_chunk(plan, made, n_processes=1)
    folder.mkdir()
    for path in made.rglob("*.pickle"):  # LANfactory looks into no folders of a folder
        path.rename(folder / path.name)


def measure(
    contenders: Sequence[Contender], folder: Path, options: argparse.Namespace
) -> list[Timing]:
    """Run every command once to warm up, then in turn; each with one epoch and with several."""
    timings = []
    for repetition in range(options.repetitions + 1):
        for contender, n_epochs in itertools.product(contenders, (1, options.epochs)):
            timing = train(contender, n_epochs, folder, options)
            print(f"{repetition}: {timing}", file=sys.stderr, flush=True)
            if repetition:
                timings.append(timing)
    return timings


def train(contender: Contender, n_epochs: int, folder: Path, options: argparse.Namespace) -> Timing:
    """Train once, in a folder of its own."""
    settings = yaml.safe_load(DEFAULT_PATH.read_text()) | {
        "CPU_BATCH_SIZE": options.batch,
        "N_EPOCHS": n_epochs,
        "TRAIN_VAL_SPLIT": TRAINED,
        "TRAINING_DATA_FOLDER": None,  # a key that LANfactory's file must have
        "LAYER_SIZES": [[*options.layers, 1]],
        "ACTIVATIONS": [["tanh"] * len(options.layers)],
    }
    with tempfile.TemporaryDirectory(dir=folder) as here:
        config = Path(here) / "training.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [contender.folder / f"{contender.backend}train", "--config-path", config]
        command += ["--training-data-folder", folder / "data", "--networks-path-base", here]
        start = time.perf_counter()
        with (Path(here) / "log").open("w+") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=here,
                env=environment(contender.owner),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                raise SystemExit(f"{contender.name} failed:\n{log.read()[-3000:]}")
    return timing_of(contender, n_epochs, wall_s, usage)


def timing_of(
    contender: Contender, n_epochs: int, wall_s: float, usage: resource.struct_rusage
) -> Timing:
    """The operating system's account of a process."""
    cpu_s = usage.ru_utime + usage.ru_stime
    return Timing(contender.name, n_epochs, wall_s, cpu_s, usage.ru_maxrss / 1024)


def environment(owner: str = "lanflow") -> dict[str, str]:
    """Variables of a command: no GPU, and of this environment nothing for a peer."""
    dropped = ("VIRTUAL_ENV", "MLFLOW_") + ("PYTHONPATH",) * (owner != "lanflow")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return kept | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}


def operations_per_row(layers: Sequence[int]) -> int:
    """Operations of the products of matrices in an update, for each row."""
    sizes = (N_INPUTS, *layers, 1)
    return 6 * sum(n_in * n_out for n_in, n_out in itertools.pairwise(sizes))


def product_rate(backend: str, options: argparse.Namespace) -> float:
    """Operations per second of a large product of matrices, the median of nine."""
    command = [sys.executable, "-c", PRODUCT, backend, str(options.threads)]
    done = subprocess.run(  # noqa: S603
        command, env=environment(), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def owners(contenders: Sequence[Contender]) -> dict[str, Path]:
    """Whose commands were run, and from where."""
    return {contender.owner: contender.folder for contender in contenders}


def versions(folder: Path) -> dict[str, str]:
    """Versions of an environment's packages that matter here."""
    names = ("lanflow", "lanfactory", "jax", "optax", "torch", "numpy")
    program = (
        "import importlib.metadata as m, json; there = {d.name.lower(): d.version for d in "
        f"m.distributions()}}; print(json.dumps({{n: there[n] for n in {names} if n in there}}))"
    )
    command = [folder / "python", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return dict(json.loads(done.stdout))


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """The machine that was measured."""
    found = {"cores": os.cpu_count(), "threads": options.threads, "system": platform.platform()}
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    processors = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return found | {"processor": processors[0] if processors else platform.processor()}


def table(content: dict[str, Any], options: argparse.Namespace) -> str:
    """Medians and ranges, and ours over theirs pair by pair, in Markdown."""
    lines = [
        "| | rows/s in an epoch | of the products' rate | rows per CPU second | "
        f"command of {options.epochs} epochs, s | its CPU, s | peak, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = list(dict.fromkeys(timing["contender"] for timing in content["timings"]))
    figures = {name: figures_of(name, content, options) for name in names}
    for name, columns in figures.items():
        backend = name.split(", ")[1]
        allowed = content["products_per_s"][backend] / content["operations_per_row"]
        share = f"{statistics.median(columns['rows_s']) / allowed:.0%}"
        cells = [spread(values) for values in columns.values()]
        lines.append(f"| {' | '.join([name, cells[0], share, *cells[1:]])} |")
    for backend in options.backends:
        ours, theirs = (figures.get(f"{who}, {backend}") for who in ("lanflow", "LANfactory"))
        if ours and theirs:
            ratios = [
                spread([a / b for a, b in zip(ours[key], theirs[key], strict=True)]) for key in ours
            ]
            row = [f"ratio, {backend}", ratios[0], "", *ratios[1:]]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def figures_of(
    name: str, content: dict[str, Any], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Of a contender, one of each figure for each repetition."""
    own = [timing for timing in content["timings"] if timing["contender"] == name]
    short, long = ([t for t in own if t["n_epochs"] == n] for n in (1, options.epochs))
    n_rows = content["rows"] * (options.epochs - 1)

    def rate(key: str) -> list[float]:
        return [n_rows / (b[key] - a[key]) for a, b in zip(short, long, strict=True)]

    return {
        "rows_s": rate("wall_s"),
        "rows_cpu_s": rate("cpu_s"),
        "wall_s": [timing["wall_s"] for timing in long],
        "cpu_s": [timing["cpu_s"] for timing in long],
        "peak_mib": [timing["peak_mib"] for timing in long],
    }


def spread(values: Sequence[float]) -> str:
    """The median, and from where to where the others are."""

    def words(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    return f"{words(statistics.median(values))} ({words(min(values))} to {words(max(values))})"


if __name__ == "__main__":
    main()
