"""How fast a GPU trains: lanflow's own training in both backends beside bare loops and ceilings.

Measured, each several times after a warm-up, with the range of the repetitions:

- lanflow's training (the functions that ``jaxtrain`` and ``torchtrain`` call) on a made-up packed
  data set of 40 million rows, layers [100, 100, 100, 1] and tanh, batches of 1,000, 10,000 and
  50,000 rows, and layers of 1,000 units: rows per second of an epoch, where its seconds go, seconds
  until the first rows reach the backend and until the first epoch ends, peak device memory; and
  1, 8 and 32 networks at once as ``lanflow train`` puts them together;
- bare loops over rows that lie on the device, shuffled there: in JAX one program an epoch; in Torch
  updates launched by the host, in CUDA graphs, with a gradient by hand, and compiled; 1, 8 and 32
  networks at once;
- ceilings: the rate of a product of matrices as the backend computes it in float32, the rate of a
  copy, what a launch costs, permutations and copies on the host. Rates are given as a share of the
  first two: ``of_flops`` counts the operations of the products, ``of_bytes`` the traffic if no two
  products are fused (:class:`gpu_parts.figures.Case`). A batch of 32 rows shows what a step costs
  apart from arithmetic.

It takes about eight minutes on one GPU and asserts no time. Each part is a process of its own with
a limit, so that one that hangs or fails costs its own figures only.

    python bench/gpu.py --output DIR                          # gpu.json and gpu.md appear in DIR
    python bench/gpu.py --output DIR --small --device cpu     # that everything runs, in a minute
    python bench/gpu.py --tables docs/benchmarks_gpu.md benchmarks/gpu.json    # measures nothing
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gpu_parts.figures import FULL, SMALL, Figure, Recorder, read_figures
from gpu_parts.report import describe, fill_document

# A part -> the seconds it may take. What matters most comes first.
PARTS = {
    "lanflow-jax": 100,
    "lanflow-torch": 90,
    "bare-jax": 110,
    "bare-torch": 100,
    "tf32-torch": 50,
    "options-jax": 90,
    "compiled-torch": 90,
    "graphs-jax": 50,
}
# XLA runs a loop as one CUDA graph if it is told which commands may be part of one.
GRAPH_FLAGS = (
    "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,WHILE,"
    "DYNAMIC_SLICE_FUSION"
)
FIGURES = "figures.jsonl"


def main() -> None:
    """Run all parts and write the results, or run one part."""
    options = parse_options()
    if options.tables:
        fill_document(*options.tables)
        return
    if options.output is None:
        raise SystemExit("give --output DIR")
    if options.part:
        run_part(options)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / FIGURES
    path.write_text("")
    end = time.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        if any(part.startswith("lanflow") for part in options.parts):
            start = time.monotonic()
            prepare(path, Path(folder) / "data_set", SMALL if options.small else FULL)
            print(f"prepared the data set in {time.monotonic() - start:.0f} s", flush=True)
        for part in options.parts:
            limit = min(PARTS[part], end - time.monotonic())
            start_part(part, options, Path(folder) / "data_set", limit)
            write_results(options.output, read_figures(path), options)
    print(f"\n{(options.output / 'gpu.md').read_text()}", flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, metavar="DIR")
    parser.add_argument(
        "--tables",
        type=Path,
        nargs=2,
        metavar=("DOCUMENT", "JSON"),
        help="measure nothing; put the tables of a gpu.json between the marks of a document",
    )
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--small", action="store_true", help="a size that measures nothing")
    parser.add_argument("--minutes", type=float, default=9, help="no part goes on after them")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--data-set", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(path: Path, data_set: Path, size: Any) -> None:
    """Measure the host, and pack the data set."""
    from gpu_parts.training import make_data_set, measure_host

    record = Recorder(path, "host")
    record.trying("host", partial(measure_host, record, size))
    make_data_set(data_set, size)


def start_part(part: str, options: argparse.Namespace, data_set: Path, limit: float) -> None:
    """Run one part as a process; say so if it fails or is out of time."""
    record = Recorder(options.output / FIGURES, part)
    if limit < 5:
        record.failed("the part", "no time was left")
        return
    arguments = ["--part", part, "--data-set", data_set, "--output", options.output]
    arguments += ["--device", options.device] + ["--small"] * options.small
    command = [sys.executable, __file__, *map(str, arguments)]
    print(f"\n{part} (at most {limit:.0f} s)", flush=True)
    start = time.monotonic()
    try:
        status = subprocess.call(command, env=environment(part, options), timeout=limit)  # noqa: S603
        reason = "" if status == 0 else f"exit status {status}"
    except subprocess.TimeoutExpired:
        reason = f"stopped after {limit:.0f} s"
    if reason:
        record.failed("the part", reason)
    print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)


def environment(part: str, options: argparse.Namespace) -> dict[str, str]:
    """Variables of a part's process."""
    variables = dict(os.environ)
    if options.device == "cpu":
        variables |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if part == "graphs-jax":
        variables["XLA_FLAGS"] = " ".join([variables.get("XLA_FLAGS", ""), GRAPH_FLAGS]).strip()
    return variables


def run_part(options: argparse.Namespace) -> None:
    """Measure one part in this process."""
    start = time.perf_counter()
    size = SMALL if options.small else FULL
    record = Recorder(options.output / FIGURES, options.part)
    loops: Any
    if options.part.endswith("jax"):
        from gpu_parts import jax_loops as loops
    else:
        from gpu_parts import torch_loops as loops
    found = loops.versions()
    seconds = time.perf_counter() - start
    record("import of the backend, until it sees its device", "s", [seconds], **found)
    if options.part == "graphs-jax":
        loops.measure_graphs(record, size)
    elif options.part == "options-jax":
        loops.measure_options(record, size)
    elif options.part == "tf32-torch":
        loops.measure_rough(record, size)
    elif options.part == "compiled-torch":
        loops.measure_compiled(record, size)
    elif options.part.startswith("bare"):
        loops.measure_loops(record, size)
    else:
        from gpu_parts.training import measure_training

        measure_training(
            options.part.removeprefix("lanflow-"),
            record,
            size,
            options.data_set,
            device=options.device,
            ceilings=loops.measure_ceilings(record, size),
            peak_mib=loops.peak_mib,
        )


def write_results(folder: Path, figures: Sequence[Figure], options: argparse.Namespace) -> None:
    """Write ``gpu.json`` with everything, and ``gpu.md`` with tables."""
    versions: dict[str, Any] = {}
    for figure in figures:
        if figure.what.startswith("import"):
            versions |= figure.details
    content = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        "commands": [f"python bench/gpu.py --output DIR --parts {' '.join(options.parts)}"],
        "figures": [json.loads(line) for line in (folder / FIGURES).read_text().splitlines()],
    }
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "gpu.md").write_text(describe(content))


def machine() -> dict[str, Any]:
    """What it was measured on: cores, processor, the GPU and its driver."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "system": platform.system()}
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next(x for x in lines if x.startswith("model name")).split(": ")[1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv"]
        shown = subprocess.run(query, capture_output=True, text=True, check=True).stdout  # noqa: S603
        found["gpu"] = shown.splitlines()[1]
    return found


if __name__ == "__main__":
    main()
