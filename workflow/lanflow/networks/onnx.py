"""ONNX from weights, and the single-trial contract that HSSM's loader expects of it.

One input of concrete shape (1, inputs), one output (1, outputs), and only operators that HSSM
0.3.0 interprets (``hssm/distribution_utils/onnx_utils``: Add, Constant, Exp, Gemm, Log, MatMul,
Neg, Relu, Tanh): so no Sigmoid, no Identity. A sigmoid is ``(1 + tanh(x / 2)) / 2`` with the scales
folded into the Gemm before and after it. Relu is the exception: HSSM's jax backend, its default,
computes it, its pytensor backend takes the maximum over trials. Logits go through
``-log(1 + exp(-x))``, as LANfactory exports them; it is exact to float32 for logits above -88. The
bytes depend on the weights alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from lanflow.networks.choices import log_probability_of_choice
from lanflow.networks.types import NETWORK_TYPES, Architecture, ContractError

_OPSET = 17
_IR_VERSION = 8
# What HSSM 0.3.0 interprets in both backends (for Relu see above), less what no perceptron needs.
_ACCEPTED_OPERATORS = {"Add", "Constant", "Exp", "Gemm", "Log", "MatMul", "Neg", "Relu", "Tanh"}


def export_onnx(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> bytes:
    """Serialise the evaluation head of a network.

    Parameters
    ----------
    architecture
        The network's shape.
    weights
        ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,).

    Returns
    -------
    bytes
        An ONNX model that keeps the single-trial contract.
    """
    head = NETWORK_TYPES[architecture.network_type].train_output_type
    nodes, initializers, current = [], [], "input"
    n_layers = len(architecture.layer_sizes)
    for i in range(n_layers):
        activation = architecture.activations[i] if i < n_layers - 1 else None
        after_sigmoid = i > 0 and architecture.activations[i - 1] == "sigmoid"
        kernel, bias = _layer(weights, i, after_sigmoid=after_sigmoid)
        if architecture.choices:
            is_last = i == n_layers - 1
            kernel, bias = _of_choices(architecture, kernel, bias, is_first=i == 0, is_last=is_last)
        if activation == "sigmoid":  # tanh takes half of its input
            bias = bias * np.float32(0.5)
        alpha = (0.5 if after_sigmoid else 1.0) * (0.5 if activation == "sigmoid" else 1.0)
        names = [f"layers_{i}.kernel", f"layers_{i}.bias"]
        for name, array in zip(names, (kernel, bias), strict=True):
            initializers.append(numpy_helper.from_array(array, name))
        output = f"layers_{i}.linear"
        if activation is None:
            output = "output" if head == "logprob" else "logits"
        nodes.append(
            helper.make_node("Gemm", [current, *names], [output], name=f"gemm_{i}", alpha=alpha)
        )
        current = output
        if activation is not None:
            output = f"layers_{i}.output"
            operator = "Relu" if activation == "relu" else "Tanh"
            nodes.append(helper.make_node(operator, [current], [output], name=f"activation_{i}"))
            current = output
    if architecture.choices:
        tail, numbers = log_probability_of_choice(
            architecture.choices, architecture.n_exported_inputs, can_omit=architecture.can_omit
        )
        nodes, initializers = nodes + tail, initializers + numbers
    elif head == "logits":
        nodes += _log_sigmoid(current)
    return _serialise(
        nodes,
        initializers,
        name=f"lanflow_{architecture.network_type}",
        n_inputs=architecture.n_exported_inputs,
        n_outputs=architecture.n_exported_outputs,
    )


def _serialise(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    *,
    name: str,
    n_inputs: int,
    n_outputs: int,
) -> bytes:
    """Bytes of a graph from ``input`` to ``output``, which keeps the contract."""
    shape_in, shape_out = [1, n_inputs], [1, n_outputs]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape_out)],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="lanflow",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    content = model.SerializeToString(deterministic=True)
    check_contract(content)
    return bytes(content)


def _layer(
    weights: Mapping[str, np.ndarray], i: int, *, after_sigmoid: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a layer; after a sigmoid its input is (1 + tanh) / 2."""
    kernel = np.ascontiguousarray(weights[f"layers_{i}/kernel"], dtype=np.float32)
    bias = np.ascontiguousarray(weights[f"layers_{i}/bias"], dtype=np.float32)
    if after_sigmoid:
        bias = (bias + 0.5 * kernel.sum(axis=0, dtype=np.float64)).astype(np.float32)
    return kernel, bias


def _log_sigmoid(logits: str) -> list[onnx.NodeProto]:
    one = numpy_helper.from_array(np.ones(1, dtype=np.float32), "one")
    return [
        helper.make_node("Neg", [logits], ["minus_logits"], name="negate"),
        helper.make_node("Exp", ["minus_logits"], ["odds"], name="odds"),
        helper.make_node("Constant", [], ["one"], name="one", value=one),
        helper.make_node("Add", ["odds", "one"], ["inverse"], name="inverse"),
        helper.make_node("Log", ["inverse"], ["minus_output"], name="log"),
        helper.make_node("Neg", ["minus_output"], ["output"], name="output"),
    ]


def _of_choices(
    architecture: Architecture,
    kernel: np.ndarray,
    bias: np.ndarray,
    *,
    is_first: bool,
    is_last: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """A layer of a network that takes the choice too: the layers of logits do not look at it.

    Where there may be no choice in time, the logit of that is 0. What all logits share does not
    change a probability, so their mean is taken out, which keeps exponentials within float32.
    """
    if is_first:
        kernel = np.concatenate([kernel, np.zeros((1, kernel.shape[1]), np.float32)])
    if is_last:
        omission = int(architecture.can_omit)
        both = np.concatenate([kernel, bias[None]]).astype(float)
        both = np.concatenate([both, np.zeros((len(both), omission))], axis=1)
        both = (both - both.mean(axis=1, keepdims=True)).astype(np.float32)
        kernel, bias = both[:-1], both[-1]
    return kernel, bias


def with_choice_input(content: bytes, choices: Sequence[int], *, of_highest: bool = True) -> bytes:
    """The network ``[parameters, choice] -> log P(choice)`` of a network of two choices.

    Nothing is trained: the two logits are plus and minus half of the network's own.

    Parameters
    ----------
    content
        A network of parameters whose output is the log-sigmoid of a logit.
    choices
        The codes of both choices, ascending.
    of_highest
        Whether its output is of the higher choice.

    Raises
    ------
    ContractError
        If it is no such network.
    """
    steps = read_graph(content)
    n_inputs, n_outputs = input_and_output_sizes(content)
    if steps[-1].operator != "LogSigmoid" or n_outputs != 1 or len(choices) != 2:
        raise ContractError("a network of two choices ends in the log-sigmoid of one logit")
    both = np.array([[-0.5, 0.5]]) * (1 if of_highest else -1)
    layers = [*steps[:-1], GraphStep("linear", both)]
    nodes, initializers, current = [], [], "input"
    for i, step in enumerate(layers):
        made = "logits" if i == len(layers) - 1 else f"step_{i}"
        if step.operator != "linear":
            nodes.append(helper.make_node(step.operator, [current], [made], name=made))
        elif step.weights is None:
            bias = np.atleast_1d(np.asarray(step.bias, np.float32))
            initializers.append(numpy_helper.from_array(bias, f"{made}.bias"))
            nodes.append(helper.make_node("Add", [current, f"{made}.bias"], [made], name=made))
        else:
            kernel = step.weights.astype(np.float32)
            if current == "input":
                kernel = np.concatenate([kernel, np.zeros((1, kernel.shape[1]), np.float32)])
            bias = np.broadcast_to(np.asarray(step.bias, np.float32), kernel.shape[1]).copy()
            initializers += [
                numpy_helper.from_array(kernel, f"{made}.kernel"),
                numpy_helper.from_array(bias, f"{made}.bias"),
            ]
            given = [current, f"{made}.kernel", f"{made}.bias"]
            nodes.append(helper.make_node("Gemm", given, [made], name=made))
        current = made
    tail, numbers = log_probability_of_choice(choices, n_inputs + 1, can_omit=False)
    return _serialise(
        nodes + tail,
        initializers + numbers,
        name="lanflow_cpn_of_choice",
        n_inputs=n_inputs + 1,
        n_outputs=1,
    )


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
    """How a network takes its rows.

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
    """How a network takes its rows, be it one that keeps the contract or not.

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


@dataclass(frozen=True)
class Graph:
    """A network's graph of any form, with the operators of the contract.

    Attributes
    ----------
    nodes
        Operator, names of what it is given, attributes, and the name of what it makes, in order.
    constants
        Arrays by name.
    given, made
        Names of the input and of the output.
    """

    nodes: list[tuple[str, list[str], dict[str, Any], str]]
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
        nodes.append((node.op_type, list(node.input), attributes, node.output[0]))
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


def run_onnx(content: bytes, features: np.ndarray) -> np.ndarray:
    """Run a network row by row with onnx's own reference arithmetic.

    Parameters
    ----------
    content
        The ONNX model.
    features
        Shape (rows, inputs).

    Returns
    -------
    numpy.ndarray
        Shape (rows, outputs), float32.
    """
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(onnx.load_from_string(content))
    name = session.input_names[0]
    rows = np.asarray(features, dtype=np.float32)
    return np.concatenate([session.run(None, {name: row[None, :]})[0] for row in rows])


def check_equal(content: bytes, features: np.ndarray, expected: np.ndarray) -> float:
    """Check that ONNX gives the backend's outputs to 1e-5 (relative to values above one).

    Returns
    -------
    float
        The largest difference.

    Raises
    ------
    ContractError
        If the difference is larger.
    """
    got = run_onnx(content, features)
    difference = float(np.max(np.abs(got - expected) / np.maximum(np.abs(expected), 1)))
    if not difference <= 1e-5:
        raise ContractError(
            f"the exported network differs from the trained one by {difference:.2g}, more than 1e-5"
        )
    return difference


def parse_onnx(content: bytes) -> onnx.ModelProto:
    """A network that keeps the contract, as onnx's own object.

    Raises
    ------
    ContractError
        If it does not keep it.
    """
    check_contract(content)
    return onnx.load_from_string(content)
