"""Adds the installed ssm-simulators' models to ``workflow/lanflow/models/catalogue.json``.

``python -m tests.catalogue``, in the environment of each release that lanflow is tested with.
"""

import json
from importlib.metadata import version
from typing import Any

from lanflow.core.files import write_text
from lanflow.models.catalogue import CATALOGUE_PATH
from lanflow.models.simulators import find_model, model_names


def installed() -> dict[str, dict[str, Any]]:
    """What is recorded of each model of the installed release."""
    found = {}
    for name in model_names():
        model = find_model(name)
        functions = model.definition.model_dump(mode="json", exclude={"models_file"})
        found[name] = {"parameters": list(model.parameters), "definition": functions}
    return found


def record() -> None:
    """Write the record, a line for each model."""
    releases = json.loads(CATALOGUE_PATH.read_text()) if CATALOGUE_PATH.exists() else {}
    releases[version("ssm-simulators")] = installed()
    texts = []
    for release in sorted(releases):
        models = (f'  "{name}": {json.dumps(one)}' for name, one in releases[release].items())
        texts.append(f'"{release}": {{\n' + ",\n".join(models) + "\n}")
    write_text(CATALOGUE_PATH, "{" + ",\n".join(texts) + "}\n")


if __name__ == "__main__":
    record()
