"""Select the runs and files of a data-generation experiment by what MLflow knows.

A run is taken if it left an inventory of all its files, whatever its status says. The result is a
:class:`Query`, the content of ``query.json``. Whether the files exist is seen later, where they
are, by :func:`lanflow.data.locate.locate_files`. Runs of different models or generator
configurations are refused: their files do not belong into one data set.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any, Literal

from pydantic import Field

from lanflow.core.errors import UserError
from lanflow.core.files import read_record
from lanflow.core.settings import Settings, parse_settings
from lanflow.core.tables import plain_table, printable
from lanflow.tracking.store import FILES_TAG

QUERY_VERSION = 3

Policy = Literal["complete", "salvage"]
# A lanflow.tracking.store.FoundRun. That module needs MLflow, which a study's settings do without.
FoundRun = Any

TO_SALVAGE = (
    "or take what is whole with the policy salvage (lanflow query --policy salvage, study key "
    "policy)"
)

_SHA256 = re.compile("[0-9a-f]{64}")
# No training file is larger than a tebibyte.
_MAX_SIZE = 2**40
_MAX_DIGITS = 20


@dataclass(frozen=True)
class RunSelection:
    """Selection of an experiment's runs, and the policy for those that are not whole.

    Attributes
    ----------
    policy
        ``complete`` refuses if a run is incomplete, ``salvage`` takes what is whole.
    batch_id
        Only runs with this tag ``generation_batch_id``.
    run_ids
        Only these runs.
    filter
        Only runs that this MLflow filter takes; part of the search.
    """

    policy: Policy = "complete"
    batch_id: str | None = None
    run_ids: Sequence[str] | None = None
    filter: str | None = None


class GenerationExperiment(Settings):
    """The data-generation experiment in MLflow that was queried."""

    id: str = Field(description="MLflow's number of it")
    name: str = Field(description="its name")


class GenerationRun(Settings):
    """A data-generation run whose files are taken."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    status: str = Field(description="in MLflow, when queried; it decides nothing")
    data_output_folder: str = Field(description="where it wrote its files, as it recorded it")
    batch_id: str | None = Field(description="ties the runs of one build together")
    artifact_path: str | None = Field(
        None, description="where its files are among its artifacts; null: they are not"
    )


class QueryFile(Settings):
    """A training file, as its run's inventory lists it; ``sha256`` where it was recorded."""

    name: str
    size_bytes: int
    sha256: str | None


class QueryRun(GenerationRun):
    """A run that is taken, with all its files."""

    files: list[QueryFile]


class QueryLeftOut(Settings):
    """A run that is not taken, and why."""

    run_id: str
    run_name: str
    status: str
    reason: str


class QuerySelection(Settings):
    """The request, as :class:`RunSelection` has it."""

    batch_id: str | None
    run_ids: list[str] | None
    filter: str | None


class Query(Settings):
    """The runs and files of an experiment, as ``query.json`` holds them."""

    query_version: Literal[3]
    experiment: GenerationExperiment
    policy: Policy
    selection: QuerySelection
    runs: list[QueryRun]
    left_out: list[QueryLeftOut]


def read_query(path: Path) -> Query:
    """Read a ``query.json``.

    Raises
    ------
    UserError
        If it is missing, damaged or of another version; naming the file and the key.
    """
    return parse_settings(Query, read_record(path, "query_version", QUERY_VERSION), str(path))


def build_query(
    experiment: GenerationExperiment,
    runs: Iterable[FoundRun],
    selection: RunSelection = RunSelection(),
) -> Query:
    """Decide which runs of an experiment are taken; ``runs`` are all it has, deleted ones too.

    Raises
    ------
    UserError
        If no run has files, a named run is missing, a run is incomplete and the policy is
        ``complete``, or the runs are of several configurations. An impossible inventory makes a
        run incomplete.
    """
    runs = _select(experiment, list(runs), selection)
    taken, without_data, incomplete = [], [], []
    for run in runs:
        if reason := _why_no_data(run):
            without_data.append((run, reason))
        elif reason := _why_incomplete(run):
            incomplete.append((run, reason))
        else:
            taken.append(run)
    candidates = [*taken, *(run for run, _ in incomplete)]
    if not any(_n_files(run) or run.inventory_fault for run in candidates):
        raise UserError(
            f"experiment {experiment.name!r} (id {experiment.id}) has no run with files "
            f"({_count_runs(runs)})"
        )
    if incomplete and (selection.policy == "complete" or not taken):
        raise UserError(_explain_incomplete(experiment, incomplete, selection.policy))
    check_one_configuration(experiment, taken)
    run_ids = selection.run_ids
    return Query(
        query_version=QUERY_VERSION,
        experiment=experiment,
        policy=selection.policy,
        selection=QuerySelection(
            batch_id=selection.batch_id,
            run_ids=None if run_ids is None else sorted(set(run_ids)),
            filter=selection.filter,
        ),
        runs=[_describe_run(run) for run in taken],
        left_out=[
            QueryLeftOut(run_id=run.id, run_name=run.name, status=run.status, reason=reason)
            for run, reason in [*without_data, *incomplete]
        ],
    )


def _select(
    experiment: GenerationExperiment, runs: Sequence[FoundRun], selection: RunSelection
) -> list[FoundRun]:
    """Pick the runs that are asked for by batch or by id."""
    batch = selection.batch_id
    if batch is not None:
        batches = [run.tags.get("generation_batch_id") for run in runs]
        if batch not in batches:
            known = sorted({each for each in batches if each is not None})
            raise UserError(
                f"experiment {experiment.name!r} has no run of batch {batch}; its batches: "
                f"{first_ten(known) or 'none'}"
            )
        runs = [run for run, each in zip(runs, batches, strict=True) if each == batch]
    if selection.run_ids is None:
        return list(runs)
    wanted = set(selection.run_ids)
    missing = sorted(wanted - {run.id for run in runs})
    if missing:
        where = f"batch {batch} of " if batch else ""
        raise UserError(f"{where}experiment {experiment.name!r} has no run {', '.join(missing)}")
    deleted = [run.id for run in runs if run.id in wanted and run.deleted]
    if deleted and selection.policy == "complete":
        raise UserError(
            f"experiment {experiment.name!r}: run {', '.join(deleted)} is deleted in MLflow"
        )
    return [run for run in runs if run.id in wanted]


def _why_no_data(run: FoundRun) -> str | None:
    """Say why a run is not expected to have data; None if it is."""
    if run.deleted:
        return "deleted in MLflow"
    is_dry = run.tags.get("phase") == "datagen_dry_run" or run.params.get("dry_run") == "True"
    return "a dry run" if is_dry else None


def _why_incomplete(run: FoundRun) -> str | None:
    """Name what is missing from a run's record, or wrong with it; None if it is whole."""
    if run.inventory_fault:
        return str(run.inventory_fault)
    if run.inventory is None:
        return "it left no inventory of files, so it did not end well"
    if not run.params.get("data_output_folder"):
        return "param 'data_output_folder' is missing"
    planned = run.params.get("n_files", "")
    if planned.isdecimal() and len(planned) < _MAX_DIGITS and _n_files(run) < int(planned):
        return f"its inventory lists {_n_files(run)} of the {planned} files it was to make"
    if not _n_files(run):
        return "its inventory lists no file"
    try:
        _describe_run(run)
    except UserError as e:
        return str(e)
    return None


def _n_files(run: FoundRun) -> int:
    return len(run.inventory["files"]) if run.inventory else 0


def _count_runs(runs: Sequence[FoundRun]) -> str:
    """Number of runs, dry runs and deleted runs, for a message."""
    n_deleted = sum(run.deleted for run in runs)
    n_dry = sum(_why_no_data(run) is not None for run in runs) - n_deleted
    text = f"{len(runs) - n_dry - n_deleted} run(s), {n_dry} dry run(s)"
    return text + (f", {n_deleted} deleted" if n_deleted else "")


def _explain_incomplete(
    experiment: GenerationExperiment, incomplete: Sequence[tuple[FoundRun, str]], policy: Policy
) -> str:
    """The message that lists incomplete runs and says what can be done."""
    lines = [f"  {run.id} ({run.name}, {run.status}): {reason}\n" for run, reason in incomplete]
    return (
        f"experiment {experiment.name!r}: {len(incomplete)} run(s) are incomplete:\n"
        f"{''.join(lines)}repeat them, or delete them in MLflow"
        f"{f'; {TO_SALVAGE}' if policy == 'complete' else ''}"
    )


def _describe_run(run: FoundRun) -> QueryRun:
    """A run as the query holds it; its inventory is checked."""
    artifact_path: str | None = run.tags.get(FILES_TAG)
    if artifact_path is not None and not all(map(is_plain_name, artifact_path.split("/"))):
        raise UserError(f"its tag {FILES_TAG} is {artifact_path!r}, not a folder of artifacts")
    return QueryRun(
        run_id=run.id,
        run_name=run.name,
        status=run.status,
        data_output_folder=run.params["data_output_folder"],
        batch_id=run.tags.get("generation_batch_id"),
        artifact_path=artifact_path,
        files=[_describe_file(entry) for entry in run.inventory["files"]],
    )


def _describe_file(entry: Any) -> QueryFile:
    """One entry of an inventory; a name that leads out of the folder is refused."""
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not is_plain_name(name):
        raise UserError(f"its inventory names a file {name!r}, not a plain file name")
    size = entry.get("size_bytes")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise UserError(f"its inventory gives {name} the size {size!r}")
    sha256 = entry.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise UserError(f"its inventory gives {name} the sha256 {sha256!r}")
    return QueryFile(name=name, size_bytes=size, sha256=sha256)


def is_plain_name(name: Any) -> bool:
    """Tell whether a name is that of a file directly in a folder."""
    is_one = isinstance(name, str) and name not in ("", ".", "..") and name.isprintable()
    return is_one and not set(name) & set("/\\")


def first_ten(items: Sequence[str]) -> str:
    """Up to ten items for a message, and how many more there are."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return printable(", ".join(items[:10])) + more


# The configuration that a run recorded. ssm-simulators writes each section of its configuration as
# the text of a Python dict into a param ``data_*``; newer versions and lanflow add a digest of it.

# Where a worker wrote its files, and how fast it was, does not change what is in them.
_FOLDER_PARAMS = {"data_output", "data_output_folder"}
_SPEED_SETTINGS = {"n_cpus", "n_subruns", "parameter_sampler_index_offset"}
# Params outside the sections that decide the content of a file.
_OTHER_PARAMS = ("generator_approach", "label_source")
# Size of the table of configurations: rows, and characters of a cell.
_MAX_ROWS, _MAX_CELL = 20, 60


@dataclass(frozen=True)
class RunConfiguration:
    """The generator settings that decide the content of a run's files, as the run recorded them.

    Attributes
    ----------
    model
        The cognitive model; empty where not recorded.
    settings
        Pairs of dotted name and value; a run that recorded no settings has its ``config_sha256``.
    model_param
        The param that holds the model.
    """

    model: str
    settings: tuple[tuple[str, str], ...]
    model_param: str = field(default="model", compare=False)


def configuration_of(run: FoundRun) -> RunConfiguration:
    """Read the configuration of a run from its params and tags."""
    settings: dict[str, str] = {}
    for param, text in run.params.items():
        if param.startswith("data_") and param not in _FOLDER_PARAMS | {"data_model"}:
            name, section = param.removeprefix("data_"), _parse_section(text)
            settings |= _flatten(name, section) if isinstance(section, dict) else {name: text}
    digest = run.params.get("config_sha256") or run.tags.get("config_sha256")
    if not settings and digest:
        settings["config_sha256"] = digest
    settings |= {name: run.params[name] for name in _OTHER_PARAMS if name in run.params}
    model_param = "model" if run.params.get("model") else "data_model"
    model = run.params.get(model_param, "")
    return RunConfiguration(model, tuple(sorted(settings.items())), model_param)


def _parse_section(text: str) -> Any:
    """A section as Python values; the text itself where MLflow cut it, so that it is no literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def _flatten(name: str, section: Mapping[Any, Any]) -> dict[str, str]:
    """Dotted name -> value as Python writes it."""
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flatten(f"{name}.{key}", value)
        elif key not in _SPEED_SETTINGS:
            flat[f"{name}.{key}"] = repr(value)
    return flat


def check_one_configuration(experiment: GenerationExperiment, runs: Sequence[FoundRun]) -> None:
    """Refuse runs of several models or configurations; each run has an inventory.

    Raises
    ------
    UserError
        With a table of the configurations, and how to select one.
    """
    configurations = {run.id: configuration_of(run) for run in runs}
    distinct = list(dict.fromkeys(configurations.values()))
    if len(distinct) <= 1:
        return
    groups: dict[tuple[int, str], list[FoundRun]] = {}
    for run in runs:
        number = distinct.index(configurations[run.id])
        groups.setdefault((number, run.tags.get("generation_batch_id") or ""), []).append(run)
    differing = _differing_settings(distinct)
    head = ("runs", "files", "model", "batch id", "what differs", "first run")
    rows = [
        (
            str(len(group)),
            str(sum(map(_n_files, group))),
            distinct[number].model or "not recorded",
            batch or "none",
            _describe_settings(distinct[number], differing),
            group[0].id,
        )
        for (number, batch), group in sorted(groups.items())
    ]
    more = f"\n  and {len(rows) - _MAX_ROWS} more" if len(rows) > _MAX_ROWS else ""
    table = indent(plain_table([head, *rows[:_MAX_ROWS]]), "  ")
    raise UserError(
        f"experiment {experiment.name!r} (id {experiment.id}) holds data of {len(distinct)} "
        f"configurations, which do not belong into one data set:\n{table}"
        f"{more}\nselect one: a batch (--batch-id, study key batch_id), runs (--run-ids, run_ids), "
        f"or an MLflow filter (--filter, filter), for example\n  {_example(distinct, differing)}"
    )


def _differing_settings(configurations: Sequence[RunConfiguration]) -> list[str]:
    """Names of the settings that are not the same in all configurations."""
    tables = [dict(each.settings) for each in configurations]
    names = {name for table in tables for name in table}
    return sorted(name for name in names if len({table.get(name) for table in tables}) > 1)


def _describe_settings(configuration: RunConfiguration, differing: Sequence[str]) -> str:
    settings = dict(configuration.settings)
    parts = [f"{name} {_cut(settings.get(name, 'not recorded'))}" for name in differing]
    return _cut(", ".join(parts[:4])) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 3] + "..."


def _example(configurations: Sequence[RunConfiguration], differing: Sequence[str]) -> str:
    """A filter that selects the first configuration, as far as one clause can."""
    first = configurations[0]
    settings = dict(first.settings)
    name = next((name for name in differing if name in settings), None)
    if name is None or len({each.model for each in configurations}) > 1:
        clause = f"params.{first.model_param} = '{first.model}'"
    else:
        section, dot, key = name.partition(".")
        if dot:
            key = key.rpartition(".")[2]
            clause = f"params.data_{section} LIKE \"%'{key}': {settings[name]}%\""
        else:
            param = name if name in ("config_sha256", *_OTHER_PARAMS) else f"data_{name}"
            clause = f"params.{param} = '{settings[name]}'"
    return f"--filter {json.dumps(clause)}"
