"""The settings, data and folder that the options of a training name, each looked up once."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from lanflow.core.errors import UsageError, UserError
from lanflow.core.folders import refuse_foreign_files
from lanflow.core.names import DEFAULT_MEMORY_MB, UNFINISHED
from lanflow.data.dataset import check_repeats
from lanflow.data.locate import Places
from lanflow.data.prepare import (
    PackedData,
    download_absent,
    freeze,
    materialise_once,
    open_packed,
    query_experiment,
)
from lanflow.models.definition import Definition
from lanflow.models.models_file import ModelsFile, base_name
from lanflow.models.own.model import own_models
from lanflow.models.simulators import find_model, resolve_model
from lanflow.networks import folder as network_folder
from lanflow.networks.folder import NetworkPlace
from lanflow.networks.types import BackendName
from lanflow.tracking.preflight import check_first_contact
from lanflow.tracking.store import SendMode, Store, resolve_store, training_experiment
from lanflow.training.backends.choose import make_backend
from lanflow.training.checkpoints import read_start
from lanflow.training.config import (
    DEFAULT_PATH,
    TrainingConfig,
    TrainingFile,
    read_training_file,
    select_network,
)
from lanflow.training.job import plan_job
from lanflow.training.save import PlannedTraining
from lanflow.training.track import Tracking, interrupted_run_uuid, recorded_run_uuid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """The options of ``jaxtrain`` and ``torchtrain``, which their ``--help`` explains.

    ``settings`` take the place of the file at ``config_path`` for callers in Python; ``start_from``
    is ``--from``.
    """

    backend: BackendName
    networks_path_base: Path
    config_path: Path | None = None
    settings: TrainingFile | None = None
    start_from: Path | None = None
    network_id: int = 0
    model: str | None = None
    seed: int = 1
    device: str = "auto"
    threads: int = 1
    memory_mb: int = DEFAULT_MEMORY_MB
    network_name: str | None = None
    run_uuid: str | None = None
    export_onnx: bool = True
    dry_run: bool = False
    training_data_folder: Path | None = None
    data_generation_experiment: str | None = None
    data_set: Path | None = None
    manifest: Path | None = None
    data_cache: Path | None = None
    root: Path | None = None
    path_map: Mapping[str, str] = field(default_factory=dict)
    use_extra_files: bool = False
    drop_invalid: bool = False
    max_repeated_sets: float = 1.0
    models_file: Path | None = None
    mlflow_on: bool = False
    mlflow_run_id: str | None = None
    mlflow_run_name: str | None = None
    mlflow_experiment_name: str | None = None
    mlflow_tracking_uri: str | None = None
    mlflow_artifact_location: str | None = None
    mlflow_send: SendMode = "now"

    @property
    def is_tracked(self) -> bool:
        """True if the training is an MLflow run; some options imply it."""
        return bool(
            self.mlflow_on
            or self.mlflow_run_id
            or self.mlflow_run_name
            or self.data_generation_experiment
        )

    def without_tracking(self) -> Self:
        """The same options with tracking off, for a machine without MLflow."""
        return replace(self, mlflow_on=False, mlflow_run_name=None)


@dataclass(frozen=True)
class PreparedTraining:
    """A training whose settings, data and folder are found; no backend is chosen yet."""

    options: TrainingOptions
    config: TrainingConfig
    data: PackedData
    place: NetworkPlace
    definition: Definition | None
    tracking: Tracking | None

    def plan(self) -> PlannedTraining:
        """Choose the backend and its device, and plan the job for it."""
        options, config, data = self.options, self.config, self.data
        start = None
        if options.start_from is not None:
            start = read_start(options.start_from, config, data.data_set, self.definition)
        choices = _choices_of(config, data, self.definition)
        job = plan_job(
            config,
            data.data_set,
            make_backend(options.backend, device=options.device, threads=options.threads),
            choices=choices,
            checkpoint_path=self.place.folder / network_folder.CHECKPOINT,
            memory_mb=options.memory_mb,
            start=start,
        )
        return PlannedTraining(
            job, data.manifest, self.place, options.export_onnx, self.definition, choices
        )


def prepare(options: TrainingOptions, data: PackedData | None = None) -> PreparedTraining:
    """Look up what options name: settings, data and folder.

    Parameters
    ----------
    options
        As a person gives them.
    data
        The data that they name, where it is open already.

    Raises
    ------
    UserError
        If something is not there, or does not go together.
    """
    _check_options(options)
    file, config = _read_config(options)
    if data is None and options.settings is None and options.config_path is None:
        log.warning("no --config-path given; using LANfactory's default configuration")
    store = resolve_store(
        uri=options.mlflow_tracking_uri, artifact_location=options.mlflow_artifact_location
    )
    place = _choose_place(options, config, store)
    refuse_foreign_files(place.folder, network_folder.IN_NETWORK_FOLDER, what="a network")
    _refuse_itself(options, place)
    tracking = _choose_tracking(options, place, store)
    if tracking is not None and not options.dry_run:
        check_first_contact(store, tracking.experiment, tracking.send_mode)
    models_file = None if options.models_file is None else ModelsFile.read(options.models_file)
    if data is None:
        data = _locate_data(options, file, config, store, models_file)
        check_repeats(data.data_set, max_repeated_sets=options.max_repeated_sets)
    definition = _define_model(data, models_file)
    return PreparedTraining(options, config, data, place, definition, tracking)


def _check_options(options: TrainingOptions) -> None:
    if options.mlflow_run_id is not None and options.mlflow_send == "later":
        raise UsageError(
            "--mlflow-run-id is checked against the store, which --mlflow-send later leaves alone; "
            "leave out one of them"
        )
    if options.data_set is None:
        if options.manifest is not None:
            raise UsageError("--manifest belongs to --data-set; give both")
    elif options.drop_invalid:
        raise UsageError(
            "--drop-invalid is of use while training files are packed, and --data-set is packed; "
            "give it to 'lanflow manifest'"
        )
    elif options.training_data_folder or options.data_generation_experiment:
        raise UsageError(
            "--data-set takes the place of --training-data-folder and "
            "--data-generation-experiment-id; give one or the other"
        )


def _read_config(options: TrainingOptions) -> tuple[TrainingFile, TrainingConfig]:
    path = options.config_path or DEFAULT_PATH
    file = options.settings or read_training_file(path)
    config = select_network(
        file,
        network_id=options.network_id,
        model=options.model,
        seed=options.seed,
        where=str(path),
    )
    return file, config


def _choose_place(options: TrainingOptions, config: TrainingConfig, store: Store) -> NetworkPlace:
    """Folder and name of the network; a continued run keeps those it had."""
    run_uuid = options.run_uuid
    if run_uuid is None and options.mlflow_run_id is not None:
        run_uuid = recorded_run_uuid(options.mlflow_run_id, store)
    if run_uuid is None and options.network_name is not None:
        run_uuid = _interrupted_run_uuid(options, config)
    run_uuid = run_uuid or uuid.uuid1().hex
    return NetworkPlace(
        base=options.networks_path_base,
        network_type=config.network_type,
        model=config.model,
        name=options.network_name or run_uuid,
        run_uuid=run_uuid,
    )


def _interrupted_run_uuid(options: TrainingOptions, config: TrainingConfig) -> str | None:
    """The run uuid of this training if it was interrupted, so that its files are replaced."""
    assert options.network_name is not None
    folder = NetworkPlace(
        base=options.networks_path_base,
        network_type=config.network_type,
        model=config.model,
        name=options.network_name,
        run_uuid=options.network_name,
    ).folder
    marks = UNFINISHED, network_folder.CHECKPOINT
    if not any((folder / mark).exists() for mark in marks):
        return None
    return interrupted_run_uuid(folder, config, options.backend)


def _refuse_itself(options: TrainingOptions, place: NetworkPlace) -> None:
    """Refuse to go on from the network that is to be written."""
    start = options.start_from
    if start is not None and start.resolve() == place.folder.resolve():
        raise UsageError(
            f"--from {start} is the network that is to be written, and stays as it is; give the "
            "new one another --network-name"
        )


def _choose_tracking(
    options: TrainingOptions, place: NetworkPlace, store: Store
) -> Tracking | None:
    if not options.is_tracked:
        return None
    return Tracking(
        store=store,
        experiment=training_experiment(place.model, name=options.mlflow_experiment_name),
        run_name=options.mlflow_run_name or f"{place.model}-{place.name}",
        run_id=options.mlflow_run_id,
        send_mode=options.mlflow_send,
    )


def _locate_data(
    options: TrainingOptions,
    file: TrainingFile,
    config: TrainingConfig,
    store: Store,
    models_file: ModelsFile | None,
) -> PackedData:
    """The data set that the options name: packed, or files of an experiment, a folder, or both."""
    if options.data_set is not None:
        return _open_data_set(options.data_set, options.manifest, config.model, models_file)
    folder = options.training_data_folder
    experiment = options.data_generation_experiment
    if folder is None and experiment is None and file.training_data_folder:
        folder = Path(file.training_data_folder)
    if folder is None and experiment is None:
        raise UsageError(
            "no data: give --training-data-folder, --data-generation-experiment-id, both, or "
            "--data-set"
        )
    query = None if experiment is None else query_experiment(store, experiment)
    places = Places(
        folder=folder,
        root=options.root,
        path_map=options.path_map,
        use_extra_files=options.use_extra_files,
    )
    cache = options.data_cache or options.networks_path_base / ".data_sets"
    if query is not None and folder is None:
        places = download_absent(store, query, places, cache / "downloaded")
    manifest = freeze(
        query=query,
        places=places,
        model=config.model,
        models_file=models_file,
        drop_invalid=options.drop_invalid,
    )
    return materialise_once(manifest, cache)


def _open_data_set(
    folder: Path, manifest_path: Path | None, model: str, models_file: ModelsFile | None
) -> PackedData:
    path = manifest_path or folder.with_name("manifest.json")
    data = open_packed(folder, path, models_file=models_file)
    if data.data_set.model != model:
        raise UserError(
            f"{folder}: data of model {data.data_set.model!r}, but {model!r} is to be trained"
        )
    return data


def _define_model(data: PackedData, models_file: ModelsFile | None) -> Definition | None:
    """Define the model for the network's card; a models file may bring it in now.

    Raises
    ------
    UserError
        If the model of that file is not that of the data.
    """
    definition, model = data.manifest.definition, data.data_set.model
    if models_file is None:
        return definition
    try:
        if base_name(model) not in own_models(models_file):
            return definition
    except ImportError as e:
        raise UserError(f"--models-file needs {e.name}; install lanflow[generate]") from e
    return resolve_model(
        model,
        parameters=data.data_set.parameters,
        definition=definition,
        models_file=models_file,
        where=str(data.data_set.folder),
    ).definition


def _choices_of(
    config: TrainingConfig, data: PackedData, definition: Definition | None
) -> tuple[int, ...] | None:
    """The choices of a model; None where they decide nothing, or ssm-simulators is not here."""
    if definition is not None and definition.choices is not None:
        return tuple(definition.choices)
    if definition is not None or config.network_type not in ("cpn", "gonogo"):
        return None
    try:
        return find_model(data.data_set.model).choices
    except (ImportError, UserError):
        return None
