"""Choice-probability networks: of more than two choices, from training to bundle; of the other."""

import json
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lanflow.core.errors import UserError
from lanflow.data.locate import Places
from lanflow.data.prepare import PackedData, freeze, materialise_once
from lanflow.evaluation import reference as truth
from lanflow.evaluation.evaluate import evaluate, find_reference, write_evaluation
from lanflow.evaluation.record import EvaluationSettings, read_own_evaluation
from lanflow.models.simulators import find_model
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx
from lanflow.publish.bundle import bundle_files
from lanflow.report.figures import sweeps
from lanflow.report.figures.network import FIGURES, draw_figure
from lanflow.training.run import train
from tests import evaluated, networks
from tests.conftest import training_options, write_training_file

FEW = EvaluationSettings(n_sets=4, rows=5, n_simulated_sets=2)


def packed_race(folder: Path, model: str = "lca_no_bias_3") -> PackedData:
    """Made-up probabilities of three choices, which sum to one without a deadline."""
    found = find_model(model)
    low, high = np.transpose([found.bounds[name] for name in found.parameters])
    theta = np.random.default_rng(1).uniform(low, high, (60, len(low))).astype("f4")
    odds = np.exp(theta[:, :3])
    shares = odds / (odds.sum(axis=1, keepdims=True) + found.has_deadline)
    content = {
        "cpn_data": theta,
        "cpn_labels": shares,
        "generator_config": {"model": model},
        "model_config": {
            "name": model,
            "params": list(found.parameters),
            "param_bounds": [low.tolist(), high.tolist()],
            "nchoices": 3,
        },
    }
    write_training_file(folder / "files" / "training_data_0.pickle", content)
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model=model)
    return materialise_once(manifest, folder / "cache")


def trained(folder: Path, backend: Literal["jax", "torch"], **model: str) -> dict[str, Any]:
    packed = packed_race(folder, **model)
    keys = {
        "MODEL": packed.data_set.model,
        "NETWORK_TYPE": "cpn",
        "LAYER_SIZES": [[8, 1]],
        "ACTIVATIONS": [["tanh"]],
        "LABELS_LOWER_BOUND": None,
    }
    return train(training_options(folder, packed, backend=backend, keys=keys))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_network_of_three_choices_goes_all_the_way(
    backend: Literal["jax", "torch"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "N_SIMULATIONS", 200)
    monkeypatch.setattr(sweeps, "_N_SIMULATED", 2)
    result = trained(tmp_path, backend)
    folder = Path(result["network_folder"])
    card = json.loads((folder / "card.json").read_text())
    assert card["inputs"] == [*card["parameters"], "choice"]
    assert card["output"] == (
        "log-probability of the choice that is the last input (one of 0, 1, 2)"
    )
    assert (card["choices"], card["loss"]) == ([0, 1, 2], "crossentropy")
    assert (card["layer_sizes"], card["output_shape"]) == ([8, 3], [1, 1])
    (config,) = folder.parent.glob("*network_config.pickle")
    assert pickle.loads(config.read_bytes())["train_output_type"] == "choice_logits"

    network = Network.from_folder(folder)
    centre = dict(network.bounds.centre())
    given = network.log_probability(**centre, choice=[0, 1, 2])
    assert np.exp(given).sum() == pytest.approx(1, abs=1e-6)
    by_jax = network.jax_function()(**centre, choice=np.array([0, 1, 2]))
    np.testing.assert_allclose(by_jax, given, rtol=1e-5)
    with pytest.raises(UserError, match=r"takes v0, v1, v2, a, z, g, b, t, choice; given were v0"):
        network.log_probability(**centre)

    evaluation, scores = evaluate(network, settings=FEW, hssm_python="/no/python")
    assert scores is not None
    gates = {gate.name: gate for gate in evaluation.gates}
    assert gates["structure"].verdict == gates["parity"].verdict == "passed"
    assert gates["tails"].verdict == "passed"
    assert 0 <= gates["tails"].numbers["sum_error"] < 1e-5  # type: ignore[operator]
    assert "no choice" in gates["hssm"].reason
    assert scores.per_outcome(scores.network).shape == (4, 3)
    write_evaluation(folder / "evaluation.json", evaluation, scores)
    reference = find_reference(network)
    for figure in FIGURES if backend == "jax" else []:
        made = draw_figure(figure, network, reference, lambda: scores, seed=1)
        assert made.png().startswith(b"\x89PNG")
    files = bundle_files(network, read_own_evaluation(network))
    assert "lca_no_bias_3_cpn_of_choice.onnx" in files
    readme = " ".join(files["README.md"].decode().split())
    assert "they cannot use one that takes the choice" in readme
    assert "| `choice` | | | one of 0, 1, 2 |" in readme


def test_with_a_deadline_the_probabilities_leave_room_for_none_in_time(tmp_path: Path) -> None:
    folder = Path(trained(tmp_path, "torch", model="lca_no_bias_3_deadline")["network_folder"])
    network = Network.from_folder(folder)
    vectors = np.array([list(network.bounds.centre().values())])
    assert 0.1 < np.exp(network.log_probabilities(vectors)).sum() < 0.99


def test_a_network_of_the_other_choice_is_told_so(tmp_path: Path) -> None:
    model = onnx.load_from_string(export_onnx(*networks.well_made("cpn")))
    for number in model.graph.initializer[-2:]:  # of the logit
        number.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(number), number.name))
    path = tmp_path / "lower.onnx"
    path.write_bytes(model.SerializeToString())
    network = Network.from_onnx(path, model="ddm", network_type="cpn")
    evaluation, _ = evaluate(network, settings=FEW)
    (accuracy,) = (gate for gate in evaluation.gates if gate.name == "accuracy")
    assert accuracy.reason.startswith("it gives the probability of choice -1, not of choice 1")
    error = accuracy.numbers["mean_abs_error_as_choice_-1"]
    assert error is not None
    assert error < 0.05 < accuracy.numbers["mean_abs_error"]  # type: ignore[operator]


def test_the_bundle_of_two_choices_has_the_network_that_takes_the_choice(tmp_path: Path) -> None:
    folder = evaluated.write_network(tmp_path / "cpn", "cpn", choices=[-1, 1])
    network, evaluation = evaluated.judged(folder)
    files = bundle_files(network, evaluation)
    path = tmp_path / "of_choice.onnx"
    path.write_bytes(files["ddm_cpn_of_choice.onnx"])
    of_choice = Network.from_onnx(path, model="ddm", network_type="cpn")
    assert (of_choice.takes_choice, of_choice.outcomes) == (True, ("choice -1", "choice 1"))
    vectors = np.array([list(network.bounds.centre().values())])
    given = of_choice.log_probabilities(vectors)
    np.testing.assert_allclose(given[:, 1], network(vectors)[:, 0], rtol=1e-5, atol=1e-6)
    assert np.exp(given).sum() == pytest.approx(1, abs=1e-6)
    readme = files["README.md"].decode()
    assert "`[v, a, z, t, choice] -> log P(choice)`, for choices -1 and 1" in readme
    assert "**That is wrong for trials with another choice**" in readme
    with_deadline = evaluated.write_network(
        tmp_path / "late", "cpn", model="ddm_deadline", choices=[-1, 1]
    )
    assert not [n for n in bundle_files(*evaluated.judged(with_deadline)) if "of_choice" in n]
