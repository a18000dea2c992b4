"""One training as a step: data in, a tracked run, a network's folder out."""

import contextlib
import logging
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanflow.core.errors import UsageError, UserError
from lanflow.core.folders import refuse_foreign_files
from lanflow.core.locks import locked
from lanflow.core.names import FINISHED_CHECKPOINT
from lanflow.core.progress import format_seconds
from lanflow.data import locate
from lanflow.data.dataset import DataSet, check_repeats
from lanflow.data.prepare import (
    PackedData,
    download_absent,
    freeze,
    materialise_once,
    open_packed,
    query_experiment,
)
from lanflow.networks import folder as network_folder
from lanflow.tracking.preflight import check_first_contact
from lanflow.tracking.recorder import RunRecorder, hide_finished, resume_finished
from lanflow.tracking.store import Store, resolve_store, training_experiment
from lanflow.training.backend import Epoch, Kernel, make_kernel
from lanflow.training.checkpoints import load_checkpoint
from lanflow.training.config import (
    DEFAULT_MEMORY_MB,
    DEFAULT_PATH,
    TrainingConfig,
    TrainingFile,
    TrainingOptions,
    read_training_file,
    select_network,
)
from lanflow.training.fit import TrainingJob, TrainingResult, build_architecture, fit
from lanflow.training.save import save_network
from lanflow.training.split import split_rows
from lanflow.training.track import log_outputs, recorded_run_uuid, track_training

# What is told of each epoch while a network trains.


log = logging.getLogger(__name__)


class EpochFeed:
    """Tells of each epoch: a line for a person, metrics for the run."""

    def __init__(self, run: RunRecorder | None, job: TrainingJob) -> None:
        self._run, self._job = run, job
        self._n_told = 0

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Tell of the epochs of a history that are new."""
        new = history[self._n_told :]
        if self._run is not None:
            self._run.log_history(
                (
                    {
                        "train_loss": epoch.train_loss,
                        "val_loss": epoch.val_loss,
                        "learning_rate": epoch.learning_rate,
                    },
                    epoch.epoch,
                )
                for epoch in new
            )
        for epoch in new:
            self._tell(epoch)
        self._n_told = len(history)

    def _tell(self, epoch: Epoch) -> None:
        n_epochs = self._job.config.n_epochs
        log.info(
            "epoch %d/%d  train_loss %.5g  val_loss %.5g  learning_rate %.2g  %s rows/s  %s left",
            epoch.epoch + 1,
            n_epochs,
            epoch.train_loss,
            epoch.val_loss,
            epoch.learning_rate,
            f"{len(self._job.split.train) / epoch.seconds:,.0f}",
            format_seconds(epoch.seconds * (n_epochs - epoch.epoch - 1)),
        )


def train(options: TrainingOptions) -> dict[str, Any]:
    """Run one training from options to files.

    Parameters
    ----------
    options
        As given.

    Returns
    -------
    dict
        What a script wants to know: status, paths, ids, best val_loss.

    Raises
    ------
    UserError
        For everything a person can mend; the run, if one was started, is FAILED.
    """
    _check_options(options)
    file, config = _read_config(options)
    store = resolve_store(
        uri=options.mlflow_tracking_uri, artifact_location=options.mlflow_artifact_location
    )
    place = _place(options, config, store)
    refuse_foreign_files(place.folder, network_folder.IN_NETWORK_FOLDER, what="a network")
    if options.is_tracked and not options.dry_run:
        experiment = training_experiment(config.model, name=options.mlflow_experiment_name)
        check_first_contact(store, experiment, options.mlflow_send)
    data = _locate_data(options, file, config, store)
    check_repeats(data.data_set, max_repeated_sets=options.max_repeated_sets)
    if options.dry_run:
        _, job = _prepare(options, config, data, place)
        return _describe_dry_run(options, job, place)
    with locked(place.folder / network_folder.LOCK, f"{place.folder} is being trained"):
        kernel, job = _prepare(options, config, data, place)
        _take_up_finished(place, job, kernel)
        return _train(options, store, job, kernel, data, place)


def _prepare(
    options: TrainingOptions,
    config: TrainingConfig,
    data: PackedData,
    place: network_folder.NetworkPlace,
) -> tuple[Kernel, TrainingJob]:
    """The backend on its device, and the job for it."""
    kernel = make_kernel(options.backend, device=options.device, threads=options.threads)
    job = plan_job(
        config,
        data.data_set,
        kernel,
        checkpoint_path=place.folder / network_folder.CHECKPOINT,
        memory_mb=options.memory_mb,
    )
    return kernel, job


def _take_up_finished(place: network_folder.NetworkPlace, job: TrainingJob, kernel: Kernel) -> None:
    """Go on where this very training ended, if its network was removed since.

    Snakemake removes a job's outputs before it repeats the job, as it does when it was killed
    itself while the job went on to a good end. Training again would give the same bytes.
    """
    folder = place.folder
    kept, path = folder / FINISHED_CHECKPOINT, folder / network_folder.CHECKPOINT
    if (folder / network_folder.CARD).exists() or path.exists() or not kept.exists():
        return
    checkpoint = load_checkpoint(kept)
    if checkpoint is None or checkpoint.fingerprint != job.fingerprint(kernel):
        return
    if len(checkpoint.history) > job.config.n_epochs:
        return
    log.info("this training finished before, and its network was removed; writing it again")
    resume_finished(folder)
    kept.replace(path)


def _put_away_finished(folder: Path) -> None:
    """Keep the state in which a training ended, hidden, for :func:`_take_up_finished`."""
    with contextlib.suppress(FileNotFoundError):
        (folder / network_folder.CHECKPOINT).replace(folder / FINISHED_CHECKPOINT)
    hide_finished(folder)


def _train(
    options: TrainingOptions,
    store: Store,
    job: TrainingJob,
    kernel: Kernel,
    data: PackedData,
    place: network_folder.NetworkPlace,
) -> dict[str, Any]:
    """Train, and record it; nobody else writes in the network's folder."""
    with track_training(options, store, job, kernel, data, place) as run:
        result = fit(job, kernel, on_epoch=EpochFeed(run, job))
        run_id = None if run is None else run.ensure_id()
        paths = save_network(options, job, kernel, data, place, result, run_id)
        if run is not None:
            log_outputs(run, result, paths)
    _put_away_finished(place.folder)
    return _describe_result(options, place, result, run)


def _check_options(options: TrainingOptions) -> None:
    if options.mlflow_run_id is not None and options.mlflow_send == "later":
        raise UsageError(
            "--mlflow-run-id is checked against the store, which --mlflow-send later leaves alone; "
            "leave out one of them"
        )
    if options.data_set is None:
        if options.manifest is not None:
            raise UsageError("--manifest belongs to --data-set; give both")
    elif options.training_data_folder or options.data_generation_experiment:
        raise UsageError(
            "--data-set takes the place of --training-data-folder and "
            "--data-generation-experiment-id; give one or the other"
        )


def _place(
    options: TrainingOptions, config: TrainingConfig, store: Store
) -> network_folder.NetworkPlace:
    """Where the network goes; a run that is resumed leads to where it was before."""
    run_uuid = options.run_uuid
    if run_uuid is None and options.mlflow_run_id is not None:
        run_uuid = recorded_run_uuid(options.mlflow_run_id, store)
    run_uuid = run_uuid or uuid.uuid1().hex
    return network_folder.NetworkPlace(
        base=options.networks_path_base,
        network_type=config.network_type,
        model=config.model,
        name=options.network_name or run_uuid,
        run_uuid=run_uuid,
    )


def _read_config(options: TrainingOptions) -> tuple[TrainingFile, TrainingConfig]:
    path = options.config_path
    if path is None:
        log.warning("no --config-path given; using LANfactory's default configuration")
        path = DEFAULT_PATH
    file = read_training_file(path)
    config = select_network(
        file,
        network_id=options.network_id,
        model=options.model,
        seed=options.seed,
        where=str(path),
    )
    return file, config


def _locate_data(
    options: TrainingOptions, file: TrainingFile, config: TrainingConfig, store: Store
) -> PackedData:
    """The data set of one of the modes: packed, MLflow-first, validation, traditional."""
    if options.data_set is not None:
        manifest = options.manifest or options.data_set.with_name("manifest.json")
        data = open_packed(options.data_set, manifest)
        if data.data_set.model != config.model:
            raise UserError(
                f"{options.data_set}: data of model {data.data_set.model!r}, but "
                f"{config.model!r} is to be trained"
            )
        return data
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
    places = locate.Places(
        folder=folder,
        root=options.root,
        path_map=options.path_map,
        use_extra_files=options.use_extra_files,
    )
    cache = options.data_cache or options.networks_path_base / ".data_sets"
    if query is not None and folder is None:
        places = download_absent(store, query, places, cache / "downloaded")
    return materialise_once(freeze(query=query, places=places, model=config.model), cache)


def plan_job(
    config: TrainingConfig,
    data_set: DataSet,
    kernel: Kernel,
    *,
    checkpoint_path: Path | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> TrainingJob:
    """The job that a configuration means for this data on this device.

    Raises
    ------
    UserError
        If the data does not fit the network.
    """
    architecture = build_architecture(config, data_set)
    split = split_rows(
        data_set,
        config.network_type,
        n_files=config.n_training_files,
        train_share=config.train_val_split,
        seed=config.seed,
    )
    batch_size = config.gpu_batch_size if kernel.uses_gpu else config.cpu_batch_size
    log.info(
        "%s %s on %s: %s rows of %d parameter sets to train on, %s rows of %d to validate on",
        config.model,
        config.network_type,
        kernel.device,
        f"{len(split.train):,}",
        split.n_train_sets,
        f"{len(split.val):,}",
        split.n_val_sets,
    )
    return TrainingJob(
        config=config,
        architecture=architecture,
        data_set=data_set,
        split=split,
        batch_size=min(batch_size, len(split.train)),
        checkpoint_path=checkpoint_path,
        memory_mb=memory_mb,
    )


def _describe_dry_run(
    options: TrainingOptions, job: TrainingJob, place: network_folder.NetworkPlace
) -> dict[str, Any]:
    return {
        "status": "DRY_RUN",
        "network_folder": str(place.folder.absolute()),
        "n_train_rows": len(job.split.train),
        "n_val_rows": len(job.split.val),
        "n_weights": job.architecture.n_weights,
        "tracked": options.is_tracked,
    }


def _describe_result(
    options: TrainingOptions, place: network_folder.NetworkPlace, result: TrainingResult, run: Any
) -> dict[str, Any]:
    folder = place.folder.absolute()
    return {
        "status": "FINISHED",
        "network_folder": str(folder),
        "onnx": str(folder / network_folder.ONNX) if options.export_onnx else None,
        "history": str(folder / network_folder.HISTORY),
        "run_uuid": place.run_uuid,
        "mlflow_run_id": None if run is None else run.id,
        "mlflow_experiment_id": None if run is None else run.experiment_id,
        "mlflow_pending": None if run is None or run.pending is None else str(run.pending),
        "best_epoch": result.best.epoch,
        "best_val_loss": result.best.val_loss,
        "train_loss": result.history[-1].train_loss,
    }
