"""Pictures of the page: rows per second, memory, and the workflow, over what was varied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cpu_parts import data, training, workflow
from cpu_parts.results import Figure, Part, median
from lanflow.core.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Drawing,
    draw,
    line_key,
    plain_ticks,
    put_legend,
)

_COLOURS = {"jax": BLUE, "torch": ORANGE}
_OWNERS: dict[str, dict[str, Any]] = {
    training.OURS: {"ls": "-", "marker": "o"},
    training.THEIRS: {"ls": "--", "marker": "s", "mfc": "white"},
}
_ALLOWED: dict[str, Any] = {"ls": ":", "marker": "", "color": GREY}
_MILLION = 1e6
_WIDTH, _HEIGHT = 3.4, 3.1  # inches of a panel


@dataclass(frozen=True)
class Line:
    """A line of a panel: values of one contender over what was varied, with their ranges.

    Attributes
    ----------
    label
        Name in the legend; lines of one name look the same.
    points
        Place on the axis -> values of all repetitions.
    style
        As matplotlib has it.
    """

    label: str
    points: Mapping[float, Sequence[float]]
    style: Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel: its lines, and labels of its axes, which are both logarithmic or both not."""

    lines: Sequence[Line]
    title: str
    across: str
    up: str
    is_log: bool = True


def draw_plots(parts: Mapping[str, Part]) -> dict[str, Drawing]:
    """Draw every picture that something was measured for: its name and the picture."""
    panels = {
        "rows": _row_panels(parts),
        "memory": _memory_panels(parts),
        "workflow": _workflow_panels(parts),
    }
    return {name: _drawing(found, share=name == "rows") for name, found in panels.items() if found}


def _row_panels(parts: Mapping[str, Part]) -> list[Panel]:
    """Rows per second over size, batch and width."""
    titles = {
        "sizes": ("over data size", "rows", "million rows", _MILLION),
        "batches": ("over batch", "batch", "rows of a batch", 1.0),
        "widths": ("over width", "width", "units of a layer", 1.0),
    }
    panels = []
    for name, (title, varied, across, unit) in titles.items():
        if name in parts:
            lines = _training_lines(parts[name], varied, unit, training.rows_per_second, _MILLION)
            lines += _allowed_lines(parts[name], varied, unit)
            panels.append(Panel(lines, title, across, "million rows/s in an epoch"))
    return panels


def _training_lines(
    part: Part,
    varied: str,
    unit: float,
    quantity: Callable[[Figure], Sequence[float]],
    value_unit: float = 1.0,
) -> list[Line]:
    """A line for each command that trains."""
    lines = []
    for owner, style in _OWNERS.items():
        for backend, colour in _COLOURS.items():
            name = training.contender(owner, backend)
            points = {
                figure.case[varied] / unit: [value / value_unit for value in quantity(figure)]
                for figure in part.figures
                if figure.contender == name
            }
            lines.append(Line(name, points, {**style, "color": colour}))
    return [line for line in lines if line.points]


def _allowed_lines(part: Part, varied: str, unit: float) -> list[Line]:
    """Rows per second that products of matrices allow, of the first backend that was measured."""
    names = [n for n in part.contenders if n in map(training.products_of, training.BACKENDS)]
    if not names:
        return []
    rates = [figure for figure in part.figures if figure.contender == names[0]]
    points = {}
    for figure in part.figures:
        if figure.contender in names or figure.case[varied] / unit in points:
            continue
        of_width = [rate for rate in rates if rate.case["width"] == figure.case["width"]]
        allowed = training.allowed_rows_per_second(of_width[0])
        points[figure.case[varied] / unit] = [value / _MILLION for value in allowed]
    return [Line("if an update were only its products of matrices", points, _ALLOWED)]


def _memory_panels(parts: Mapping[str, Part]) -> list[Panel]:
    """Peak memory of trainings and of packing over rows: straight lines, if memory grows by row."""

    def peaks(figure: Figure) -> Sequence[float]:
        return figure.values["peak_mib"]

    panels, across, up = [], "million rows", "peak memory, MiB"
    if "sizes" in parts:
        lines = _training_lines(parts["sizes"], "rows", _MILLION, peaks)
        panels.append(Panel(lines, "training", across, up, is_log=False))
    if "packing" in parts:
        points = {f.case["rows"] / _MILLION: peaks(f) for f in parts["packing"].figures}
        style = {"color": GREEN, "ls": "-", "marker": "o"}
        line = Line(data.PACKING, points, style)
        panels.append(Panel([line], "packing", across, up, is_log=False))
    return panels


def _workflow_panels(parts: Mapping[str, Part]) -> list[Panel]:
    """Seconds of queries over runs and of dry-runs over networks, with what is beside them."""
    if "workflow" not in parts:
        return []
    part = parts["workflow"]
    ours, theirs = _OWNERS.values()
    queries = [
        _seconds_line(part, workflow.QUERY, "runs", {**ours, "color": BLUE}),
        _seconds_line(part, workflow.THEIR_QUERY, "runs", {**theirs, "color": BLUE}),
    ]
    dry_runs = [
        _seconds_line(part, workflow.DRY_RUN, "networks", {**ours, "color": ORANGE}),
        _seconds_line(part, workflow.BARE, "networks", {**theirs, "color": ORANGE}),
        _seconds_line(part, workflow.BARE_15, "networks", {**theirs, "color": GREY}),
    ]
    imported = part.find(workflow.IMPORT)
    if imported:
        points = dict.fromkeys(queries[0].points, imported.values["wall_s"])
        queries.append(Line(workflow.IMPORT, points, _ALLOWED))
    return [
        Panel([line for line in lines if line.points], title, across, "seconds")
        for lines, title, across in (
            (queries, "query", "runs of the experiment"),
            (dry_runs, "dry-run", "networks of the study"),
        )
    ]


def _seconds_line(part: Part, name: str, varied: str, style: Mapping[str, Any]) -> Line:
    figures = [figure for figure in part.figures if figure.contender == name]
    return Line(name, {f.case[varied]: f.values["wall_s"] for f in figures}, style)


def _drawing(panels: Sequence[Panel], *, share: bool) -> Drawing:
    """Panels beside one another, with one legend under them."""

    def fill(figure: Drawing) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=share)[0]
        for i, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
            _fill_panel(axes, panel)
            if not share or i == 0:
                axes.set_ylabel(panel.up)
        lines = {line.label: line for panel in panels for line in panel.lines}
        keys = []
        for label, line in lines.items():
            style = dict(line.style)
            keys.append(line_key(style.pop("color"), label, **style))
        put_legend(figure, keys)

    return draw((_WIDTH * len(panels) + 0.4, _HEIGHT + 0.6), fill)


def _fill_panel(axes: Any, panel: Panel) -> None:
    """Lines through medians, and bars from the smallest to the largest value."""
    places = sorted({place for line in panel.lines for place in line.points})
    for line in panel.lines:
        middles = {place: median(values) for place, values in line.points.items()}
        axes.plot(list(middles), list(middles.values()), **line.style)
        for place, values in line.points.items():
            axes.vlines(place, min(values), max(values), color=line.style["color"], lw=1)
    if panel.is_log:
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,g}" for place in places], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(plain_ticks)
        axes.yaxis.set_minor_formatter(plain_ticks)
    else:
        # Room for a marker at the end.
        axes.set_xlim(0, 1.05 * axes.dataLim.x1)
        axes.set_ylim(0, 1.1 * axes.dataLim.y1)
    axes.set_xlabel(panel.across)
    axes.set_title(panel.title, loc="left", fontweight="bold")
