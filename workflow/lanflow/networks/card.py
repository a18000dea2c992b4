"""``card.json`` tells a user what a network is; ``run.json`` tells which training made it."""

from pathlib import Path

from pydantic import ConfigDict, Field

from lanflow.core.errors import UserError
from lanflow.core.files import read_json
from lanflow.core.names import require_name
from lanflow.core.settings import Settings, parse_settings
from lanflow.models.definition import Definition
from lanflow.models.parameters import Bounds
from lanflow.networks.types import BackendName, NetworkTypeName

FOLDER_HINT = "it should be in a trained network's folder, such as results/networks/lan/ddm/lan_jax"


class StartedFrom(Settings):
    """The finished network that a training began from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    network: str = Field(description="name of its folder")
    weights_sha256: str = Field(description="of the file with its best weights")
    onnx_sha256: str | None = Field(description="of its model.onnx; null where it has none")
    data_digest: str = Field(description="of the data that it learnt from")
    run_uuid: str
    mlflow_run_id: str | None
    n_epochs: int = Field(description="that it was trained for, those before it included")
    has_optimizer_state: bool = Field(
        description="whether the optimiser went on, too, because its state belonged to the weights"
    )


class Card(Settings):
    """A network's card, as :mod:`lanflow.training.save` writes it.

    Keys that a newer version of lanflow added are left aside.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = Field(description="the cognitive model, in ssm-simulators' catalogue")
    network_type: NetworkTypeName
    backend: BackendName
    inputs: list[str] = Field(
        description="parameters in order; of a lan rt and choice; of a cpn of more than two "
        "choices the choice"
    )
    parameters: list[str]
    bounds: Bounds = Field(description="range of each parameter in the training data")
    output: str = Field(description="what the output means, and which choice a probability is of")
    choices: list[int] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="the model's, as data code them; left out where the training did not ask",
    )
    output_shape: list[int]
    units: dict[str, str]
    layer_sizes: list[int]
    activations: list[str]
    n_weights: int
    best_epoch: int = Field(description="counted from 1")
    best_val_loss: float
    n_epochs: int
    loss: str
    seed: int
    data_digest: str
    label_source: str | None = None
    n_parameter_sets: int
    n_rows: int
    n_dropped_rows: int | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="of the training files, left out for values that cannot be (drop_invalid)",
    )
    started_from: StartedFrom | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="the network that its training began from, if it did",
    )
    run_uuid: str
    mlflow_run_id: str | None
    lanflow_version: str
    definition: Definition | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="functions and choices of a model that ssm-simulators' catalogue does not "
        "have, or has otherwise",
    )

    @property
    def takes_choice(self) -> bool:
        """True if the choice is the last input of a choice-probability network."""
        return self.network_type == "cpn" and self.inputs[-1:] == ["choice"]


class ConvertedFrom(Settings):
    """The file of LANfactory's that a network was made from."""

    file: str
    sha256: str


class ConvertedCard(Settings):
    """The card of a network that LANfactory trained, as :func:`convert_network` writes it."""

    model: str
    network_type: NetworkTypeName
    inputs: list[str]
    parameters: list[str]
    bounds: Bounds = Field(description="the model's; LANfactory's files do not say the network's")
    output: str
    choices: list[int]
    output_shape: list[int]
    units: dict[str, str]
    layer_sizes: list[int]
    activations: list[str]
    n_weights: int
    converted_from: ConvertedFrom
    lanflow_version: str


class RunFile(Settings):
    """The content of ``run.json``: which training made a network, and how that ended.

    A key that was not recorded is not in the file. In a network's folder that somebody else made,
    any key may be missing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None
    network_type: str | None = None
    backend: str | None = None
    device: str | None = None
    run_uuid: str | None = None
    config_sha256: str | None = None
    data_digest: str | None = None
    started_from: StartedFrom | None = Field(None, description="the network that it went on from")
    versions: dict[str, str] = Field({}, description="of the libraries that trained it")
    mlflow_tracking_uri: str | None = Field(None, description="of the store, without credentials")
    mlflow_run_id: str | None = None
    mlflow_experiment_id: str | None = None
    status: str | None = Field(None, description="RUNNING, FINISHED, FAILED or KILLED")
    finished: str | None = Field(None, description="when it ended")
    reason: str | None = Field(None, description="why it did not finish")
    mlflow_pending: str | None = Field(
        None, description="the record beside the network that is still to be sent to the store"
    )

    def to_json(self) -> dict[str, object]:
        """The content of the file: what was recorded, in the order of the keys here."""
        return self.model_dump(mode="json", exclude_unset=True)


def read_run_file(path: Path) -> RunFile:
    """Read a network's ``run.json``.

    Raises
    ------
    UserError
        Naming the file, if it is not there or damaged.
    """
    return parse_settings(RunFile, read_json(path, hint=FOLDER_HINT), str(path))


def read_card(path: Path) -> Card:
    """Read a network's ``card.json``.

    Raises
    ------
    UserError
        Naming the file, if it is not there or not a card.
    """
    content = read_json(path, hint=FOLDER_HINT)
    missing = [
        name
        for name, field in Card.model_fields.items()
        if field.is_required() and name not in content
    ]
    if missing:
        raise UserError(f"{path}: is not a network's card (it lacks {', '.join(missing)})")
    card = parse_settings(Card, content, str(path))
    for key in ("model", "network_type"):  # become names of folders
        require_name(getattr(card, key), f"{path}: {key}")
    return card


def read_bounds(path: Path) -> tuple[Bounds, Definition | None]:
    """The trained bounds in a card, of which nothing else has to be there, and the definition.

    Raises
    ------
    UserError
        Naming the file, if there are none.
    """
    content = read_json(path, hint=FOLDER_HINT)
    if "bounds" not in content:
        raise UserError(f"{path}: is not a network's card (it lacks bounds)")
    bounds = Bounds.from_json(content["bounds"], f"{path}: bounds")
    definition = content.get("definition")
    if definition is None:
        return bounds, None
    if not isinstance(definition, dict):
        raise UserError(f"{path}: definition: expected keys and values")
    return bounds, parse_settings(Definition, definition, f"{path}: definition")
