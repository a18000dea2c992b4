"""``lanflow convert``: networks that LANfactory trained."""

from typing import Annotated

from lanflow.cli.command import Argument, Outcome
from lanflow.cli.options import File, Folder, ModelsFileOption, Name
from lanflow.core.errors import UsageError
from lanflow.networks.types import NETWORK_TYPES, NetworkTypeName


def convert(
    *,
    weights: Annotated[
        File,
        Argument(metavar="WEIGHTS"),
        "LANfactory's ..._train_state_dict.pt (torch) or ..._train_state.jax (flax)",
    ],
    network_config: Annotated[File, "its ..._network_config.pickle (or ..._train_config.pickle)"],
    model: Annotated[Name, "what it is a network of, as ssm-simulators has it"],
    network_type: Annotated[
        NetworkTypeName | None, "needed where the configuration does not say"
    ] = None,
    models: ModelsFileOption,
    output: Annotated[Folder, "gets model.onnx and card.json"],
) -> Outcome:
    """Make ONNX and a card of a network that LANfactory trained."""
    from lanflow.core.folders import refuse_foreign_files
    from lanflow.data.unpickling import read_pickle
    from lanflow.models.simulators import find_model
    from lanflow.networks import folder as network_folder
    from lanflow.networks.lanfactory import read_network_config
    from lanflow.training.save import ForeignNetwork, convert_network

    written = (network_folder.ONNX, network_folder.CARD)
    refuse_foreign_files(output, written, what="a converted network")
    content = network_folder.read_part(network_config, "expected LANfactory's pickle")
    pickled = read_pickle(content, network_config, what="pickle of a network's configuration")
    described = read_network_config(pickled, str(network_config))
    kind = described.network_type or network_type
    if kind is None:
        raise UsageError("--network-type: give cpn, opn or gonogo; the configuration does not say")
    if network_type not in (None, kind):
        raise UsageError(f"--network-type {network_type}: the configuration says {kind}")
    network = ForeignNetwork(
        weights, described, find_model(model, models.read()), NETWORK_TYPES[kind]
    )
    card = convert_network(network, output)
    onnx = output / network_folder.ONNX
    result = {"onnx": str(onnx), "card": str(output / network_folder.CARD), "output": card.output}
    judge = (
        f"lanflow evaluate --onnx {onnx} --model {model} --network-type {kind} "
        f"--card {output / network_folder.CARD}"
    )
    return Outcome(result, f"{model} {kind}: {onnx}, {card.output}\nto judge it: {judge}")
