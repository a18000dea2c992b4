"""The notebooks as they are stored: with outputs of a whole run, and nothing of one machine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import NOTEBOOKS


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_the_outputs_of_one_run(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    # The network that is fitted is one that passed, and the fit is shown beside the truth.
    shown = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert any("<strong>" in text and "(jax)" in text and "passed" in text for text in shown)
    assert not any("failed" in text for text in shown)
    assert any("<th>true</th>" in text and "<th>inside</th>" in text for text in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_nothing_of_the_machine_and_is_small(path: Path) -> None:
    text = path.read_text()
    assert len(text) < 500_000
    assert not re.findall(r"/(?:home|tmp|root|opt|work|usr|Users)/[^\"\\ ]*", text)
    warnings = [o for c in code_cells(path) for o in c["outputs"] if o.get("name") == "stderr"]
    assert len(json.dumps(warnings)) < 1_500
