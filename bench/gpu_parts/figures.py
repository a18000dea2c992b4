"""What the benchmark measures, how it repeats, and how it prints and keeps a figure."""

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

N_INPUTS, N_OUTPUTS = 6, 1


@dataclass(frozen=True)
class Case:
    """One training to time.

    Attributes
    ----------
    batch_size
        Rows of an update, of each network.
    n_rows
        Rows of an epoch, a whole number of batches.
    width
        Units of each of the three hidden layers.
    n_networks
        Networks trained side by side as one program.
    """

    batch_size: int
    n_rows: int
    width: int = 100
    n_networks: int = 1

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units of every layer."""
        return (self.width, self.width, self.width, N_OUTPUTS)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of every layer."""
        return list(itertools.pairwise((N_INPUTS, *self.layer_sizes)))

    @property
    def n_steps(self) -> int:
        """Updates of an epoch."""
        return self.n_rows // self.batch_size

    @property
    def flops_per_row(self) -> int:
        """Floating-point operations of the products: forward, and two products backward."""
        return 6 * sum(n_in * n_out for n_in, n_out in self.shapes)

    @property
    def bytes_per_row(self) -> int:
        """Device memory traffic if every product reads its operands from there.

        The row itself, and six passes over each hidden layer: its values are written once and
        read by the next product and by the backward pass, and so are their gradients.
        """
        return 4 * (N_INPUTS + N_OUTPUTS + 6 * sum(self.layer_sizes[:-1]))


@dataclass(frozen=True)
class Size:
    """What a run measures: the full size, or a small one that only shows that everything runs.

    Attributes
    ----------
    batches
        Trainings at several batch sizes, ascending.
    wide
        One with layers that fill a GPU.
    tiny
        A batch so small that a step costs nothing but its launches.
    many
        Several networks at once.
    file_rows
        Rows of a file of the data set.
    product
        Rows of the square matrices whose product gives the ceiling.
    copied_bytes
        Size of the array whose copy gives the other ceiling.
    n_unrolled
        Updates written out in the body of an unrolled loop.
    repetitions, patience_s
        Each figure is repeated so often, or until so many seconds are over.
    """

    batches: tuple[Case, ...]
    wide: Case
    tiny: Case
    many: tuple[Case, ...]
    file_rows: int
    product: int
    copied_bytes: int
    n_unrolled: int
    repetitions: int
    patience_s: float

    @property
    def n_rows(self) -> int:
        """Rows of the data set: enough for the largest training, and some to validate on."""
        return max(case.n_rows for case in (*self.batches, self.wide))


FULL = Size(
    batches=(Case(1_000, 4_000_000), Case(10_000, 10_000_000), Case(50_000, 40_000_000)),
    wide=Case(10_000, 2_000_000, width=1_000),
    tiny=Case(32, 64_000),
    many=tuple(Case(1_000, 1_000_000, n_networks=n) for n in (1, 8, 32)),
    file_rows=1_000_000,
    product=8_192,
    copied_bytes=2**30,
    n_unrolled=8,
    repetitions=4,
    patience_s=3.0,
)
SMALL = Size(
    batches=(Case(50, 400, width=10),),
    wide=Case(50, 400, width=20),
    tiny=Case(4, 40, width=10),
    many=(Case(20, 200, width=10, n_networks=2),),
    file_rows=100,
    product=64,
    copied_bytes=2**16,
    n_unrolled=2,
    repetitions=2,
    patience_s=6.0,
)


@dataclass(frozen=True)
class Ceilings:
    """What the device was measured to do at most, in the arithmetic that is used."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Figure:
    """One measured quantity with all its repetitions."""

    part: str
    what: str
    unit: str
    values: list[float]
    case: Case | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Range of the repetitions relative to their median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    def line(self) -> str:
        """The figure as one line of text."""
        text = f"{self.part:14} {self.what:44}"
        if self.case is not None:
            text += f" {self.case.width:>5} wide {self.case.batch_size:>6} rows a batch"
            text += f" x{self.case.n_networks}"
        if self.unit:
            text += f"  {format_number(self.median)} {self.unit} (spread {self.spread:.0%})"
        more = (f"{k} {format_value(v)}" for k, v in self.details.items())
        return "  ".join([text, *more])


def format_number(number: float) -> str:
    """A number for people."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def format_value(value: Any) -> str:
    """A detail for people."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {format_value(v)}" for k, v in value.items())
    return format_number(value) if isinstance(value, int | float) else str(value)


class Recorder:
    """Prints each figure as it comes and appends it to a file, which outlasts a killed process."""

    def __init__(self, path: Path, part: str) -> None:
        self._path, self._part = path, part

    def __call__(self, what: str, unit: str, values: list[float], **more: Any) -> None:
        """Record one figure; ``case`` and details are given by keyword."""
        case = more.pop("case", None)
        figure = Figure(self._part, what, unit, values, case, more)
        print(figure.line(), flush=True)
        content = asdict(figure) | {"median": figure.median, "spread": figure.spread}
        with self._path.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def rate(
        self, what: str, case: Case, seconds: list[float], ceilings: Ceilings, **more: Any
    ) -> None:
        """Record rows per second, with microseconds a step and shares of the ceilings.

        Parameters
        ----------
        seconds
            Of each epoch.
        """
        rows = case.n_rows * case.n_networks
        epoch = statistics.median(seconds)
        self(
            what,
            "rows/s",
            [rows / each for each in seconds],
            case=case,
            us_per_step=epoch / case.n_steps * 1e6,
            of_flops=rows * case.flops_per_row / epoch / ceilings.flops,
            of_bytes=rows * case.bytes_per_row / epoch / ceilings.bytes,
            **more,
        )

    def trying(self, what: str, measure: Callable[[], None]) -> None:
        """Run one measurement; print why it failed, and let the others go on."""
        try:
            measure()
        except Exception as e:  # libraries, drivers and compilers have their own kinds
            reason = " ".join(str(e).split())[:300]
            self.failed(what, f"{type(e).__name__}: {reason}")

    def failed(self, what: str, reason: str) -> None:
        """Record that there is no figure, and why."""
        self(f"FAILED: {what}", "", [0.0], error=reason)


def read_figure(content: dict[str, Any]) -> Figure:
    """One figure as :class:`Recorder` wrote it."""
    case = content["case"]
    given = {name: content[name] for name in ("part", "what", "unit", "values", "details")}
    return Figure(**given, case=None if case is None else Case(**case))


def read_figures(path: Path) -> list[Figure]:
    """The figures of a file, in their order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [read_figure(json.loads(line)) for line in lines]


def repeat(run: Callable[[], object], size: Size) -> list[float]:
    """Seconds of each call; ``run`` must wait for the device."""
    seconds: list[float] = []
    start = time.perf_counter()
    while len(seconds) < size.repetitions:
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
        if len(seconds) >= 2 and time.perf_counter() - start > size.patience_s:
            break
    return seconds
