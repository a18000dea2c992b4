import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.record import (
    Gate,
    NotPassedError,
    check_gates,
    parse_evaluation,
    read_evaluation,
    read_own_evaluation,
    require_passed,
    verdict_of,
)
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network
from tests.evaluated import FAILED_GATE, PASSED_GATE, SKIPPED_GATE, write_evaluation, write_network

SAMPLE: dict[str, Any] = {
    "evaluation_version": 2,
    "model": "ddm",
    "network_type": "lan",
    "backend": "jax",
    "data_digest": "d" * 64,
    "onnx_sha256": "0" * 64,
    "verdict": "failed",
    "gates": [
        {
            "name": "structure",
            "verdict": "passed",
            "reason": "",
            "is_essential": True,
            "numbers": {"n_inputs": 6},
            "limits": {},
        },
        {
            "name": "density",
            "verdict": "failed",
            "reason": "mass_error is 0.21, above 0.02",
            "is_essential": True,
            "numbers": {"mass_error": 0.21, "distance_ratio": None},
            "limits": {"mass_error": 0.02, "distance_ratio": 1.5},
        },
        {
            "name": "hssm",
            "verdict": "skipped",
            "reason": "HSSM is not installed here",
            "is_essential": False,
            "numbers": {},
            "limits": {},
        },
    ],
    "scores": {
        "unit": "nats",
        "n_sets": 100,
        "n_rows": 20000,
        "mean_abs_error": 0.2,
        "median_abs_error": 0.1,
        "p99_abs_error": 1.2,
        "mean_difference": 0.03,
    },
    "reference": {"source": "analytic", "description": "exact likelihood"},
    "settings": {"n_sets": 100, "rows": 200, "n_simulated_sets": 8},
    "seed": 1,
    "versions": {"lanflow": "0.1.0"},
}


def gate(verdict: str, *, essential: bool = True) -> Gate:
    return Gate.model_validate(
        {
            "name": "density",
            "verdict": verdict,
            "reason": "",
            "is_essential": essential,
            "numbers": {},
            "limits": {},
        }
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(SAMPLE))
    record = read_evaluation(path)
    assert record.model_dump(mode="json") == SAMPLE
    assert [gate.name for gate in record.failed_gates] == ["density"]


def test_a_network_passes_only_if_nothing_failed_and_nothing_essential_was_skipped() -> None:
    assert verdict_of([gate("passed"), gate("skipped", essential=False)]) == "passed"
    assert verdict_of([gate("passed"), gate("skipped")]) == "failed"
    assert verdict_of([gate("passed"), gate("failed", essential=False)]) == "failed"


def test_what_is_no_evaluation_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    with pytest.raises(UserError, match=r"evaluation.json: cannot be read"):
        read_evaluation(path)
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "expected keys and values, found list"),
        ('{"evaluation_version": 9}', "evaluation_version is 9, this lanflow reads 2"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_evaluation(path)


def test_an_unknown_key_is_refused_by_name() -> None:
    content = copy.deepcopy(SAMPLE)
    content["gates"][0]["verdikt"] = "passed"
    with pytest.raises(UserError, match="verdikt"):
        parse_evaluation(content, "evaluation.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_network(tmp_path / "lan_torch")


def judged(folder: Path) -> None:
    network = Network.from_folder(folder)
    require_passed(network, read_own_evaluation(network))


def test_a_network_that_passed_is_read_with_its_card_and_score(folder: Path) -> None:
    write_evaluation(folder, error=0.03)
    network = Network.from_folder(folder)
    evaluation = read_own_evaluation(network)
    require_passed(network, evaluation)
    assert (network.model_name, network.network_type.name) == ("ddm", "lan")
    assert evaluation.scores is not None
    assert evaluation.scores.mean_abs_error == 0.03
    assert network.onnx == (folder / "model.onnx").read_bytes()
    assert network.sha256 == hashlib.sha256(network.onnx).hexdigest()
    assert network.own_card.parameters == ["v", "a", "z", "t"]


def test_failed_gates_are_named_with_their_reason(folder: Path) -> None:
    essential = {**SKIPPED_GATE, "name": "accuracy", "is_essential": True}
    write_evaluation(folder, gates=[PASSED_GATE, FAILED_GATE, essential, SKIPPED_GATE])
    with pytest.raises(NotPassedError) as error:
        judged(folder)
    assert str(error.value) == (
        f"{folder}: did not pass its gates: density (mass_error is 0.21, above 0.02), accuracy "
        "skipped (HSSM is not installed here)"
    )


@pytest.mark.parametrize(
    ("gates", "verdict"), [([FAILED_GATE], "passed"), ([PASSED_GATE], "failed")]
)
def test_neither_a_verdict_nor_gates_pass_alone(
    folder: Path, gates: list[dict[str, Any]], verdict: str
) -> None:
    write_evaluation(folder, gates=gates, verdict=verdict)
    with pytest.raises(NotPassedError, match="did not pass"):
        judged(folder)


def test_a_network_that_was_not_judged_has_not_passed(folder: Path) -> None:
    assert verdict_of([Gate(**PASSED_GATE)], is_judged=False) == "not judged"
    reference = {"source": "none", "description": "nothing (theirs is not at hand)"}
    write_evaluation(folder, verdict="not judged", scores=None, reference=reference)
    with pytest.raises(NotPassedError, match="its verdict is 'not judged'"):
        judged(folder)
    path = folder / network_folder.EVALUATION
    with pytest.raises(
        UserError, match=r"1 of 1 .* do not pass.*\n.*: not judged, against nothing"
    ):
        check_gates({"a": read_evaluation(path)})


def test_a_network_without_an_evaluation_has_not_passed(folder: Path) -> None:
    (folder / network_folder.EVALUATION).unlink()
    with pytest.raises(NotPassedError, match=r"has no evaluation.json; run 'lanflow evaluate'"):
        read_own_evaluation(Network.from_folder(folder))


def test_the_evaluation_of_another_file_does_not_count(folder: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path / "other", seed=1)
    (folder / network_folder.ONNX).write_bytes((other / network_folder.ONNX).read_bytes())
    with pytest.raises(NotPassedError, match="is of another network"):
        read_own_evaluation(Network.from_folder(folder))


@pytest.mark.parametrize(("key", "value"), [("model", "angle"), ("network_type", "cpn")])
def test_an_evaluation_as_something_else_does_not_count(folder: Path, key: str, value: str) -> None:
    write_evaluation(folder, **{key: value})
    with pytest.raises(NotPassedError, match=f"evaluated as {key} '{value}', but its card says"):
        read_own_evaluation(Network.from_folder(folder))


def test_folders_of_the_machine_are_not_handed_on(folder: Path) -> None:
    reason = "not installed for /home/me/.venv/bin/python3 (see http://a.b/c/d, 3 rows/set)"
    write_evaluation(folder, gates=[{**SKIPPED_GATE, "reason": reason}])
    (gate,) = read_own_evaluation(Network.from_folder(folder)).gates
    assert gate.reason == "not installed for python3 (see http://a.b/c/d, 3 rows/set)"


def test_a_network_without_scores_has_no_score(folder: Path) -> None:
    write_evaluation(folder, scores=None)
    assert read_own_evaluation(Network.from_folder(folder)).scores is None


def test_what_is_no_network_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/card.json: cannot be read .*trained network"):
        Network.from_folder(folder / "nowhere")
    (folder / network_folder.ONNX).unlink()
    with pytest.raises(
        UserError, match=r"model.onnx: cannot be read .*train it with --export-onnx"
    ):
        read_own_evaluation(Network.from_folder(folder))
    (folder / network_folder.ONNX).mkdir()
    with pytest.raises(UserError, match=r"model.onnx: cannot be read"):
        read_own_evaluation(Network.from_folder(folder))


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ("[]", "expected keys"), ("{}", "activations")]
)
def test_what_is_no_card_is_named(folder: Path, text: str, message: str) -> None:
    (folder / network_folder.CARD).write_text(text)
    with pytest.raises(UserError, match=message):
        read_own_evaluation(Network.from_folder(folder))


def test_a_card_names_the_keys_that_it_lacks(folder: Path) -> None:
    path = folder / network_folder.CARD
    card = json.loads(path.read_text())
    del card["bounds"]
    path.write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"card.json: is not a network's card \(it lacks bounds\)"):
        read_own_evaluation(Network.from_folder(folder))
