"""Prints what the installed peers take and write; ``peers_interface.json`` records it.

``.venv-3.12/bin/python -W ignore peers_interface.py > peers_interface.json`` records it anew.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

_PEERS = ("ssm-simulators", "lanfactory", "hssm")
# Modules whose text names what is logged to MLflow and written to files.
_WRITERS = {
    "ssms.cli.generate": r"""["'](schema_version|phase|[a-z]+(?:_[a-z0-9]+)+)["']""",
    "lanfactory.cli.utils": r"""["'](schema_version|phase|[a-z]+(?:_[a-z0-9]+)+)["']""",
    "lanfactory.hf.upload": r"""["'](schema_version|phase|[a-z]+(?:_[a-z0-9]+)+)["']""",
}


def interface() -> dict[str, list[str]]:
    """Sorted names of everything, by where they are."""
    found = {place: sorted(names) for place, names in _places()}
    return dict(sorted(found.items()))


def _places() -> Iterator[tuple[str, set[str]]]:
    for point in entry_points(group="console_scripts"):
        if point.dist is not None and point.dist.name.lower() in _PEERS:
            yield f"options of {point.name} ({point.dist.name.lower()})", _options(point.load())
    for package in ("ssms.cli", "lanfactory.cli"):
        for path in resources.files(package).iterdir():
            if path.name.endswith(".yaml"):
                content = yaml.safe_load(path.read_text())
                yield f"keys of {package}/{path.name}", set(_keys(content))
    for module, pattern in _WRITERS.items():
        yield f"names in {module}", set(re.findall(pattern, _source(module)))
    yield "models of ssm-simulators", set(importlib.import_module("ssms.config").model_config)
    yield "keys of ssm-simulators' models", _model_keys()
    yield "settings of ssm-simulators' generator", _generator_keys()
    hssm = importlib.import_module("hssm")
    yield "arguments of hssm.HSSM", set(inspect.signature(hssm.HSSM.__init__).parameters)


def _options(app: Any) -> set[str]:
    """A typer command's options."""
    import typer

    command = typer.main.get_command(app)
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def _keys(content: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def _model_keys() -> set[str]:
    models = importlib.import_module("ssms.config").model_config
    return {key for config in models.values() for key in config}


def _generator_keys() -> set[str]:
    defaults = importlib.import_module("ssms.config").get_default_generator_config("lan")
    return set(_keys(defaults))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).with_name("stand_in")))  # for torch
    sys.stdout.write(json.dumps(interface(), indent=1) + "\n")
