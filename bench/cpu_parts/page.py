"""The page of the documentation: tables of all parts, and pictures, from ``results.json``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pages import fill

from cpu_parts import data, training, workflow
from cpu_parts.plots import draw_plots
from cpu_parts.results import Figure, Part, ratios, read_results, spread
from cpu_parts.targets import TARGET_COLUMNS, target_rows
from lanflow.core.files import write_bytes, write_text
from lanflow.core.progress import format_seconds
from lanflow.core.tables import markdown_table

_TEMPLATE = """# Speed on a CPU, measured

`make bench` measures all of this and writes the figures to
[`benchmarks/results.json`](../benchmarks/results.json), from which everything below is made. Every
command is a process of its own. Those that are compared run in turn: one round that is not counted,
then those that are. A number is the median of the counted rounds, with the smallest and the largest
behind it; a ratio is made of two numbers of one round, and then the median taken. "In an epoch" is
the time from the end of the first epoch to the end of the last, by the lines that a training
writes, validation included; "a set" is what a long command and a short one differ by. Only the
whole study, which takes minutes, is built once. LANfactory has an environment of its own.

<!-- tables -->
<!-- /tables -->
"""
_STARTS = (
    "A training of two epochs of one batch; an evaluation and figures of two parameter vectors. "
    "Whole commands: seconds before the first batch, the first score and the first line are fewer."
)


def write_page(document: Path, results: Path) -> None:
    """Write tables and pictures of results between the marks of a page, a new one if there is none.

    Parameters
    ----------
    document
        The page; pictures lie beside it and begin with its name.
    results
        A ``results.json``.
    """
    parts = read_results(results)
    pictures = {}
    for name, drawing in draw_plots(parts).items():
        pictures[name] = f"{document.stem}_{name}.png"
        write_bytes(document.with_name(pictures[name]), drawing.png())
    if not document.exists():
        write_text(document, _TEMPLATE)
    fill(document, "tables", describe(parts, pictures))


def describe(parts: Mapping[str, Part], pictures: Mapping[str, str]) -> str:
    """Markdown of everything: targets, then each part with its machine, and pictures."""
    sections = ["## Targets", markdown_table(TARGET_COLUMNS, target_rows(parts))]
    sections += ["## Measured on", provenance(parts)]
    for title, names, picture in _SECTIONS:
        if not any(name in parts for name in names):
            continue
        sections.append(f"## {title}")
        if picture in pictures:
            sections.append(f"![{title}]({pictures[picture]})")
        for name in names:
            if name in parts:
                sections += [f"### {_HEADINGS[name]}", _TABLES[name](parts[name])]
    return "\n\n".join(sections) + "\n"


def provenance(parts: Mapping[str, Part]) -> str:
    """Date, machine, versions and command of each part."""
    rows, notes = [], []
    for name, part in parts.items():
        note = f"{_machine(part)} `{part.command}`"
        if note not in notes:
            notes.append(note)
        took = format_seconds(part.seconds)
        load = f"{part.machine['load']:.2f}"
        rows.append([_HEADINGS[name], name, part.date, took, load, str(notes.index(note) + 1)])
    head = ["", "part", "date", "took", "load before", "machine and command"]
    numbered = [f"{i}. {note}" for i, note in enumerate(notes, start=1)]
    return "\n".join([markdown_table(head, rows), "", *numbered])


def _machine(part: Part) -> str:
    """Machine and versions as sentences."""
    machine = part.machine
    versions = [
        f"{owner}: {', '.join(f'{package} {version}' for package, version in found.items())}."
        for owner, found in part.versions.items()
    ]
    here = (
        f"{machine['threads']} of {machine['cores']} cores, {machine['processor']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}."
    )
    return " ".join([here, *versions])


def training_table(part: Part) -> str:
    """Everything of one training, ours over theirs at the end of each backend."""
    columns = ["rows/s in an epoch", "of the products' rate", "command, s", "its CPU, s"]
    columns += ["all but its epochs, s", "peak, MiB"]
    rows = []
    for backend in training.BACKENDS:
        products = part.find(training.products_of(backend))
        figures = [part.find(training.contender(o, backend)) for o in _OWNERS]
        found = [figure for figure in figures if figure is not None]
        cells = [_training_values(figure, products) for figure in found]
        for figure, values in zip(found, cells, strict=True):
            shown = [spread(v, _percent if i == 1 else None) for i, v in enumerate(values)]
            rows.append([figure.contender, *shown])
        if len(cells) == len(_OWNERS):
            shown = [spread(ratios(*pair)) for pair in zip(*cells, strict=True)]
            shown[1] = ""  # the same ratio once more
            rows.append([f"ratio, {backend}", *shown])
    return _case_of(part) + markdown_table(["", *columns], rows)


_OWNERS = (training.OURS, training.THEIRS)


def _training_values(figure: Figure, products: Figure | None) -> list[list[float]]:
    """Values of the columns of the table of trainings."""
    rows_s = training.rows_per_second(figure)
    allowed = training.allowed_rows_per_second(products) if products else []
    share = ratios(rows_s, allowed) if products else []
    beside = training.seconds_beside_epochs(figure)
    wall, cpu, peak = (figure.values[name] for name in ("wall_s", "cpu_s", "peak_mib"))
    return [rows_s, share, wall, cpu, beside, peak]


def _case_of(part: Part) -> str:
    """A sentence on the networks that were trained."""
    case = part.figures[0].case
    return (
        f"{case['rows']:,} rows of training files, batches of {case['batch']:,}, three layers of "
        f"{case['width']}; {case['epochs']} epochs.\n\n"
    )


def sweep_table(part: Part, varied: str) -> str:
    """Rows per second of every contender over what was varied, and ours over theirs."""
    cases, backends = _cases(part), _backends(part)
    others = [key for key in ("rows", "batch", "width") if key != varied]
    # A size that is the same in every row is said once.
    same = [key for key in others if len({case[key] for case in cases}) == 1]
    shown = [varied, *(key for key in others if key not in same)]
    owners = [o for o in _OWNERS if any(name.startswith(o) for name in part.contenders)]
    rows = []
    for case in cases:
        row = [f"{case[key]:,}" for key in shown]
        for backend in backends:
            figures = [part.find(training.contender(owner, backend), **case) for owner in owners]
            speeds = [training.rows_per_second(figure) for figure in figures if figure]
            row += map(spread, speeds)
            if len(owners) == len(_OWNERS):  # nothing where theirs was left out
                row += [spread(ratios(*speeds))] if len(speeds) == len(_OWNERS) else ["", ""]
        rows.append(row)
    head = list(shown)
    for backend in backends:
        head += [f"{training.contender(owner, backend)}, rows/s" for owner in owners]
        head += ["ratio"] if len(owners) == len(_OWNERS) else []
    said = ", ".join(f"{key} {cases[0][key]:,}" for key in same)
    table = markdown_table(head, rows)
    return f"Everywhere: {said}.\n\n{table}" if said else table


def sizes_table(part: Part) -> str:
    """The same over rows of data, and peak memory."""
    names = [training.contender(o, b) for b in _backends(part) for o in _OWNERS]
    names = [name for name in names if name in part.contenders]
    rows = []
    for case in _cases(part):
        figures = [part.find(name, **case) for name in names]
        peaks = [spread(figure.values["peak_mib"]) if figure else "" for figure in figures]
        rows.append([f"{case['rows']:,}", *peaks])
    head = ["rows", *(f"{name}, peak MiB" for name in names)]
    return f"{sweep_table(part, 'rows')}\n\n{markdown_table(head, rows)}"


def _cases(part: Part) -> list[dict[str, int]]:
    """Trainings of a part, in their order; of epochs, one contender has more than another."""
    cases: list[dict[str, int]] = []
    for figure in part.figures:
        case = {key: number for key, number in figure.case.items() if key != "epochs"}
        if figure.contender.startswith(_OWNERS) and case not in cases:
            cases.append(case)
    return cases


def _backends(part: Part) -> list[str]:
    """Backends that a part trained with."""
    known = part.contenders
    return [b for b in training.BACKENDS if training.contender(training.OURS, b) in known]


def packing_table(part: Part) -> str:
    """Speed of packing, and memory, over rows."""
    rows = []
    for figure in part.figures:
        speed = data.megabytes_per_core_second(figure)
        costs = [figure.values[name] for name in ("wall_s", "cpu_s", "peak_mib")]
        size = [f"{figure.case['rows']:,}", f"{figure.case['bytes'] / data.MEGABYTE:,.0f}"]
        rows.append([*size, *map(spread, (*costs, speed))])
    head = ["rows", "MB of training files", "command, s", "its CPU, s", "peak, MiB"]
    table = markdown_table([*head, "MB a CPU second, with the start"], rows)
    return f"Whole commands of `{data.PACKING}`.\n\n{table}"


def generation_table(part: Part) -> str:
    """Cost of a parameter set, and how busy the cores are."""
    rows = []
    for figure in part.figures:
        busy, cost = data.busy_shares(figure), data.core_seconds_per_set(figure)
        sets = f"{figure.case['sets']:,} less {figure.case['short_sets']:,}"
        whole = [figure.values["wall_s"], figure.values["cpu_s"]]
        rows.append([figure.contender, sets, spread(cost), spread(busy, _percent)])
        rows[-1] += map(spread, whole)
    ours, theirs = part.find(data.KDE_ALONE), part.find(data.THEIR_KDE)
    if ours and theirs:
        costs = [data.core_seconds_per_set(figure) for figure in (ours, theirs)]
        rows.append(["ratio, kde by one process", "", spread(ratios(*costs)), "", "", ""])
    head = ["", "sets", "core-seconds a set", "cores busy", "longer command, s", "its CPU, s"]
    return markdown_table(head, rows)


def starts_table(part: Part) -> str:
    """Cost of the smallest commands."""
    names = ("wall_s", "cpu_s", "peak_mib")
    rows = [
        [figure.contender, _words(figure.case), *(spread(figure.values[n]) for n in names)]
        for figure in part.figures
    ]
    table = markdown_table(["command", "of", "s", "CPU, s", "peak, MiB"], rows)
    return f"{_STARTS}\n\n{table}"


def workflow_table(part: Part) -> str:
    """Seconds of queries and dry-runs; ours over the one beside it."""
    rows = []
    pairs = (
        (workflow.QUERY, workflow.THEIR_QUERY, "runs"),
        (workflow.DRY_RUN, workflow.BARE, "networks"),
        (workflow.DRY_RUN, workflow.BARE_15, "networks"),
    )
    for ours, theirs, key in pairs:
        for figure in (f for f in part.figures if f.contender == ours):
            beside = part.find(theirs, **{key: figure.case[key]})
            pair = [f.values["wall_s"] for f in (figure, beside) if f]
            shown = [*map(spread, pair), *[""] * (2 - len(pair))]
            shown.append(spread(ratios(*pair)) if beside else "")
            rows.append([ours, _words(figure.case), shown[0], theirs, *shown[1:]])
    for name in (workflow.IMPORT, workflow.ANSWER):
        if found := part.find(name):
            rows.append([name, "", spread(found.values["wall_s"]), "", "", ""])
    return markdown_table(["", "of", "s", "beside", "s", "ratio"], rows)


def study_table(part: Part) -> str:
    """A build, and the seconds of its jobs."""
    names = {
        "trainings_wall_s": "wall, as far as its trainings, s",
        "wall_s": "wall of everything, s",
        "cpu_s": "CPU of everything, s",
        "epochs_s": "epochs of all trainings, by their histories, s",
        "jobs_s": "all jobs, by Snakemake's benchmarks, s",
    }
    rows = [
        [figure.contender, _words(figure.case), text, spread(figure.values[name])]
        for figure in part.figures
        for name, text in names.items()
    ]
    return markdown_table(["", "of", "what", ""], rows)


def _words(case: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {noun}" for noun, number in case.items())


def _percent(value: float) -> str:
    return f"{value:.0%}"


_TABLES: dict[str, Callable[[Part], str]] = {
    "training": training_table,
    "sizes": sizes_table,
    "batches": lambda part: sweep_table(part, "batch"),
    "widths": lambda part: sweep_table(part, "width"),
    "packing": packing_table,
    "generation": generation_table,
    "starts": starts_table,
    "workflow": workflow_table,
    "study": study_table,
}
_HEADINGS = {
    "training": "One training",
    "sizes": "Over rows of data",
    "batches": "Over rows of a batch",
    "widths": "Over units of a layer",
    "packing": "Training files to arrays",
    "generation": "Simulated parameter sets",
    "starts": "The smallest command of each kind",
    "workflow": "Query and dry-run",
    "study": "A study of small networks",
}
# Title, its parts, its picture.
_SECTIONS: Sequence[tuple[str, Sequence[str], str]] = (
    ("Training", ("training", "sizes", "batches", "widths"), "rows"),
    ("Data", ("packing", "generation"), "memory"),
    ("Starts", ("starts",), ""),
    ("Workflow", ("workflow", "study"), "workflow"),
)
