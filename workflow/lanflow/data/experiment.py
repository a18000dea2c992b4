"""Which runs and files of a data-generation experiment are taken, by what MLflow knows."""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lanflow.core.errors import UserError
from lanflow.tracking.store import FILES_TAG

# Which generator configuration a data-generation run had, and a refusal to mix several.


# Where and how fast the files were made says nothing about what is in them.
_OF_A_WORKER = {"data_output", "data_output_folder"}
_SPEED = {"n_cpus", "n_subruns"}
# Params outside the `data_*` sections that decide a file's content.
_OTHER_SETTINGS = ("generator_approach", "label_source")
_NOT_IN_SECTIONS = ("config_sha256", *_OTHER_SETTINGS)
_MAX_ROWS = 20
_MAX_CELL = 60


@dataclass(frozen=True)
class RunConfiguration:
    """What decides the content of a run's files, as far as it was recorded.

    Attributes
    ----------
    model
        Empty where not recorded.
    model_param
        The param that recorded it.
    settings
        Dotted name -> value; of a run that recorded no settings only its ``config_sha256``.
    """

    model: str
    settings: tuple[tuple[str, str], ...]
    model_param: str = field(default="model", compare=False)


def configuration_of(run: Any) -> RunConfiguration:
    """The configuration of a :class:`lanflow.tracking.store.FoundRun`.

    ssm-simulators records sections of its configuration as texts of Python dicts, in params
    ``data_*``; newer versions and lanflow also a digest of it.
    """
    settings: dict[str, str] = {}
    for name, text in run.params.items():
        if name.startswith("data_") and name not in _OF_A_WORKER | {"data_model"}:
            section = _parsed(text)
            if isinstance(section, dict):
                settings |= _flat(name.removeprefix("data_"), section)
            else:
                settings[name.removeprefix("data_")] = text
    digest = run.params.get("config_sha256") or run.tags.get("config_sha256")
    if not settings and digest:
        settings["config_sha256"] = digest
    settings |= {name: run.params[name] for name in _OTHER_SETTINGS if name in run.params}
    model_param = "model" if run.params.get("model") else "data_model"
    model = run.params.get(model_param, "")
    return RunConfiguration(model, tuple(sorted(settings.items())), model_param)


def _parsed(text: str) -> Any:
    """A section as recorded; text that is no Python literal (MLflow cuts long ones) stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _flat(name: str, section: Mapping[Any, Any]) -> dict[str, str]:
    """Dotted name -> value as Python writes it."""
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(f"{name}.{key}", value)
        elif key not in _SPEED:
            flat[f"{name}.{key}"] = repr(value)
    return flat


def check_one_configuration(experiment: Mapping[str, str], runs: Sequence[Any]) -> None:
    """Refuse runs of several models or configurations.

    Parameters
    ----------
    experiment
        ``id`` and ``name``.
    runs
        :class:`lanflow.tracking.store.FoundRun`, each with an inventory.

    Raises
    ------
    UserError
        With a table of the groups, and how to select one.
    """
    configurations = {run.id: configuration_of(run) for run in runs}
    distinct = list(dict.fromkeys(configurations.values()))
    if len(distinct) <= 1:
        return
    groups: dict[tuple[int, str], list[Any]] = {}
    for run in runs:
        number = distinct.index(configurations[run.id])
        groups.setdefault((number, run.tags.get("generation_batch_id") or ""), []).append(run)
    differing = _differing(distinct)
    head = ("runs", "files", "model", "batch id", "what differs", "first run")
    rows = [
        (
            str(len(group)),
            str(sum(len(run.inventory["files"]) for run in group)),
            distinct[number].model or "not recorded",
            batch or "none",
            _describe(distinct[number], differing),
            group[0].id,
        )
        for (number, batch), group in sorted(groups.items())
    ]
    more = f"\n  and {len(rows) - _MAX_ROWS} more" if len(rows) > _MAX_ROWS else ""
    raise UserError(
        f"experiment {experiment['name']!r} (id {experiment['id']}) holds data of {len(distinct)} "
        f"configurations, which do not belong into one data set:\n{_table(head, rows[:_MAX_ROWS])}"
        f"{more}\nselect one: a batch (--batch-id, study key batch_id), runs (--run-ids, run_ids), "
        f"or an MLflow filter (--filter, filter), for example\n  {_example(distinct, differing)}"
    )


def _differing(configurations: Sequence[RunConfiguration]) -> list[str]:
    """Names of the settings that are not the same everywhere."""
    values: dict[str, set[str | None]] = {}
    names = {name for each in configurations for name, _ in each.settings}
    for each in configurations:
        settings = dict(each.settings)
        for name in names:
            values.setdefault(name, set()).add(settings.get(name))
    return sorted(name for name, found in values.items() if len(found) > 1)


def _describe(configuration: RunConfiguration, differing: Sequence[str]) -> str:
    settings = dict(configuration.settings)
    parts = [f"{name} {_cut(settings.get(name, 'not recorded'))}" for name in differing]
    return _cut(", ".join(parts[:4])) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 3] + "..."


def _example(configurations: Sequence[RunConfiguration], differing: Sequence[str]) -> str:
    """A filter that takes the first configuration, as far as one clause can."""
    first = configurations[0]
    settings = dict(first.settings)
    names = [name for name in differing if name in settings]
    if len({each.model for each in configurations}) > 1 or not names:
        clause = f"params.{first.model_param} = '{first.model}'"
    else:
        value = settings[names[0]]
        section, _, key = names[0].partition(".")
        if key:
            clause = f"params.data_{section} LIKE \"%'{key.rpartition('.')[2]}': {value}%\""
        else:
            param = section if section in _NOT_IN_SECTIONS else f"data_{section}"
            clause = f"params.{param} = '{value}'"
    return f"--filter {json.dumps(clause)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


QUERY_VERSION = 3

Policy = Literal["complete", "salvage"]
TO_SALVAGE = (
    "or take what is whole with the policy salvage (lanflow query --policy salvage, study key "
    "policy)"
)

_SHA256 = re.compile("[0-9a-f]{64}")
# No training file has a tebibyte.
_MAX_SIZE = 2**40


@dataclass(frozen=True)
class RunSelection:
    """Which runs of an experiment to take, and what to do about those that are not whole.

    Attributes
    ----------
    policy
        ``complete`` refuses if a run is incomplete, ``salvage`` takes what is whole.
    batch_id
        Runs with this tag ``generation_batch_id``.
    run_ids
        These runs.
    filter
        MLflow filter string, part of the search.
    """

    policy: Policy = "complete"
    batch_id: str | None = None
    run_ids: Sequence[str] | None = None
    filter: str | None = None


def build_query(
    experiment: Mapping[str, str],
    runs: Iterable[Any],
    selection: RunSelection = RunSelection(),
) -> dict[str, Any]:
    """The runs and files of a data-generation experiment, as plain data.

    What MLflow knows decides here: a run is taken if it left an inventory of all its files,
    whatever its status says. Whether the files exist is seen where they are, by
    :func:`lanflow.data.locate.locate_files`.

    Parameters
    ----------
    experiment
        ``id`` and ``name``.
    runs
        :class:`lanflow.tracking.store.FoundRun` of the experiment, deleted ones too.
    selection
        Which of them.

    Raises
    ------
    UserError
        If there is no run with files, a named run is missing, a run is incomplete and the policy is
        ``complete``, an inventory is impossible, or the runs are of several configurations.
    """
    runs = _select(experiment, list(runs), selection)
    taken, aside, incomplete = [], [], []
    for run in runs:
        if reason := _no_data(run):
            aside.append((run, reason))
        elif reason := _incomplete(run):
            incomplete.append((run, reason))
        else:
            taken.append(run)
    if not any(_n_files(run) for run in [*taken, *(run for run, _ in incomplete)]):
        raise UserError(
            f"experiment {experiment['name']!r} (id {experiment['id']}) has no run with files "
            f"({_count_runs(runs)})"
        )
    if incomplete and (selection.policy == "complete" or not taken):
        raise UserError(_explain_incomplete(experiment, incomplete, selection.policy))
    check_one_configuration(experiment, taken)
    return {
        "query_version": QUERY_VERSION,
        "experiment": dict(experiment),
        "policy": selection.policy,
        "selection": {
            "batch_id": selection.batch_id,
            "run_ids": None if selection.run_ids is None else sorted(set(selection.run_ids)),
            "filter": selection.filter,
        },
        "runs": [_describe_run(run) for run in taken],
        "left_out": [
            {"run_id": run.id, "run_name": run.name, "status": run.status, "reason": reason}
            for run, reason in [*aside, *incomplete]
        ],
    }


def _select(
    experiment: Mapping[str, str], runs: Sequence[Any], selection: RunSelection
) -> list[Any]:
    """The runs that are asked for."""
    batch = selection.batch_id
    if batch is not None:
        known = {run.tags["generation_batch_id"] for run in runs if _is_of_a_batch(run)}
        if batch not in known:
            raise UserError(
                f"experiment {experiment['name']!r} has no run of batch {batch}; its batches: "
                f"{first_ten(sorted(known)) or 'none'}"
            )
        runs = [run for run in runs if run.tags.get("generation_batch_id") == batch]
    if selection.run_ids is None:
        return list(runs)
    wanted = set(selection.run_ids)
    missing = sorted(wanted - {run.id for run in runs})
    if missing:
        where = f"batch {batch} of " if batch else ""
        raise UserError(f"{where}experiment {experiment['name']!r} has no run {', '.join(missing)}")
    deleted = [run.id for run in runs if run.id in wanted and run.deleted]
    if deleted and selection.policy == "complete":
        raise UserError(
            f"experiment {experiment['name']!r}: run {', '.join(deleted)} is deleted in MLflow"
        )
    return [run for run in runs if run.id in wanted]


def _is_of_a_batch(run: Any) -> bool:
    return "generation_batch_id" in run.tags


def _no_data(run: Any) -> str | None:
    """Why a run is not expected to have data, or None."""
    if run.deleted:
        return "deleted in MLflow"
    return "a dry run" if _is_dry(run) else None


def _is_dry(run: Any) -> bool:
    return bool(run.tags.get("phase") == "datagen_dry_run" or run.params.get("dry_run") == "True")


def _incomplete(run: Any) -> str | None:
    """What is missing of a run's record, or None."""
    if run.inventory is None:
        return "it left no inventory of files, so it did not end well"
    if not run.params.get("data_output_folder"):
        return "param 'data_output_folder' is missing"
    planned = run.params.get("n_files", "")
    if planned.isdecimal() and _n_files(run) < int(planned):
        return f"its inventory lists {_n_files(run)} of the {planned} files it was to make"
    return None if _n_files(run) else "its inventory lists no file"


def _n_files(run: Any) -> int:
    return len(run.inventory["files"]) if run.inventory else 0


def _count_runs(runs: Sequence[Any]) -> str:
    deleted = sum(run.deleted for run in runs)
    dry = sum(_no_data(run) is not None for run in runs) - deleted
    counts = [f"{len(runs) - dry - deleted} run(s)", f"{dry} dry run(s)"]
    return ", ".join(counts + ([f"{deleted} deleted"] if deleted else []))


def _explain_incomplete(
    experiment: Mapping[str, str], incomplete: Sequence[tuple[Any, str]], policy: Policy
) -> str:
    lines = [f"  {run.id} ({run.name}, {run.status}): {reason}" for run, reason in incomplete]
    advice = "repeat them, or delete them in MLflow"
    if policy == "complete":
        advice += f"; {TO_SALVAGE}"
    return (
        f"experiment {experiment['name']!r}: {len(incomplete)} run(s) are incomplete:\n"
        + "\n".join(lines)
        + f"\n{advice}"
    )


def _describe_run(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "run_name": run.name,
        "status": run.status,
        "data_output_folder": run.params["data_output_folder"],
        "batch_id": run.tags.get("generation_batch_id"),
        "artifact_path": _artifact_path(run),
        "files": [_describe_file(run.id, entry) for entry in run.inventory["files"]],
    }


def _artifact_path(run: Any) -> str | None:
    """Where its files are among its artifacts, if they are."""
    path: str | None = run.tags.get(FILES_TAG)
    if path is not None and not all(is_plain_name(part) for part in path.split("/")):
        raise UserError(f"run {run.id}: its tag {FILES_TAG} is {path!r}, not a folder of artifacts")
    return path


def is_plain_name(name: Any) -> bool:
    """Whether a name stays in its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _describe_file(run_id: str, entry: Any) -> dict[str, Any]:
    """Name, size and digest of an inventory's entry; a name that leaves its folder is refused."""
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not is_plain_name(name):
        raise UserError(f"run {run_id}: its inventory names a file {name!r}, not a plain file name")
    size = entry.get("size_bytes")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise UserError(f"run {run_id}: its inventory gives {name} the size {size!r}")
    sha256 = entry.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise UserError(f"run {run_id}: its inventory gives {name} the sha256 {sha256!r}")
    return {"name": name, "size_bytes": size, "sha256": sha256}


def first_ten(items: Sequence[str]) -> str:
    """Up to ten items for a message, and how many more there are."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more
