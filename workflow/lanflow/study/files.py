"""The files that a study names: where each is searched for.

A name is searched for beside the study file that gives it, then in the working directory, then in
the workflow itself. So a study works in a folder of its own, in a checkout, and in a module of
another workflow.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import absolute
from lanflow.core.settings import read_yaml
from lanflow.study.config import StudyConfig, studies_in

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class FileSearch:
    """The places in which the files of a study are searched for.

    Attributes
    ----------
    config_paths
        The study's files; if two give the same key, the later one wins.
    workflow_file
        Returns the path of one of the workflow's own files, or None if there is no such file.
    with_prefix
        Adds the prefix of a module to a relative path; returns it unchanged without a module.
    """

    config_paths: Sequence[Path | str]
    workflow_file: Callable[[str], str | None]
    with_prefix: Callable[[str], str]


def locate_files(study: StudyConfig, search: FileSearch) -> tuple[StudyConfig, list[str]]:
    """Replace each name of a file or folder in a study by the path of the file that is found.

    Parameters
    ----------
    study
        The study, with names as the user wrote them.
    search
        The places to search.

    Returns
    -------
    tuple
        The study with paths that are valid in the working directory (relative inside it, absolute
        outside), and a line for each file that the user might not expect.

    Raises
    ------
    UserError
        If a YAML file is not found; names the study file, the key, and the places searched.
    """
    contents = [(Path(path), read_yaml(path)) for path in search.config_paths]
    located = study.model_dump()
    lines: dict[str, None] = {}
    for location, is_required in _file_keys(study):
        *parents, last = location
        node = _value_at(located, parents)
        name = node[last]
        origin = _find_origin(contents, location, name)
        path, is_unexpected = _find_file(
            name, origin, search.workflow_file if is_required else lambda _: None
        )
        if path is None and is_required:
            raise UserError(_not_found(name, location, origin))
        if path is not None:
            node[last] = path if search.with_prefix(path) == path else str(absolute(path))
        if is_unexpected:
            lines[f"{name} of {origin or '--config'}: taken from {path}"] = None
    return StudyConfig.model_validate(located), list(lines)


@cache
def print_once(line: str) -> None:
    """Write a line to standard error, once, however often Snakemake reads the Snakefile."""
    sys.stderr.write(f"{line}\n")


def _file_keys(study: StudyConfig) -> Iterator[tuple[Location, bool]]:
    """Yield the key of each file or folder in a study, and whether it must exist already."""
    if study.models_file is not None:
        yield ("models_file",), True
    for model, config in study.models.items():
        data = ("models", model, "data")
        if config.data.generate is not None:
            yield (*data, "generate", "config"), True
        for key in ("folder", "root"):
            if getattr(config.data, key) is not None:
                yield (*data, key), False
        for recorded in config.data.path_map:
            yield (*data, "path_map", recorded), False
        for name, network in config.networks.items():
            if network.start_from is not None:
                yield ("models", model, "networks", name, "start_from"), True
            place = ("models", model, "networks", name, "config")
            if isinstance(network.config, str):
                yield place, True
            else:
                yield from (((*place, index), True) for index in range(len(network.config)))
    python = study.evaluation.hssm_python
    if python is not None and os.sep in python:  # else a command on the PATH
        yield ("evaluation", "hssm_python"), False


def _value_at(node: Any, location: Sequence[str | int]) -> Any:
    """Return the value of a key in nested mappings and lists; None if there is none."""
    for part in location:
        is_there = (
            part in node
            if isinstance(node, Mapping)
            else isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if not is_there:
            return None
        node = node[part]
    return node


def _find_origin(
    contents: Sequence[tuple[Path, Mapping[str, Any]]], location: Location, value: str
) -> Path | None:
    """Return the last study file that gives a key this value; None if the command line does."""
    files = [
        path
        for path, content in contents
        if any(_value_at(study, location) == value for study in studies_in(content))
    ]
    return files[-1] if files else None


def _find_file(
    name: str, origin: Path | None, workflow_file: Callable[[str], str | None]
) -> tuple[str | None, bool]:
    """Find the file of a name: its path or None, and whether to report where it was found."""
    if origin is not None and (origin.parent / name).exists():
        beside = _as_written(origin.parent / name, name)
        return beside, beside != name and Path(name).exists()
    if Path(name).exists():
        return name, False
    path = workflow_file(name)
    return path, path is not None


def _as_written(path: Path, name: str) -> str:
    """Return a path as the user wrote it, if that is the same file.

    Else it is relative inside the working directory and absolute outside.
    """
    found, here = absolute(path), Path.cwd()
    if found == absolute(name):
        return name
    return str(found.relative_to(here) if found.is_relative_to(here) else found)


def _not_found(name: str, location: Location, origin: Path | None) -> str:
    beside = f"beside {origin}, " if origin is not None else ""
    return (
        f"{origin or '--config'}: {'.'.join(map(str, location))}: {name}: no such file; looked "
        f"for {beside}in {Path.cwd()}, and in the workflow and its config/"
    )
