"""Networks of ssm-simulators' models through evaluation, figures and bundle, at their smallest.

One model stands for all where nobody asks for more; with ``LANFLOW_EVERY_MODEL`` (``make models``)
each is taken through it, with and without a deadline.
"""

import os
from pathlib import Path

import pytest

from lanflow.evaluation import reference as truth
from lanflow.evaluation.evaluate import evaluate, find_reference, scores_of, write_evaluation
from lanflow.evaluation.record import EvaluationSettings, read_own_evaluation
from lanflow.models.simulators import find_model, model_names
from lanflow.networks.network import Network
from lanflow.networks.types import NetworkTypeName
from lanflow.publish.bundle import bundle_files
from lanflow.report.figures.network import FIGURES, draw_figure
from tests.networks import made_up, write_network

# Its drifts sum to one, and its particle starts below its bound.
NAMES = ["lba_3_vs_constraint"]
TYPES: list[NetworkTypeName] = ["lan"]
if os.environ.get("LANFLOW_EVERY_MODEL"):
    NAMES = [name + ending for ending in ("", "_deadline") for name in model_names()]
    TYPES = ["lan", "cpn", "opn", "gonogo"]


@pytest.mark.slow
@pytest.mark.parametrize("network_type", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_the_model_is_judged_drawn_and_bundled(
    name: str, network_type: NetworkTypeName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "N_SIMULATIONS", 2000)
    n_inputs = len(find_model(name).parameters) + 2 * (network_type == "lan")
    folder = write_network(
        tmp_path / "net", made_up(network_type, n_inputs), model=name, backend="torch"
    )
    network = Network.from_folder(folder)
    few = EvaluationSettings(n_sets=2, rows=5, n_simulated_sets=1)
    evaluation, scores = evaluate(network, settings=few, hssm_python="/no/python")
    assert scores is not None
    write_evaluation(folder / "evaluation.json", evaluation, scores)
    reference = find_reference(network)
    assert reference is not None
    for figure in FIGURES:
        picture = draw_figure(
            figure, network, reference, lambda: scores_of(network, reference, seed=1), seed=1
        )
        assert picture.png().startswith(b"\x89PNG")
    assert "README.md" in bundle_files(network, read_own_evaluation(network))
