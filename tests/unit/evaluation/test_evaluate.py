from dataclasses import replace
from pathlib import Path

import pytest

from lanflow.evaluation.evaluate import evaluate
from lanflow.evaluation.published import accuracy_limits
from lanflow.evaluation.record import SCORE_KEYS, Evaluation, EvaluationSettings, format_evaluation
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx
from tests import networks

# A box that is quick to simulate; the gates look at nothing else.
BOX = {"v": [-2.0, 2.0], "a": [0.5, 1.2], "z": [0.3, 0.7], "t": [0.1, 0.5]}
QUICK = EvaluationSettings(n_sets=40, rows=50, n_simulated_sets=5)


def evaluated(folder: Path) -> Evaluation:
    return evaluate(Network.from_folder(folder), settings=QUICK, seed=1)[0]


def verdicts(record: Evaluation) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in record.gates}


# What is spoilt, and the gates that must see it.
SPOILT = {
    "shuffled in ONNX alone": {"parity", "accuracy", "density"},
    "shuffled": {"accuracy", "density"},
    "untrained": {"accuracy", "density"},
    "rt shifted": {"accuracy", "density"},
    "raw logits": {"parity", "accuracy", "density", "tails"},
    "dynamic axis": {"structure"},
}


def spoilt(name: str, folder: Path) -> Path:
    match name:
        case "shuffled in ONNX alone":
            content = export_onnx(*networks.shuffled("lan"))
            made = networks.well_made("lan")
            return networks.write_network(folder, made, onnx_content=content, bounds=BOX)
        case "shuffled":
            return networks.write_network(folder, networks.shuffled("lan"), bounds=BOX)
        case "untrained":
            return networks.write_network(folder, networks.untrained("lan"), bounds=BOX)
        case "rt shifted":
            return networks.write_network(folder, networks.shifted(0.1), bounds=BOX)
        case "raw logits":
            content, made = networks.raw_logits(), networks.well_made("cpn")
            return networks.write_network(folder, made, onnx_content=content, bounds=BOX)
    content = networks.dynamic_axis()
    made = networks.well_made("lan")
    return networks.write_network(folder, made, onnx_content=content, bounds=BOX)


@pytest.mark.parametrize("name", SPOILT)
def test_each_spoilt_network_fails_the_gates_that_look_for_it(name: str, tmp_path: Path) -> None:
    record = evaluated(spoilt(name, tmp_path))
    failed = {gate.name for gate in record.gates if gate.verdict == "failed"}
    assert SPOILT[name] <= failed, verdicts(record)
    assert record.verdict == "failed"
    assert all(gate.reason for gate in record.gates if gate.verdict != "passed")


def test_a_network_that_hssm_cannot_use_is_scored_all_the_same(tmp_path: Path) -> None:
    record = evaluated(spoilt("dynamic axis", tmp_path))
    found = verdicts(record)
    assert (found.pop("structure"), found.pop("hssm")) == ("failed", "skipped")
    assert set(found.values()) == {"passed"}
    assert "calibration" not in found  # of a model whose density is known
    assert record.scores is not None
    assert "symbolic dimension" in format_evaluation(record)


def test_a_network_of_other_inputs_cannot_be_scored() -> None:
    network = Network.from_onnx(networks.FIXTURES / "ddm_lan.onnx", model="angle")
    record, scores = evaluate(network, settings=QUICK)
    found = verdicts(record)
    assert (record.scores, scores) == (None, None)
    assert (found.pop("structure"), set(found.values())) == ("failed", {"skipped"})
    assert "takes 6 inputs, but a lan network of angle takes 7" in format_evaluation(record)


def test_an_onnx_file_alone_passes_without_parity() -> None:
    network = Network.from_onnx(networks.FIXTURES / "ddm_lan.onnx", model="ddm")
    record, _ = evaluate(network, settings=QUICK)
    assert verdicts(record)["parity"] == "skipped"
    assert (record.verdict, record.backend, record.data_digest) == ("passed", None, None)


def test_a_backend_that_is_not_there_keeps_a_trained_network_from_passing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = networks.write_network(tmp_path, networks.well_made("cpn"), bounds=BOX)
    monkeypatch.setattr("lanflow.evaluation.evaluate.backend_heads", lambda *_: {})
    record = evaluated(folder)
    assert (verdicts(record)["parity"], record.verdict) == ("skipped", "failed")


def test_without_a_good_reference_the_score_is_told_and_calibration_decides() -> None:
    bounds = Bounds({"a": (0.5, 0.6), "v": (1.0, 2.0), "t": (0.2, 0.3)})
    network = replace(
        Network.from_onnx(networks.FIXTURES / "ddm_lan.onnx", model="ddm"), trained_bounds=bounds
    )
    quick = EvaluationSettings(n_sets=2, rows=50, n_simulated_sets=4)
    record, scores = evaluate(network, wanted="kde", settings=quick)
    gates = {gate.name: gate for gate in record.gates}
    accuracy, calibration = gates["accuracy"], gates["calibration"]
    assert accuracy.verdict == "skipped"
    assert "kernel density" in accuracy.reason
    assert "kernel density" not in calibration.reason
    assert calibration.is_essential
    assert calibration.verdict != "skipped"
    assert calibration.limits == accuracy_limits("ddm")
    assert gates["density"].numbers["distance_ratio"] > 0
    assert "reference_distance" not in gates["density"].numbers
    assert record.scores is not None
    assert scores is not None
    assert record.scores == scores.summary()
    assert accuracy.numbers == {key: getattr(record.scores, key) for key in SCORE_KEYS}
