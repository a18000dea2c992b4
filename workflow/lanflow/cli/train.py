"""``lanflow train``, and ``jaxtrain`` and ``torchtrain``, which can replace LANfactory's."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lanflow.cli.command import Command, Option, OptionGroup, Outcome, flat
from lanflow.cli.options import (
    AtATime,
    Count,
    DropInvalidOption,
    File,
    Folder,
    Id,
    ModelsFileOption,
    Name,
    Number,
    PlaceOptions,
    Seed,
    SendOption,
    Share,
    StoreOptions,
    Title,
    parse_path_map,
)
from lanflow.cli.running import declare_for_programs, hand_over, run
from lanflow.core.errors import UsageError, UserError
from lanflow.core.names import DEFAULT_MEMORY_MB
from lanflow.networks.types import BackendName
from lanflow.training.together.names import Beside

if TYPE_CHECKING:
    from lanflow.training.prepare import TrainingOptions

log = logging.getLogger(__name__)

_EPILOG = """\
Settings not given as an option come from the environment variable named with them, then from the
default. The last line of standard output is one JSON object; everything else goes to standard
error. Exit status: 0 if every product asked for exists, 2 for options that make no sense, 130 when
interrupted (the same command goes on from there), 1 otherwise.
"""


class NetworkOptions(OptionGroup):
    """The network to train, the machine's share for it, and the files to write."""

    panel = "Network"

    config_path: Annotated[
        File | None, "training YAML; LANfactory's default file when left out"
    ] = None
    network_id: Annotated[Number, "which network of LAYER_SIZES and ACTIVATIONS to train"] = 0
    start_from: Annotated[
        Folder | None,
        Option(names=("--from",), metavar="NETWORK"),
        "go on from the weights of a finished network of the same model, type and layers, of "
        "either backend: its folder",
    ] = None
    networks_path_base: Annotated[Folder, "networks go to DIR/{network_type}/{model}"]
    model: Annotated[Name | None, "cognitive model; takes the place of the file's MODEL"] = None
    models: ModelsFileOption
    seed: Annotated[Seed, "decides weights, split and order"] = 1
    device: Annotated[
        Literal["auto", "cpu", "gpu"],
        "auto takes a GPU if there is one; gpu fails if there is none",
    ] = "auto"
    threads: Annotated[AtATime | None, "CPU threads; the same number gives the same bytes"] = None
    memory_mb: Annotated[
        Count,
        "megabytes for rows; data of more than half of it passes through a shuffle buffer",
    ] = DEFAULT_MEMORY_MB
    export_onnx: Annotated[bool, "write model.onnx, checked against the trained network"] = True
    network_name: Annotated[
        Name | None, "name of the network's folder; the run uuid when left out"
    ] = None
    run_uuid: Annotated[
        Name | None,
        Option(metavar="HEX"),
        "part of the names of LANfactory's files; a fresh one when left out",
    ] = None
    dry_run: Annotated[bool, "check configuration and data, do not train"] = False


class NetworksOptions(NetworkOptions):
    """The same, of one network or several of one data set."""

    # Several, where its parent has one.
    network_id: Annotated[
        tuple[Number, ...],
        Option(spreads=True),
        "which network of LAYER_SIZES and ACTIVATIONS to train; of several, each is trained",
    ] = (0,)  # type: ignore[assignment]
    seed: Annotated[
        tuple[Seed, ...],
        Option(spreads=True),
        "decides weights, split and order; a network is trained for each of several, those of one "
        "shape as one program on a GPU, in folders NAME-seed1, NAME-seed2, ...",
    ] = (1,)  # type: ignore[assignment]
    beside: Annotated[
        tuple[Beside, ...],
        Option(parse=Beside.of, metavar="NAME:SEED:ID:FILE", spreads=True),
        "networks of the same data, each with a command of its own, that a GPU may train beside "
        "this one as one program; their commands go on from there",
    ] = ()


class DataOptions(OptionGroup):
    """The data to train on."""

    panel = "Data (a folder, an experiment, both, or a packed data set)"

    training_data_folder: Annotated[
        Folder | None,
        "folder of training files; with an experiment id, every tracked file must be in it",
    ] = None
    data_generation_experiment: Annotated[
        Id | None,
        Option(names=("--data-generation-experiment-id",)),
        "MLflow experiment (id or name) that the data came from; switches tracking on",
    ] = None
    data_set: Annotated[
        Folder | None, "data set packed by 'lanflow materialise', in place of the two above"
    ] = None
    manifest: Annotated[
        File | None, "manifest of --data-set; manifest.json beside it when left out"
    ] = None
    data_cache: Annotated[
        Folder | None,
        "where training files are packed, once; .data_sets in the networks' folder when left out",
    ] = None
    places: PlaceOptions
    drop_invalid: DropInvalidOption = False
    max_repeated_sets: Annotated[
        Share, "refuse data with more repeated parameter sets than this share"
    ] = 1.0
    dl_workers: Annotated[
        Number, "accepted for LANfactory's scripts; packed data needs no loader processes"
    ] = 1


class MlflowOptions(OptionGroup):
    """The tracking of the training as a run."""

    panel = "MLflow"

    mlflow_on: Annotated[bool, "track this training in MLflow"] = False
    tracked: Annotated[
        bool | None,
        Option(names=("--mlflow",)),
        "as LANfactory's next release has it: the same as --mlflow-on, or no tracking",
    ] = None
    mlflow_run_name: Annotated[Title | None, "name of the run; switches tracking on"] = None
    mlflow_run_id: Annotated[Id | None, "continue this run; switches tracking on"] = None
    mlflow_experiment_name: Annotated[
        Title | None, "experiment of the run (MLFLOW_EXPERIMENT_NAME, then {model}-training)"
    ] = None
    store: StoreOptions
    send: SendOption


def train(
    *,
    backend: Annotated[BackendName, "library that trains; both end in the same network"] = "jax",
    network: NetworksOptions,
    data: DataOptions,
    mlflow: MlflowOptions,
) -> Outcome:
    """Do the work of ``lanflow train``."""
    given = flat(network) | flat(data) | flat(mlflow)
    several = {"network_ids": given["network_id"], "seeds": given["seed"]}
    given["network_id"], given["seed"] = (numbers[0] for numbers in several.values())
    beside = given.pop("beside")
    if all(len(numbers) == 1 for numbers in several.values()):
        return _train(backend, given, beside)
    _check_several(several, given | {"beside": beside or None})
    return _train_several(backend, given, several)


def _train_with_jax(
    *, network: NetworkOptions, data: DataOptions, mlflow: MlflowOptions
) -> Outcome:
    return _train("jax", flat(network) | flat(data) | flat(mlflow))


def _train_with_torch(
    *, network: NetworkOptions, data: DataOptions, mlflow: MlflowOptions
) -> Outcome:
    return _train("torch", flat(network) | flat(data) | flat(mlflow))


def training_command(backend: BackendName) -> Command:
    """Make the command ``jaxtrain`` or ``torchtrain``."""
    return declare_for_programs(
        f"{backend}train",
        _train_with_jax if backend == "jax" else _train_with_torch,
        about=f"Train one network with {'JAX' if backend == 'jax' else 'Torch'} on simulated data.",
        epilog=_EPILOG,
    )


def jaxtrain(arguments: list[str] | None = None) -> int:
    """Train with JAX."""
    if arguments is None:
        hand_over("lanflow.cli.train:jaxtrain")
    return run(training_command("jax"), "jaxtrain", arguments)


def torchtrain(arguments: list[str] | None = None) -> int:
    """Train with Torch."""
    if arguments is None:
        hand_over("lanflow.cli.train:torchtrain")
    return run(training_command("torch"), "torchtrain", arguments)


def _train(backend: BackendName, given: dict[str, Any], beside: Sequence[Beside] = ()) -> Outcome:
    if beside and given["start_from"] is not None:
        raise UsageError("--beside: a network that goes on --from another is trained alone")
    from lanflow.training.run import train
    from lanflow.training.together.beside import train_beside

    options = _options(backend, given)
    result = train_beside(options, beside) if beside else train(options)
    return Outcome(result, _describe(result))


def _train_several(
    backend: BackendName, given: dict[str, Any], several: Mapping[str, Sequence[int]]
) -> Outcome:
    from lanflow.training.together.run import options_of_each, train_together

    endings = train_together(options_of_each(_options(backend, given), **several))
    n_failed = sum(ending["status"] == "FAILED" for ending in endings)
    status = "FAILED" if n_failed else endings[0]["status"].replace("KEPT", "FINISHED")
    summary = "\n".join(_describe(ending) for ending in endings)
    return Outcome({"status": status, "networks": endings}, summary, status=int(n_failed > 0))


def _check_several(several: Mapping[str, Sequence[int]], given: Mapping[str, Any]) -> None:
    """Refuse numbers that are there twice, and options that name one network of several."""
    for name, option in (("network_ids", "--network-id"), ("seeds", "--seed")):
        numbers = several[name]
        if len(set(numbers)) < len(numbers):
            raise UsageError(f"{option} {' '.join(map(str, numbers))}: give each number once")
    for field in ("run_uuid", "mlflow_run_id", "beside"):
        if given[field] is not None:
            raise UsageError(
                f"--{field.replace('_', '-')} is of one network, and several are to be trained; "
                "leave it out, or give one --seed and one --network-id"
            )


def _options(backend: BackendName, given: dict[str, Any]) -> "TrainingOptions":
    import importlib.util

    from lanflow.core.processes import n_cores
    from lanflow.tracking.store import resolve_send_mode
    from lanflow.training.prepare import TrainingOptions

    # An option sets the field of TrainingOptions that has its name; this one sets none.
    del given["dl_workers"]
    given["threads"] = given["threads"] or n_cores()
    given["path_map"] = parse_path_map(given["path_map"])
    given["mlflow_send"] = resolve_send_mode(given["mlflow_send"])
    is_wanted = given.pop("tracked")
    given["mlflow_on"] = given["mlflow_on"] or bool(is_wanted)
    options = TrainingOptions(backend=backend, **given)
    _check_tracking(is_wanted, is_tracked=options.is_tracked)
    if options.is_tracked and importlib.util.find_spec("mlflow") is None:
        _check_goes_without_mlflow(options.data_generation_experiment, options.mlflow_run_id)
        if options.mlflow_send != "later":
            log.warning(
                "MLflow is not installed, so tracking is disabled: pip install lanflow[mlflow]"
            )
            options = options.without_tracking()
    return options


def _check_tracking(is_wanted: bool | None, *, is_tracked: bool) -> None:
    """Refuse tracking that is and is not wanted; say how a store that is named is used."""
    if is_wanted is False and is_tracked:
        raise UsageError(
            "--no-mlflow contradicts another option: --mlflow-on, --mlflow-run-id, "
            "--mlflow-run-name and --data-generation-experiment-id switch tracking on"
        )
    if is_wanted is None and not is_tracked and os.environ.get("MLFLOW_TRACKING_URI"):
        log.info("MLFLOW_TRACKING_URI alone switches no tracking on: give --mlflow-on for it")


def _describe(result: Mapping[str, Any]) -> str:
    folder = result["network_folder"]
    if result["status"] == "DRY_RUN":
        rows = f"{result['n_train_rows']:,} rows to train on, {result['n_val_rows']:,} to validate"
        return f"dry run: {rows}, {result['n_weights']:,} weights; the network would be {folder}"
    if result["status"] == "KEPT":
        return f"finished before, and stays as it is\nnetwork: {folder}"
    if result["status"] == "FAILED":
        return f"FAILED: {result['reason']}\nnetwork: {folder}"
    loss = f"best val_loss {result['best_val_loss']:.4g} in epoch {result['best_epoch']}"
    waits = "; its run waits for 'lanflow sync'" if result["mlflow_pending"] else ""
    evaluate = f"lanflow evaluate {folder} --output {folder}/evaluation.json"
    return f"trained: {loss}{waits}\nnetwork: {folder}\nnext:    {evaluate}"


def _check_goes_without_mlflow(experiment: str | None, run_id: str | None) -> None:
    """Refuse options that name something in a store."""
    for given, option in (
        (experiment, "--data-generation-experiment-id"),
        (run_id, "--mlflow-run-id"),
    ):
        if given:
            raise UserError(
                f"{option} needs MLflow, which is not installed: pip install lanflow[mlflow]"
            )
