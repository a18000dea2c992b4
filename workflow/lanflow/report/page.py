"""The report of a study: one file that opens anywhere, or an index and a page for each network."""

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from lanflow.core.files import replace_folder, write_text
from lanflow.core.folders import refuse_foreign_files
from lanflow.core.tables import count_of
from lanflow.report.content import NetworkResults, ReportedData, read_data, read_network
from lanflow.report.html import IN_PAGES, PAGES, data_page, has_pages, relative_address, render
from lanflow.report.leaderboard import Row, read_leaderboard
from lanflow.report.pictures import Pictures, figures_section
from lanflow.report.sections import (
    data_index,
    data_section,
    lineage_section,
    networks_section,
    next_section,
    page_of,
    rebuild_section,
)
from lanflow.report.verdict import headline, verdict_of_many, verdict_section

STUDY_NAME = "study.yaml"

_PACKAGES = (
    *("lanflow", "ssm-simulators", "jax", "flax", "torch", "onnx", "onnxruntime", "mlflow"),
    *("numpy", "scipy", "snakemake"),
)
# What a page may show, for the browser: a picture that is part of it, and one beside it.
_INSIDE, _BESIDE = "data:", "data: 'self' file:"


@dataclass(frozen=True)
class Study:
    """A study as its report shows it.

    Attributes
    ----------
    name
        Of the study.
    networks, data, rows
        Its networks, its data, and the rows of its leaderboard.
    results, study_path
        Its folder of results, and the file with its settings.
    settings
        Content of that file.
    versions
        What made the report, by name.
    """

    name: str
    networks: Sequence[NetworkResults]
    data: Sequence[ReportedData]
    rows: Sequence[Row]
    results: str
    study_path: str
    settings: str
    versions: Mapping[str, str] = field(default_factory=lambda: _versions())


def write_report(
    study: Mapping[str, Any],
    *,
    report_path: Path,
    leaderboard_path: Path,
    network_folders: Sequence[Path],
    data_folders: Sequence[Path],
) -> str:
    """Write the report, and the study's configuration as it was run beside it.

    A study of many networks has a page for each in a folder beside the report, which then is an
    index (:mod:`lanflow.report.html`).

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
    shown = Study(
        name=str(study["study"]),
        networks=[read_network(folder) for folder in network_folders],
        data=[read_data(folder) for folder in data_folders],
        rows=read_leaderboard(leaderboard_path),
        results=str(study["results"]),
        study_path=str(study_path),
        settings=settings,
    )
    pages = render_report(shown, report_path)
    report = pages.pop(report_path)
    write_text(study_path, settings)
    _write_pages(report_path.with_name(PAGES), pages)
    write_text(report_path, report)
    return headline(shown.networks)


def _write_pages(folder: Path, pages: Mapping[Path, str]) -> None:
    """Write a folder of pages; remove that of an earlier report where there are none."""
    if not pages:
        refuse_foreign_files(folder, IN_PAGES, what="a report's pages")
        if folder.exists():
            shutil.rmtree(folder)
        return
    with replace_folder(folder, IN_PAGES, what="a report's pages") as fresh:
        for path, page in pages.items():
            place = fresh / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(page)


def render_report(study: Study, report: Path) -> dict[Path, str]:
    """Render every page of the report, by its file."""
    if has_pages(len(study.networks)):
        return {
            **{page_of(one, report): _network_page(study, one, report) for one in study.networks},
            **{data_page(report, one.model): _data_page(study, one, report) for one in study.data},
            report: _index(study, report),
        }
    return {report: _one_page(study, report)}


class _Section(NamedTuple):
    """A part of the page that its contents name."""

    anchor: str
    title: str
    body: Markup


def _one_page(study: Study, report: Path) -> str:
    """Render the whole report as one page, which opens anywhere."""
    networks, data = study.networks, study.data
    pictures = Pictures(report, are_inside=True)
    return _page(
        study,
        heading=f"Likelihood networks of the study {study.name}",
        subtitle=_subtitle(study),
        verdict=verdict_section(networks),
        sections=[
            _Section("next", "Next", next_section(networks, study.rows)),
            _Section("figures", "Figures", figures_section(networks, pictures)),
            _Section("networks", "Networks", networks_section(study.rows, networks, report)),
            _Section("data", "Training data", data_section(data, pictures)),
            _Section("lineage", "Lineage", lineage_section(data, networks, report)),
            _Section("rebuild", "Versions and commands", _rebuild(study)),
        ],
    )


def _index(study: Study, report: Path) -> str:
    """Render the report of many networks: what they have in common, and links to their pages."""
    networks = study.networks
    board = networks_section(study.rows, networks, report, have_pages=True)
    return _page(
        study,
        heading=f"Likelihood networks of the study {study.name}",
        subtitle=_subtitle(study),
        verdict=verdict_of_many(networks),
        sections=[
            _Section("next", "Next", next_section(networks, study.rows)),
            _Section("networks", "Networks", board),
            _Section("data", "Training data", data_index(study.data, report)),
            _Section("rebuild", "Versions and commands", _rebuild(study)),
        ],
    )


def _network_page(study: Study, one: NetworkResults, report: Path) -> str:
    """Render the page of one of many networks."""
    page = page_of(one, report)
    rows = [row for row in study.rows if row.onnx == str(one.network.path)]
    pictures = Pictures(page, are_inside=False)
    return _page(
        study,
        heading=one.name,
        subtitle=f"A network of the study {study.name}.",
        up=relative_address(report, page),
        verdict=verdict_section([one], f"Gates: {one.verdict}."),
        sections=[
            _Section("next", "Next", next_section([one], rows)),
            _Section("figures", "Figures", figures_section([one], pictures)),
            _Section("networks", "Numbers", networks_section(rows, [one], page)),
            _Section("lineage", "Lineage", lineage_section([], [one], page)),
        ],
        pictures=_BESIDE,
    )


def _data_page(study: Study, one: ReportedData, report: Path) -> str:
    """Render the page of a model's data, where the networks have pages."""
    page = data_page(report, one.model)
    pictures = Pictures(page, are_inside=False)
    return _page(
        study,
        heading=f"Training data of {one.model}",
        subtitle=f"Of the study {study.name}.",
        up=relative_address(report, page),
        sections=[
            _Section("data", "Audit", data_section([one], pictures)),
            _Section("lineage", "Lineage", lineage_section([one], [], page)),
        ],
        pictures=_BESIDE,
    )


def _page(
    study: Study,
    *,
    heading: str,
    subtitle: str,
    sections: Sequence[_Section],
    verdict: Markup | None = None,
    up: str | None = None,
    pictures: str = _INSIDE,
) -> str:
    page = render(
        "page.html",
        title=f"{study.name}: likelihood networks" if up is None else f"{study.name}: {heading}",
        heading=heading,
        subtitle=subtitle,
        up=up,
        verdict=verdict,
        sections=sections,
        pictures=pictures,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=study.versions["lanflow"],
    )
    return str(page)


def _subtitle(study: Study) -> str:
    networks = count_of(len(study.networks), "network")
    n_sets = sum(one.data_set["n_sets"] for one in study.data)
    models = ", ".join(one.model for one in study.data)
    return f"{networks} of {models}, trained on {n_sets:,} parameter sets"


def _rebuild(study: Study) -> Markup:
    return rebuild_section(
        study.networks,
        study.data,
        study.versions,
        results=study.results,
        study_path=study.study_path,
        settings=study.settings,
    )


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
