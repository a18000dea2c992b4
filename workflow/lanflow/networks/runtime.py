"""Networks as functions of rows: by onnxruntime, with a gradient in numpy, and in JAX.

The single-trial contract's input has one row. Its operators work on any number of them, so
onnxruntime is given the network with a free first dimension, and the result is compared with that
of single rows.

Every operator of a perceptron has a derivative of one line, so a network from any file can be
maximised in numpy without the library that trained it. That is in float64: a line search near the
maximum compares values that agree to more digits than float32 has.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.models.density import Array
from lanflow.networks.onnx import (
    GraphStep,
    check_contract,
    input_and_output_sizes,
    read_graph,
    with_free_rows,
)
from lanflow.networks.types import ContractError

_ROWS_PER_CALL = 2**16
_N_PROBES = 8
# Sums of many rows are split otherwise than those of one.
_TOLERANCE = 1e-4


class OnnxSession:
    """A network from an ONNX file, as a function of rows.

    Parameters
    ----------
    content
        The ONNX model; it must keep the single-trial contract.

    Raises
    ------
    ContractError
        If it does not.
    UserError
        If onnxruntime is not installed.
    """

    def __init__(self, content: bytes) -> None:
        check_contract(content)
        self._one_row = _session(content)
        self._many_rows = _session(with_free_rows(content))
        (self._input,) = self._one_row.get_inputs()
        (output,) = self._one_row.get_outputs()
        self.n_inputs: int = self._input.shape[1]
        self.n_outputs: int = output.shape[1]
        self._is_checked = False

    def __call__(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Outputs, shape (rows, outputs), of features, shape (rows, inputs)."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.n_inputs:
            raise ValueError(f"features of shape {rows.shape}, expected (rows, {self.n_inputs})")
        if not self._is_checked and len(rows):
            self._check(rows[:_N_PROBES])
        parts = [
            self._many_rows.run(None, {self._input.name: rows[start : start + _ROWS_PER_CALL]})[0]
            for start in range(0, max(len(rows), 1), _ROWS_PER_CALL)
        ]
        return np.concatenate(parts)

    def one_by_one(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The same, a row at a time, as HSSM uses the network."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        return np.concatenate(
            [self._one_row.run(None, {self._input.name: row[None]})[0] for row in rows]
        )

    def _check(self, rows: npt.NDArray[np.float32]) -> None:
        together = self._many_rows.run(None, {self._input.name: rows})[0]
        single = self.one_by_one(rows)
        if together.shape != single.shape or not np.allclose(
            together, single, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
        ):
            raise ContractError("the network gives other outputs for several rows than for each")
        self._is_checked = True


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise UserError("running a network needs onnxruntime: pip install lanflow[evaluate]") from e
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's errors have no base class of their own
        raise ContractError(f"onnxruntime cannot run it ({' '.join(str(e).split())[:500]})") from e


class Perceptron:
    """A network of one output as a function of rows, with its gradient.

    Parameters
    ----------
    content
        The ONNX model: a chain of Gemm, MatMul, Add, Tanh and Relu, or of logits and their
        log-sigmoid.

    Raises
    ------
    ContractError
        If it is anything else, or has several outputs.
    """

    def __init__(self, content: bytes) -> None:
        self.steps = read_graph(content)
        self.n_inputs, n_outputs = input_and_output_sizes(content)
        if n_outputs != 1:
            raise ContractError(f"a likelihood network has one output, this one has {n_outputs}")

    def values(self, rows: Array) -> Array:
        """Outputs, shape (rows,), of rows, shape (rows, inputs)."""
        x = np.asarray(rows, float)
        for step in self.steps:
            x = _forward(step, x, np)
        return np.asarray(x[:, 0])

    def __call__(self, rows: Array) -> tuple[Array, Array]:
        """Outputs, shape (rows,), and their gradients, shape (rows, inputs)."""
        passed = [np.asarray(rows, float)]
        for step in self.steps:
            passed.append(_forward(step, passed[-1], np))
        gradient = np.ones_like(passed[-1])
        for i in range(len(self.steps) - 1, -1, -1):
            gradient = _backward(self.steps[i], passed[i + 1], gradient)
        return passed[-1][:, 0], gradient


def _forward(step: GraphStep, x: Any, xp: Any) -> Any:
    """One step, in numpy or in what has its functions."""
    match step.operator:
        case "Tanh":
            return xp.tanh(x)
        case "Relu":
            return xp.maximum(x, 0)
        case "LogSigmoid":
            return -xp.logaddexp(0, -x)
    return (x if step.weights is None else x @ step.weights) + step.bias


def _backward(step: GraphStep, y: Array, gradient: Array) -> Array:
    """The gradient before a step, from that behind it and the step's output ``y``."""
    match step.operator:
        case "Tanh":
            return np.asarray(gradient * (1 - y**2))
        case "Relu":
            return np.asarray(gradient * (y > 0))
        case "LogSigmoid":
            return np.asarray(gradient * -np.expm1(y))
    return gradient if step.weights is None else np.asarray(gradient @ step.weights.T)


def jax_outputs(steps: Sequence[GraphStep]) -> Callable[[Sequence[Any]], Any]:
    """A perceptron as a function that JAX can trace: of columns, shape (rows,), to (rows,).

    Raises
    ------
    UserError
        If JAX is not installed.
    """
    try:
        import jax.numpy as jnp
    except ImportError as e:
        raise UserError("a network in JAX needs jax: pip install lanflow[jax]") from e
    layers = [
        GraphStep(
            step.operator,
            None if step.weights is None else jnp.asarray(step.weights, jnp.float32),
            jnp.asarray(step.bias, jnp.float32),
        )
        for step in steps
    ]

    def outputs(columns: Sequence[Any]) -> Any:
        x = jnp.stack(jnp.broadcast_arrays(*columns), axis=-1).astype(jnp.float32)
        for step in layers:
            x = _forward(step, x, jnp)
        return x[..., 0]

    return outputs
