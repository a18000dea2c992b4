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
from lanflow.models.model import Model
from lanflow.models.simulators import find_model, model_names
from lanflow.networks.network import Network
from lanflow.networks.types import Architecture, NetworkTypeName
from lanflow.publish.bundle import bundle_files
from lanflow.report.figures.network import FIGURES, draw_figure
from lanflow.training.backend import Weights
from lanflow.training.fit import initial_weights
from tests.networks import made_up, write_network

# Its drifts sum to one, and its particle starts below its bound.
NAMES = ["lba_3_vs_constraint"]
TYPES: list[NetworkTypeName] = ["lan"]
if os.environ.get("LANFLOW_EVERY_MODEL"):
    NAMES = [name + ending for ending in ("", "_deadline") for name in model_names()]
    TYPES = ["lan", "cpn", "opn", "gonogo"]


def of_many_choices(model: Model) -> tuple[Architecture, Weights]:
    """A network that was never trained, with a logit for each choice."""
    choices, sizes = tuple(map(int, model.choices)), (8, len(model.choices))
    n_inputs = len(model.parameters)
    shape = Architecture("cpn", n_inputs, sizes, ("tanh",), choices, model.has_deadline)
    return shape, initial_weights(shape, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("network_type", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_the_model_is_judged_drawn_and_bundled(
    name: str, network_type: NetworkTypeName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "N_SIMULATIONS", 2000)
    model, card = find_model(name), {}
    n_inputs = len(model.parameters) + 2 * (network_type == "lan")
    made = made_up(network_type, n_inputs)
    if network_type == "cpn" and len(model.choices) > 2:
        made = of_many_choices(model)
        card = {"inputs": [*model.parameters, "choice"], "choices": list(model.choices)}
    folder = write_network(tmp_path / "net", made, model=name, backend="torch", **card)
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
