from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from lanflow.errors import UserError
from lanflow.export import ContractError, export_onnx, run_onnx
from lanflow.networks import NETWORK_TYPES, Architecture
from lanflow.onnx_network import OnnxNetwork, load_network
from lanflow.training import initial_weights


def exported(network_type: str = "lan") -> bytes:
    architecture = Architecture(network_type, 5, (12, 12, 1), ("tanh", "relu"))
    return export_onnx(architecture, initial_weights(architecture, seed=3))


def features(n_rows: int = 50) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n_rows, 5)).astype(np.float32)


@pytest.mark.parametrize("network_type", NETWORK_TYPES)
def test_many_rows_give_what_each_gives_alone(network_type: str) -> None:
    network = OnnxNetwork(exported(network_type))
    assert (network.n_inputs, network.n_outputs) == (5, 1)
    together = network(features())
    assert together.shape == (50, 1)
    np.testing.assert_allclose(together, network.one_by_one(features()), rtol=1e-5, atol=1e-6)
    expected = run_onnx(exported(network_type), features())
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)


def test_more_rows_than_go_into_one_call() -> None:
    network = OnnxNetwork(exported())
    rows = features(70_000)
    np.testing.assert_allclose(network(rows)[-5:], network.one_by_one(rows[-5:]), rtol=1e-5)
    assert network(rows[:0]).shape == (0, 1)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
        OnnxNetwork(exported())(np.zeros((3, 4)))


def test_a_network_that_mixes_rows_is_refused() -> None:
    """It keeps the contract, one row at a time, and still means something else for several."""
    model = onnx.load_from_string(exported())
    (last,) = (node for node in model.graph.node if node.output[0] == "output")
    last.output[0] = "before"
    twice = helper.make_node("Gemm", ["before", "before"], ["output"], transA=1)
    model.graph.node.append(twice)
    network = OnnxNetwork(model.SerializeToString())
    with pytest.raises(ContractError, match="other outputs"):
        network(features(2))


def test_a_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UserError, match=r"net.onnx: cannot be read \(No such file"):
        load_network(path)
    path.write_bytes(b"no network")
    with pytest.raises(ContractError, match=r"net.onnx: not an ONNX model"):
        load_network(path)
    path.write_bytes(exported())
    assert load_network(path).n_inputs == 5
