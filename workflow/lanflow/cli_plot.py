"""``lanflow plot``: the figures of one network."""

import argparse
import logging
from pathlib import Path
from typing import Any

from lanflow import artifacts
from lanflow.command import count, plain_name, whole_number
from lanflow.errors import UsageError
from lanflow.networks import NETWORK_TYPES

log = logging.getLogger(__name__)


def add_plot(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="NETWORK_DIR",
        help="of jaxtrain or torchtrain; else give --onnx and --model",
    )
    command.add_argument("--onnx", type=Path, metavar="FILE", help="any network, by its file")
    command.add_argument("--model", type=plain_name, help="what the network of --onnx is of")
    command.add_argument(
        "--network-type",
        choices=list(NETWORK_TYPES),
        default="lan",
        help="what the network of --onnx gives",
    )
    command.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="card.json of --onnx, for the trained box; ssm-simulators' bounds when left out",
    )
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="of the figures; NETWORK_DIR when left out"
    )
    command.add_argument(
        "--draws",
        type=count,
        metavar="N",
        help="parameter vectors for errors and calibration; 256, with simulations 64",
    )
    command.add_argument(
        "--seed", type=whole_number, default=1, metavar="N", help="of draws and simulations"
    )
    command.set_defaults(call=_plot)


def _plot(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_bytes
    from lanflow.network_plots import draw_network
    from lanflow.own_folder import require_own

    subject = _subject(parsed)
    folder = parsed.output or parsed.folder
    if parsed.output is not None:
        require_own(folder, artifacts.IN_NETWORK_FOLDER, what="a network's figures")
    plots = draw_network(
        subject,
        n_vectors=parsed.draws,
        seed=parsed.seed,
        on_plot=lambda name: log.info("%s: drawing %s", subject.title, name),
    )
    paths = {}
    for name, png in plots:
        paths[name] = folder / artifacts.PLOTS[name]
        write_bytes(paths[name], png)
    return {"plots": {name: str(path) for name, path in paths.items()}}


def _subject(parsed: argparse.Namespace) -> Any:
    from lanflow.trained_network import read_network_folder, read_onnx_file

    if (parsed.folder is None) == (parsed.onnx is None):
        raise UsageError("give either NETWORK_DIR, or --onnx and --model")
    if parsed.onnx is None:
        if parsed.model is not None or parsed.card is not None:
            raise UsageError("--model and --card go with --onnx; a folder's card names its model")
        return read_network_folder(parsed.folder)
    if parsed.model is None or parsed.output is None:
        raise UsageError("--onnx needs --model and --output")
    return read_onnx_file(parsed.onnx, parsed.model, parsed.network_type, parsed.card)
