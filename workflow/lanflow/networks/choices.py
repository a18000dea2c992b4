"""The end of a network that takes a choice among its inputs, in the operators that HSSM interprets.

A choice-probability network of more than two choices is trained on parameters alone: it has a logit
for each choice. What is exported takes the choice as its last input and gives that choice's
log-probability, ``[parameters, choice] -> log P(choice)``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from lanflow.networks.types import ContractError

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
