import numpy as np
import pytest

from lanflow.evaluation.gates import judge
from lanflow.evaluation.gates_probability import (
    EDGE_LIMITS,
    FREQUENCY_LIMITS,
    N_TRIALS,
    calibration_error,
    edge_numbers,
    frequency_numbers,
)
from lanflow.evaluation.reference import Reference, choose_reference
from lanflow.evaluation.scores import Scores
from lanflow.models.simulators import find_model
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxSession
from lanflow.networks.types import NetworkTypeName
from tests import networks

DDM = choose_reference(find_model("ddm"))
BOUNDS = DDM.model.bounds.overlaid({"a": (0.5, 1.2)})
DEADLINE = choose_reference(find_model("ddm_deadline"))
DEADLINE_BOUNDS = DEADLINE.model.bounds.overlaid(
    {"v": (-1.0, 1.0), "a": (0.8, 1.2), "t": (0.1, 0.2), "deadline": (0.4, 1.0)}
)


def exact(reference: Reference, network_type: NetworkTypeName, offset: float = 0.0):  # type: ignore[no-untyped-def]
    """A network that knows the probability, or one that is off by some."""

    def network(parameters: np.ndarray) -> np.ndarray:
        named = reference.model.bounds.named
        values = [
            reference.probabilities(named(np.asarray(vector)), network_type, seed=1)[0]
            for vector in parameters
        ]
        with np.errstate(divide="ignore"):
            return np.log(np.clip(np.array(values)[:, None] + offset, 0, 1))

    return network


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (export_onnx(*networks.well_made("cpn")), "passed"),
        (export_onnx(*networks.untrained("cpn")), "failed"),
        (export_onnx(*networks.shuffled("cpn")), "failed"),
        (networks.raw_logits(), "failed"),
    ],
    ids=["well made", "untrained", "shuffled", "raw logits"],
)
def test_only_a_well_made_network_gives_the_simulated_frequency(made: bytes, verdict: str) -> None:
    numbers = frequency_numbers(OnnxSession(made), DDM, BOUNDS, "cpn", n_sets=20, seed=1)
    assert judge("density", numbers, FREQUENCY_LIMITS).verdict == verdict, numbers


@pytest.mark.parametrize("network_type", ["opn", "gonogo", "cpn"])
def test_each_type_is_compared_with_its_own_outcome(network_type: NetworkTypeName) -> None:
    for offset, verdict in ((0.0, "passed"), (0.1, "failed")):
        network = exact(DEADLINE, network_type, offset)
        numbers = frequency_numbers(
            network, DEADLINE, DEADLINE_BOUNDS, network_type, n_sets=12, seed=1
        )
        assert judge("density", numbers, FREQUENCY_LIMITS).verdict == verdict, numbers


def test_certain_outcomes_have_the_noise_of_one_trial() -> None:
    def never(parameters: np.ndarray) -> np.ndarray:
        return np.full((len(parameters), 1), -50.0)

    numbers = frequency_numbers(never, DDM, BOUNDS, "opn", n_sets=2, seed=1)
    assert numbers["noise"] == 1 / N_TRIALS
    assert numbers["distance_ratio"] < 1e-6


def test_raw_logits_are_no_log_probabilities() -> None:
    bounds = DDM.model.bounds
    good = edge_numbers(
        OnnxSession(export_onnx(*networks.well_made("cpn"))), DDM.model, bounds, seed=1
    )
    assert judge("tails", good, EDGE_LIMITS).verdict == "passed"
    raw = edge_numbers(OnnxSession(networks.raw_logits()), DDM.model, bounds, seed=1)
    gate = judge("tails", raw, EDGE_LIMITS)
    assert gate.verdict == "failed"
    assert "highest probability, less one" in gate.reason


def test_calibration_is_the_mean_difference_within_bins() -> None:
    given = np.array([0.05, 0.05, 0.95, 0.95])
    differences = np.array([0.02, -0.02, 0.04, 0.02])
    no_trials = np.empty(0, np.float32)
    scores = Scores(
        unit="probability",
        against="",
        parameters=np.zeros((4, 4)),
        sets=np.arange(4),
        network=given,
        reference=given - differences,
        rts=no_trials,
        choices=no_trials,
        choice_probabilities=np.empty((4, 0)),
    )
    # The first bin cancels, the second is off by 0.03; half of the vectors are in it.
    assert calibration_error(scores) == pytest.approx(0.015)
