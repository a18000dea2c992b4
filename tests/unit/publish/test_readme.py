from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from lanflow.publish.readme import describe_network, onnx_name, write_readme
from tests.evaluated import FAILED_GATE, PASSED_GATE, judged, write_evaluation, write_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_network(tmp_path / "lan_torch")


def test_the_hub_reads_the_metadata(folder: Path) -> None:
    network, evaluation = judged(folder)
    card = ModelCard(write_readme(network, evaluation, licence="cc-by-4.0"))
    data = card.data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["library_name"] == "onnx"
    assert {"hssm", "lan", "ddm", "likelihood-approximation-network"} <= set(data["tags"])
    assert data["lanflow"] == {
        "model": "ddm",
        "network_type": "lan",
        "inputs": ["v", "a", "z", "t", "rt", "choice"],
        "parameters": ["v", "a", "z", "t"],
        "bounds": {"v": [-3.0, 3.0], "a": [0.3, 2.5], "z": [0.1, 0.9], "t": [0.0, 2.0]},
        "verdict": "passed",
        "data_digest": "d" * 64,
        "onnx_sha256": network.sha256,
    }


def test_the_hub_reads_the_scores_as_results(folder: Path) -> None:
    card = ModelCard(write_readme(*judged(folder), licence="mit"))
    assert card.data.model_name == "ddm lan"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert {kind: result.metric_value for kind, result in results.items()} == {
        "mean_abs_error": 0.02,
        "median_abs_error": 0.01,
        "mean_difference": 0.001,  # the 99th percentile was not finite
    }
    assert results["mean_abs_error"].metric_name == "mean absolute error (nats)"
    assert "analytic" in results["mean_abs_error"].dataset_name


def test_without_scores_there_are_no_results(folder: Path) -> None:
    write_evaluation(folder, scores=None)
    text = write_readme(*judged(folder), licence="mit")
    assert ModelCard(text).data.eval_results is None
    assert "mean absolute error" not in text


def test_the_text_says_what_a_user_must_know(folder: Path) -> None:
    text = write_readme(*judged(folder), licence="mit")
    inputs = text.partition("## Inputs, in this order")[2].partition("## Use")[0]
    names = [line.split("`")[1] for line in inputs.splitlines() if "`" in line]
    assert names == ["v", "a", "z", "t", "rt", "choice"]
    assert "| 2 | `a` | 0.3 | 2.5 |" in inputs
    assert "| 5 | `rt` |  |  | seconds |" in inputs
    for part in (
        "type `lan`",
        "log-likelihood of (rt, choice) given the parameters",
        "input of shape (1, 6), output of shape (1, 1)",
        "This network passed its gates",
        "| mean absolute error | 0.02 |",
        "20,000 rows of 100 random parameter vectors",
        "| hssm | skipped | HSSM is not installed here |  |",
        "d" * 64,
        "## Licence\n\nmit\n",
    ):
        assert part in text, part


def test_a_network_that_did_not_pass_says_so_first(folder: Path) -> None:
    write_evaluation(folder, gates=[PASSED_GATE, FAILED_GATE])
    text = describe_network(*judged(folder))
    assert "above 0.02 | mass_error 0.21 (limit 0.02) |" in text
    lines = text.splitlines()
    assert lines[2] == (
        "**This network did not pass its gates: density (mass_error is 0.21, above 0.02).**"
    )


@pytest.mark.parametrize(
    ("network_type", "model", "name", "use"),
    [
        ("lan", "ddm", "ddm.onnx", ['model="ddm"', "loglik=path", "'z': (0.1, 0.9)"]),
        ("lan", "ddm_deadline", "ddm_deadline.onnx", ['model="ddm_deadline"']),
        ("cpn", "ddm", "ddm_cpn.onnx", ["missing_data=True, loglik_missing_data=path"]),
        (
            *("opn", "ddm_deadline", "ddm_opn.onnx"),
            ['model="ddm"', "missing_data=True, deadline=True, loglik_missing_data=path"],
        ),
        ("gonogo", "ddm", "ddm_gonogo.onnx", ["onnxruntime.InferenceSession(path)"]),
    ],
)
def test_each_type_has_hssms_name_and_says_how_to_load_it(
    tmp_path: Path, network_type: str, model: str, name: str, use: list[str]
) -> None:
    network, evaluation = judged(write_network(tmp_path / "network", network_type, model=model))
    assert onnx_name(network) == name
    text = describe_network(network, evaluation, repo="lab/networks")
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "readme", "exec")
    for part in (f'hf_hub_download("lab/networks", "{name}")', *use):
        assert part in code, part
    assert f'path = "{name}"' in describe_network(network, evaluation)


def test_an_omission_network_without_a_deadline_says_what_hssm_needs(tmp_path: Path) -> None:
    network, evaluation = judged(write_network(tmp_path / "opn", "opn"))
    assert "train one of the model `ddm_deadline`" in describe_network(network, evaluation)
    with_deadline = write_network(tmp_path / "with", "opn", model="ddm_deadline")
    assert "train one" not in describe_network(*judged(with_deadline))


def test_the_same_network_has_the_same_readme(folder: Path) -> None:
    texts = {write_readme(*judged(folder), licence="mit") for _ in range(2)}
    assert len(texts) == 1
