"""Every model of ssm-simulators through all that lanflow does, at the smallest size.

One model stands for all where nobody asks for more. ``make models`` takes each through it, with and
without a deadline, those that newer releases have as well in the environment of ``make newest``,
and writes what came of it into docs/models.json and the page "Every model".
"""

import os
from pathlib import Path

import pytest

from lanflow.core.files import write_json
from lanflow.models.simulators import model_names
from tests.every_model import look_at_little, take_through

# The folder where `make models` wants a file for each model.
OUTCOMES = os.environ.get("LANFLOW_EVERY_MODEL")
# Its drifts sum to one, and its particle starts below its bound.
NAMES = ["lba_3_vs_constraint"]
if OUTCOMES:
    every = [name + ending for ending in ("", "_deadline") for name in model_names()]
    NAMES = [name for name in every if not Path(OUTCOMES, f"{name}.json").exists()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_whole_or_says_in_a_line_why_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_little(monkeypatch)
    outcome = take_through(name, tmp_path)
    assert all(len(said.splitlines()) <= 1 for said in (outcome.remark, *outcome.networks.values()))
    if OUTCOMES:
        write_json(Path(OUTCOMES) / f"{name}.json", outcome.model_dump(mode="json"))
    else:
        assert outcome.networks["lan"] == outcome.remark == ""
