"""Which generator configuration a data-generation run had, and a refusal to mix several."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanflow.errors import UserError

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
    """The configuration of a :class:`lanflow.run_search.FoundRun`.

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
        :class:`lanflow.run_search.FoundRun`, each with an inventory.

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
