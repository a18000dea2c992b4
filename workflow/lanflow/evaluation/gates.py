"""Gates that every network goes through: what it measured against limits, structure, parity."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.core.files import read_json
from lanflow.core.settings import parse_settings
from lanflow.evaluation.record import Gate, measure_name
from lanflow.networks import folder as network_folder
from lanflow.networks.card import FOLDER_HINT, Card
from lanflow.networks.folder import read_part
from lanflow.networks.graph import check_contract, input_and_output_sizes
from lanflow.networks.types import NETWORK_TYPES, Architecture, BackendName, ContractError
from lanflow.training.backends.choose import make_backend
from lanflow.training.config import TrainingConfig

Head = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

# Relative to outputs above one. Sums of float32 in another order differ by a few 1e-6.
PARITY_LIMIT = 2e-5


def judge(
    name: str,
    numbers: Mapping[str, float | int],
    limits: Mapping[str, float],
    *,
    is_essential: bool = True,
) -> Gate:
    """A gate's verdict: passed if every number that has a limit is finite and not above it."""
    broken = []
    for key, limit in limits.items():
        number = numbers[key]
        if not math.isfinite(number):
            broken.append(f"{measure_name(key)} is not finite")
        elif number > limit:
            broken.append(f"{measure_name(key)} is {number:.3g}, above {limit:.3g}")
    return Gate(
        name=name,
        verdict="failed" if broken else "passed",
        reason="; ".join(broken),
        is_essential=is_essential,
        numbers=_finite(numbers),
        limits=dict(limits),
    )


def _finite(numbers: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def skip(
    name: str,
    reason: str,
    *,
    is_essential: bool = True,
    numbers: Mapping[str, float | int] | None = None,
) -> Gate:
    """A gate that was not gone through, and why; ``numbers`` are told, and decide nothing."""
    return Gate(
        name=name,
        verdict="skipped",
        reason=reason,
        is_essential=is_essential,
        numbers=_finite(numbers or {}),
        limits={},
    )


def structure(content: bytes, input_names: Sequence[str]) -> Gate:
    """Judge whether HSSM could use a network one trial at a time, and it is of this model.

    Parameters
    ----------
    content
        The ONNX file.
    input_names
        The inputs that a network of the model and type has.
    """
    expected = {"n_inputs": len(input_names), "n_outputs": 1}
    reason, numbers = "", {}
    try:
        check_contract(content)
        n_inputs, n_outputs = input_and_output_sizes(content)
        numbers = {"n_inputs": n_inputs, "n_outputs": n_outputs}
        if numbers != expected:
            reason = (
                f"{n_inputs} input(s) and {n_outputs} output(s), expected {len(input_names)} "
                f"({', '.join(input_names)}) and 1{_other_type(n_inputs - len(input_names))}"
            )
    except ContractError as e:
        reason = str(e)
    return Gate(
        name="structure",
        verdict="failed" if reason else "passed",
        reason=reason,
        is_essential=True,
        numbers=numbers,
        limits={},
    )


def _other_type(more_inputs: int) -> str:
    """A hint where a network has the inputs of another type: a lan's are rt and choice too."""
    types = {-2: "one of type cpn, opn or gonogo", 2: "a lan"}
    if more_inputs not in types:
        return ""
    return f"; {types[more_inputs]} has as many inputs (--network-type)"


def parity(
    network: Head, heads: Mapping[str, Head], features: npt.NDArray[np.float32], *, backend: str
) -> Gate:
    """Judge whether ONNX gives what the backends compute from the stored weights.

    Parameters
    ----------
    network
        The ONNX network.
    heads
        Evaluation heads with the stored weights, by backend; those that are installed.
    features
        Inputs to compare at.
    backend
        The one that trained; without it there is nothing to compare with.
    """
    if backend not in heads:
        return skip("parity", f"{backend}, which trained the network, is not installed")
    outputs = {name: head(features).astype(float) for name, head in heads.items()}
    given = network(features).astype(float)
    numbers = {f"onnx_{name}": _difference(given, output) for name, output in outputs.items()}
    if len(outputs) == 2:
        numbers["jax_torch"] = _difference(*outputs.values())
    return judge("parity", numbers, dict.fromkeys(numbers, PARITY_LIMIT))


def _difference(given: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    """The largest difference, relative to expected values above one."""
    if given.shape != expected.shape:
        return math.inf
    return float(np.max(np.abs(given - expected) / np.maximum(np.abs(expected), 1)))


def backend_heads(folder: Path, card: Card) -> dict[str, Head]:
    """The evaluation head with the stored weights, on each backend that is installed.

    Parameters
    ----------
    folder, card
        Of a trained network.

    Raises
    ------
    UserError
        If the weights or the configuration are not there or damaged.
    """
    own = card.backend
    backends = {}
    for name in (own, *(other for other in get_args(BackendName) if other != own)):
        try:
            backends[name] = make_backend(name, device="cpu", threads=1)
        except UserError:
            if name == own:
                return {}
    path = folder / f"{network_folder.WEIGHTS[0]}.{backends[own].weights_suffix}"
    try:
        weights = backends[own].read_native_weights(read_part(path, FOLDER_HINT))
    except ValueError as e:
        raise UserError(f"{path}: {e}") from e
    # What the device made of it (batch size, memory) stands there too.
    path = folder / network_folder.CONFIG
    content = read_json(path, hint=FOLDER_HINT)
    settings = {key: content[key] for key in TrainingConfig.model_fields if key in content}
    config = parse_settings(TrainingConfig, settings, str(path))
    has_trial = NETWORK_TYPES[config.network_type].has_trial
    shape = Architecture(
        config.network_type,
        len(card.parameters) + 2 * has_trial,
        tuple(card.layer_sizes),
        config.activations,
        choices=tuple(card.choices or ()) if card.takes_choice else (),
        can_omit=card.takes_choice and "deadline" in card.parameters,
    )
    for backend in backends.values():
        backend.start(shape, config, weights)
    return {name: backend.predict for name, backend in backends.items()}
