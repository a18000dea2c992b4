"""The models of ssm-simulators' catalogue, known without loading ssm-simulators.

Loading it takes two seconds of a core, more than reading training files does. ``catalogue.json``
holds what a training file's model is compared with, for the releases that lanflow is tested with;
of any other, ssm-simulators is asked. ``python -m tests.catalogue`` adds the installed one.
"""

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lanflow.core.settings import Settings, parse_settings
from lanflow.models.definition import Definition
from lanflow.models.model import ModelNotAtHandError
from lanflow.models.models_file import DEADLINE, base_name
from lanflow.models.simulators import find_model, is_built_in

CATALOGUE_PATH = Path(__file__).with_name("catalogue.json")


class CatalogueEntry(Settings):
    """A model of the catalogue: its parameters, and its functions and choices."""

    parameters: tuple[str, ...]
    definition: Definition


def catalogue_entry(name: str) -> CatalogueEntry | None:
    """The model that the installed ssm-simulators came with by this name; None if it has none.

    Raises
    ------
    ImportError
        If ssm-simulators is not installed.
    """
    recorded = _recorded()
    return ask_for_entry(name) if recorded is None else _entry(recorded.get(base_name(name)), name)


def ask_for_entry(name: str) -> CatalogueEntry | None:
    """The same, of ssm-simulators itself."""
    try:
        model = find_model(name)
    except ModelNotAtHandError:
        return None
    if not is_built_in(name):
        return None
    return CatalogueEntry(parameters=model.parameters, definition=model.definition)


@cache
def _recorded() -> dict[str, dict[str, object]] | None:
    """The record of the installed release, by model; None of one that has no record."""
    try:
        installed = version("ssm-simulators")
    except PackageNotFoundError:
        return None
    releases: dict[str, dict[str, dict[str, object]]] = json.loads(CATALOGUE_PATH.read_text())
    return releases.get(installed)


def _entry(record: dict[str, object] | None, name: str) -> CatalogueEntry | None:
    if record is None:
        return None
    entry = parse_settings(CatalogueEntry, record, str(CATALOGUE_PATH))
    if not name.endswith(DEADLINE):
        return entry
    return entry.model_copy(update={"parameters": (*entry.parameters, "deadline")})
