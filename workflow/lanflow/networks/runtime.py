"""Networks as functions of rows: by onnxruntime, with a gradient in numpy, in JAX; and the rows.

The single-trial contract's input has one row. Its operators work on any number of them, so
onnxruntime is given the network with a free first dimension, and the result is compared with that
of single rows. Networks of other forms are run as they are.

Every operator of a perceptron has a derivative of one line, so a network from any file can be
maximised in numpy without the library that trained it. That is in float64: a line search near the
maximum compares values that agree to more digits than float32 has.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.models.density import Array
from lanflow.networks.graph import (
    Graph,
    GraphStep,
    input_and_output_sizes,
    input_form,
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

    It need not keep the single-trial contract: rows without an axis of rows, with a free one, and
    outputs without one are run too.

    Parameters
    ----------
    content
        The ONNX model.

    Raises
    ------
    ContractError
        If it is none, or does not take rows of numbers.
    UserError
        If onnxruntime is not installed.
    """

    def __init__(self, content: bytes) -> None:
        form = input_form(content)
        self.n_inputs, self._rows = form.n_inputs, form.rows
        self._one_row = _session(content)
        self._many_rows = self._one_row
        if form.rows != "any":
            self._many_rows = _session(with_free_rows(content))
        self._input: str = self._one_row.get_inputs()[0].name
        self.n_outputs: int = self.one_by_one(np.zeros((1, self.n_inputs))).shape[1]
        self._is_checked = False

    def __call__(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Outputs, shape (rows, outputs), of features, shape (rows, inputs)."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.n_inputs:
            raise ValueError(f"features of shape {rows.shape}, expected (rows, {self.n_inputs})")
        if not self._is_checked and len(rows):
            self._check(rows[:_N_PROBES])
        parts = [
            self._run(self._many_rows, part, n_rows=len(part))
            for part in np.split(rows, range(_ROWS_PER_CALL, len(rows), _ROWS_PER_CALL))
        ]
        return np.concatenate(parts)

    def one_by_one(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The same, a row at a time, as HSSM uses the network."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        if not len(rows):
            return np.empty((0, self.n_outputs), np.float32)
        shaped = rows if self._rows == "none" else rows[:, None]
        return np.concatenate([self._run(self._one_row, row, n_rows=1) for row in shaped])

    def _run(
        self, session: Any, rows: npt.NDArray[np.float32], *, n_rows: int
    ) -> npt.NDArray[np.float32]:
        """Outputs of rows, shape (rows, outputs), whatever shape the network gives them."""
        try:
            made = np.asarray(session.run(None, {self._input: rows})[0], np.float32)
        except Exception as e:  # onnxruntime's errors have no base class of their own
            raise ContractError(f"onnxruntime cannot run it ({_in_a_line(e)})") from e
        if not n_rows:
            return made.reshape(0, self.n_outputs)
        if made.size % n_rows:
            raise ContractError(
                "the network gives other outputs for several rows than for each (shape "
                f"{made.shape} for {n_rows} rows)"
            )
        return made.reshape(n_rows, -1)

    def _check(self, rows: npt.NDArray[np.float32]) -> None:
        together = self._run(self._many_rows, rows, n_rows=len(rows))
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
        raise ContractError(f"onnxruntime cannot run it ({_in_a_line(e)})") from e


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


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


def jax_outputs(network: Graph | Sequence[GraphStep]) -> Callable[[Sequence[Any]], Any]:
    """A network as a function that JAX can trace: of columns, shape (rows,), to (rows,).

    Parameters
    ----------
    network
        A perceptron's steps, or a graph of any form.

    Raises
    ------
    UserError
        If JAX is not installed.
    """
    try:
        import jax.numpy as jnp
    except ImportError as e:
        raise UserError("a network in JAX needs jax: pip install lanflow[jax]") from e
    match network:
        case Graph():
            run = _graph_in_jax(network, jnp)
        case _:
            run = _steps_in_jax(network, jnp)

    def outputs(columns: Sequence[Any]) -> Any:
        x = jnp.stack(jnp.broadcast_arrays(*columns), axis=-1).astype(jnp.float32)
        return run(x)[..., 0]

    return outputs


def _graph_in_jax(graph: Graph, jnp: Any) -> Callable[[Any], Any]:
    constants = {name: jnp.asarray(array) for name, array in graph.constants.items()}

    def run(x: Any) -> Any:
        values = {**constants, graph.given: x}
        for node in graph.nodes:
            given = [values[name] for name in node.given]
            values[node.made] = _apply(node.operator, given, node.attributes, jnp)
        return values[graph.made]

    return run


def _steps_in_jax(steps: Sequence[GraphStep], jnp: Any) -> Callable[[Any], Any]:
    layers = [
        GraphStep(
            step.operator,
            None if step.weights is None else jnp.asarray(step.weights, jnp.float32),
            jnp.asarray(step.bias, jnp.float32),
        )
        for step in steps
    ]
    return lambda x: functools.reduce(lambda y, step: _forward(step, y, jnp), layers, x)


def _apply(operator: str, given: Sequence[Any], attributes: Mapping[str, Any], xp: Any) -> Any:
    """One operator of the contract, in what has numpy's functions."""
    match operator:
        case "Gemm":
            a, b = (
                part.T if attributes.get(f"trans{name}") else part
                for name, part in zip("AB", given, strict=False)
            )
            made = attributes.get("alpha", 1.0) * (a @ b)
            return made + attributes.get("beta", 1.0) * given[2] if len(given) > 2 else made
        case "MatMul":
            return given[0] @ given[1]
        case "Add":
            return given[0] + given[1]
        case "Neg":
            return -given[0]
        case "Relu":
            return xp.maximum(given[0], 0)
    return {"Exp": xp.exp, "Log": xp.log, "Tanh": xp.tanh}[operator](given[0])


def rows_of_choices(vectors: npt.ArrayLike, choices: Sequence[float]) -> npt.NDArray[np.float32]:
    """Inputs of a network that takes a choice: each vector with each choice.

    Parameters
    ----------
    vectors
        Shape (vectors, parameters).
    choices
        As the model codes them.

    Returns
    -------
    numpy.ndarray
        Shape (vectors x choices, parameters + 1), the choices of a vector one after the other.
    """
    vectors = np.asarray(vectors, np.float32)
    repeated = np.repeat(vectors, len(choices), axis=0)
    codes = np.tile(np.asarray(choices, np.float32), len(vectors))
    return np.column_stack([repeated, codes])


def likelihood_rows(
    vector: Array, rts: npt.ArrayLike, choices: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """A likelihood network's inputs for trials at one parameter vector.

    Parameters
    ----------
    vector
        Shape (parameters,).
    rts, choices
        Shape (trials,), seconds and the model's codes; one choice for all is enough.

    Returns
    -------
    numpy.ndarray
        Shape (trials, parameters + 2).
    """
    times = np.asarray(rts, float)
    rows = np.empty((len(times), len(vector) + 2), np.float32)
    rows[:, :-2], rows[:, -2], rows[:, -1] = vector, times, choices
    return rows


def named_rows(
    given: Mapping[str, npt.ArrayLike],
    names: Sequence[str],
    *more: npt.ArrayLike,
    network: str,
) -> Array:
    """Inputs of a network by their names, each broadcast to as many rows as the longest has.

    Parameters
    ----------
    given
        One number or shape (rows,) for each name.
    names
        In the order of the network's inputs.
    *more
        Inputs that follow, rt and choice of a likelihood network.
    network
        Its title, for the error.

    Returns
    -------
    numpy.ndarray
        Shape (rows, inputs).

    Raises
    ------
    UserError
        If names are missing or too many.
    """
    require_names(given, names, network=network)
    columns = [*(given[name] for name in names), *more]
    return np.stack(np.broadcast_arrays(*map(np.atleast_1d, columns)), axis=1).astype(float)


def require_names(given: Mapping[str, object], names: Sequence[str], *, network: str) -> None:
    """Refuse inputs that a network does not have, or that lack one that it has.

    Raises
    ------
    UserError
        Naming what it takes, and what was given.
    """
    if given.keys() != set(names):
        raise UserError(
            f"the {network} network takes {', '.join(names)}; given were "
            f"{', '.join(given) or 'none'}"
        )
