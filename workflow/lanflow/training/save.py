"""Writes the folder of a trained network, so that one with a card is always whole.

Everything is computed before anything is written, files of an earlier training are removed first,
and the card is written last. Each file appears under its name once it is complete. A network that
LANfactory trained is written as ONNX with a card too.
"""

import hashlib
import itertools
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.core.files import write_bytes, write_json
from lanflow.core.interrupts import defer_signals
from lanflow.data.lineage import Lineage, describe_lineage
from lanflow.data.manifest import Manifest
from lanflow.models.definition import Definition, ModelsFileRecord
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters
from lanflow.networks import folder as network_folder
from lanflow.networks.card import Card, ConvertedCard, ConvertedFrom, StartedFrom
from lanflow.networks.folder import read_part
from lanflow.networks.lanfactory import LanfactoryNetwork, save_lanfactory_files
from lanflow.networks.types import (
    NETWORK_TYPES,
    Architecture,
    BackendName,
    NetworkType,
    describe_output,
)
from lanflow.training.backend import Weights
from lanflow.training.backends.choose import make_backend
from lanflow.training.config import default_config
from lanflow.training.fit import TrainingResult
from lanflow.training.job import TrainingJob
from lanflow.training.split import STREAM_PROBES, stream

log = logging.getLogger(__name__)

# Rows of the data on which the exported network is compared with the trained one.
_N_PROBES = 64


@dataclass(frozen=True)
class PlannedTraining:
    """A training that is ready to start, and where its network goes.

    Attributes
    ----------
    job
        What is trained on what.
    manifest
        What the data set was packed from.
    place
        The network's folder, and where LANfactory's files go.
    export_onnx
        Whether the network is exported to ``model.onnx``.
    definition
        What the model is, where ssm-simulators' catalogue does not say.
    choices
        The model's, as data code them; None where they are not known, or decide nothing.
    """

    job: TrainingJob
    manifest: Manifest
    place: network_folder.NetworkPlace
    export_onnx: bool
    definition: Definition | None = None
    choices: tuple[int, ...] | None = None

    @property
    def models_file(self) -> ModelsFileRecord | None:
        """The file of the user's that defines the model, if one does."""
        return None if self.definition is None else self.definition.models_file

    @property
    def folder(self) -> Path:
        """The network's folder."""
        return self.place.folder

    @property
    def started_from(self) -> StartedFrom | None:
        """The network that the training began from, if it did."""
        return None if self.job.start is None else self.job.start.record

    def lineage(self) -> Lineage:
        """The content of ``training_data_lineage.json``."""
        split = self.job.split
        lineage = describe_lineage(
            self.manifest,
            train_files=split.train_files,
            val_files=split.val_files,
            n_train_sets=split.n_train_sets,
            n_val_sets=split.n_val_sets,
        )
        if self.started_from is not None:
            lineage["started_from"] = self.started_from.model_dump(mode="json")
        return lineage


def save_network(
    training: PlannedTraining, result: TrainingResult, mlflow_run_id: str | None
) -> list[Path]:
    """Write the files of a finished training, and list them.

    Raises
    ------
    ContractError
        If the exported network differs from the trained one; nothing is written then.
    """
    job, place = training.job, training.place
    backend = job.backend
    products = _products(training, result)
    documents = {
        network_folder.CONFIG: job.config.model_dump(mode="json")
        | {"batch_size": job.batch_size, "memory_mb": job.memory_mb},
        network_folder.LINEAGE: training.lineage(),
        network_folder.CARD: _card(training, result, mlflow_run_id).model_dump(mode="json"),
    }
    _clear(place, backend.name)
    for name, product in products.items():
        write_bytes(place.folder / name, product)
    config = job.config.model_copy(update={"layer_sizes": job.architecture.layer_sizes})
    history_path = network_folder.save_history(place.folder, result.history)
    shared_paths = save_lanfactory_files(
        place,
        backend.name,
        network_config=config.to_lanfactory_network(),
        train_config=config.to_lanfactory(batch_size=job.batch_size),
        data_details=_data_details(training),
        history=result.history,
        weights=products[f"{network_folder.WEIGHTS[0]}.{backend.weights_suffix}"],
        onnx=products.get(network_folder.ONNX),
    )
    for name, document in documents.items():
        write_json(place.folder / name, document)
    own = [place.folder / name for name in (*products, *documents)]
    return [*own, history_path, *shared_paths]


def _products(training: PlannedTraining, result: TrainingResult) -> dict[str, bytes]:
    """Name -> content: the exported network, the weights in the backend's format, the curve."""
    job, backend = training.job, training.job.backend
    from lanflow.core.figures import draw_training_curve

    products = {}
    if training.export_onnx:
        with defer_signals():
            products[network_folder.ONNX] = _export(job, result)
    weights = result.best_weights, result.last_weights
    for name, arrays in zip(network_folder.WEIGHTS, weights, strict=True):
        with defer_signals():
            products[f"{name}.{backend.weights_suffix}"] = backend.native_weights(arrays)
    if training.models_file is not None:
        products[network_folder.MODELS_FILE] = training.models_file.text.encode()
    network_type = NETWORK_TYPES[job.config.network_type]
    is_huber = network_type.loss == "huber"
    products[network_folder.CURVE] = draw_training_curve(
        [asdict(epoch) for epoch in result.history],
        title=f"{job.config.model} {network_type.name} ({backend.name})",
        loss="Huber loss of the log-likelihood" if is_huber else "cross-entropy (nats)",
    ).png()
    return products


def _clear(place: network_folder.NetworkPlace, backend: str) -> None:
    """Remove the files of an earlier training, the card first."""
    place.folder.mkdir(parents=True, exist_ok=True)
    names = [network_folder.CARD, network_folder.ONNX, network_folder.HISTORY]
    names += [network_folder.CONFIG, network_folder.LINEAGE, network_folder.CURVE]
    names += [
        network_folder.MODELS_FILE,
        network_folder.EVALUATION,
        network_folder.SCORES,
        *network_folder.WEIGHTS_FILES,
    ]  # of both backends
    paths = [place.folder / name for name in names]
    # LANfactory's other files are replaced anyway; without an export this one is not.
    paths.append(place.lanfactory_path(backend, "model"))
    for path in paths:
        path.unlink(missing_ok=True)


def _data_details(training: PlannedTraining) -> dict[str, object]:
    """LANfactory's record of the data; its two trainers spell the keys differently."""
    job = training.job
    described: dict[str, dict[str, object]] = {
        "data_generator_config": dict(training.manifest.generator),
        "data_model_config": _model_config(training),
    }
    ids = "data_file_ids" if job.backend.name == "jax" else "datafile_ids"
    details: dict[str, object] = {}
    for side, files in (("train", job.split.train_files), ("valid", job.split.val_files)):
        details |= {f"{side}_{key}": dict(value) for key, value in described.items()}
        details[f"{side}_{ids}"] = list(files)
    return details


def _model_config(training: PlannedTraining) -> dict[str, object]:
    """The model in ssm-simulators' keys, as far as the data say: order of parameters, bounds.

    LANfactory 0.9 keeps it with a network; plain values only, so that reading it runs no code.
    """
    data = training.job.data_set
    parameters, bounds = list(data.parameters), data.bounds.to_json()
    config: dict[str, object] = {"name": data.model, "params": parameters}
    config["n_params"] = len(parameters)
    if set(parameters) <= set(bounds):
        pairs = [bounds[name] for name in parameters]
        config["param_bounds"] = [list(side) for side in zip(*pairs, strict=True)]
        config["param_bounds_dict"] = {name: tuple(bounds[name]) for name in parameters}
    choices = None if training.definition is None else training.definition.choices
    if choices is not None:
        config |= {"choices": list(choices), "nchoices": len(choices)}
    return config


def _export(job: TrainingJob, result: TrainingResult) -> bytes:
    """ONNX of the best weights, compared with the backend's outputs on rows of the data."""
    from lanflow.networks.onnx import check_equal, export_onnx
    from lanflow.networks.runtime import rows_of_choices

    content = export_onnx(job.architecture, result.best_weights)
    job.backend.restore(result.best_weights, job.backend.optimizer_state())
    rng = stream(job.config.seed, STREAM_PROBES)
    n_rows = len(job.split.train)
    rows = job.split.train.at(np.sort(rng.choice(n_rows, min(_N_PROBES, n_rows), replace=False)))
    features = np.asarray(job.arrays()[0][rows])
    expected = job.backend.predict(features)
    if job.architecture.choices:
        features = rows_of_choices(features, job.architecture.choices)
        expected = expected.reshape(-1, 1)
    difference = check_equal(content, features, expected)
    log.info("exported network equals the trained one to %.1e", difference)
    return content


def _card(training: PlannedTraining, result: TrainingResult, mlflow_run_id: str | None) -> Card:
    """Write the card: order of inputs, bounds, meaning of the output."""
    job, shape = training.job, training.job.architecture
    network_type = NETWORK_TYPES[job.config.network_type]
    parameters = list(job.data_set.parameters)
    choices = shape.choices or training.choices
    behind = ["rt", "choice"] if network_type.has_trial else ["choice"] * bool(shape.choices)
    return Card(
        model=job.config.model,
        network_type=job.config.network_type,
        backend=job.backend.name,
        inputs=parameters + behind,
        parameters=parameters,
        bounds=job.data_set.bounds,
        output=describe_output(network_type.name, choices, takes_choice=bool(shape.choices)),
        choices=None if choices is None else list(choices),
        output_shape=[1, shape.n_exported_outputs],
        units={"rt": "seconds"} if network_type.has_trial else {},
        layer_sizes=list(shape.layer_sizes),
        activations=[*job.config.activations, "linear"],
        n_weights=job.architecture.n_weights,
        best_epoch=result.best.epoch,
        best_val_loss=result.best.val_loss,
        n_epochs=len(result.history),
        loss=shape.loss,
        seed=job.config.seed,
        data_digest=job.data_set.digest,
        label_source=job.data_set.label_source,
        n_parameter_sets=job.split.n_train_sets + job.split.n_val_sets,
        n_rows=len(job.split.train) + len(job.split.val),
        n_dropped_rows=job.data_set.dropped_rows.get(network_type.name, 0)
        if training.manifest.drop_invalid
        else None,
        started_from=training.started_from,
        run_uuid=training.place.run_uuid,
        mlflow_run_id=mlflow_run_id,
        lanflow_version=__version__,
        definition=training.definition,
    )


@dataclass(frozen=True)
class ForeignNetwork:
    """A network that LANfactory trained: its weights, and what it is of.

    Attributes
    ----------
    weights_path
        LANfactory's state dict of torch, or state of flax.
    described
        The network's configuration beside it.
    model
        The cognitive model.
    network_type
        What its output means.
    """

    weights_path: Path
    described: LanfactoryNetwork
    model: Model
    network_type: NetworkType


def convert_network(network: ForeignNetwork, folder: Path) -> ConvertedCard:
    """Write the ONNX file and the card of a network that LANfactory trained.

    Parameters
    ----------
    network
        The network.
    folder
        Where ``model.onnx`` and ``card.json`` go.

    Returns
    -------
    ConvertedCard
        The card.

    Raises
    ------
    UserError
        If the weights are not those of such a network; nothing is written then.
    """
    from lanflow.networks.onnx import check_equal, export_onnx

    content = read_part(network.weights_path, "expected LANfactory's weights")
    backend = make_backend(_backend_of(content), device="cpu", threads=1)
    try:
        weights = backend.read_native_weights(content)
    except ValueError as e:
        raise UserError(f"{network.weights_path}: {e}") from e
    shape = _shape_of(network, weights)
    onnx = export_onnx(shape, weights)
    # Any settings: nothing is trained.
    backend.start(shape, default_config(network.model.name), weights)
    vectors = draw_parameters(network.model, network.model.bounds, _N_PROBES, seed=1)
    rows = vectors.astype(np.float32)
    if network.network_type.has_trial:
        n, choices = len(rows), np.array(network.model.choices)
        trials = [np.linspace(0.1, 5, n), choices[np.arange(n) % len(choices)]]
        rows = np.column_stack([rows, *trials]).astype(np.float32)
    difference = check_equal(onnx, rows, backend.predict(rows))
    log.info("the ONNX network equals LANfactory's to %.1e", difference)
    card = _foreign_card(network, shape, hashlib.sha256(content).hexdigest())
    write_bytes(folder / network_folder.ONNX, onnx)
    write_json(folder / network_folder.CARD, card.model_dump(mode="json"))
    return card


def _backend_of(weights: bytes) -> BackendName:
    """The library that wrote a file of weights: torch's are zip files or begin as pickles do."""
    return "torch" if weights.startswith((b"PK", b"\x80\x02")) else "jax"


def _shape_of(network: ForeignNetwork, weights: Weights) -> Architecture:
    """The shape in the configuration, if the weights and the model have it.

    Raises
    ------
    UserError
        Naming what differs.
    """
    path, described, kind = network.weights_path, network.described, network.network_type
    found = []
    for i in range(len(weights) // 2):
        array = weights.get(f"layers_{i}/kernel")
        found.append(() if array is None else array.shape)
    n_inputs = len(network.model.parameters) + 2 * kind.has_trial
    sizes = (n_inputs, *described.layer_sizes)
    if found != list(itertools.pairwise(sizes)):
        layers = ", ".join(" x ".join(map(str, each)) for each in found)
        raise UserError(
            f"{path}: its layers are {layers}, but a {kind.name} network of {network.model.name} "
            f"({n_inputs} inputs) with the configuration's layers has "
            f"{', '.join(f'{a} x {b}' for a, b in itertools.pairwise(sizes))}"
        )
    return Architecture(kind.name, n_inputs, described.layer_sizes, described.activations)


def _foreign_card(network: ForeignNetwork, shape: Architecture, sha256: str) -> ConvertedCard:
    """All that is known of a network that was trained elsewhere."""
    model, kind = network.model, network.network_type
    return ConvertedCard(
        model=model.name,
        network_type=kind.name,
        inputs=[*model.parameters, *(["rt", "choice"] if kind.has_trial else [])],
        parameters=list(model.parameters),
        bounds=model.bounds,
        output=describe_output(kind.name, model.choices),
        choices=list(model.choices),
        output_shape=[1, shape.n_exported_outputs],
        units={"rt": "seconds"} if kind.has_trial else {},
        layer_sizes=list(shape.layer_sizes),
        activations=[*shape.activations, "linear"],
        n_weights=shape.n_weights,
        converted_from=ConvertedFrom(file=network.weights_path.name, sha256=sha256),
        lanflow_version=__version__,
    )
