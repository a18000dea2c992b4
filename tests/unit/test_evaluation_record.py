import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lanflow.errors import UserError
from lanflow.evaluation_record import Gate, parse_evaluation, read_evaluation, verdict_of

SAMPLE: dict[str, Any] = {
    "evaluation_version": 1,
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
        ('{"evaluation_version": 9}', "evaluation_version is 9, this lanflow reads 1"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_evaluation(path)


def test_an_unknown_key_is_refused_by_name() -> None:
    content = copy.deepcopy(SAMPLE)
    content["gates"][0]["verdikt"] = "passed"
    with pytest.raises(UserError, match="verdikt"):
        parse_evaluation(content, "evaluation.json")
