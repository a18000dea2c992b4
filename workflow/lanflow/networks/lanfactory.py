"""The files that LANfactory's loaders and scripts look for, and reading those that it wrote."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lanflow.core.errors import UserError
from lanflow.core.files import write_bytes
from lanflow.networks.folder import NetworkPlace
from lanflow.networks.types import NETWORK_TYPES, Activation, NetworkTypeName


def _lanfactory_history(history: Sequence[Any]) -> str:
    """LANfactory's history: pandas' index, epoch, val_loss; train_loss is our addition.

    LANfactory counts epochs from 0.
    """
    rows = [f"{e.epoch - 1},{e.epoch - 1.0},{e.val_loss},{e.train_loss}" for e in history]
    return "\n".join([",epoch,val_loss,train_loss", *rows]) + "\n"


def save_lanfactory_files(
    place: NetworkPlace,
    backend: str,
    *,
    network_config: Mapping[str, object],
    train_config: Mapping[str, object],
    data_details: Mapping[str, object],
    history: Sequence[Any],
    weights: bytes,
    onnx: bytes | None,
) -> list[Path]:
    """Write the files that LANfactory's tools expect.

    Parameters
    ----------
    place, backend
        Decide the names.
    network_config, train_config
        LANfactory's dictionaries.
    data_details
        Generator settings and files of both sides of the split.
    history
        Epochs.
    weights
        In the backend's own format.
    onnx
        The exported network, or None where no export was asked for.

    Returns
    -------
    list of Path
        The files.
    """
    contents = {
        "train_config": pickle.dumps(dict(train_config), protocol=4),
        "data_details": pickle.dumps(dict(data_details), protocol=4),
        "history": _lanfactory_history(history).encode(),
        "weights": weights,
    }
    if onnx is not None:
        contents["model"] = onnx
    # Last: LANfactory's loaders ask for it first, so they never load a part.
    contents["network_config"] = pickle.dumps(dict(network_config), protocol=4)
    paths = []
    for kind, content in contents.items():
        paths.append(place.lanfactory_path(backend, kind))
        write_bytes(paths[-1], content)
    return paths


@dataclass(frozen=True)
class LanfactoryNetwork:
    """A network as LANfactory's ``network_config`` describes it.

    Attributes
    ----------
    layer_sizes, activations
        As of :class:`lanflow.networks.types.Architecture`.
    network_type
        None where the file does not say, as those of ``logits`` before 0.7 do not.
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    network_type: NetworkTypeName | None


def read_network_config(content: object, where: str) -> LanfactoryNetwork:
    """Read LANfactory's ``network_config``, or its ``train_config``, which holds the same keys.

    Parameters
    ----------
    content
        What the pickle holds.
    where
        The file, for errors.

    Raises
    ------
    UserError
        Naming the key that is missing or not understood.
    """
    if not isinstance(content, dict):
        raise UserError(f"{where}: is no network's configuration (expected a dict)")
    sizes, names = content.get("layer_sizes"), content.get("activations")
    if not isinstance(sizes, list | tuple) or not sizes or not all(map(_is_size, sizes)):
        raise UserError(f"{where}: layer_sizes: expected a list of numbers of units")
    if not isinstance(names, list | tuple):
        raise UserError(f"{where}: activations: expected a list of names")
    if len(names) == len(sizes) and names[-1] == "linear":
        names = names[:-1]
    known = get_args(Activation)
    if len(names) != len(sizes) - 1 or not all(name in known for name in names):
        raise UserError(
            f"{where}: activations: {list(names)!r:.200} for {len(sizes)} layers; expected one of "
            f"{', '.join(known)} for each but the last, which is linear"
        )
    return LanfactoryNetwork(tuple(map(int, sizes)), tuple(names), _network_type_of(content, where))


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _network_type_of(content: Mapping[str, Any], where: str) -> NetworkTypeName | None:
    """The type, which a ``logprob`` output tells too."""
    name, output = content.get("network_type"), content.get("train_output_type")
    if output not in [kind.train_output_type for kind in NETWORK_TYPES.values()]:
        raise UserError(f"{where}: train_output_type: {output!r:.100} (accepted: logprob, logits)")
    if name is None:
        return "lan" if output == "logprob" else None
    kind = NETWORK_TYPES.get(name) if isinstance(name, str) else None
    if kind is None or kind.train_output_type != output:
        raise UserError(
            f"{where}: network_type: {name!r:.100} with train_output_type {output!r} (accepted: "
            "lan with logprob; cpn, opn and gonogo with logits)"
        )
    return kind.name
