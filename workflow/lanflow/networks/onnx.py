"""ONNX from weights, and the single-trial contract that HSSM's loader expects of it.

One input of concrete shape (1, inputs), one output (1, outputs), and only operators that HSSM
0.3.0 interprets (``hssm/distribution_utils/onnx_utils``: Add, Constant, Exp, Gemm, Log, MatMul,
Neg, Relu, Tanh): so no Sigmoid, no Identity. A sigmoid is ``(1 + tanh(x / 2)) / 2`` with the scales
folded into the Gemm before and after it. Relu is the exception: HSSM's jax backend, its default,
computes it, its pytensor backend takes the maximum over trials. Logits go through
``-log(1 + exp(-x))``, as LANfactory exports them; it is exact to float32 for logits above -88. The
bytes depend on the weights alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

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
    if head == "logits":
        nodes += _log_sigmoid(current)
    shape_in, shape_out = [1, architecture.input_dim], [1, architecture.layer_sizes[-1]]
    graph = helper.make_graph(
        nodes,
        f"lanflow_{architecture.network_type}",
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
        external = [each.name for each in model.graph.initializer if uses_external_data(each)]
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
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
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
