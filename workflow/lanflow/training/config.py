"""Settings of one network's training: LANfactory's training YAML, read and checked.

A YAML may list several networks. :class:`TrainingFile` is the file with LANfactory's keys, and
:class:`TrainingConfig` is one network of it for one cognitive model.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from lanflow.core.errors import UsageError, UserError
from lanflow.core.settings import (
    Count,
    Index,
    Name,
    Number,
    Positive,
    Settings,
    parse_settings,
    read_yaml,
)
from lanflow.networks.types import (
    DEFAULT_HUBER_DELTA,
    NETWORK_TYPES,
    Activation,
    NetworkType,
    NetworkTypeName,
)

OptimizerName = Literal["adam", "muon", "sgd"]
ScheduleName = Literal["reduce_on_plateau", "multiply", "cosine", "warmup_cosine"]

DEFAULT_PATH = Path(__file__).with_name("default_training.yaml")


def _none_if_nothing(value: object) -> object:
    """LANfactory's files write ``None`` or ``""`` for nothing; YAML reads both as text."""
    return None if value in ("", "None", "none") else value


class LearningRateSchedulerParams(Settings):
    """Settings of the learning-rate schedule; LANfactory's defaults (``torch_mlp.py``)."""

    factor: Positive = 0.1
    patience: Index = 2
    threshold: Annotated[Number, Field(ge=0)] = 0.001
    min_lr: Annotated[Number, Field(ge=0)] = 1e-8
    verbose: bool = True  # accepted for LANfactory's files; the rate is always logged
    warmup_epochs: Annotated[Number, Field(ge=0)] = 1.0  # warmup_cosine only


def _of_any_version(content: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what LANfactory's files of other versions say into the keys of :class:`TrainingFile`.

    Files of 2023 repeat what follows from NETWORK_TYPE, hold one network instead of a list, and
    name the activation of the last layer; files for LANfactory 0.9 may give ``t_max``.

    Raises
    ------
    ValueError
        If such a key asks for what lanflow does not do.
    """
    found = dict(content)
    kind = NETWORK_TYPES.get(str(found.get("NETWORK_TYPE")))
    if kind is not None:
        found = _without_implied(found, kind)
    for key in ("LAYER_SIZES", "ACTIVATIONS"):
        values = found.get(key)
        if isinstance(values, list) and values and not any(isinstance(v, list) for v in values):
            found[key] = [values]
    if "ACTIVATIONS" in found:
        found["ACTIVATIONS"] = _without_last_linear(found.get("LAYER_SIZES"), found["ACTIVATIONS"])
    return _without_t_max(found)


def _without_implied(content: dict[str, Any], kind: NetworkType) -> dict[str, Any]:
    """Leave keys out that say of a type of network what is true of it anyway."""
    implied = {
        "LOSS": kind.loss,
        "FEATURES_KEY": kind.features_key,
        "LABEL_KEY": kind.labels_key,
        "TRAIN_OUTPUT_TYPE": kind.train_output_type,
        "SAVE_HISTORY": True,
    }
    # Keys of training files of before ssm-simulators 0.8, which held the arrays of one network.
    earlier = {"FEATURES_KEY": "data", "LABEL_KEY": "labels"} if kind.has_trial else {}
    for key, own in implied.items():
        if content.get(key) not in (None, own, earlier.get(key)):
            raise ValueError(
                f"{key} is {content[key]!r}, but a {kind.name} network has {own!r}; leave it out"
            )
    return {key: value for key, value in content.items() if key not in implied}


def _without_last_linear(sizes: Any, activations: Any) -> Any:
    if not isinstance(sizes, list) or not isinstance(activations, list):
        return activations
    return [
        names[:-1]
        if isinstance(names, list)
        and isinstance(layers, list)
        and len(names) == len(layers)
        and names[-1] == "linear"
        else names
        for layers, names in zip_longest(sizes[: len(activations)], activations)
    ]


def _without_t_max(content: dict[str, Any]) -> dict[str, Any]:
    """Accept the length of LANfactory's cosine where it is the training's own."""
    params = content.get("LR_SCHEDULER_PARAMS")
    if content.get("LR_SCHEDULER") != "cosine" or not isinstance(params, dict):
        return content
    others = {key: value for key, value in params.items() if key != "t_max"}
    if params.get("t_max") not in (None, content.get("N_EPOCHS")):
        raise ValueError(
            f"LR_SCHEDULER_PARAMS.t_max is {params['t_max']!r}; the cosine ends with the training, "
            "so give N_EPOCHS or leave t_max out"
        )
    return {**content, "LR_SCHEDULER_PARAMS": others}


class TrainingFile(Settings):
    """The keys of a training YAML as LANfactory spells them."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=str.upper)

    network_type: NetworkTypeName
    cpu_batch_size: Count
    gpu_batch_size: Count
    generator_approach: str = "lan"
    optimizer: OptimizerName = Field(alias="OPTIMIZER_")
    n_epochs: Count
    training_data_folder: Annotated[str | None, BeforeValidator(_none_if_nothing)] = None
    model: Name | None = None
    shuffle: bool
    layer_sizes: list[Annotated[list[Count], Field(min_length=1)]] = Field(min_length=1)
    activations: list[list[Activation]]
    weight_decay: Annotated[Number, Field(ge=0)]
    train_val_split: Annotated[Number, Field(gt=0, lt=1)]
    n_training_files: Count
    labels_lower_bound: Number | None
    learning_rate: Positive
    lr_scheduler: Annotated[
        ScheduleName | None,
        BeforeValidator(_none_if_nothing),
    ]
    lr_scheduler_params: LearningRateSchedulerParams = LearningRateSchedulerParams()
    # Not of LANfactory: where the Huber loss of a lan turns from a square into a line, nats.
    huber_delta: Positive = DEFAULT_HUBER_DELTA

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_versions(cls, value: Any) -> Any:
        return _of_any_version(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _layers_and_activations_agree(self) -> Self:
        if len(self.layer_sizes) != len(self.activations):
            raise ValueError(
                f"LAYER_SIZES lists {len(self.layer_sizes)} networks and ACTIVATIONS "
                f"{len(self.activations)}; each network needs an entry in both"
            )
        for index, (sizes, activations) in enumerate(
            zip(self.layer_sizes, self.activations, strict=True)
        ):
            if len(activations) != len(sizes) - 1:
                raise ValueError(
                    f"network {index} has {len(sizes)} layers in LAYER_SIZES and "
                    f"{len(activations)} entries in ACTIVATIONS; expected {len(sizes) - 1}, one "
                    "for each layer but the last, which is linear"
                )
        return self

    @model_validator(mode="after")
    def _huber_loss_is_of_a_lan(self) -> Self:
        if self.network_type != "lan" and self.huber_delta != DEFAULT_HUBER_DELTA:
            raise ValueError(
                f"HUBER_DELTA is {self.huber_delta:g}, but the loss of {self.network_type} "
                "networks has no such place; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _plateau_reduces(self) -> Self:
        factor = self.lr_scheduler_params.factor
        if self.lr_scheduler == "reduce_on_plateau" and factor >= 1:
            raise ValueError(
                f"LR_SCHEDULER_PARAMS.factor is {factor:g}; reduce_on_plateau needs one below 1"
            )
        return self


class TrainingConfig(Settings):
    """All settings of one training: one network of a training YAML, for one cognitive model."""

    network_type: NetworkTypeName
    model: str
    generator_approach: str
    optimizer: OptimizerName
    n_epochs: int
    cpu_batch_size: int
    gpu_batch_size: int
    shuffle: bool
    layer_sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    weight_decay: float
    train_val_split: float
    n_training_files: int
    labels_lower_bound: float | None
    learning_rate: float
    lr_scheduler: ScheduleName | None
    lr_scheduler_params: LearningRateSchedulerParams
    network_id: int
    seed: int
    huber_delta: float = DEFAULT_HUBER_DELTA

    @model_serializer(mode="wrap")
    def _without_default_delta(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``huber_delta`` out where it is the default.

        Networks and checkpoints of before there was this key stay what they are.
        """
        content: dict[str, Any] = dump(self)
        if content.get("huber_delta") == DEFAULT_HUBER_DELTA:
            del content["huber_delta"]
        return content

    def to_lanfactory(self, *, batch_size: int) -> dict[str, object]:
        """LANfactory's ``train_config`` dictionary for this training (version 0.7.0).

        Parameters
        ----------
        batch_size
            Rows per update as used on the device.
        """
        network_type = NETWORK_TYPES[self.network_type]
        not_lanfactorys = set() if self.lr_scheduler == "warmup_cosine" else {"warmup_epochs"}
        return {
            "cpu_batch_size": self.cpu_batch_size,
            "gpu_batch_size": self.gpu_batch_size,
            "train_batch_size": batch_size,
            "n_epochs": self.n_epochs,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "lr_scheduler": self.lr_scheduler,
            "lr_scheduler_params": self.lr_scheduler_params.model_dump(exclude=not_lanfactorys),
            "weight_decay": self.weight_decay,
            "loss": network_type.loss,
            "save_history": True,
            "train_output_type": self._train_output_type,
            "n_training_files": self.n_training_files,
            "train_val_split": self.train_val_split,
            "shuffle_files": self.shuffle,
            "label_lower_bound": self.labels_lower_bound,
            "layer_sizes": list(self.layer_sizes),
            "activations": [*self.activations, "linear"],
            "features_key": network_type.features_key,
            "label_key": network_type.labels_key,
        }

    def to_lanfactory_network(self) -> dict[str, object]:
        """LANfactory's ``network_config`` dictionary (version 0.7.0)."""
        return {
            "layer_sizes": list(self.layer_sizes),
            "activations": [*self.activations, "linear"],
            "train_output_type": self._train_output_type,
            "network_type": self.network_type,
        }

    @property
    def _train_output_type(self) -> str:
        """LANfactory's word, and one that it does not have for logits of several choices.

        It would take the log-sigmoid of each, which sum to anything.
        """
        if self.network_type == "cpn" and self.layer_sizes[-1] > 1:
            return "choice_logits"
        return NETWORK_TYPES[self.network_type].train_output_type

    def deciding_settings(self) -> dict[str, object]:
        """The settings that decide the weights; the others are only passed on to LANfactory.

        One that is left out of files where it is the default is None there.
        """
        passed_on: Any = {"generator_approach": True, "lr_scheduler_params": {"verbose"}}
        return {"huber_delta": None, **self.model_dump(mode="json", exclude=passed_on)}

    def canonical_json(self) -> str:
        """Sorted JSON of all settings, for digests."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def read_training_file(path: Path | str) -> TrainingFile:
    """Read and check a training YAML.

    Raises
    ------
    UserError
        Naming the file and the key.
    """
    return parse_settings(TrainingFile, read_yaml(path), str(path))


def default_config(model: str) -> TrainingConfig:
    """The settings of a training of which nothing is said but the model."""
    file = read_training_file(DEFAULT_PATH)
    return select_network(file, network_id=0, model=model, seed=1, where=str(DEFAULT_PATH))


def select_network(
    file: TrainingFile, *, network_id: int, model: str | None, seed: int, where: str
) -> TrainingConfig:
    """Pick one network of a training YAML.

    Parameters
    ----------
    file
        The YAML.
    network_id
        Index into LAYER_SIZES and ACTIVATIONS.
    model
        The cognitive model; ``None`` takes the file's MODEL.
    seed
        Decides initial weights, split and order of rows.
    where
        Names the file in errors.

    Raises
    ------
    UserError
        If the index is out of range or no model is named.
    """
    n_networks = len(file.layer_sizes)
    if not 0 <= network_id < n_networks:
        raise UserError(
            f"{where}: network id {network_id} is out of range; LAYER_SIZES lists {n_networks} "
            f"network(s), so 0 to {n_networks - 1}"
        )
    model = model or file.model
    if not model:
        raise UserError(f"{where}: missing key 'MODEL' (or give --model)")
    shared = file.model_dump(exclude={"layer_sizes", "activations", "training_data_folder"})
    return TrainingConfig.model_validate(
        {
            **shared,
            "model": model,
            "layer_sizes": file.layer_sizes[network_id],
            "activations": file.activations[network_id],
            "network_id": network_id,
            "seed": seed,
        }
    )


def file_of_keywords(
    network_type: NetworkTypeName,
    *,
    layers: Sequence[int] | None,
    activations: Sequence[str] | None,
    layers_of: Path | None,
    **keys: object,
) -> TrainingFile:
    """Settings of one training from keywords, as Python has them, over the default file.

    Parameters
    ----------
    network_type
        As in the file.
    layers, activations
        Units and activation of each hidden layer.
    layers_of
        Folder of a network whose layers are taken where none are given.
    **keys
        Other keys of the file in lower case; None for one that is left out.

    Raises
    ------
    UserError
        If a key is not known.
    """
    shape = _layers(layers, activations)
    if not shape and layers_of is not None:
        shape = _layers_of(layers_of)
    given = {"network_type": network_type, **shape, **keys}
    content = _default_settings() | {k.upper(): v for k, v in given.items() if v is not None}
    return parse_settings(TrainingFile, content, "train")


def _layers(layers: Sequence[int] | None, activations: Sequence[str] | None) -> dict[str, object]:
    """LANfactory's keys for hidden layers; the output layer is linear and has one unit."""
    if layers is None:
        if activations is not None:
            raise UsageError("train: activations go with layers; give both")
        return {}
    names = list(activations) if activations is not None else ["tanh"] * len(layers)
    return {"layer_sizes": [[*layers, 1]], "activations": [names]}


def _layers_of(network: Path) -> dict[str, object]:
    """LANfactory's keys for the layers of a network that exists."""
    from lanflow.networks.card import read_card
    from lanflow.networks.folder import CARD

    card = read_card(network / CARD)
    return {"layer_sizes": [card.layer_sizes], "activations": [card.activations[:-1]]}


def _default_settings() -> dict[str, object]:
    """The default training YAML; of several networks the first."""
    content = read_yaml(DEFAULT_PATH)
    content.pop("MODEL", None)
    content.pop("TRAINING_DATA_FOLDER", None)
    return content
