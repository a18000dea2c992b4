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
from lanflow.evaluation.scores import Errors, by_name
from lanflow.models.parameters import box_of
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxNetwork
from lanflow.networks.types import NetworkTypeName
from tests import networks

DDM = choose_reference("ddm")
BOX = box_of(DDM.model) | {"a": (0.5, 1.2)}
DEADLINE = choose_reference("ddm_deadline")
DEADLINE_BOX = box_of(DEADLINE.model) | {
    "v": (-1.0, 1.0),
    "a": (0.8, 1.2),
    "t": (0.1, 0.2),
    "deadline": (0.4, 1.0),
}


def exact(reference: Reference, network_type: NetworkTypeName, offset: float = 0.0):  # type: ignore[no-untyped-def]
    """A network that knows the probability, or one that is off by some."""

    def network(parameters: np.ndarray) -> np.ndarray:
        names = reference.model["params"]
        values = [
            reference.probability(by_name(names, np.asarray(vector)), network_type, seed=1)
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
    numbers = frequency_numbers(OnnxNetwork(made), DDM, BOX, "cpn", n_sets=20, seed=1)
    assert judge("density", numbers, FREQUENCY_LIMITS).verdict == verdict, numbers


@pytest.mark.parametrize("network_type", ["opn", "gonogo", "cpn"])
def test_each_type_is_compared_with_its_own_outcome(network_type: NetworkTypeName) -> None:
    for offset, verdict in ((0.0, "passed"), (0.1, "failed")):
        network = exact(DEADLINE, network_type, offset)
        numbers = frequency_numbers(
            network, DEADLINE, DEADLINE_BOX, network_type, n_sets=12, seed=1
        )
        assert judge("density", numbers, FREQUENCY_LIMITS).verdict == verdict, numbers


def test_certain_outcomes_have_the_noise_of_one_trial() -> None:
    def never(parameters: np.ndarray) -> np.ndarray:
        return np.full((len(parameters), 1), -50.0)

    numbers = frequency_numbers(never, DDM, BOX, "opn", n_sets=2, seed=1)
    assert numbers["noise"] == 1 / N_TRIALS
    assert numbers["distance_ratio"] < 1e-6


def test_raw_logits_are_no_log_probabilities() -> None:
    box = box_of(DDM.model)
    good = edge_numbers(
        OnnxNetwork(export_onnx(*networks.well_made("cpn"))), DDM.model, box, seed=1
    )
    assert judge("tails", good, EDGE_LIMITS).verdict == "passed"
    raw = edge_numbers(OnnxNetwork(networks.raw_logits()), DDM.model, box, seed=1)
    gate = judge("tails", raw, EDGE_LIMITS)
    assert gate.verdict == "failed"
    assert "above_one" in gate.reason


def test_calibration_is_the_mean_difference_within_bins() -> None:
    given = np.array([0.05, 0.05, 0.95, 0.95])
    differences = np.array([0.02, -0.02, 0.04, 0.02])
    errors = Errors("probability", np.zeros((4, 4)), np.arange(4), differences)
    # The first bin cancels, the second is off by 0.03; half of the vectors are in it.
    assert calibration_error(errors, given) == pytest.approx(0.015)
