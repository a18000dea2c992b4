"""ssm-simulators to training files: seeded, atomic, the same bytes whoever makes them.

Up to 0.14 ``ssms`` seeds parameter set ``i`` of every file with ``i``; since 0.15 each of its
commands draws the seeds' beginning from the system's entropy. Here every set has seeds of its own,
from (study seed, model, chunk, file, set), and parameters are drawn in the model's order. The unit
of work is still ``generate_for_parameter_set`` of a pipeline in ``ssms``'s terms; ours take labels
from :mod:`lanflow.models.sources`.
"""

import glob
import hashlib
import io
import json
import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.files import link_or_copy, replace_folder, write_bytes, write_json
from lanflow.core.folders import refuse_foreign_files
from lanflow.core.names import FINISHED, SENT_RUNS, UNFINISHED, UNSENT_RUNS
from lanflow.core.processes import WorkerPool, one_core, require_memory, worker_pool
from lanflow.data.generation.plan import ChunkPlan, SetDraw
from lanflow.models.density import labels
from lanflow.models.generation import (
    default_generator_config,
    make_sampler,
    own_pipeline,
    simulation_pipeline,
    training_strategy,
)
from lanflow.models.kde import KernelDensity
from lanflow.models.model import Model
from lanflow.models.sources import Source, make_density
from lanflow.networks import folder as network_folder
from lanflow.tracking.store import INVENTORY_NAME

FILES_NAME = "training_data"
PARTIAL_NAME = f"{FILES_NAME}.partial"
RECORD_NAME = "chunk.json"

# A chunk's folder holds these beside its finished files. Unfinished files are in a folder whose
# name says whose they are.
_OWN = (
    *(RECORD_NAME, INVENTORY_NAME, UNFINISHED, FINISHED, network_folder.LOCK),
    network_folder.MODELS_FILE,
    *(f"{UNSENT_RUNS}/", f"{SENT_RUNS}/"),
    f"{PARTIAL_NAME}/training_data_{'[0-9a-f]' * 32}.pickle",
)

# Seeds, draws and records of a parameter set; a worker process that has loaded what it needs.
_BYTES_PER_SET, _WORKER_BYTES = 1000, 100 * 2**20

# Beginnings of the keys that are left out of files of a model of choices alone.
_OF_TIMES = ("lan_", "binned_")

# Seconds of work before other processes are started for it: each takes as long to import what it
# needs, and is not worth it for a few sets of a known likelihood.
HEAD_START = 2.0


class InventoryFile(TypedDict):
    """A training file in an inventory; ``sha256`` is lanflow's addition."""

    filename: str
    relative_path: str
    size_bytes: int
    size_mb: float
    sha256: str


class Inventory(TypedDict):
    """The content of a chunk's inventory, in ssm-simulators' format."""

    num_files: int
    total_size_mb: float
    files: list[InventoryFile]


def _generator_config(plan: ChunkPlan) -> dict[str, Any]:
    """Make ssm-simulators' nested configuration for a plan; nothing of this machine is in it."""
    config = plan.config
    nested = default_generator_config(plan.model)
    nested["pipeline"] |= config.pipeline.model_dump()
    nested["simulator"] |= config.simulator.model_dump()
    nested["training"] |= config.training.model_dump()
    nested["estimator"] |= {
        "type": config.estimator.type,
        "label_source": plan.label_source,
        "displace_t": plan.label_source == "kde" and plan.model.has_shift,
    }
    nested["output"]["folder"] = FILES_NAME
    return nested


_pipeline_here: Any = None


def _use(plan: ChunkPlan) -> None:
    """Make the pipeline that this process uses for all its parameter sets.

    Raises
    ------
    UserError
        If the model is not known, or has no labels of the kind asked for.
    """
    global _pipeline_here
    _pipeline_here = make_pipeline(plan.label_source, _generator_config(plan), plan.model)


def _generate_set(draw: SetDraw) -> dict[str, Any]:
    """Make the rows of one parameter set, in the form that ssm-simulators' pipelines return."""
    (parameter_seed, simulator_seed), point = draw
    _pipeline_here._param_sampler.start_set(parameter_seed, point)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numeric warnings of single simulations
        # The parameters are drawn by our sampler, whatever seed a pipeline is given for them.
        result: dict[str, Any] = _pipeline_here.generate_for_parameter_set(
            simulator_seed, simulator_seed
        )
    return result


def make_pipeline(source: Source, generator_config: dict[str, Any], model: Model) -> Any:
    """The pipeline that makes labels from a source, with our draws of parameters.

    Raises
    ------
    UserError
        If ssm-simulators cannot use its estimator for the model.
    """
    if source in ("analytic", "solver"):
        pipeline = DensityPipeline(generator_config, model, source)
    elif source == "kde":
        builder = _KernelBuilder(model.has_shift)
        pipeline = simulation_pipeline(generator_config, model, builder)
    else:
        own_type = {"exact_kde": "kde", "pyddm": "pyddm"}[source]
        estimator = {**generator_config["estimator"], "type": own_type}
        try:
            pipeline = own_pipeline({**generator_config, "estimator": estimator}, model)
        except (ImportError, ValueError) as e:
            raise UserError(f"model {model.name}, ESTIMATOR.TYPE {source}: {e}") from e
    pipeline._param_sampler = make_sampler(model)
    return pipeline


class DensityPipeline:
    """Rows and labels from a density, without simulating.

    The training strategy is ssm-simulators' own: the same mixture of rows from the density, rows
    uniform in rt, and rows with a negative rt.
    """

    def __init__(
        self,
        generator_config: dict[str, Any],
        model: Model,
        source: Literal["analytic", "solver"],
    ) -> None:
        self._source, self._model = source, model
        self._simulator = generator_config["simulator"]
        self._strategy = training_strategy(generator_config, model)
        self._param_sampler = make_sampler(model)

    def generate_for_parameter_set(
        self,
        parameter_sampling_seed: int,  # noqa: ARG002
        simulator_seed: int,
    ) -> dict[str, Any]:
        """Rows of one parameter set, in ssm-simulators' form; its sampler has its own seed."""
        theta = self._param_sampler.sample(1)
        numbers = {name: float(value[0]) for name, value in theta.items()}
        density = make_density(self._source, self._model, numbers, self._simulator["max_t"])
        rows = self._strategy.generate(theta, density, random_state=simulator_seed)
        vector = np.stack([theta[name] for name in self._model.parameters], axis=1).astype(
            np.float32
        )
        data = {"lan_data": rows[:, :-1], "lan_labels": rows[:, -1], "theta": vector}
        data |= {f"{kind}_data": vector for kind in ("cpn", "cpn_no_omission", "opn", "gonogo")}
        data |= labels(density, n_samples=self._simulator["n_samples"])
        return {"data": data, "theta": theta, "success": True}


class _KernelBuilder:
    """Builds the fast kernel density from simulations, as ssm-simulators asks for an estimator."""

    def __init__(self, shifted: bool) -> None:
        self._shifted = shifted

    def build(self, theta: dict[str, Any], simulations: dict[str, Any]) -> KernelDensity:
        estimator = KernelDensity(float(theta["t"][0]) if self._shifted else 0.0)
        estimator.fit(simulations)
        return estimator


def _file_content(plan: ChunkPlan, results: list[dict[str, Any]]) -> bytes:
    """A training file as ssm-simulators writes it, keys in a fixed order."""
    import cloudpickle

    good = [result["data"] for result in results if result["success"]]
    if not good:
        reasons = sorted({str(result.get("error", "filtered out")) for result in results})
        raise UserError(
            f"model {plan.model.name}: all {len(results)} parameter sets of a file were rejected "
            f"({'; '.join(reasons[:3])})"
        )
    data: dict[str, Any] = {}
    for key in sorted(good[0]):
        if not plan.has_times and key.startswith(_OF_TIMES):
            continue
        arrays = [entry[key] for entry in good if entry[key] is not None]
        data[key] = np.concatenate(arrays).astype(np.float32) if arrays else None
    data["generator_config"] = _generator_config(plan)
    data["model_config"] = dict(plan.model.record)
    buffer = io.BytesIO()
    cloudpickle.dump(_with_shared_text(data), buffer, protocol=4)
    return buffer.getvalue()


def _with_shared_text(value: Any) -> Any:
    """The same containers with equal texts being one object.

    A pickle writes an object once and refers to it later, so its bytes tell whether two equal texts
    were one object; that differs between processes and ways to start them.
    """
    match value:
        case str():
            return sys.intern(str(value))
        case dict():
            return {_with_shared_text(key): _with_shared_text(item) for key, item in value.items()}
        case list():
            return [_with_shared_text(item) for item in value]
        case tuple():
            return tuple(_with_shared_text(item) for item in value)
    return value


def require_chunk_folder(plan: ChunkPlan, folder: Path) -> None:
    """Refuse a folder that holds anything but a chunk of lanflow's, whatever its settings were.

    Of finished files only those are a chunk's that this plan makes, or that the inventory beside
    them lists with a digest: ssm-simulators gives its files names of the same form.

    Raises
    ------
    UserError
        Naming what else is in it.
    """
    names = [plan.file_name(i) for i in range(plan.n_files)] + _inventoried(folder / INVENTORY_NAME)
    own = [f"{FILES_NAME}/{glob.escape(name)}" for name in names]
    refuse_foreign_files(folder, (*_OWN, *own), what="a generated chunk")


def _inventoried(path: Path) -> list[str]:
    """List the names of the files in an inventory of lanflow's; none where there is none."""
    try:
        files = json.loads(path.read_bytes())["files"]
        return [str(file["filename"]) for file in files if file.get("sha256")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def require_chunk_memory(plan: ChunkPlan, n_processes: int) -> None:
    """Refuse a generation that cannot fit in memory, before it begins.

    The rows of one file are held at a time: as they were made, joined, and twice as the file's
    content while it is written.

    Raises
    ------
    UserError
        With the estimate, the limit, and what to change.
    """
    pipeline, n_rows = plan.config.pipeline, plan.config.training.n_samples_per_param
    row_bytes = 4 * (len(plan.model.parameters) + 3)  # rt, choice, label
    file_bytes = pipeline.n_parameter_sets * (4 * n_rows * row_bytes + _BYTES_PER_SET)
    # A trial's rt and choice, where trials are simulated.
    n_trials = 0 if plan.label_source in ("analytic", "solver") else plan.config.simulator.n_samples
    set_bytes = n_rows * row_bytes + 8 * n_trials
    n_workers = min(n_processes, pipeline.n_parameter_sets)
    require_memory(
        f"generating files of {pipeline.n_parameter_sets:,} parameter sets with {n_rows:,} rows "
        f"each, on {n_processes:,} processes,",
        file_bytes + set_bytes,
        advice="lower PIPELINE.N_PARAMETER_SETS (and make more files), "
        "TRAINING.N_SAMPLES_PER_PARAM, SIMULATOR.N_SAMPLES or --processes, or give it more memory",
        workers_bytes=0 if n_workers == 1 else n_workers * (_WORKER_BYTES + set_bytes),
    )


def generate_chunk(
    plan: ChunkPlan,
    folder: Path,
    *,
    n_processes: int,
    on_set: Callable[[], None] = lambda: None,
    keep_partial: bool = False,
) -> Inventory:
    """Make the files of a chunk; files that are there from an interrupted try are kept.

    Parameters
    ----------
    plan
        What to make.
    folder
        The chunk's own folder. The files go to ``training_data`` in it, through
        ``training_data.partial``, and the inventory beside them at the end.
    n_processes
        Parameter sets simulated at a time.
    on_set
        Called after each parameter set, those of kept files included.
    keep_partial
        Leave ``training_data.partial`` to :func:`remove_partial`, once the chunk is recorded.

    Returns
    -------
    Inventory
        The files that were made.

    Raises
    ------
    UserError
        If the model is not known, its estimator cannot be used, a file would have no valid
        parameter set, or the folder holds anything but an earlier try or chunk.
    """
    require_chunk_folder(plan, folder)
    require_chunk_memory(plan, n_processes)
    _use(plan)  # a wrong model or estimator ends here, not in a worker
    partial_folder = folder / PARTIAL_NAME
    partial_folder.mkdir(parents=True, exist_ok=True)
    names = [plan.file_name(i) for i in range(plan.n_files)]
    for path in partial_folder.iterdir():
        if path.name not in names:
            path.unlink()
    with _workers(plan, n_processes) as run:
        for index, name in enumerate(names):
            draws = plan.set_draws(index)
            if (partial_folder / name).exists():
                for _ in draws:
                    on_set()
                continue
            results = []
            for result in run(draws):
                results.append(result)
                on_set()
            write_bytes(partial_folder / name, _file_content(plan, results))
    inventory = _publish(folder, names)
    if not keep_partial:
        remove_partial(folder)
    return inventory


def _publish(folder: Path, names: list[str]) -> Inventory:
    """Let finished files appear in their final folder, with their inventory beside it.

    They have names in the folder of unfinished files, too, until the chunk is recorded: if that is
    killed, and Snakemake removes its outputs, nothing is simulated again.
    """
    partial_folder, final = folder / PARTIAL_NAME, folder / FILES_NAME
    inventory = build_inventory([partial_folder / name for name in names], final)
    own = [glob.escape(name) for name in (*names, *_inventoried(folder / INVENTORY_NAME))]
    with replace_folder(final, own, what="a generated chunk") as fresh:
        for name in names:
            link_or_copy(partial_folder / name, fresh / name)
        # First: it says whose the files are, should this process be killed between the two.
        write_json(folder / INVENTORY_NAME, inventory)
    return inventory


def remove_partial(folder: Path) -> None:
    """Remove the second names of a chunk's files, once the chunk is recorded."""
    shutil.rmtree(folder / PARTIAL_NAME, ignore_errors=True)


@contextmanager
def _workers(
    plan: ChunkPlan, n_processes: int
) -> Iterator[Callable[[list[SetDraw]], Iterator[dict[str, Any]]]]:
    """Runs sets in order: here at first, on ``n_processes`` processes what takes longer."""
    end = math.inf if n_processes == 1 else time.monotonic() + HEAD_START
    with ExitStack() as stack:
        stack.enter_context(one_core())

        @cache
        def pool() -> WorkerPool:
            return stack.enter_context(worker_pool(n_processes, _use, plan))

        def run(draws: list[SetDraw]) -> Iterator[dict[str, Any]]:
            n_done = 0
            while n_done < len(draws) and time.monotonic() < end:
                yield _generate_set(draws[n_done])
                n_done += 1
            if n_done < len(draws):
                yield from pool().map(_generate_set, draws[n_done:])

        yield run


def build_inventory(paths: list[Path], final_folder: Path) -> Inventory:
    """List files that will lie in ``final_folder``, with their sizes and digests."""
    files: list[InventoryFile] = []
    for path in paths:
        content = path.read_bytes()
        files.append(
            {
                "filename": path.name,
                "relative_path": str(final_folder / path.name),
                "size_bytes": len(content),
                "size_mb": round(len(content) / 2**20, 2),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    return {
        "num_files": len(files),
        "total_size_mb": round(sum(file["size_bytes"] for file in files) / 2**20, 2),
        "files": files,
    }
