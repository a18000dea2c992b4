"""A trained network's folder, read back: its card, its ONNX, its weights on each backend."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow import artifacts
from lanflow.backends import make_kernel
from lanflow.config import parse_settings
from lanflow.errors import UserError
from lanflow.json_record import read_json
from lanflow.networks import Architecture
from lanflow.training_config import TrainingConfig

_BACKENDS = {"jax": "jax", "torch": "pt"}  # and the suffix of its weights
_HINT = "it should be in a network's folder, as jaxtrain and torchtrain write it"


@dataclass(frozen=True)
class StoredNetwork:
    """A network's folder.

    Attributes
    ----------
    folder
        As ``jaxtrain`` or ``torchtrain`` left it.
    """

    folder: Path

    @cached_property
    def card(self) -> dict[str, Any]:
        """What a user of the network must know.

        Raises
        ------
        UserError
            If the folder has none.
        """
        return read_card(self.folder / artifacts.CARD)

    @property
    def onnx(self) -> bytes:
        """The exported network.

        Raises
        ------
        UserError
            If it is not there.
        """
        return _read(self.folder / artifacts.ONNX)

    def heads(self) -> dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]]:
        """The evaluation head with the stored weights, on each backend that is installed.

        Raises
        ------
        UserError
            If the weights or the configuration are not there or damaged.
        """
        own = self.card["backend"]
        kernels = {}
        for backend in (own, *(name for name in _BACKENDS if name != own)):
            try:
                kernels[backend] = make_kernel(backend, device="cpu", threads=1)
            except UserError:
                if backend == own:
                    return {}
        path = f"{artifacts.WEIGHTS[0]}.{_BACKENDS[own]}"
        try:
            weights = kernels[own].read_native_weights(_read(self.folder / path))
        except ValueError as e:
            raise UserError(f"{self.folder / path}: {e}") from e
        # What the device made of it (batch size, memory) stands there too.
        content = read_json(self.folder / artifacts.CONFIG, hint=_HINT)
        settings = {key: content[key] for key in TrainingConfig.model_fields if key in content}
        config = parse_settings(TrainingConfig, settings, str(self.folder / artifacts.CONFIG))
        shape = Architecture(
            config.network_type, len(self.card["inputs"]), config.layer_sizes, config.activations
        )
        for kernel in kernels.values():
            kernel.start(shape, config, weights)
        return {name: kernel.predict for name, kernel in kernels.items()}


def read_card(path: Path) -> dict[str, Any]:
    """A network's card.

    Raises
    ------
    UserError
        If it is not there or not a card.
    """
    card = read_json(path, hint=_HINT)
    missing = [key for key in ("model", "network_type", "inputs", "bounds") if key not in card]
    if missing:
        raise UserError(f"{path}: not a network's card (no {', '.join(missing)})")
    return card


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}); {_HINT}") from e
