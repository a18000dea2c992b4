"""The files that LANfactory's loaders and scripts look for."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lanflow.core.files import write_bytes
from lanflow.networks.folder import NetworkPlace


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
