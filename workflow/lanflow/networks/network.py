"""A trained network's folder, read back: its card, its ONNX, its weights on each backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import read_json
from lanflow.models.parameters import Box
from lanflow.networks import folder as network_folder
from lanflow.networks.types import NetworkTypeName

FOLDER_HINT = "it should be in a network's folder, as jaxtrain and torchtrain write it"


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
        return read_card(self.folder / network_folder.CARD)

    @property
    def onnx(self) -> bytes:
        """The exported network.

        Raises
        ------
        UserError
            If it is not there.
        """
        return read_part(self.folder / network_folder.ONNX)


def read_card(path: Path) -> dict[str, Any]:
    """A network's card.

    Raises
    ------
    UserError
        If it is not there or not a card.
    """
    card = read_json(path, hint=FOLDER_HINT)
    missing = [key for key in ("model", "network_type", "inputs", "bounds") if key not in card]
    if missing:
        raise UserError(f"{path}: not a network's card (no {', '.join(missing)})")
    return card


def read_part(path: Path) -> bytes:
    """Read a file of a network's folder.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}); {FOLDER_HINT}") from e


@dataclass(frozen=True)
class ExaminedNetwork:
    """A network to evaluate.

    Attributes
    ----------
    onnx
        Its content.
    model, network_type
        What it is a network of.
    trained_box
        From its card; where it has none, ssm-simulators' bounds stand in.
    folder
        Where it was trained here; ``None`` for an ONNX file alone.
    """

    onnx: bytes
    model: str
    network_type: NetworkTypeName
    trained_box: Box = field(default_factory=dict)
    folder: StoredNetwork | None = None

    @classmethod
    def from_folder(cls, path: Path) -> "ExaminedNetwork":
        """The network in a folder.

        Raises
        ------
        UserError
            If it is not a whole network's folder.
        """
        folder = StoredNetwork(path)
        card = folder.card
        return cls(
            onnx=folder.onnx,
            model=card["model"],
            network_type=card["network_type"],
            trained_box={name: (low, up) for name, (low, up) in card["bounds"].items()},
            folder=folder,
        )

    @classmethod
    def from_onnx(
        cls, content: bytes, model: str, network_type: NetworkTypeName, card_path: Path | None
    ) -> "ExaminedNetwork":
        """A network from anywhere; its card, if it has one, for the trained box."""
        box = {} if card_path is None else read_card(card_path)["bounds"]
        return cls(
            onnx=content,
            model=model,
            network_type=network_type,
            trained_box={name: (low, up) for name, (low, up) in box.items()},
        )

    @property
    def card(self) -> Mapping[str, Any]:
        """The network's card; empty for an ONNX file alone."""
        return {} if self.folder is None else self.folder.card
