"""Texts that would drift if written by hand: default configuration, key table, option tables.

``python docs/write_reference.py`` writes them into the repository; a test fails when they differ.
"""

import argparse
import json
import re
import typing
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lanflow.cli import main, train
from lanflow.core.settings import Settings
from lanflow.core.tables import markdown_table
from lanflow.data.manifest import Manifest
from lanflow.models.simulators import describe_constraints, find_model, model_names
from lanflow.models.sources import best_source
from lanflow.study.config import StudyConfig

_HEADER = """\
# Every key of the workflow with its default. A study of your own is a file like
# config/examples/first.yaml that holds only what differs, given with --configfile; in a deployment
# of the workflow it may be this file. In the repository do not edit it: `make generated` makes it
# from workflow/lanflow/study/config.py.
"""

_COMMANDS = """\
# All commands

`lanflow COMMAND --help` says the same. The two training commands have
[a page of their own](training_commands.md). Made by `make generated`.
"""


def _settings_in(annotation: Any) -> type[Settings] | None:
    """The settings class inside a field's type, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for inner in typing.get_args(annotation):
        found = _settings_in(inner)
        if found is not None:
            return found
    return None


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict


def _default(field: FieldInfo) -> str:
    """A default as YAML (JSON is YAML)."""
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    return json.dumps(value.model_dump() if isinstance(value, BaseModel) else value)


def default_config() -> str:
    """``config/config.yaml``: every key with its default and a comment.

    Keys of a model stand behind ``#`` with a made-up model, since a study has none by default.
    """
    lines = [_HEADER]
    for name, field in StudyConfig.model_fields.items():
        inner = _settings_in(field.annotation)
        lines.append(f"# {field.description}")
        if inner is None:
            lines.append(f"{name}: {_default(field)}")
        elif _is_mapping(field.annotation):
            lines.append(f"{name}: {{}}")
            lines.append("#  ddm:")
            lines += [f"#{line}" for line in _nested(inner, indent=4)]
        elif field.default is None:  # off
            lines.append(f"{name}: null")
            lines += [f"#{line}" for line in _nested(inner, indent=2)]
        else:
            lines.append(f"{name}:")
            lines += _nested(inner, indent=2)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _nested(cls: type[Settings], *, indent: int) -> Iterator[str]:
    pad = " " * indent
    for name, field in cls.model_fields.items():
        inner = _settings_in(field.annotation)
        if inner is None:
            value = "..." if field.is_required() else _default(field)
            yield f"{pad}{name}: {value}  # {field.description}"
            continue
        yield f"{pad}{name}:  # {field.description}"
        if _is_mapping(field.annotation):
            yield f"{pad}  lan:"
        yield from _nested(inner, indent=indent + (4 if _is_mapping(field.annotation) else 2))


def key_table() -> str:
    """The table of keys in ``config/README.md``."""
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in _keys(StudyConfig)]
    return "\n".join(rows)


def _keys(cls: type[Settings], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in cls.model_fields.items():
        inner = _settings_in(field.annotation)
        default = _default(field)
        if inner is not None:
            is_off = not prefix and default == "null"
            default = "`null`" if is_off else default if default == "(required)" else ""
        elif default != "(required)":
            default = f"`{default}`"
        yield prefix + name, default, field.description or ""
        if inner is not None:
            deeper = ".{name}." if _is_mapping(field.annotation) else "."
            yield from _keys(inner, prefix + name + deeper)


def option_table(parser: argparse.ArgumentParser) -> str:
    """The options of a command, by group."""
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    for group in parser._action_groups:
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction):
                continue
            default = "required" if action.required else _option_default(action)
            meaning = str(action.help).replace("|", "\\|")
            rows.append(f"| {_option_names(action)} | {default} | {meaning} |")
    return "\n".join(rows)


def command_page() -> str:
    """``docs/commands.md``: each command of ``lanflow`` with its options."""
    (commands,) = main.build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    parts = [_COMMANDS]
    for name, parser in commands.choices.items():  # type: ignore[union-attr, attr-defined]
        parts.append(f"## lanflow {name}\n\n{parser.description}\n\n{option_table(parser)}\n")
    return "\n".join(parts)


def _option_names(action: argparse.Action) -> str:
    names = "/".join(action.option_strings) or action.dest
    takes_value = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
    value = ""
    if takes_value and action.option_strings:
        metavar = action.metavar or "\\|".join(map(str, action.choices or [])) or "TEXT"
        value = f" {metavar}" if isinstance(metavar, str) else ""
    return f"`{names}{value}`".replace("\\|", "|").replace("|", "\\|")


def _option_default(action: argparse.Action) -> str:
    if action.default in (None, argparse.SUPPRESS, []) or action.dest in ("processes", "threads"):
        return "all cores" if action.default else ""
    if action.default is False:
        return "off"
    return "on" if action.default is True else f"`{action.default}`"


def fill(text: str, name: str, content: str) -> str:
    """Put a generated text between its two marks.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"marks of {name!r} not found")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)


def _json_schema(cls: type[Settings]) -> str:
    return json.dumps(cls.model_json_schema(), indent=2) + "\n"


_MODELS_HEAD = """\
# Every model

The {n} models of ssm-simulators {version}; each also has the variant `NAME_deadline`. `make
generated` writes this page. `make test` takes every model through generation and reading back, and
has a reference for each; `make models` evaluates, draws and bundles a network of each, too (hours
of one core).

`labels` says where the best ones come from: `analytic` is the exact likelihood, `solver` the
Fokker-Planck equation, `kde` a kernel density of simulations. Every network type can be trained
for every model; with more than two choices a `cpn` takes the choice as its last input
([how](judging.md)). `holds` is what draws of parameters keep to beside the bounds.

"""


def model_table() -> str:
    """``docs/models.md``: the models of the installed ssm-simulators."""
    rows = []
    for name in sorted(model_names()):
        model = find_model(name)
        choices = ", ".join(map(str, model.choices))
        parameters, holds = ", ".join(model.parameters), describe_constraints(model)
        rows.append((f"`{name}`", parameters, choices, best_source(model), holds))
    table = markdown_table(["model", "parameters", "choices", "labels", "holds"], rows)
    return f"{_MODELS_HEAD.format(n=len(rows), version=version('ssm-simulators'))}{table}\n"


def generated_files(root: Path) -> dict[Path, str]:
    """Every generated file of the repository with the content it should have."""
    training, config_readme = root / "docs/training_commands.md", root / "config" / "README.md"
    text = training.read_text()
    text = fill(text, "training-options", option_table(train.build_parser("jax")))
    return {
        root / "config" / "config.yaml": default_config(),
        root / "config" / "study.schema.json": _json_schema(StudyConfig),
        root / "config" / "manifest.schema.json": _json_schema(Manifest),
        root / "docs" / "commands.md": command_page(),
        training: text,
        config_readme: fill(config_readme.read_text(), "keys", key_table()),
        root / "docs" / "models.md": model_table(),
    }


if __name__ == "__main__":
    for path, content in generated_files(Path(__file__).resolve().parents[1]).items():
        path.write_text(content)
