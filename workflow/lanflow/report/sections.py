"""The report below its verdict: next steps, networks, data, lineage, versions and commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from lanflow.core.templates import Cell, Code, Link, Table, Verdict, show
from lanflow.models.definition import PARTS
from lanflow.networks.hssm import hssm_code
from lanflow.report.content import NetworkResults, ReportedData
from lanflow.report.families import families_table, find_families
from lanflow.report.html import data_page, network_page, relative_address, render
from lanflow.report.leaderboard import PAGE_HEADINGS, Row
from lanflow.report.pictures import AUDIT_CAPTION, Pictures
from lanflow.report.verdict import group_networks, measured_table

# Longer lists of runs and files are cut; the manifest has them all.
_MOST_LISTED = 50
# Characters of a run's id that tell it from others.
_SHORT_ID = 8


def next_section(networks: Sequence[NetworkResults], rows: Sequence[Row]) -> Markup:
    """Say what to do next with the best network that passed, or if none did."""
    by_path = {str(one.network.path): one for one in networks}
    best_first = [by_path[row.onnx] for row in rows if row.onnx in by_path]
    passed = [one for one in best_first if one.verdict == "passed"]
    usable = next((one for one in passed if hssm_code(one.network)), passed[0] if passed else None)
    shown = usable or networks[0]
    return render(
        "next.html",
        name=shown.name,
        has_passed=usable is not None,
        path=str(shown.network.path),
        folder=shlex.quote(str(shown.network.own_folder)),
        code=hssm_code(shown.network),
        mlflow=_mlflow_address(shown),
        store=shlex.quote(store) if (store := _store(shown)) else None,
    )


def _store(results: NetworkResults) -> str:
    """Return the tracking URI of the network's run; empty without one."""
    return results.run.mlflow_tracking_uri or ""


def _mlflow_address(results: NetworkResults) -> str | None:
    """Return the address of the network's run for a browser; None without a server."""
    parts = urlsplit(_store(results))
    experiment, run_id = results.run.mlflow_experiment_id, results.network.own_card.mlflow_run_id
    if parts.scheme not in ("http", "https") or not (experiment and run_id):
        return None
    # Without a name and a password, which may stand in the address.
    place = quote(parts.netloc.rpartition("@")[2] + parts.path.rstrip("/"), safe="/:[]")
    return f"{parts.scheme}://{place}/#/experiments/{quote(experiment)}/runs/{quote(run_id)}"


def networks_section(
    rows: Sequence[Row],
    networks: Sequence[NetworkResults],
    page: Path,
    *,
    have_pages: bool = False,
) -> Markup:
    """Show the leaderboard, without columns that say nothing, and what gates measured.

    Parameters
    ----------
    rows
        Of the leaderboard.
    networks
        Of the study.
    page
        Where the section goes.
    have_pages
        Whether each network has a page of its own, which then has what its gates measured.
    """
    by_path = {str(one.network.path): one for one in networks}
    columns = [key for key in PAGE_HEADINGS if any(getattr(row, key) is not None for row in rows)]
    if all(row.origin == "study" for row in rows):
        columns.remove("origin")
    cells = [
        [_leaderboard_cell(row, key, by_path.get(row.onnx), page, have_pages) for key in columns]
        for row in rows
    ]
    families = find_families(rows)
    measured = [] if have_pages else [group.networks for group in group_networks(networks)]
    return render(
        "networks.html",
        families=families_table(families) if families else None,
        leaderboard=Table("All networks", [PAGE_HEADINGS[key] for key in columns], cells),
        measured=[
            (of[0].name_without_backend, measured_table(of))
            for of in measured
            if any(gate.limits for one in of for gate in one.gates)
        ],
    )


def _leaderboard_cell(
    row: Row, column: str, found: NetworkResults | None, page: Path, have_pages: bool
) -> Cell:
    """Make a cell of the leaderboard; ``found`` is the row's network, if it is of the study."""
    value: Cell = getattr(row, column)
    match column, value:
        case "verdict", str():
            return Verdict(value)
        case "network", str() if found is not None and have_pages:
            return Link(value, relative_address(page_of(found, page), page))
        case "onnx", str() if found is not None:
            return Link(found.network.path.name, relative_address(found.network.path, page))
        case "onnx", str():
            return Code(value)
        case "mlflow_run_id", str():
            return Link(value[:_SHORT_ID], None if found is None else _mlflow_address(found))
        case "best_epoch", int():
            return f"{value} of {row.n_epochs}"
        case "rows_per_second", int():
            return int(float(f"{value:.3g}"))
    return value


def page_of(results: NetworkResults, report: Path) -> Path:
    """Return the file of a network's page, in a report that has a page for each."""
    network = results.network
    return network_page(
        report,
        model=network.model_name,
        network_type=network.network_type.name,
        name=network.own_folder.name,
    )


def data_section(data: Sequence[ReportedData], pictures: Pictures) -> Markup:
    """Show the audit of every model's data."""
    parts = [
        {
            "model": one.model,
            "warnings": one.audit["warnings"],
            "audit": Table(f"Audit of {one.model}", ["what", "value"], describe_audit(one.audit)),
            "figure": pictures.figure(
                one.picture, alt=f"Parameter sets and trials of {one.model}", caption=AUDIT_CAPTION
            ),
        }
        for one in data
    ]
    return render("data.html", data=parts)


def data_index(data: Sequence[ReportedData], page: Path) -> Markup:
    """List every model's data, which has a page of its own."""
    rows: list[list[Cell]] = [
        [
            Link(one.model, relative_address(data_page(page, one.model), page)),
            one.data_set["n_sets"],
            len(one.manifest["files"]),
            len(one.audit["warnings"]) or "none",
        ]
        for one in data
    ]
    head = ["model", "parameter sets", "files", "warnings of the audit"]
    return render("data_index.html", data=Table("Training data", head, rows))


def describe_audit(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Turn the content of ``audit.json`` into a table for people: what, value."""
    sets = audit["sets"]
    repeats = f"{sets['distinct']:,} distinct of {sets['claimed']:,}"
    has_repeats = sets["distinct"] < sets["claimed"]
    return [
        (
            "parameter sets",
            f"{repeats} ({sets['repeated_share']:.1%} repeats)"
            if has_repeats
            else f"{sets['distinct']:,} (no repeats)",
        ),
        *(
            (f"{name} rows per file", _range(rows["min_per_file"], rows["max_per_file"]))
            for name, rows in audit["rows"].items()
        ),
        *_coverage(audit["coverage"]),
        *(_trials(audit["trials"], audit["labels"]) if audit["trials"] else ()),
        *(_label_error(audit["label_error"]) if audit["label_error"] else ()),
        ("values that are not finite", f"{audit['n_not_finite']:,}"),
    ]


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _coverage(coverage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield how the parameter sets cover the bounds; uniform parameters share a row."""
    limit = coverage["uniform_below"]
    even = []
    for name, parameter in coverage["parameters"].items():
        is_even = parameter["distance_from_uniform"] < limit
        if is_even and not parameter["n_outside"]:
            even.append(name)
            continue
        yield (
            f"coverage of {name}",
            f"{'as' if is_even else 'not as'} uniform draws (Kolmogorov's distance "
            f"{parameter['distance_from_uniform']:.3f}, limit {limit:.3f}), "
            f"{parameter['n_outside']:,} outside of the bounds",
        )
    if even:
        yield f"coverage of {', '.join(even)}", "as uniform draws within the bounds"
    if corners := coverage["corners"]:
        yield (
            "emptiest corner of the bounds",
            f"{corners['emptiest']}: {corners['emptiest_sets']:,} sets, "
            f"{corners['expected_sets']:.1f} expected",
        )


def _trials(trials: Mapping[str, Any], labels: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield rows about labels, rts and choices."""
    choices = [f"{value}: {share:.1%}" for value, share in trials["choice_shares"].items()]
    yield "labels", f"{labels['min']:.3g} to {labels['max']:.3g} nats, mean {labels['mean']:.3g}"
    yield f"labels at the floor ({labels['floor']:.1f} nats)", f"{labels['floor_share']:.1%}"
    yield "rt", f"{trials['rt_min']:.3g} to {trials['rt_max']:.3g} s"
    yield "negative rt", f"{trials['negative_rt_share']:.1%}"
    yield "choices after time zero", ", ".join(choices)


def _label_error(error: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "labels less the exact log-likelihood, where that is above log(1e-7)",
        f"mean absolute {error['mean_absolute']:.2g}, median {error['median_absolute']:.2g}"
        f", 99th percentile {error['percentile_99']:.2g}, mean difference "
        f"{error['mean_difference']:+.2g} ({error['n_rows']:,} rows)",
    )


def lineage_section(
    data: Sequence[ReportedData], networks: Sequence[NetworkResults], page: Path
) -> Markup:
    """Show where networks and data come from: digests, runs, files."""
    head = ["network", "MLflow run", "data digest", "ONNX sha256", "seed", "parameter sets"]
    rows = [_network_lineage(results, page) for results in networks]
    return render(
        "lineage.html",
        networks=Table("Lineage of networks", head, rows) if rows else None,
        data=[_data_lineage(one, page) for one in data],
    )


def _network_lineage(results: NetworkResults, page: Path) -> list[Cell]:
    card = results.network.own_card
    run, address = card.mlflow_run_id or "not tracked", _mlflow_address(results)
    n_training, n_validation = (
        results.lineage[f"n_{side}_parameter_sets"] for side in ("training", "validation")
    )
    return [
        Link(results.name, relative_address(results.network.own_folder, page)),
        Code(run) if address is None else Link(run, address),
        Code(card.data_digest),
        Code(results.network.sha256),
        str(card.seed),
        f"{n_training:,} to train, {n_validation:,} to validate",
    ]


class _List(NamedTuple):
    """The first rows of a long table, and how many more there are."""

    table: Table
    n_more: int


def _listed(label: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> _List:
    return _List(Table(label, head, rows[:_MOST_LISTED]), max(len(rows) - _MOST_LISTED, 0))


def _data_lineage(one: ReportedData, page: Path) -> dict[str, object]:
    """Make the tables of a manifest: facts, parameters, runs, files, and what was left out."""
    manifest, model = one.manifest, one.model
    bounds = [
        (i + 1, name, *manifest["bounds"].get(name, ("not recorded", "not recorded")))
        for i, name in enumerate(manifest["parameters"])
    ]
    runs = [
        (Code(run["run_id"]), run["run_name"], run["status"], run["n_files"])
        for run in manifest["runs"]
    ]
    files = [
        (Code(file["name"]), file["size_bytes"], Code(file["sha256"]), Code(file["run_id"]))
        for file in manifest["files"]
    ]
    left_out = [
        (Code(entry["run_id"]), entry["run_name"], entry["reason"], ", ".join(entry["files"]))
        for entry in manifest.get("left_out") or []
    ]
    left_out_head = ["run", "name", "reason", "files (all if none)"]
    return {
        "model": model,
        "facts": Table(f"Data of {model}", ["what", "value"], _facts(one, page)),
        "parameters": Table(f"Parameters of {model}", ["", "parameter", "lower", "upper"], bounds),
        "runs": _listed(f"Generation runs of {model}", ["run", "name", "status", "files"], runs),
        "files": _listed(f"Files of {model}", ["file", "bytes", "sha256", "run"], files),
        "left_out": _listed(f"Left out of {model}", left_out_head, left_out),
    }


def _facts(one: ReportedData, page: Path) -> list[tuple[str, Cell]]:
    manifest = one.manifest
    experiment = manifest["experiment"]
    origin = (
        f"MLflow experiment {experiment['name']} (id {experiment['id']})"
        if experiment
        else "a folder, without lineage"
    )
    size = sum(file["size_bytes"] for file in manifest["files"])
    return [
        ("folder", Link(str(one.folder), relative_address(one.folder, page))),
        ("digest", Code(manifest["digest"])),
        ("origin", origin),
        *_model_facts(manifest.get("definition")),
        ("files", f"{len(manifest['files']):,} ({size / 2**20:,.1f} MiB)"),
        ("distinct parameter sets", f"{one.data_set['n_sets']:,}"),
        *((f"{kind} rows", f"{shape[0]:,}") for kind, shape in one.data_set["shapes"].items()),
    ]


def _model_facts(definition: Mapping[str, Any] | None) -> Iterator[tuple[str, Cell]]:
    """Yield rows about a model that ssm-simulators does not have, or has otherwise."""
    if definition is None:
        return
    parts = [f"{part} {definition[part]}" for part in PARTS if definition[part]]
    yield "model", f"not ssm-simulators' own: {', '.join(parts) or 'of unknown parts'}"
    if file := definition["models_file"]:
        yield f"models file ({file['name']})", Code(file["sha256"])


def rebuild_section(
    networks: Sequence[NetworkResults],
    data: Sequence[ReportedData],
    versions: Mapping[str, str],
    *,
    results: str,
    study_path: str,
    settings: str,
) -> Markup:
    """Show the versions, the study as it was run, and the commands that make it again.

    Parameters
    ----------
    networks, data
        Of the study.
    versions
        What made the report, by name.
    results, study_path
        The study's folder of results, and the file with its settings.
    settings
        Content of that file.
    """
    network = shlex.quote(str(networks[0].network.own_folder))
    commands = [
        "# everything, in the repository of lanflow",
        f"snakemake --configfile {shlex.quote(study_path)}",
        "# whether the data is still what the networks were trained on",
        *(f"lanflow verify {shlex.quote(f'{results}/{one.model}/manifest.json')}" for one in data),
        "# gates and figures of one network",
        f"lanflow evaluate {network}",
        f"lanflow plot {network}",
    ]
    trained = {
        f"{name} (training)": version
        for one in networks
        for name, version in one.run.versions.items()
        if versions.get(name) != version
    }
    rows = [(name, show(version)) for name, version in {**versions, **trained}.items()]
    return render(
        "rebuild.html",
        commands=commands,
        versions=Table("Versions", ["what", "version"], rows),
        settings=settings,
    )
