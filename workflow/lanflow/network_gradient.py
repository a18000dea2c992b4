"""A likelihood network and its gradient with respect to its inputs, from its ONNX graph, in numpy.

Every operator of a perceptron has a derivative of one line, so a network from any file can be
maximised without the library that trained it. In float64: a line search near the maximum compares
values that agree to more digits than float32 has.
"""

import numpy as np

from lanflow.density import Array
from lanflow.export import ContractError, GraphStep, input_and_output_sizes, read_graph


class DifferentiableNetwork:
    """A network of one output as a function of rows, with its gradient.

    Parameters
    ----------
    content
        The ONNX model: a chain of Gemm, MatMul, Add, Tanh and Relu.

    Raises
    ------
    ContractError
        If it is anything else, or has several outputs.
    """

    def __init__(self, content: bytes) -> None:
        self._steps = read_graph(content)
        self.n_inputs, n_outputs = input_and_output_sizes(content)
        if n_outputs != 1:
            raise ContractError(f"a likelihood network has one output, this one has {n_outputs}")

    def values(self, rows: Array) -> Array:
        """Outputs, shape (rows,), of rows, shape (rows, inputs)."""
        x = np.asarray(rows, float)
        for step in self._steps:
            x = _forward(step, x)
        return x[:, 0]

    def __call__(self, rows: Array) -> tuple[Array, Array]:
        """Outputs, shape (rows,), and their gradients, shape (rows, inputs)."""
        passed = [np.asarray(rows, float)]
        for step in self._steps:
            passed.append(_forward(step, passed[-1]))
        gradient = np.ones_like(passed[-1])
        for i in range(len(self._steps) - 1, -1, -1):
            gradient = _backward(self._steps[i], passed[i + 1], gradient)
        return passed[-1][:, 0], gradient


def _forward(step: GraphStep, x: Array) -> Array:
    match step.operator:
        case "Tanh":
            return np.tanh(x)
        case "Relu":
            return np.maximum(x, 0)
    return np.asarray((x if step.kernel is None else x @ step.kernel) + step.bias)


def _backward(step: GraphStep, y: Array, gradient: Array) -> Array:
    match step.operator:
        case "Tanh":
            return np.asarray(gradient * (1 - y**2))
        case "Relu":
            return np.asarray(gradient * (y > 0))
    return gradient if step.kernel is None else np.asarray(gradient @ step.kernel.T)
