"""The report below its verdict: data, networks, figures, lineage, versions and commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from lanflow.evaluation.recovery.record import LikelihoodRecovery, PosteriorRecovery
from lanflow.models.definition import PARTS
from lanflow.networks import folder as network_folder
from lanflow.report.content import NetworkResults, ReportedData
from lanflow.report.html import Cell, Code, Figure, Table, Verdict, render, show
from lanflow.report.leaderboard import PAGE_HEADINGS, Row

# Longer lists of runs and files are cut; the manifest has them all.
_MOST_LISTED = 50

_AUDIT_CAPTION = (
    "Above, distinct parameter sets along each parameter; the line is what uniform draws give, and "
    "95 % of their bars end between the dashes. Below, all rows by rt and choice; those before "
    "time zero have labels at the floor."
)

_LIKELIHOOD_CAPTIONS = {
    "density": "The network's density (lines) over simulated trials (filled), choice by choice, in "
    "the middle of the bounds and at draws within them. Dashes are the model's own density, where "
    "it is known. The mass is the integral over rt and choices; without a deadline it should be "
    "one.",
    "sweep": "Log-likelihood over rt and one parameter at a time. Where white lines leave the "
    "dashed ones, the network is off.",
    "error": "Where within the bounds the log-likelihood is off: along each parameter on the "
    "diagonal (bars are means, whiskers their 95 % interval), over pairs below it. At the top "
    "right, the signed error against the log-likelihood of the trial: rare trials to the left.",
    "calibration": "Left, the probability of a choice as the integral of the network's density, "
    "against the model's. Middle, the network's total probability, which should be one. Right, "
    "ranks of rts under the network: level where it is right, a slope where it is early or late, "
    "a hump where it is too wide.",
}
_PROBABILITY_CAPTIONS = {
    "density": "The network's probability at parameter draws, beside the share of simulated trials "
    "and, where it is known, the model's own probability.",
    "sweep": "The probability as one parameter sweeps its range; dashes or points are the model's.",
    "error": "Where within the bounds the probability is off: along each parameter on the diagonal "
    "(bars are means, whiskers their 95 % interval), over pairs below it; at the top right, the "
    "signed error against the probability.",
    "calibration": "Left, predicted against true probabilities at parameter draws. Right, their "
    "mean difference by predicted probability, with the range of 95 % of the draws.",
}
_CURVE_CAPTION = (
    "Loss of training and validation data, and the learning rate; the star marks the epoch whose "
    "weights are in the network."
)


def data_section(data: Sequence[ReportedData]) -> Markup:
    """The audit of every model's data."""
    parts = [
        {
            "model": one.model,
            "warnings": one.audit["warnings"],
            "audit": Table(f"Audit of {one.model}", ["what", "value"], describe_audit(one.audit)),
            "figure": Figure(
                one.picture, f"Parameter sets and trials of {one.model}", _AUDIT_CAPTION
            ),
        }
        for one in data
    ]
    return render("data.html", data=parts)


def describe_audit(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The content of ``audit.json`` as a table for people: what, value."""
    sets = audit["sets"]
    repeats = f"({sets['repeated_share']:.1%} repeats)"
    return [
        (
            "distinct parameter sets",
            f"{sets['distinct']:,} of {sets['claimed']:,} claimed {repeats}",
        ),
        *(
            (f"{name} rows per file", f"{rows['min_per_file']:,} to {rows['max_per_file']:,}")
            for name, rows in audit["rows"].items()
        ),
        *_coverage(audit["coverage"]),
        *(_trials(audit["trials"], audit["labels"]) if audit["trials"] else ()),
        *(_label_error(audit["label_error"]) if audit["label_error"] else ()),
        ("values that are not finite", f"{audit['n_not_finite']:,}"),
    ]


def _coverage(coverage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How the parameter sets lie within the bounds."""
    for name, parameter in coverage["parameters"].items():
        distance, limit = parameter["distance_from_uniform"], coverage["uniform_below"]
        verdict = "as uniform draws" if distance < limit else "not as uniform draws"
        yield (
            f"coverage of {name}",
            f"{verdict} (distance {distance:.3f}, uniform below {limit:.3f}), "
            f"{parameter['n_outside']:,} outside of the bounds",
        )
    if corners := coverage["corners"]:
        yield (
            "emptiest corner",
            f"{corners['emptiest']}: {corners['emptiest_sets']:,} sets, "
            f"{corners['expected_sets']:.1f} expected",
        )


def _trials(trials: Mapping[str, Any], labels: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Labels, rts and choices."""
    choices = [f"{value}: {share:.1%}" for value, share in trials["choice_shares"].items()]
    yield "labels", f"{labels['min']:.4g} to {labels['max']:.4g}, mean {labels['mean']:.4g}"
    yield f"labels at the floor ({labels['floor']:.2f})", f"{labels['floor_share']:.1%}"
    yield "rt", f"{trials['rt_min']:.4g} to {trials['rt_max']:.4g} s"
    yield "negative rt", f"{trials['negative_rt_share']:.1%}"
    yield "choices after time zero", ", ".join(choices)


def _label_error(error: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "labels less the exact log-likelihood, where that is above log(1e-7)",
        f"mean absolute {error['mean_absolute']:.2g}, median {error['median_absolute']:.2g}"
        f", 99th percentile {error['percentile_99']:.2g}, mean difference "
        f"{error['mean_difference']:+.2g} ({error['n_rows']:,} rows)",
    )


def networks_section(rows: Sequence[Row]) -> Markup:
    """The leaderboard, without columns that are empty in every row."""
    columns = [key for key in PAGE_HEADINGS if any(getattr(row, key) is not None for row in rows)]
    cells = [[_leaderboard_cell(key, getattr(row, key)) for key in columns] for row in rows]
    heads = [PAGE_HEADINGS[key] for key in columns]
    return render("networks.html", leaderboard=Table("All networks", heads, cells))


def _leaderboard_cell(column: str, value: str | float | None) -> Cell:
    match column, value:
        case "verdict", str():
            return Verdict(value)
        case "onnx", str():
            return Code(value)
    return value


def figures_section(networks: Sequence[NetworkResults], n_left_out: int) -> Markup:
    """Every figure of the networks.

    Parameters
    ----------
    networks
        Those that are shown.
    n_left_out
        How many others the study has.
    """
    parts = [
        {"name": one.name, "verdict": Verdict(one.verdict), "figures": list(_figures(one))}
        for one in networks
    ]
    return render("figures.html", networks=parts, n_left_out=n_left_out)


def _figures(results: NetworkResults) -> Iterator[Figure]:
    """The training curve, the network's figures and its recovery's, as far as they were drawn."""
    has_trial = results.network.network_type.has_trial
    plots = _LIKELIHOOD_CAPTIONS if has_trial else _PROBABILITY_CAPTIONS
    captions = {network_folder.CURVE: _CURVE_CAPTION}
    captions |= {network_folder.PLOTS[plot]: caption for plot, caption in plots.items()}
    if results.recovery is not None:
        captions[network_folder.RECOVERY_PLOT] = _recovery_caption(results.recovery)
    for name, caption in captions.items():
        if png := results.read_figure(name):
            what = name.removesuffix(".png").removeprefix("plot_").replace("_", " ")
            yield Figure(png, f"{results.name}: {what}", caption)


def _recovery_caption(record: LikelihoodRecovery | PosteriorRecovery) -> str:
    """Of the figure of parameters found again, with their rank correlations."""
    ranks = ", ".join(
        f"{name} {'not defined' if one.spearman is None else format(one.spearman, '.3f')}"
        for name, one in record.summary.items()
    )
    return (
        f"Parameters of {record.n_subjects:,} simulated subjects of {record.n_trials:,} "
        f"trials each, found again by {record.method} through the network. Rank correlation of "
        f"true and found values: {ranks}. {_recovery_note(record)}"
    )


def _recovery_note(record: LikelihoodRecovery | PosteriorRecovery) -> str:
    if isinstance(record, LikelihoodRecovery):
        return "Diamonds are maxima at a trained bound."
    note = (
        "Under each, how the true values rank among draws of their posteriors, whose prior is "
        "uniform within the trained bounds: evenly, within the grey band, if the network is right."
    )
    n = record.n_not_converged
    return note if n == 0 else f"{note} The chains of {n} subject(s) did not converge."


def lineage_section(data: Sequence[ReportedData], networks: Sequence[NetworkResults]) -> Markup:
    """What came from what: digests, runs, files."""
    head = ["network", "MLflow run", "data digest", "ONNX sha256", "seed", "parameter sets"]
    rows = [_network_lineage(results) for results in networks]
    return render(
        "lineage.html",
        networks=Table("Lineage of networks", head, rows),
        data=[_data_lineage(one) for one in data],
    )


def _network_lineage(results: NetworkResults) -> list[Cell]:
    card = results.network.own_card
    n_training, n_validation = (
        results.lineage[f"n_{side}_parameter_sets"] for side in ("training", "validation")
    )
    return [
        results.name,
        Code(card.mlflow_run_id or "not tracked"),
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


def _data_lineage(one: ReportedData) -> dict[str, object]:
    """Tables of a manifest: facts, parameters, runs, files, and what was left out."""
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
        "facts": Table(f"Data of {model}", ["what", "value"], _facts(one)),
        "parameters": Table(f"Parameters of {model}", ["", "parameter", "lower", "upper"], bounds),
        "runs": _listed(f"Generation runs of {model}", ["run", "name", "status", "files"], runs),
        "files": _listed(f"Files of {model}", ["file", "bytes", "sha256", "run"], files),
        "left_out": _listed(f"Left out of {model}", left_out_head, left_out),
    }


def _facts(one: ReportedData) -> list[tuple[str, Cell]]:
    manifest = one.manifest
    experiment = manifest["experiment"]
    origin = (
        f"MLflow experiment {experiment['name']} (id {experiment['id']})"
        if experiment
        else "a folder, without lineage"
    )
    size = sum(file["size_bytes"] for file in manifest["files"])
    return [
        ("digest", Code(manifest["digest"])),
        ("origin", origin),
        *_model_facts(manifest.get("definition")),
        ("files", f"{len(manifest['files']):,} ({size / 2**20:,.1f} MiB)"),
        ("distinct parameter sets", f"{one.data_set['n_sets']:,}"),
        *((f"{kind} rows", f"{shape[0]:,}") for kind, shape in one.data_set["shapes"].items()),
    ]


def _model_facts(definition: Mapping[str, Any] | None) -> Iterator[tuple[str, Cell]]:
    """What a manifest says of a model that ssm-simulators does not have, or has otherwise."""
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
    """Versions, the study as it was run, and the commands that make all of it again.

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
        for name, version in one.run.get("versions", {}).items()
        if versions.get(name) != version
    }
    rows = [(name, show(version)) for name, version in {**versions, **trained}.items()]
    return render(
        "rebuild.html",
        commands=commands,
        versions=Table("Versions", ["what", "version"], rows),
        settings=settings,
    )
