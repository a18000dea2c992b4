from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lanflow.core.errors import UserError
from lanflow.networks.graph import read_whole_graph
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx, run_onnx
from lanflow.networks.runtime import (
    OnnxSession,
    Perceptron,
    jax_outputs,
    rows_of_choices,
)
from lanflow.networks.types import NETWORK_TYPES, Activation, Architecture, ContractError
from lanflow.training.job import initial_weights
from tests import networks


def exported(network_type: str = "lan") -> bytes:
    architecture = Architecture(network_type, 5, (12, 12, 1), ("tanh", "relu"))
    return export_onnx(architecture, initial_weights(architecture, seed=3))


def features(n_rows: int = 50) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n_rows, 5)).astype(np.float32)


@pytest.mark.parametrize("network_type", NETWORK_TYPES)
def test_many_rows_give_what_each_gives_alone(network_type: str) -> None:
    network = OnnxSession(exported(network_type))
    assert (network.n_inputs, network.n_outputs) == (5, 1)
    together = network(features())
    assert together.shape == (50, 1)
    np.testing.assert_allclose(together, network.one_by_one(features()), rtol=1e-5, atol=1e-6)
    expected = run_onnx(exported(network_type), features())
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)


def test_more_rows_than_go_into_one_call() -> None:
    network = OnnxSession(exported())
    rows = features(70_000)
    np.testing.assert_allclose(network(rows)[-5:], network.one_by_one(rows[-5:]), rtol=1e-5)
    assert network(rows[:0]).shape == (0, 1)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
        OnnxSession(exported())(np.zeros((3, 4)))


def test_a_network_that_mixes_rows_is_refused() -> None:
    """It keeps the contract, one row at a time, and still means something else for several."""
    model = onnx.load_from_string(exported())
    (last,) = (node for node in model.graph.node if node.output[0] == "output")
    last.output[0] = "before"
    twice = helper.make_node("Gemm", ["before", "before"], ["output"], transA=1)
    model.graph.node.append(twice)
    network = OnnxSession(model.SerializeToString())
    with pytest.raises(ContractError, match="other outputs"):
        network(features(2))


def test_a_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UserError, match=r"net.onnx: cannot be read \(No such file"):
        Network.from_onnx(path, model="ddm")
    path.write_bytes(b"no network")
    with pytest.raises(ContractError, match=r"net.onnx: not an ONNX model"):
        _ = Network.from_onnx(path, model="ddm").session
    path.write_bytes(exported())
    assert Network.from_onnx(path, model="ddm").session.n_inputs == 5


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
    network = Perceptron(NETWORKS[name])
    rows = random_rows()
    values, slopes = network(rows)
    assert network.n_inputs == 6
    assert np.array_equal(values, network.values(rows))
    assert values == pytest.approx(OnnxSession(NETWORKS[name])(rows)[:, 0], abs=1e-4, rel=1e-4)
    step = 1e-6
    for i in range(rows.shape[1]):
        moved = np.zeros(rows.shape[1])
        moved[i] = step
        difference = (network.values(rows + moved) - network.values(rows - moved)) / (2 * step)
        assert slopes[:, i] == pytest.approx(difference, abs=1e-5, rel=1e-5)


def test_a_network_of_probabilities_has_values_and_slopes_too() -> None:
    content = export_onnx(*networks.well_made("cpn"))
    perceptron, rows = Perceptron(content), random_rows()[:, :4]
    values, slopes = perceptron(rows)
    assert values == pytest.approx(OnnxSession(content)(rows)[:, 0], abs=1e-4, rel=1e-4)
    moved = np.array([1e-6, 0, 0, 0])
    difference = (perceptron.values(rows + moved) - perceptron.values(rows - moved)) / 2e-6
    assert slopes[:, 0] == pytest.approx(difference, abs=1e-5, rel=1e-5)


def test_what_is_no_likelihood_perceptron_is_refused() -> None:
    model = onnx.load_from_string(NETWORKS["tanh"])
    model.graph.node[1].input[0] = "input"  # past the first layer
    with pytest.raises(ContractError, match=r"not a chain of layers|not an ONNX model"):
        Perceptron(model.SerializeToString())
    with pytest.raises(ContractError):
        Perceptron(two_matrices(reverse=True))
    two = Architecture("lan", 6, (4, 2), ("tanh",))
    with pytest.raises(ContractError, match="one output, this one has 2"):
        Perceptron(export_onnx(two, initial_weights(two, seed=1)))


def of_other_form(input_dims: list[int | str], output_dims: list[int | str]) -> bytes:
    """A network of matrices alone, whose input and output have these axes."""
    rng = np.random.default_rng(1)
    parts = {"kernel": rng.normal(size=(6, 1)), "bias": rng.normal(size=1)}
    numbers = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in parts.items()]
    nodes = [helper.make_node("MatMul", ["x", "kernel"], ["h"])]
    last = "h"
    if len(output_dims) < len(input_dims):
        nodes.append(helper.make_node("Squeeze", ["h"], ["s"]))
        last = "s"
    nodes.append(helper.make_node("Add", [last, "bias"], ["y"]))
    if output_dims == []:
        nodes[-1] = helper.make_node("Add", [last, "bias"], ["b"])
        nodes.append(helper.make_node("Squeeze", ["b"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_dims)],
        numbers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("given", "made"),
    [([6], [1]), ([6], []), (["rows", 6], ["rows", 1]), ([1, 6], [1]), ([1, 6], [1, 1])],
)
def test_networks_of_other_forms_are_run_on_rows(
    given: list[int | str], made: list[int | str]
) -> None:
    network = OnnxSession(of_other_form(given, made))
    rows = np.random.default_rng(2).normal(size=(9, 6)).astype(np.float32)
    expected = OnnxSession(of_other_form([1, 6], [1, 1]))(rows)
    assert (network.n_inputs, network.n_outputs) == (6, 1)
    np.testing.assert_allclose(network(rows), expected, rtol=1e-5)
    np.testing.assert_allclose(network.one_by_one(rows), expected, rtol=1e-5)
    assert network(rows[:0]).shape == (0, 1)


def test_an_input_that_is_no_row_of_numbers_is_refused() -> None:
    with pytest.raises(ContractError, match="is no row of a known number of inputs"):
        OnnxSession(of_other_form([2, 6], [2, 1]))
    with pytest.raises(ContractError, match="is no row of a known number of inputs"):
        OnnxSession(of_other_form(["rows", "columns"], ["rows", 1]))


def test_a_network_that_takes_a_choice_is_a_function_of_jax() -> None:
    shape = Architecture("cpn", 5, (8, 3), ("tanh",), (0, 1, 2))
    content = export_onnx(shape, initial_weights(shape, seed=1))
    rows = rows_of_choices(np.random.default_rng(3).normal(size=(7, 5)), shape.choices)
    made = jax_outputs(read_whole_graph(content))(list(rows.T))
    np.testing.assert_allclose(made, OnnxSession(content)(rows)[:, 0], rtol=1e-5, atol=1e-6)
