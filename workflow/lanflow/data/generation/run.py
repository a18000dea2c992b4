"""One chunk of data generation as a command runs it: files, their inventory, and an MLflow run."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from lanflow.core.errors import UserError, explain_import_error
from lanflow.core.files import write_json, write_text
from lanflow.core.locks import locked
from lanflow.core.processes import require_memory
from lanflow.core.progress import Progress
from lanflow.data.generation.generate import (
    FILES_NAME,
    RECORD_NAME,
    InventoryFile,
    generate_chunk,
    remove_partial,
    require_chunk_folder,
    require_chunk_memory,
)
from lanflow.data.generation.plan import ChunkPlan
from lanflow.models.simulators import covariates_remark
from lanflow.networks import folder as network_folder
from lanflow.tracking.preflight import check_first_contact
from lanflow.tracking.recorder import RunRecorder
from lanflow.tracking.store import FILES_TAG, INVENTORY_NAME, MODELS_FILE_TAG, SendMode, Store
from lanflow.tracking.unfinished import hide_finished, record_work, resume_finished

log = logging.getLogger(__name__)

# Address space that importing ssm-simulators, and what it needs, takes (measured, version 0.12.5).
_LOADING_BYTES = 500 * 2**20


class _Chunk(TypedDict):
    """The record of a chunk of files, also printed."""

    model: str
    chunk: int
    seed: int
    batch_id: str
    run_id: str | None
    mlflow_pending: str | None
    folder: str
    n_files: int


class ChunkRecord(_Chunk):
    """The content of ``chunk.json``; ``mlflow_pending`` is a path from the chunk's folder."""

    files: list[InventoryFile]


class ChunkSummary(_Chunk):
    """The JSON that ``lanflow generate`` prints; ``mlflow_pending`` is an absolute path."""

    n_parameter_sets: int


def generate(
    plan: ChunkPlan,
    folder: Path,
    *,
    n_processes: int,
    store: Store | None,
    experiment_name: str,
    run_name: str | None = None,
    log_files: bool = False,
    send_mode: SendMode = "now",
) -> ChunkSummary:
    """Make a chunk's files and record them.

    Parameters
    ----------
    plan, folder, n_processes
        As for :func:`lanflow.data.generation.generate.generate_chunk`.
    store
        Where the run is tracked; ``None`` for no run.
    experiment_name, run_name
        Of the run.
    log_files
        Make the files artifacts of the run, too, for machines that do not see its folder.
    send_mode
        Whether the store must be there at the start, is tried, or is left alone.

    Returns
    -------
    ChunkSummary
        The chunk's record in ``chunk.json``, without its files and with the number of parameter
        sets.

    Raises
    ------
    UserError
        If the generator or the store refuse; the run, if one was started, is FAILED. If the folder
        holds anything but a chunk; nothing is begun then.
    """
    if "ssms" not in sys.modules:
        require_memory(
            "loading ssm-simulators",
            0,
            advice="raise it, or lift it (ulimit -v unlimited)",
            mapped_bytes=_LOADING_BYTES,
        )
    try:
        log.info("%s: labels from %s", plan.model.name, plan.label_source)
        remark = covariates_remark(plan.model)
        if remark is not None:
            log.warning("%s: %s", plan.model.name, remark)
        if not plan.has_times:
            log.info(
                "%s has choices alone, no times: its files are for a cpn, not for a lan",
                plan.model.name,
            )
    except ImportError as e:
        raise UserError(explain_import_error(e, "generating data", extra="generate")) from e
    require_chunk_folder(plan, folder)
    require_chunk_memory(plan, n_processes)
    if store is not None:
        check_first_contact(store, experiment_name, send_mode)
    with locked(folder / network_folder.LOCK, f"{folder} is being generated"):
        _copy_models_file(plan, folder)
        if not (folder / RECORD_NAME).exists():
            resume_finished(folder)
        return _generate(
            plan,
            folder,
            n_processes=n_processes,
            log_files=log_files,
            tracked=None
            if store is None
            else _tracked(plan, folder, store, experiment_name, run_name, send_mode),
        )


def _copy_models_file(plan: ChunkPlan, folder: Path) -> None:
    """Keep the models file beside the files that were made with it."""
    path = folder / network_folder.MODELS_FILE
    if plan.model.models_file is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, plan.model.models_file.text)


def _generate(
    plan: ChunkPlan,
    folder: Path,
    *,
    n_processes: int,
    log_files: bool,
    tracked: contextlib.AbstractContextManager[RunRecorder] | None,
) -> ChunkSummary:
    """Make a chunk's files and record them; the caller holds the lock of its folder."""
    n_sets = plan.n_files * plan.config.pipeline.n_parameter_sets
    with contextlib.ExitStack() as stack:
        run = None if tracked is None else stack.enter_context(tracked)
        description = f"{plan.config.model_name} chunk {plan.chunk}"
        with Progress(n_sets, description, "parameter set") as progress:
            inventory = generate_chunk(
                plan,
                folder,
                n_processes=n_processes,
                on_set=progress.advance,
                keep_partial=True,
            )
        if run is not None and log_files:
            names = [file["filename"] for file in inventory["files"]]
            run.log_files([folder / FILES_NAME / name for name in names], FILES_NAME)
            run.set_tags({FILES_TAG: FILES_NAME})
        if run is not None:
            run.log_json(inventory, INVENTORY_NAME)
            run.log_metrics(
                {
                    "num_files_generated": inventory["num_files"],
                    "total_data_size_mb": inventory["total_size_mb"],
                },
                step=0,
            )
    chunk: _Chunk = {
        "model": plan.config.model_name,
        "chunk": plan.chunk,
        "seed": plan.seed,
        "batch_id": plan.batch_id,
        "run_id": None if run is None else run.id,
        "mlflow_pending": _pending(run, folder),
        "folder": str((folder / FILES_NAME).absolute()),
        "n_files": inventory["num_files"],
    }
    record: ChunkRecord = {**chunk, "files": inventory["files"]}
    write_json(folder / RECORD_NAME, record)
    remove_partial(folder)
    hide_finished(folder)
    log.info("%s: %d file(s) in %s", description, inventory["num_files"], folder / FILES_NAME)
    pending = None if run is None or run.pending is None else str(run.pending)
    return {**chunk, "mlflow_pending": pending, "n_parameter_sets": n_sets}


def _pending(run: RunRecorder | None, folder: Path) -> str | None:
    """Path of the run's record, from the chunk's folder, while it is still to be sent."""
    if run is None or run.pending is None:
        return None
    return str(run.pending.relative_to(folder.absolute()))


@contextlib.contextmanager
def _tracked(
    plan: ChunkPlan,
    folder: Path,
    store: Store,
    experiment_name: str,
    run_name: str | None,
    send_mode: SendMode,
) -> Iterator[RunRecorder]:
    """Record the chunk as a run, with ssm-simulators' params and the ecosystem's current tags."""
    from importlib.metadata import version

    settings = plan.config.settings_dict()
    tags = {
        "phase": "datagen",
        "generation_batch_id": plan.batch_id,
        "config_sha256": plan.config.digest,
    }
    work = {
        "mlflow_tracking_uri": store.shown_uri,
        "mlflow_experiment": experiment_name,
        **tags,
        "chunk": plan.chunk,
        "n_files": plan.n_files,
    }
    with record_work(
        store,
        folder,
        work,
        experiment=experiment_name,
        name=run_name or f"{plan.config.model_name}-chunk-{plan.chunk}",
        tags=tags,
        send_mode=send_mode,
    ) as run:
        run.log_params(
            {
                "data_output_folder": str((folder / FILES_NAME).absolute()),
                "model": plan.config.model_name,
                "generator_approach": plan.config.generator_approach,
                "label_source": plan.label_source,
                "n_files": plan.n_files,
                "chunk": plan.chunk,
                "seed": plan.seed,
                "config_sha256": plan.config.digest,
                "ssm_simulators_version": version("ssm-simulators"),
                **{f"data_{key}": value for key, value in settings.items() if key != "model"},
            }
        )
        run.log_json(settings, "data_config.json")
        if plan.model.models_file is not None:
            run.set_tags({MODELS_FILE_TAG: plan.model.models_file.sha256})
            run.log_files([folder / network_folder.MODELS_FILE])
        run.begin()
        yield run
