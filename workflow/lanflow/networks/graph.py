"""Reads ONNX files: checks that they keep the single-trial contract, and takes out their layers.

The contract is what HSSM's loader expects: one input of concrete shape (1, inputs), one output
(1, outputs), and only operators that HSSM 0.3.0 interprets (``hssm/distribution_utils/onnx_utils``:
Add, Constant, Exp, Gemm, Log, MatMul, Neg, Relu, Tanh), so no Sigmoid, no Identity. Relu is the
exception: HSSM's jax backend, its default, computes it, its pytensor backend takes the maximum over
trials.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from lanflow.networks.types import ContractError

# HSSM 0.3.0 interprets these in both backends (for Relu see above); no network here needs more.
_ACCEPTED_OPERATORS = {"Add", "Constant", "Exp", "Gemm", "Log", "MatMul", "Neg", "Relu", "Tanh"}


def check_readable(content: bytes) -> onnx.ModelProto:
    """Check that a file is an ONNX model, whole and of a version that is known here.

    A model whose numbers lie in other files (external data) would have them read from wherever it
    says, so it is refused.

    Returns
    -------
    onnx.ModelProto
        The model.

    Raises
    ------
    ContractError
        Naming what is wrong.
    """
    try:
        model = onnx.load_from_string(content)
        external = [each.name for each in _tensors(model.graph) if uses_external_data(each)]
        if external:
            raise ContractError(
                f"the numbers of {external[0]!a} lie in another file (external data); save the "
                "network as one file"
            )
        newest = onnx.defs.onnx_opset_version()
        for opset in model.opset_import:
            if opset.domain in ("", "ai.onnx") and opset.version > newest:
                raise ContractError(
                    f"it is of opset {opset.version}, and onnx {onnx.__version__} knows them up to "
                    f"{newest}; export it with an older opset"
                )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as e:
        raise ContractError(f"not an ONNX model ({' '.join(str(e).split())[:500]})") from e
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All numbers of a graph: its own, those of its nodes, and of graphs within them."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def check_contract(content: bytes) -> None:
    """Check that a network can be used one trial at a time.

    Raises
    ------
    ContractError
        Naming what is wrong: inputs, outputs, an operator, a dimension that is not a number.
    """
    model = check_readable(content)
    stored = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ContractError(
            f"a network has one input and one output, this one has {len(inputs)} and "
            f"{len(model.graph.output)}"
        )
    names = {
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for node in model.graph.node
    }
    unknown = sorted(names - _ACCEPTED_OPERATORS)
    if unknown:
        raise ContractError(
            f"operators {', '.join(unknown)} are not interpreted by HSSM (accepted: "
            f"{', '.join(sorted(_ACCEPTED_OPERATORS))})"
        )
    for value in (inputs[0], model.graph.output[0]):
        dims = [
            d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim
        ]
        if len(dims) != 2 or dims[0] != 1 or dims[1] < 1:
            raise ContractError(
                f"{value.name} has shape {dims} (0 stands for a symbolic dimension), expected "
                "(1, n) with a concrete n"
            )


@dataclass(frozen=True)
class InputForm:
    """The form in which a network takes its rows.

    Attributes
    ----------
    n_inputs
        Numbers of a row.
    rows
        ``one``: shape (1, n), as the contract has it; ``any``: (rows, n); ``none``: (n,).
    """

    n_inputs: int
    rows: Literal["one", "any", "none"]


def input_form(content: bytes) -> InputForm:
    """Find the form in which a network takes its rows, also of one that breaks the contract.

    Raises
    ------
    ContractError
        If it cannot be run on rows of numbers.
    """
    graph = check_readable(content).graph
    stored = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ContractError(
            f"a network has one input and one output, this one has {len(inputs)} and "
            f"{len(graph.output)}"
        )
    dims = [
        d.dim_value if d.HasField("dim_value") else 0 for d in inputs[0].type.tensor_type.shape.dim
    ]
    if len(dims) not in (1, 2) or dims[-1] < 1 or dims[:-1] not in ([], [0], [1]):
        raise ContractError(
            f"{inputs[0].name} has shape {dims} (0 stands for a symbolic dimension), which is no "
            "row of a known number of inputs"
        )
    return InputForm(dims[-1], "none" if len(dims) == 1 else "one" if dims[0] == 1 else "any")


def input_and_output_sizes(content: bytes) -> tuple[int, int]:
    """Numbers of inputs and outputs of a network that keeps the contract."""
    graph = onnx.load_from_string(content).graph
    stored = {initializer.name for initializer in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in stored)
    sizes = (value.type.tensor_type.shape.dim[1].dim_value for value in (given, graph.output[0]))
    n_inputs, n_outputs = sizes
    return int(n_inputs), int(n_outputs)


@dataclass(frozen=True)
class GraphStep:
    """One step of a perceptron's graph.

    Attributes
    ----------
    operator
        ``linear``, ``Tanh``, ``Relu`` or ``LogSigmoid``.
    weights
        Of a linear step, shape (inputs, outputs), float64; None for the identity.
    bias
        Of a linear step, shape (outputs,), float64.
    """

    operator: str
    weights: np.ndarray | None = None
    bias: np.ndarray | float = 0.0


def read_graph(content: bytes) -> list[GraphStep]:
    """The steps of a network that is a chain of linear layers, Tanh and Relu; or ends in logits.

    Raises
    ------
    ContractError
        If it is anything else.
    """
    check_contract(content)
    graph = onnx.load_from_string(content).graph
    constants = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    (current,) = (value.name for value in graph.input if value.name not in constants)
    steps = []
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        given = [constants[name].astype(float) for name in node.input if name in constants]
        is_first = bool(node.input) and (node.input[0] == current or node.op_type == "Add")
        if not is_first or current not in node.input or len(given) != len(node.input) - 1:
            raise ContractError("the network is not a chain of layers")
        steps.append(_graph_step(node.op_type, attributes, given))
        current = node.output[0]
    if current != graph.output[0].name:
        raise ContractError("the network is not a chain of layers")
    return _with_log_sigmoid(steps)


class GraphNode(NamedTuple):
    """One operator of a graph, the names of what it is given and makes, and its attributes."""

    operator: str
    given: list[str]
    made: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network's graph of any form, with the operators of the contract.

    Attributes
    ----------
    nodes
        In the order in which they are computed.
    constants
        Arrays by name.
    given, made
        Names of the input and of the output.
    """

    nodes: list[GraphNode]
    constants: dict[str, np.ndarray]
    given: str
    made: str


def read_whole_graph(content: bytes) -> Graph:
    """The graph of a network that keeps the contract, be it a chain of layers or not.

    Raises
    ------
    ContractError
        If it does not keep it.
    """
    graph = parse_onnx(content).graph
    constants = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    (given,) = (value.name for value in graph.input if value.name not in constants)
    nodes = []
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        nodes.append(GraphNode(node.op_type, list(node.input), node.output[0], attributes))
    return Graph(nodes, constants, given, graph.output[0].name)


def _with_log_sigmoid(steps: list[GraphStep]) -> list[GraphStep]:
    """The same steps with ``-log(1 + exp(-x))`` at the end as one, which does not overflow.

    Raises
    ------
    ContractError
        If Neg, Exp or Log stand anywhere else.
    """
    tail = steps[-5:]
    names = [step.operator for step in tail]
    if names == ["Neg", "Exp", "linear", "Log", "Neg"] and np.all(tail[2].bias == 1):
        steps = [*steps[:-5], GraphStep("LogSigmoid")]
    for step in steps:
        if step.operator in ("Neg", "Exp", "Log"):
            raise ContractError(f"operator {step.operator} is not one of a perceptron's layers")
    return steps


def _graph_step(
    operator: str, attributes: Mapping[str, Any], given: Sequence[np.ndarray]
) -> GraphStep:
    match operator:
        case "Gemm" if not attributes.get("transA"):
            weights = given[0].T if attributes.get("transB") else given[0]
            bias = given[1].ravel() * attributes.get("beta", 1.0) if len(given) > 1 else 0.0
            return GraphStep("linear", weights * attributes.get("alpha", 1.0), bias)
        case "MatMul":
            return GraphStep("linear", given[0])
        case "Add":
            return GraphStep("linear", None, given[0].ravel())
        case "Tanh" | "Relu" | "Neg" | "Exp" | "Log":
            return GraphStep(operator)
    raise ContractError(f"operator {operator} is not one of a perceptron's layers")


def with_free_rows(content: bytes) -> bytes:
    """The same network for any number of rows at a time; not for HSSM."""
    model = onnx.load_from_string(content)
    stored = {initializer.name for initializer in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        if value.name in stored:
            continue
        if len(shape.dim) < 2:  # of a row without an axis of rows, or of outputs without one
            sizes = [d.dim_value for d in shape.dim]
            del shape.dim[:]
            shape.dim.add().dim_param = "rows"
            for size in sizes:
                shape.dim.add().dim_value = size
        else:
            shape.dim[0].dim_param = "rows"
    del model.graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def parse_onnx(content: bytes) -> onnx.ModelProto:
    """A network that keeps the contract, as onnx's own object.

    Raises
    ------
    ContractError
        If it does not keep it.
    """
    check_contract(content)
    return onnx.load_from_string(content)
