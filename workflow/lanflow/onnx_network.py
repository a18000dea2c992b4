"""Any network that keeps the single-trial contract, run on many rows at once.

The contract's input has one row. Its operators work on any number of them, so the network is run
with a free first dimension, and the result is compared with that of single rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow.errors import UserError
from lanflow.export import ContractError, check_contract, with_free_rows

_ROWS_PER_CALL = 2**16
_N_PROBES = 8
# Sums of many rows are split otherwise than those of one.
_TOLERANCE = 1e-4


class OnnxNetwork:
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


def load_network(path: Path) -> OnnxNetwork:
    """Read a network.

    Raises
    ------
    UserError
        Naming the file, if it cannot be read or does not keep the contract.
    """
    try:
        return OnnxNetwork(path.read_bytes())
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
    except ContractError as e:
        raise ContractError(f"{path}: {e}") from e


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise UserError("running a network needs onnxruntime: pip install lanflow[evaluate]") from e
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
