"""From the configuration that Snakemake merged to a study, with the paths of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanflow.core.settings import read_yaml
from lanflow.study.config import StudyConfig, load_study, studies_in
from lanflow.study.files import FileSearch, locate_files, print_once
from lanflow.workflow.place import WorkflowPlace

# The study to make if none is named.
DEFAULT_STUDY = "examples/first.yaml"


def read_study(place: WorkflowPlace, config: Mapping[str, Any]) -> StudyConfig:
    """Read the study to make, and report which files were found in unexpected places.

    Parameters
    ----------
    place
        The place of the workflow.
    config
        The configuration as Snakemake merged it, or as another workflow gives it to a module.

    Raises
    ------
    UserError
        If the configuration is wrong; names the file and the key.
    """
    given = place.config_paths
    defaults: list[Path] = []
    if not place.has_given_config and not _names_models(place, config):
        default = place.workflow_file(DEFAULT_STUDY)
        assert default is not None, DEFAULT_STUDY
        config = _merged(read_yaml(default), config)
        defaults = [Path(default)]
        _print_line(place, f"no study is named, so the one that is made is {default}")
    study = load_study(config, given)  # without the default: errors name the files that were given
    search = FileSearch([*defaults, *given], place.workflow_file, place.with_prefix)
    study, lines = locate_files(study, search)
    for line in lines:
        _print_line(place, line)
    return study


def _names_models(place: WorkflowPlace, config: Mapping[str, Any]) -> bool:
    """Tell whether a study is named: by a file, or for a module by its configuration.

    Models given with ``--config`` alone change the default study.
    """
    if place.is_module:
        return bool(config.get("models"))
    files = [study for path in place.config_paths for study in studies_in(read_yaml(path))]
    return any(study.get("models") for study in files)


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configurations; a given value wins unless it is the default of its key."""
    from snakemake.utils import update_config

    merged = dict(base)
    update_config(merged, _remove_defaults(given, StudyConfig().model_dump(mode="json")))
    return merged


def _remove_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the keys of a configuration that have their default value.

    A file may list all keys with their defaults, as config.yaml does.
    """
    kept = {}
    for key, value in given.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            if inner := _remove_defaults(value, default):
                kept[key] = inner
        elif key not in defaults or value != default:
            kept[key] = value
    return kept


def _print_line(place: WorkflowPlace, line: str) -> None:
    if place.is_main_process:
        print_once(line)
