"""The report of a study: one file that opens anywhere."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lanflow.core.files import write_text
from lanflow.report.content import (
    ReportedData,
    ReportedNetwork,
    best_of_each,
    read_data,
    read_leaderboard,
    read_network,
)
from lanflow.report.html import page, section
from lanflow.report.sections import (
    data_section,
    figures_section,
    lineage_section,
    networks_section,
    rebuild_section,
)
from lanflow.report.verdict import headline, verdict_section

STUDY_NAME = "study.yaml"

# The figures of one network take about a megabyte.
_MOST_WITH_FIGURES = 24
_PACKAGES = (
    *("lanflow", "ssm-simulators", "jax", "flax", "torch", "onnx", "onnxruntime", "mlflow"),
    *("numpy", "scipy", "snakemake"),
)


def write_report(
    study: Mapping[str, Any],
    *,
    report_path: Path,
    leaderboard_path: Path,
    network_folders: Sequence[Path],
    data_folders: Sequence[Path],
) -> str:
    """Write the report, and the study's configuration as it was run beside it.

    Parameters
    ----------
    study
        The study's keys; credentials are not among them.
    report_path
        HTML.
    leaderboard_path
        CSV.
    network_folders, data_folders
        Of every network; of every model's data.

    Returns
    -------
    str
        The verdict in one sentence.
    """
    import yaml

    settings = yaml.safe_dump(dict(study), sort_keys=False)
    study_path = report_path.with_name(STUDY_NAME)
    networks = [read_network(folder) for folder in network_folders]
    data = [read_data(folder) for folder in data_folders]
    rows = read_leaderboard(leaderboard_path)
    shown = networks if len(networks) <= _MOST_WITH_FIGURES else best_of_each(networks, rows)
    sections = {
        "data": ("Training data", data_section(data)),
        "networks": ("Networks", networks_section(rows)),
        "figures": ("Figures", figures_section(shown, len(networks) - len(shown))),
        "lineage": ("Lineage", lineage_section(data, networks)),
        "rebuild": (
            "Versions and commands",
            rebuild_section(
                networks,
                data,
                _versions(),
                results=str(study["results"]),
                study_path=str(study_path),
                settings=settings,
            ),
        ),
    }
    write_text(study_path, settings)
    write_text(report_path, _page(str(study["study"]), networks, data, sections))
    return headline(networks)


def _page(
    study: str,
    networks: Sequence[ReportedNetwork],
    data: Sequence[ReportedData],
    sections: Mapping[str, tuple[str, str]],
) -> str:
    links = "".join(
        f'<li><a href="#{anchor}">{escape(title)}</a></li>'
        for anchor, (title, _) in sections.items()
    )
    n_sets = sum(one.data_set["n_sets"] for one in data)
    header = (
        f"<h1>Likelihood networks of the study {escape(study)}</h1>"
        f'<p class="quiet">{len(networks):,} network(s) of '
        f"{escape(', '.join(one.model for one in data))}, trained on {n_sets:,} parameter sets</p>"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>'
    )
    verdict = f'<section id="verdict" aria-label="Verdict">{verdict_section(networks)}</section>'
    body = [section(anchor, title, text) for anchor, (title, text) in sections.items()]
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    footer = f'<p class="quiet">Made {made} by lanflow {_versions()["lanflow"]}.</p>'
    return page(f"{study}: likelihood networks", header, "\n".join([verdict, *body]), footer)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
