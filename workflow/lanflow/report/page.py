"""The report of a study: one file that opens anywhere."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from lanflow.core.files import write_text
from lanflow.report.content import (
    NetworkResults,
    ReportedData,
    best_of_each,
    read_data,
    read_network,
)
from lanflow.report.html import render
from lanflow.report.leaderboard import Row, read_leaderboard
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

    study_path = report_path.with_name(STUDY_NAME)
    settings = yaml.safe_dump(dict(study), sort_keys=False)
    networks = [read_network(folder) for folder in network_folders]
    report = render_report(
        str(study["study"]),
        networks,
        [read_data(folder) for folder in data_folders],
        read_leaderboard(leaderboard_path),
        results=str(study["results"]),
        study_path=str(study_path),
        settings=settings,
    )
    write_text(study_path, settings)
    write_text(report_path, report)
    return headline(networks)


class _Section(NamedTuple):
    """A part of the page that its contents name."""

    anchor: str
    title: str
    body: Markup


def render_report(
    study: str,
    networks: Sequence[NetworkResults],
    data: Sequence[ReportedData],
    rows: Sequence[Row],
    *,
    results: str,
    study_path: str,
    settings: str,
) -> str:
    """The whole page.

    Parameters
    ----------
    study
        Its name.
    networks, data, rows
        Of the study; rows of its leaderboard.
    results, study_path
        The study's folder of results, and the file with its settings.
    settings
        Content of that file.
    """
    shown = networks if len(networks) <= _MOST_WITH_FIGURES else best_of_each(networks, rows)
    versions = _versions()
    rebuild = rebuild_section(
        networks, data, versions, results=results, study_path=study_path, settings=settings
    )
    page = render(
        "page.html",
        study=study,
        models=[one.model for one in data],
        n_networks=len(networks),
        n_sets=sum(one.data_set["n_sets"] for one in data),
        verdict=verdict_section(networks),
        sections=[
            _Section("data", "Training data", data_section(data)),
            _Section("networks", "Networks", networks_section(rows)),
            _Section("figures", "Figures", figures_section(shown, len(networks) - len(shown))),
            _Section("lineage", "Lineage", lineage_section(data, networks)),
            _Section("rebuild", "Versions and commands", rebuild),
        ],
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=versions["lanflow"],
    )
    return str(page)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
