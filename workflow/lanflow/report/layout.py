"""Places of a report's pages: one, or an index beside a folder with one per network."""

from pathlib import Path

from lanflow.networks.types import NETWORK_TYPES

# More networks than these have a page each; all figures in one page would take too long to open.
MOST_ON_ONE_PAGE = 10
# The folder of the pages, beside the report.
PAGES = "report_pages"
_DATA = "data"
# All that lanflow writes there.
IN_PAGES = (*(f"{name}/" for name in NETWORK_TYPES), f"{_DATA}/")


def has_pages(n_networks: int) -> bool:
    """Tell whether a report of so many networks is an index with a page for each."""
    return n_networks > MOST_ON_ONE_PAGE


def network_page(report: Path, *, model: str, network_type: str, name: str) -> Path:
    """Return the file of the page of one network.

    Parameters
    ----------
    report
        ``report.html``.
    model, network_type, name
        Of the network; the name of its folder.
    """
    return report.with_name(PAGES) / network_type / model / f"{name}.html"


def data_page(report: Path, model: str) -> Path:
    """Return the file of the page of a model's training data."""
    return report.with_name(PAGES) / _DATA / f"{model}.html"
