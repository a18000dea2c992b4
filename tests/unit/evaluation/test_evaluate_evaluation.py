from dataclasses import replace
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.evaluate import evaluate
from lanflow.evaluation.record import Evaluation, EvaluationSettings, format_evaluation
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from tests import networks

# A box that is quick to simulate; the gates look at nothing else.
BOX = {"v": [-2.0, 2.0], "a": [0.5, 1.2], "z": [0.3, 0.7], "t": [0.1, 0.5]}
QUICK = EvaluationSettings(n_sets=40, rows=50, n_simulated_sets=5)


def evaluated(folder: Path) -> Evaluation:
    return evaluate(Network.from_folder(folder), settings=QUICK, seed=1)[0]


def verdicts(record: Evaluation) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in record.gates}


@pytest.mark.parametrize("network_type", ["lan", "cpn"])
def test_a_well_made_network_passes_all_gates_that_can_be_gone_through(
    network_type: str, tmp_path: Path
) -> None:
    made = networks.well_made(network_type)  # type: ignore[arg-type]
    record = evaluated(networks.write_network(tmp_path, made, bounds=BOX))
    assert verdicts(record) == {
        "structure": "passed",
        "parity": "passed",
        "tails": "passed",
        "accuracy": "passed",
        "density": "passed",
        "hssm": "skipped",
    }
    assert record.verdict == "passed"
    assert record.scores is not None
    assert record.scores.n_sets == 40
    assert record.reference.source == "analytic"
    assert record.data_digest == networks.DIGEST
    assert "onnxruntime" in record.versions


def test_the_same_seed_gives_the_same_record(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path, networks.well_made("cpn"), bounds=BOX)
    assert evaluated(folder) == evaluated(folder)


def test_a_network_is_judged_against_a_fine_solution() -> None:
    network = replace(
        Network.from_onnx(networks.FIXTURES / "ddm_lan.onnx", model="ddm"),
        trained_bounds=Bounds({"a": (0.5, 1.2)}),
    )
    quick = EvaluationSettings(n_sets=5, rows=50, n_simulated_sets=3)
    exact, solved = (
        evaluate(network, wanted=wanted, settings=quick)[0].scores
        for wanted in ("analytic", "solver")
    )
    assert exact is not None
    assert solved is not None
    assert exact.mean_abs_error == pytest.approx(solved.mean_abs_error, rel=0.1)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'ddm'"):
        evaluate(Network.from_onnx(networks.FIXTURES / "ddm_lan.onnx", model="dmd"))


def test_the_table_shows_numbers_limits_scores_and_the_verdict(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path, networks.untrained("cpn"), bounds=BOX)
    shown = format_evaluation(evaluated(folder))
    assert shown.startswith("ddm cpn (jax), against the exact likelihood")
    assert "mean_abs_error" in shown
    assert "at most 0.01" in shown
    assert "error of the probability, 40 rows at 40 parameter vectors" in shown
    assert shown.endswith("verdict: failed")
