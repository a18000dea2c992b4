"""Texts that would drift if written by hand: default configuration, key table, option tables.

``python docs/write_reference.py`` writes them into the repository; a test fails when they differ.
"""

import json
import re
import typing
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lanflow.cli import main, train
from lanflow.cli.command import Command, CommandArgument, CommandOption
from lanflow.core.settings import Settings
from lanflow.core.tables import markdown_table
from lanflow.data.manifest import Manifest
from lanflow.models.generation import describe_constraints
from lanflow.models.models_file import base_name
from lanflow.models.simulators import find_model, model_names
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
[a page of their own](training_commands.md). Each ends with a few lines for people, or with
`--json` with one line for programs. Made by `make generated`.

A shell completes commands, options, choices and files after one line in its start-up file:

| shell | line | file |
| --- | --- | --- |
| bash | `eval "$(_LANFLOW_COMPLETE=bash_source lanflow)"` | `~/.bashrc` |
| zsh | `eval "$(_LANFLOW_COMPLETE=zsh_source lanflow)"` | `~/.zshrc` |
| fish | `_LANFLOW_COMPLETE=fish_source lanflow \\| source` | `~/.config/fish/config.fish` |

For the training commands, the same with `_JAXTRAIN_COMPLETE` and `jaxtrain`, or with
`_TORCHTRAIN_COMPLETE` and `torchtrain`.
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


def option_table(command: Command) -> str:
    """The arguments and options of a command."""
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    for each in command.params:
        meaning = str(each.help).replace("|", "\\|")  # type: ignore[attr-defined]
        default = "required" if each.required else _option_default(each)
        rows.append(f"| {_option_names(each)} | {default} | {meaning} |")
    return "\n".join(rows)


def command_page() -> str:
    """``docs/commands.md``: each command of ``lanflow`` with its options, panel by panel."""
    parts = [_COMMANDS]
    for panel, entries in main.PANELS.items():
        parts.append(f"## {panel}\n")
        for name in entries:
            command = main.subcommand(name)
            parts.append(f"### lanflow {name}\n\n{command.help}\n\n{option_table(command)}\n")
    return "\n".join(parts)


def _option_names(each: click.Parameter) -> str:
    if isinstance(each, CommandArgument):
        return f"`{each.metavar}`"
    assert isinstance(each, CommandOption)
    names = "/".join([*each.opts, *each.secondary_opts])
    return f"`{names}{'' if each.is_flag else f' {each.metavar}'}`".replace("|", "\\|")


def _option_default(each: click.Parameter) -> str:
    if isinstance(each, CommandOption) and isinstance(each.show_default, str):
        return each.show_default
    if each.default is True or each.default is False:
        return "on" if each.default else "off"
    defaults = each.default if isinstance(each.default, tuple) else (each.default,)
    return "" if defaults in ((), (None,)) else f"`{' '.join(map(str, defaults))}`"


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

The {n} models of ssm-simulators {version}; each also has the variant `NAME_deadline`. `make models`
takes them through all of lanflow at the smallest size (about 15 s of a core each): simulate, pack,
audit, train, evaluate, draw, bundle, report. What came of it is in `models.json`, from which
`make generated` writes this page. `make test` does so with one of them, and takes every model
through generation and reading back.

{counts}

`labels` says where the best ones come from: `analytic` is the exact likelihood, `solver` the
Fokker-Planck equation, `kde` a kernel density of simulations ([exact densities](exact.md): their
cost, error and proof). `networks` are the types that were made, of the variant with a deadline in
the next column; with more than two choices a `cpn` takes the choice as its last input
([how](judging.md)). `holds` is what draws of parameters keep to beside the bounds, `remarks` is
what lanflow said.

"""

_KINDS = {
    "whole": "all of it works",
    "told": "a network was refused, is not as HSSM takes it, or does not know all that one may "
    "think, with the remark that is shown",
    "impossible": "cannot be simulated",
}


def model_table(record: Path) -> str:
    """``docs/models.md``: the models of the installed ssm-simulators, and what came of each."""
    outcomes = json.loads(record.read_text())
    names = sorted(model_names())
    table = markdown_table(
        ["model", "parameters", "choices", "labels", "networks", "deadline", "holds", "remarks"],
        [_model_row(name, outcomes) for name in names],
    )
    counts = "\n".join(
        f"- {_n_of_kind(names, outcomes, kind)} {kind} "
        f"({_n_of_kind([f'{name}_deadline' for name in names], outcomes, kind)} with a deadline): "
        f"{meaning};"
        for kind, meaning in _KINDS.items()
    )
    said = _MODELS_HEAD.format(
        n=len(names), version=version("ssm-simulators"), counts=counts.removesuffix(";") + "."
    )
    pins = record.parents[1] / "constraints-3.12.txt"
    return f"{said}{table}\n{_newer_models(outcomes, pins.read_text())}"


def _newer_models(outcomes: dict[str, Any], pins: str) -> str:
    """The models that only newer releases of ssm-simulators have."""
    known = set(model_names())
    newer = sorted(name for name in outcomes if base_name(name) not in known)
    rows = [
        (
            f"`{name}`",
            outcomes[name]["kind"],
            outcomes[name]["labels"],
            _networks(outcomes[name]),
            "; ".join(sorted(_sayings(outcomes[name]))),
        )
        for name in newer
    ]
    if not rows:
        return ""
    release = re.search(r"^ssm-simulators==(\S+)$", pins, re.MULTILINE)
    assert release is not None
    head = ["model", "outcome", "labels", "networks", "remarks"]
    said = f"ssm-simulators {release[1]} has these as well; they were tried on Python 3.12:"
    return f"\n{said}\n\n{markdown_table(head, rows)}\n"


def _n_of_kind(names: list[str], outcomes: dict[str, Any], kind: str) -> int:
    return sum(name in outcomes and outcomes[name]["kind"] == kind for name in names)


def _model_row(name: str, outcomes: dict[str, Any]) -> tuple[str, ...]:
    model = find_model(name)
    both = [outcomes[each] for each in (name, f"{name}_deadline") if each in outcomes]
    remarks = {said for outcome in both for said in _sayings(outcome)}
    return (
        f"`{name}`",
        ", ".join(model.parameters),
        ", ".join(map(str, model.choices)),
        best_source(model),
        *(_networks(outcomes.get(each)) for each in (name, f"{name}_deadline")),
        describe_constraints(model),
        "; ".join(sorted(remarks)),
    )


def _sayings(outcome: dict[str, Any]) -> list[str]:
    """Remarks on a model and on its networks."""
    said = [("", outcome["remark"]), *outcome["networks"].items()]
    return [f"{kind}: {text}" if kind else text for kind, text in said if text]


def _networks(outcome: dict[str, Any] | None) -> str:
    return "not tried" if outcome is None else ", ".join(outcome["networks"]) or "none"


def generated_files(root: Path) -> dict[Path, str]:
    """Every generated file of the repository with the content it should have."""
    training, config_readme = root / "docs/training_commands.md", root / "config" / "README.md"
    text = training.read_text()
    text = fill(text, "training-options", option_table(train.training_command("jax")))
    return {
        root / "config" / "config.yaml": default_config(),
        root / "config" / "study.schema.json": _json_schema(StudyConfig),
        root / "config" / "manifest.schema.json": _json_schema(Manifest),
        root / "docs" / "commands.md": command_page(),
        training: text,
        config_readme: fill(config_readme.read_text(), "keys", key_table()),
        root / "docs" / "models.md": model_table(root / "docs" / "models.json"),
    }


if __name__ == "__main__":
    for path, content in generated_files(Path(__file__).resolve().parents[1]).items():
        path.write_text(content)
