"""ONNX from weights: networks that keep the single-trial contract of :mod:`lanflow.networks.graph`.

A sigmoid is ``(1 + tanh(x / 2)) / 2`` with the scales folded into the Gemm before and after it.
Logits go through ``-log(1 + exp(-x))``, as LANfactory exports them; it is exact to float32 for
logits above -88. The bytes depend on the weights alone.

A choice-probability network of more than two choices is trained on parameters alone: it has a logit
for each choice. What is exported takes the choice as its last input and gives that choice's
log-probability, ``[parameters, choice] -> log P(choice)``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lanflow.networks.graph import (
    GraphStep,
    check_contract,
    input_and_output_sizes,
    read_graph,
)
from lanflow.networks.types import NETWORK_TYPES, Architecture, ContractError

_OPSET = 17
_IR_VERSION = 8


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


# Codes of choices are whole numbers. The penalty of another choice is 2 cosh(5) - 2 = 146 at least,
# which hides it (exp(-146) is 0 in float32), and exp(5 * 16) does not overflow.
_STEEPNESS, _MOST_CODE_DISTANCE = 5.0, 16


def log_probability_of_choice(
    choices: Sequence[int], n_inputs: int, *, can_omit: bool
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The end of a network that takes a choice: from ``logits`` and ``input`` to ``output``.

    It is ``log(exp(logit of the choice) / sum of exp(logits))``; where there may be no choice in
    time, the logit of that is one more, the last. The numerator is ``sum(exp(logits - penalties))``
    with the penalty ``exp(kd) + exp(-kd) - 2`` of a choice at a distance d, which is exactly 0 at
    d = 0, in float32 too. So the numerators are the sum's own terms: the probabilities of all
    choices sum to one, but for the rounding of float32. That of a code that is no choice is 0.

    Raises
    ------
    ContractError
        If codes of choices are too far apart.
    """
    n, codes = len(choices), np.array(choices, np.float32)
    n_logits = n + can_omit
    if np.ptp(codes) > _MOST_CODE_DISTANCE:
        raise ContractError(
            f"choices {', '.join(map(str, choices))}: codes more than {_MOST_CODE_DISTANCE} apart "
            "cannot be told apart in float32"
        )
    pick = np.zeros((n_inputs, 2 * n), np.float32)
    pick[-1] = np.repeat([_STEEPNESS, -_STEEPNESS], n)
    shift = np.concatenate([-_STEEPNESS * codes, _STEEPNESS * codes]).astype(np.float32)
    penalties = np.full(n_logits, 2, np.float32)
    penalties[n:] = 2 - 2 * np.cosh(_STEEPNESS)  # no choice in time is never the one given
    numbers = {
        "choice.kernel": pick,
        "choice.bias": shift,
        "penalty.kernel": -np.tile(np.eye(n, n_logits, dtype=np.float32), (2, 1)),
        "penalty.bias": penalties,
        "ones": np.ones((n_logits, 1), np.float32),
    }
    steps = [
        ("Gemm", ["input", "choice.kernel", "choice.bias"], "distances"),
        ("Exp", ["distances"], "growth"),
        ("Gemm", ["growth", "penalty.kernel", "penalty.bias"], "minus_penalties"),
        ("Add", ["logits", "minus_penalties"], "logit_of_choice"),
        ("Exp", ["logit_of_choice"], "chosen"),
        ("MatMul", ["chosen", "ones"], "numerator"),
        ("Log", ["numerator"], "log_numerator"),
        ("Exp", ["logits"], "odds"),
        ("MatMul", ["odds", "ones"], "denominator"),
        ("Log", ["denominator"], "log_denominator"),
        ("Neg", ["log_denominator"], "minus_log_denominator"),
        ("Add", ["log_numerator", "minus_log_denominator"], "output"),
    ]
    nodes = [
        helper.make_node(operator, given, [made], name=f"choice_{made}")
        for operator, given, made in steps
    ]
    return nodes, [numpy_helper.from_array(array, name) for name, array in numbers.items()]


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
