"""Targets: the ratios that were to be reached, those that were, and limits measured beside them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cpu_parts import data, starts, training, workflow
from cpu_parts.results import Figure, Part, median, ratios, short_number, spread

# What the workflow's rule asks the scheduler for.
PACKING_MEMORY_GB = 8
_FAR_ROWS = 1e9
_GB_PER_MIB = 2**20 / 1e9


class NotMeasuredError(LookupError):
    """A figure that a target needs is not there, such as one of a peer that was left out."""


@dataclass(frozen=True)
class Target:
    """One thing that was to be reached.

    Attributes
    ----------
    what
        The quantity, for people.
    part
        The part that measures it.
    values
        One value for each repetition.
    limit
        A sentence with what bounds it, from figures of the same run.
    least, most
        The bound that the median is held against; None of both only shows it.
    words
        A value for people.
    """

    what: str
    part: str
    values: Callable[[Part], Sequence[float]]
    limit: Callable[[Part], str]
    least: float | None = None
    most: float | None = None
    words: Callable[[float], str] = short_number

    @property
    def wanted(self) -> str:
        """The bound for people."""
        if self.least is not None:
            return f"at least {self.words(self.least)}"
        return "" if self.most is None else f"at most {self.words(self.most)}"

    def verdict(self, values: Sequence[float]) -> str:
        """Yes or no, by the median; nothing where there is no bound."""
        reached = median(values)
        if math.isnan(reached) or self.least == self.most:
            return ""
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        return "yes" if low <= reached <= high else "no"


def target_rows(parts: Mapping[str, Part]) -> list[list[str]]:
    """Rows of the table of targets; its columns are in :data:`TARGET_COLUMNS`."""
    rows = []
    for target in TARGETS:
        try:
            part = parts[target.part]
            values, limit = target.values(part), target.limit(part)
        except LookupError:
            rows.append([target.what, target.wanted, "not measured", "", ""])
            continue
        shown = spread(values, target.words)
        rows.append([target.what, target.wanted, shown, target.verdict(values), limit])
    return rows


TARGET_COLUMNS = ("what", "wanted", "measured", "reached", "limits, measured beside it")


def _need(part: Part, contender: str, **case: int) -> Figure:
    """A figure, or else :class:`NotMeasuredError`."""
    figure = part.find(contender, **case)
    if figure is None:
        raise NotMeasuredError(contender)
    return figure


def _trainings(part: Part, backend: str) -> tuple[Figure, Figure, Figure]:
    """Ours, theirs, and products of matrices."""
    names = (
        training.contender(training.OURS, backend),
        training.contender(training.THEIRS, backend),
        training.products_of(backend),
    )
    ours, theirs, products = (_need(part, name) for name in names)
    return ours, theirs, products


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _seconds(value: float) -> str:
    return f"{short_number(value)} s"


def _of_rows(backend: str) -> Target:
    def values(part: Part) -> list[float]:
        ours, theirs, _ = _trainings(part, backend)
        return ratios(training.rows_per_second(ours), training.rows_per_second(theirs))

    def limit(part: Part) -> str:
        _, theirs, products = _trainings(part, backend)
        most = median(training.allowed_rows_per_second(products))
        most /= median(training.rows_per_second(theirs))
        return f"an update that is only products, at a large one's rate: {short_number(most)}"

    what = f"rows/s in an epoch over LANfactory's, {backend}"
    return Target(what, "training", values, limit, least=2.5)


def _share_of_products() -> Target:
    def figures(part: Part) -> tuple[Figure, Figure]:
        name = training.contender(training.OURS, "jax")
        return _need(part, name), _need(part, training.products_of("jax"))

    def values(part: Part) -> list[float]:
        ours, products = figures(part)
        return ratios(training.rows_per_second(ours), training.allowed_rows_per_second(products))

    def limit(part: Part) -> str:
        _, products = figures(part)
        rates = (products.values[f"{of}_operations_s"] for of in ("update", "product"))
        share = _percent(median(ratios(*rates)))
        return f"the products of an update, each by itself: {share} of a large one's rate"

    what = "rows/s in an epoch, share of the products' rate, jax"
    return Target(what, "training", values, limit, least=0.65, words=_percent)


def _jax_over_torch() -> Target:
    def values(part: Part) -> list[float]:
        names = [training.contender(training.OURS, backend) for backend in training.BACKENDS]
        return ratios(*(training.rows_per_second(_need(part, name)) for name in names))

    def limit(part: Part) -> str:
        names = [training.products_of(backend) for backend in training.BACKENDS]
        rates = [_need(part, name).values["update_operations_s"] for name in names]
        return f"the same ratio of an update's products: {short_number(median(ratios(*rates)))}"

    return Target("rows/s in an epoch, JAX over Torch", "training", values, limit, most=1.4)


def _whole_command(backend: str) -> Target:
    def values(part: Part) -> list[float]:
        ours, theirs, _ = _trainings(part, backend)
        return ratios(ours.values["wall_s"], theirs.values["wall_s"])

    def limit(part: Part) -> str:
        ours, theirs, _ = _trainings(part, backend)
        start = median(training.seconds_beside_epochs(ours))
        share = start / median(theirs.values["wall_s"])
        return f"all but its epochs: {_seconds(start)}, {_percent(share)} of LANfactory's command"

    what = f"whole command over LANfactory's, {backend}"
    return Target(what, "training", values, limit, most=1 / 3)


def _query() -> Target:
    def figures(part: Part) -> tuple[Figure, Figure]:
        return _need(part, workflow.QUERY), _need(part, workflow.IMPORT)

    def values(part: Part) -> list[float]:
        query, imported = (figure.values["wall_s"] for figure in figures(part))
        return [a - b for a, b in zip(query, imported, strict=True)]

    def limit(part: Part) -> str:
        query, imported = figures(part)
        first = _need(part, workflow.ANSWER)
        alone, answer = (_seconds(median(each.values["wall_s"])) for each in (imported, first))
        return f"{query.case['runs']:,} runs; the import: {alone}; {workflow.ANSWER}: {answer}"

    what = "query beyond the import of MLflow"
    return Target(what, "workflow", values, limit, most=1, words=_seconds)


def _dry_run() -> Target:
    def values(part: Part) -> list[float]:
        return _over(part, workflow.BARE_15)

    def limit(part: Part) -> str:
        ours, bare = (_need(part, name) for name in (workflow.DRY_RUN, workflow.BARE_15))
        return (
            f"{bare.case['networks']:,} networks; bare, {bare.case['jobs']:,} jobs: "
            f"{_seconds(median(bare.values['wall_s']))}; over as many jobs as the study has, "
            f"{ours.case['jobs']:,}: {short_number(median(_over(part, workflow.BARE)))}"
        )

    what = "dry-run over bare Snakemake's of 15 jobs a network"
    return Target(what, "workflow", values, limit, most=1)


def _over(part: Part, beside: str) -> list[float]:
    """Seconds of the largest dry-run over those of another."""
    return ratios(*(_need(part, n).values["wall_s"] for n in (workflow.DRY_RUN, beside)))


def _start(what: str, contender: str, *libraries: str) -> Target:
    def limit(part: Part) -> str:
        names = [starts.IMPORTS[library] for library in libraries]
        alone = {name: median(_need(part, name).values["wall_s"]) for name in names}
        shown = [f"{name}: {_seconds(seconds)}" for name, seconds in alone.items()]
        together = [f"together: {_seconds(sum(alone.values()))}"] if len(alone) > 1 else []
        return "; ".join(shown + together)

    def values(part: Part) -> Sequence[float]:
        return _need(part, contender).values["wall_s"]

    return Target(what, "starts", values, limit, words=_seconds)


def _packed(part: Part) -> list[Figure]:
    """Figures of packing, the smallest first."""
    figures = [figure for figure in part.figures if figure.contender == data.PACKING]
    if len(figures) < 2:
        raise NotMeasuredError(data.PACKING)
    return figures


def _packing_rate() -> Target:
    def values(part: Part) -> list[float]:
        figures = _packed(part)
        return data.packing_rates(figures[0], figures[-1])

    def limit(part: Part) -> str:
        whole = median(data.megabytes_per_core_second(_packed(part)[-1]))
        return f"the largest whole command, with its start: {short_number(whole)}"

    what = "packing, MB of training files a second of one core"
    return Target(what, "packing", values, limit, least=300)


def _packing_memory() -> Target:
    def values(part: Part) -> list[float]:
        intercept, slope = data.line_through(_packed(part), "peak_mib")
        return [(intercept + slope * _FAR_ROWS) * _GB_PER_MIB]

    def limit(part: Part) -> str:
        figures = _packed(part)
        intercept, slope = data.line_through(figures, "peak_mib")
        at = np.array([figure.case["rows"] for figure in figures])
        peaks = np.array([median(figure.values["peak_mib"]) for figure in figures])
        missed = float(np.max(np.abs(intercept + slope * at - peaks) / peaks))
        return (
            f"straight line through {figures[0].case['rows']:,} to {figures[-1].case['rows']:,} "
            f"rows, which misses a median by {missed:.1%} at most"
        )

    def words(value: float) -> str:
        return f"{short_number(value)} GB"

    what = "packing, peak memory at 10^9 rows"
    return Target(what, "packing", values, limit, most=PACKING_MEMORY_GB, words=words)


def _busy() -> Target:
    def values(part: Part) -> list[float]:
        return data.busy_shares(_need(part, data.KDE))

    def limit(part: Part) -> str:
        figure = _need(part, data.KDE)
        whole = ratios(figure.values["cpu_s"], figure.values["wall_s"])
        share = _percent(median(whole) / figure.case["threads"])
        return f"the whole command of {figure.case['sets']:,} sets, with its start: {share}"

    what = "cores' busy share while simulating"
    return Target(what, "generation", values, limit, least=0.95, words=_percent)


def _kde() -> Target:
    def values(part: Part) -> list[float]:
        figures = _need(part, data.KDE_ALONE), _need(part, data.THEIR_KDE)
        return ratios(*(data.core_seconds_per_set(figure) for figure in figures))

    def limit(part: Part) -> str:
        cost = median(data.core_seconds_per_set(_need(part, data.KDE)))
        return f"{short_number(cost)} core-seconds a set by a process on every core at once"

    what = "core-seconds a set over ssm-simulators', kde"
    return Target(what, "generation", values, limit, most=1 / 3)


def _study() -> Target:
    def values(part: Part) -> list[float]:
        figure = _need(part, workflow.BUILD)
        return ratios(figure.values["wall_s"], figure.values["epochs_s"])

    def limit(part: Part) -> str:
        figure = _need(part, workflow.BUILD)
        threads, values = figure.case["threads"], figure.values
        epochs, jobs, whole, first = (
            median(values[name]) for name in ("epochs_s", "jobs_s", "wall_s", "trainings_wall_s")
        )
        return (
            f"{figure.case['networks']:,} networks; cores x wall as far as the trainings over "
            f"their epochs: {short_number(threads * first / epochs)}, of everything over the "
            f"seconds of all jobs: {short_number(threads * whole / jobs)}"
        )

    what = "a study's wall time over its trainings' epochs"
    return Target(what, "study", values, limit, most=1.5)


TARGETS = (
    *(_of_rows(backend) for backend in training.BACKENDS),
    _share_of_products(),
    _jax_over_torch(),
    *(_whole_command(backend) for backend in training.BACKENDS),
    _query(),
    _dry_run(),
    _start(
        "a training's first batch, jax",
        training.contender(training.OURS, "jax"),
        "jax",
    ),
    _start(
        "a training's first batch, torch",
        training.contender(training.OURS, "torch"),
        "torch",
    ),
    _start("an evaluation's first score", starts.EVALUATION, "ssms", "onnxruntime", "jax", "torch"),
    _start("a figure's first line", starts.FIGURES, "ssms", "onnxruntime", "matplotlib"),
    _packing_rate(),
    _packing_memory(),
    _busy(),
    _kde(),
    _study(),
)
