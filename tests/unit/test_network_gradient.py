import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lanflow.export import ContractError, export_onnx
from lanflow.network_gradient import DifferentiableNetwork
from lanflow.networks import Activation, Architecture
from lanflow.onnx_network import OnnxNetwork
from lanflow.training import initial_weights
from tests import networks


def random_rows(n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(2)
    theta = rng.uniform([-3, 0.3, 0.1, 0], [3, 2.5, 0.9, 2], size=(n, 4))
    trials = np.stack([rng.uniform(2.2, 6, n), rng.choice([-1.0, 1.0], n)], axis=1)
    return np.concatenate([theta, trials], axis=1)


def with_activation(activation: Activation) -> bytes:
    architecture = Architecture("lan", 6, (16, 12, 1), (activation, activation))
    return export_onnx(architecture, initial_weights(architecture, seed=4))


def two_matrices(*, transposed: bool = False, reverse: bool = False) -> bytes:
    """MatMul, Add, Relu, Gemm, as other exporters write a perceptron."""
    rng = np.random.default_rng(3)
    shape = (1, 8) if transposed else (8, 1)
    arrays = {
        "w": rng.normal(size=(6, 8)),
        "b": rng.normal(size=(1, 8)),
        "v": rng.normal(size=shape),
        "c": rng.normal(size=1),
    }
    nodes = [
        helper.make_node("MatMul", ["w", "x"] if reverse else ["x", "w"], ["h"]),
        helper.make_node("Add", ["b", "h"], ["i"]),
        helper.make_node("Relu", ["i"], ["r"]),
        helper.make_node(
            "Gemm", ["r", "v", "c"], ["y"], transB=int(transposed), alpha=0.5, beta=2.0
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


NETWORKS = {
    "tanh": with_activation("tanh"),
    "relu": with_activation("relu"),
    "sigmoid": with_activation("sigmoid"),
    "well made": (networks.FIXTURES / "ddm_lan.onnx").read_bytes(),
    "of another exporter": two_matrices(),
    "transposed": two_matrices(transposed=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_are_the_networks_and_slopes_those_of_finite_differences(name: str) -> None:
    network = DifferentiableNetwork(NETWORKS[name])
    rows = random_rows()
    values, slopes = network(rows)
    assert network.n_inputs == 6
    assert np.array_equal(values, network.values(rows))
    assert values == pytest.approx(OnnxNetwork(NETWORKS[name])(rows)[:, 0], abs=1e-4, rel=1e-4)
    step = 1e-6
    for i in range(rows.shape[1]):
        moved = np.zeros(rows.shape[1])
        moved[i] = step
        difference = (network.values(rows + moved) - network.values(rows - moved)) / (2 * step)
        assert slopes[:, i] == pytest.approx(difference, abs=1e-5, rel=1e-5)


def test_what_is_no_likelihood_perceptron_is_refused() -> None:
    cpn = export_onnx(*networks.well_made("cpn"))
    with pytest.raises(ContractError, match="operator Neg is not one of"):
        DifferentiableNetwork(cpn)
    model = onnx.load_from_string(NETWORKS["tanh"])
    model.graph.node[1].input[0] = "input"  # past the first layer
    with pytest.raises(ContractError, match=r"not a chain of layers|not an ONNX model"):
        DifferentiableNetwork(model.SerializeToString())
    with pytest.raises(ContractError):
        DifferentiableNetwork(two_matrices(reverse=True))
    two = Architecture("lan", 6, (4, 2), ("tanh",))
    with pytest.raises(ContractError, match="one output, this one has 2"):
        DifferentiableNetwork(export_onnx(two, initial_weights(two, seed=1)))
