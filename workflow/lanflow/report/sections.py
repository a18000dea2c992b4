"""The report below its verdict: data, networks, figures, lineage, versions and commands."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lanflow.networks import folder as network_folder
from lanflow.report.content import ReportedData, ReportedNetwork
from lanflow.report.html import Html, figure, show, table, word

# An audit as a table for a person.


def describe_audit(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The audit as a table for people: what, value."""
    sets, coverage = audit["sets"], audit["coverage"]
    table = [
        (
            "distinct parameter sets",
            f"{sets['distinct']:,} of {sets['claimed']:,} claimed "
            f"({sets['repeated_share']:.1%} repeats)",
        )
    ]
    table += [
        (f"{name} rows per file", f"{rows['min_per_file']:,} to {rows['max_per_file']:,}")
        for name, rows in audit["rows"].items()
    ]
    for name, parameter in coverage["parameters"].items():
        distance, limit = parameter["distance_from_uniform"], coverage["uniform_below"]
        verdict = "as uniform draws" if distance < limit else "not as uniform draws"
        table.append(
            (
                f"coverage of {name}",
                f"{verdict} (distance {distance:.3f}, uniform below {limit:.3f}), "
                f"{parameter['n_outside']:,} outside of the bounds",
            )
        )
    if corners := coverage["corners"]:
        table.append(
            (
                "emptiest corner",
                f"{corners['emptiest']}: {corners['emptiest_sets']:,} sets, "
                f"{corners['expected_sets']:.1f} expected",
            )
        )
    if trials := audit["trials"]:
        labels = audit["labels"]
        choices = [f"{value}: {n:.1%}" for value, n in trials["choice_shares"].items()]
        table += [
            ("labels", f"{labels['min']:.4g} to {labels['max']:.4g}, mean {labels['mean']:.4g}"),
            (f"labels at the floor ({labels['floor']:.2f})", f"{labels['floor_share']:.1%}"),
            ("rt", f"{trials['rt_min']:.4g} to {trials['rt_max']:.4g} s"),
            ("negative rt", f"{trials['negative_rt_share']:.1%}"),
            ("choices after time zero", ", ".join(choices)),
        ]
    if error := audit["label_error"]:
        table.append(
            (
                "labels less the exact log-likelihood, where that is above log(1e-7)",
                f"mean absolute {error['mean_absolute']:.2g}, median {error['median_absolute']:.2g}"
                f", 99th percentile {error['percentile_99']:.2g}, mean difference "
                f"{error['mean_difference']:+.2g} ({error['n_rows']:,} rows)",
            )
        )
    return [*table, ("values that are not finite", f"{audit['n_not_finite']:,}")]


# Longer lists of runs and files are cut; the manifest has them all.
_MOST_LISTED = 50

_LEADERBOARD = {
    "model": "model",
    "network_type": "type",
    "network": "network",
    "backend": "backend",
    "origin": "from",
    "verdict": "gates",
    "mean_abs_error": "mean |error|",
    "median_abs_error": "median",
    "p99_abs_error": "99th pct.",
    "mean_difference": "mean difference",
    "best_val_loss": "val. loss",
    "best_epoch": "epoch",
    "n_epochs": "of",
    "seconds": "seconds",
    "rows_per_second": "rows/s",
    "n_weights": "weights",
    "n_parameter_sets": "param. sets",
    "n_rows": "rows",
    "onnx": "file",
}

_LIKELIHOOD_CAPTIONS = {
    "density": "The network's density (lines) over simulated trials (filled), choice by choice, in "
    "the middle of the parameter box and at draws from it. Dashes are the model's own density, "
    "where it is known. The mass is the integral over rt and choices; without a deadline it should "
    "be one.",
    "sweep": "Log-likelihood over rt and one parameter at a time. Where white lines leave the "
    "dashed ones, the network is off.",
    "error": "Where in the box the log-likelihood is off: along each parameter on the diagonal "
    "(bars are means, whiskers their 95 % interval), over pairs below it. At the top right, the "
    "signed error against the log-likelihood of the trial: rare trials to the left.",
    "calibration": "Left, the probability of a choice as the integral of the network's density, "
    "against the model's. Middle, the network's total probability, which should be one. Right, "
    "ranks of rts under the network: level where it is right, a slope where it is early or late, "
    "a hump where it is too wide.",
}
_PROBABILITY_CAPTIONS = {
    "density": "The network's probability at parameter draws, beside the share of simulated trials "
    "and, where it is known, the model's own probability.",
    "sweep": "The probability as one parameter sweeps its range; dashes or points are the model's.",
    "error": "Where in the box the probability is off: along each parameter on the diagonal (bars "
    "are means, whiskers their 95 % interval), over pairs below it; at the top right, the signed "
    "error against the probability.",
    "calibration": "Left, predicted against true probabilities at parameter draws. Right, their "
    "mean difference by predicted probability, with the range of 95 % of the draws.",
}
_CURVE_CAPTION = (
    "Loss of training and validation data, and the learning rate; the star marks the epoch whose "
    "weights are in the network."
)


def data_section(data: Sequence[ReportedData]) -> str:
    """The audit of every model's data."""
    parts = []
    for one in data:
        warnings = [f'<p class="warning">{escape(text)}.</p>' for text in one.audit["warnings"]]
        parts += [
            f"<h3>{escape(one.model)}</h3>",
            *(warnings or ["<p>The audit found nothing to warn of.</p>"]),
            table(["what", "value"], describe_audit(one.audit), label=f"Audit of {one.model}"),
            figure(
                one.picture,
                alt=f"Parameter sets and trials of {one.model}",
                caption="Above, distinct parameter sets along each parameter; the line is what "
                "uniform draws give, and 95 % of their bars end between the dashes. Below, all "
                "rows by rt and choice; those before time zero have labels at the floor.",
            ),
        ]
    return "\n".join(parts)


def networks_section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The leaderboard, with its cost."""
    keys = [key for key in _LEADERBOARD if any(row.get(key) is not None for row in rows)]
    cells = [
        [word(row[key]) if key == "verdict" and row[key] else row.get(key) for key in keys]
        for row in rows
    ]
    heads = [_LEADERBOARD[key] for key in keys]
    return (
        "<p>Errors are of the log-likelihood in nats for likelihood networks, of the probability "
        "for the others. Losses compare only between networks of the same type and data.</p>"
        + table(heads, cells, label="All networks", codes=["file"])
    )


def figures_section(networks: Sequence[ReportedNetwork], n_left_out: int) -> str:
    """Every figure of the networks."""
    parts = []
    if n_left_out:
        parts.append(
            "<p>The best network of each model and type; the figures of the other "
            f"{n_left_out} are in their folders.</p>"
        )
    for network in networks:
        has_trial = network.card["network_type"] == "lan"
        captions = _LIKELIHOOD_CAPTIONS if has_trial else _PROBABILITY_CAPTIONS
        pictures = {network_folder.PLOTS[name]: caption for name, caption in captions.items()}
        parts.append(f"<h3>{escape(network.name)} {word(network.verdict)}</h3>")
        for name, caption in {network_folder.CURVE: _CURVE_CAPTION, **pictures}.items():
            if png := network.picture(name):
                what = name.removesuffix(".png").removeprefix("plot_").replace("_", " ")
                parts.append(figure(png, alt=f"{network.name}: {what}", caption=caption))
        record, png = network.recovery, network.picture(network_folder.RECOVERY_PLOT)
        if record is not None and png is not None:
            caption = _recovery_caption(record)
            parts.append(figure(png, alt=f"{network.name}: recovery", caption=caption))
    return "\n".join(parts)


def _recovery_caption(record: Mapping[str, Any]) -> str:
    """A figure of parameters found again, and its rank correlations."""
    ranks = ", ".join(
        f"{name} {'not defined' if one['spearman'] is None else format(one['spearman'], '.3f')}"
        for name, one in record["summary"].items()
    )
    return (
        f"Parameters of {record['n_subjects']:,} simulated subjects of {record['n_trials']:,} "
        f"trials each, found again by {record['method']} through the network. Rank correlation of "
        f"true and found values: {ranks}. {_recovery_note(record)}"
    )


def _recovery_note(record: Mapping[str, Any]) -> str:
    if "posterior" not in record:
        return "Diamonds are maxima at a bound of the trained box."
    note = (
        "Under each, how the true values rank among draws of their posteriors, whose prior is "
        "uniform over the trained box: evenly, within the grey band, if the network is right."
    )
    n = record["n_not_converged"]
    return note if n == 0 else f"{note} The chains of {n} subject(s) did not converge."


def lineage_section(data: Sequence[ReportedData], networks: Sequence[ReportedNetwork]) -> str:
    """What came from what: digests, runs, files."""
    heads = ["network", "MLflow run", "data digest", "ONNX sha256", "seed", "parameter sets"]
    rows = [
        [
            network.name,
            network.card["mlflow_run_id"] or "not tracked",
            network.card["data_digest"],
            hashlib.sha256((network.folder / network_folder.ONNX).read_bytes()).hexdigest(),
            str(network.card["seed"]),
            _sets(network.lineage),
        ]
        for network in networks
    ]
    parts = [
        "<h3>Networks</h3>",
        table(heads, rows, label="Lineage of networks", codes=heads[1:4]),
        *(_data_lineage(one) for one in data),
    ]
    return "\n".join(parts)


def _sets(lineage: Mapping[str, Any]) -> str:
    n_training, n_validation = (
        lineage[f"n_{side}_parameter_sets"] for side in ("training", "validation")
    )
    return f"{n_training:,} to train, {n_validation:,} to validate"


def _data_lineage(one: ReportedData) -> str:
    manifest = one.manifest
    experiment = manifest["experiment"]
    origin = (
        f"MLflow experiment {experiment['name']} (id {experiment['id']})"
        if experiment
        else "a folder, without lineage"
    )
    size = sum(file["size_bytes"] for file in manifest["files"])
    facts = [
        ("digest", Html(f"<code>{manifest['digest']}</code>")),
        ("origin", origin),
        ("files", f"{len(manifest['files']):,} ({size / 2**20:,.1f} MiB)"),
        ("distinct parameter sets", f"{one.data_set['n_sets']:,}"),
        *((f"{kind} rows", f"{shape[0]:,}") for kind, shape in one.data_set["shapes"].items()),
    ]
    bounds = [
        (i + 1, name, *manifest["bounds"].get(name, ("not recorded", "not recorded")))
        for i, name in enumerate(manifest["parameters"])
    ]
    runs = [
        (run["run_id"], run["run_name"], run["status"], run["n_files"]) for run in manifest["runs"]
    ]
    files = [
        (file["name"], file["size_bytes"], file["sha256"], file["run_id"])
        for file in manifest["files"]
    ]
    left_out = [
        (entry["run_id"], entry["run_name"], entry["reason"], ", ".join(entry["files"]))
        for entry in manifest.get("left_out") or []
    ]
    name = one.model
    parts = [
        f"<h3>Data of {escape(name)}</h3>",
        table(["what", "value"], facts, label=f"Data of {name}"),
        "<h4>Parameters, in the order of a network's inputs</h4>",
        table(["", "parameter", "lower", "upper"], bounds, label=f"Parameters of {name}"),
        "<h4>Generation runs</h4>",
        _cut(["run", "name", "status", "files"], runs, f"Generation runs of {name}", codes=["run"])
        if runs
        else "<p>None: the data was taken from a folder.</p>",
        "<h4>Files</h4>",
        _cut(
            ["file", "bytes", "sha256", "run"],
            files,
            f"Files of {name}",
            codes=["file", "sha256", "run"],
        ),
    ]
    if left_out:
        heads = ["run", "name", "reason", "files (all if none)"]
        parts += ["<h4>Left out</h4>", _cut(heads, left_out, f"Left out of {name}", codes=["run"])]
    return "\n".join(parts)


def _cut(
    heads: Sequence[str], rows: Sequence[Sequence[object]], label: str, *, codes: Sequence[str]
) -> str:
    more = len(rows) - _MOST_LISTED
    text = table(heads, rows[:_MOST_LISTED], label=label, codes=codes)
    return text + (f"<p>and {more:,} more, which manifest.json lists.</p>" if more > 0 else "")


def rebuild_section(
    networks: Sequence[ReportedNetwork],
    data: Sequence[ReportedData],
    versions: Mapping[str, str],
    *,
    results: str,
    study_path: str,
    settings: str,
) -> str:
    """Versions, the study as it was run, and the commands that make all of it again."""
    commands = [
        "# everything, in the repository of lanflow",
        f"snakemake --configfile {shlex.quote(study_path)}",
        "# whether the data is still what the networks were trained on",
        *(f"lanflow verify {shlex.quote(f'{results}/{one.model}/manifest.json')}" for one in data),
        "# gates and figures of one network",
        f"lanflow evaluate {shlex.quote(str(networks[0].folder))}",
        f"lanflow plot {shlex.quote(str(networks[0].folder))}",
    ]
    trained = {
        f"{name} (training)": version
        for network in networks
        for name, version in network.run.get("versions", {}).items()
        if versions.get(name) != version
    }
    return "\n".join(
        [
            "<h3>Commands</h3>",
            f"<pre>{escape(chr(10).join(commands))}</pre>",
            "<h3>Versions</h3>",
            table(
                ["what", "version"],
                [(name, show(version)) for name, version in {**versions, **trained}.items()],
                label="Versions",
            ),
            "<h3>The study as it was run</h3>",
            f"<pre>{escape(settings)}</pre>",
        ]
    )
