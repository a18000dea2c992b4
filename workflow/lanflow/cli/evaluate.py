"""Commands that judge a network: ``lanflow evaluate``, ``check-gates``, ``plot``, ``recover``.

``lanflow convert`` makes a network of LANfactory's one that can be judged.
"""

import functools
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lanflow.cli.command import Argument, Option, OptionGroup, Outcome
from lanflow.cli.options import (
    AtATime,
    Count,
    File,
    Folder,
    ModelsFileOption,
    Name,
    NetworkFolder,
    OutputFile,
    Seed,
    StoreOptions,
)
from lanflow.core.errors import DID_NOT_PASS, UsageError
from lanflow.networks.types import NETWORK_TYPES, NetworkTypeName

if TYPE_CHECKING:
    from lanflow.evaluation.recovery.record import LikelihoodRecovery, PosteriorRecovery
    from lanflow.networks.network import Network

log = logging.getLogger(__name__)

Interpreter = Annotated[str, Option(metavar="PATH")]


class NetworkOptions(OptionGroup):
    """The network: a folder, or an ONNX file with its model and type."""

    folder: Annotated[
        NetworkFolder | None, "of jaxtrain or torchtrain; else give --onnx and --model"
    ] = None
    onnx: Annotated[File | None, "any network, by its file"] = None
    model: Annotated[Name | None, "of --onnx, as ssm-simulators has it"] = None
    network_type: Annotated[NetworkTypeName, "of --onnx"] = "lan"
    card: Annotated[
        File | None,
        "card.json of --onnx, for the trained bounds; ssm-simulators' when left out",
    ] = None
    models: ModelsFileOption

    def load(self) -> "Network":
        """Return the network.

        Raises
        ------
        UsageError
            If the options name none, or two.
        """
        from lanflow.networks.network import Network

        if (self.folder is None) == (self.onnx is None):
            raise UsageError("give either a network's folder, or --onnx FILE with --model NAME")
        if self.folder is not None:
            if self.model is not None or self.card is not None:
                raise UsageError(
                    "--model and --card go with --onnx; a folder's card names its model"
                )
            return Network.from_folder(self.folder, models_file=self.models.read())
        if self.model is None or self.onnx is None:
            raise UsageError(
                "--onnx: give --model, the model's name in ssm-simulators or --models-file"
            )
        return Network.from_onnx(
            self.onnx,
            model=self.model,
            network_type=self.network_type,
            card_path=self.card,
            models_file=self.models.read(),
        )


def evaluate(
    *,
    network: NetworkOptions,
    reference: Annotated[
        Literal["auto", "analytic", "solver", "kde"],
        "what is taken for the truth; auto is the best there is for the model",
    ] = "auto",
    output: Annotated[OutputFile | None, "evaluation.json"] = None,
    seed: Annotated[Seed, "of all draws"] = 1,
    n_sets: Annotated[
        Count | None, "random parameter vectors of the scores; 500, with solver 100, with kde 20"
    ] = None,
    rows: Annotated[Count, "simulated trials of each"] = 200,
    n_simulated_sets: Annotated[
        Count, "random parameter vectors that the simulator is run at"
    ] = 20,
    hssm_python: Annotated[
        Interpreter | None, "interpreter that has HSSM, for its gate; this one when left out"
    ] = None,
    exit_zero: Annotated[
        bool, "end with status 0 for a network that did not pass, too, and not with 3"
    ] = False,
    store: StoreOptions,
) -> Outcome:
    """Lead a network through its gates, and score it."""
    from lanflow.evaluation.evaluate import evaluate, write_evaluation
    from lanflow.evaluation.record import EvaluationSettings
    from lanflow.evaluation.track import track_evaluation

    loaded = network.load()
    record, scores = evaluate(
        loaded,
        wanted=reference,
        settings=EvaluationSettings(n_sets=n_sets, rows=rows, n_simulated_sets=n_simulated_sets),
        hssm_python=hssm_python or sys.executable,
        seed=seed,
    )
    run_id = None
    if output:
        write_evaluation(output, record, scores)
        if loaded.folder is not None:
            run_id = track_evaluation(loaded, record, output, store.resolve())
    content = {
        "verdict": record.verdict,
        "gates": {gate.name: gate.verdict for gate in record.gates},
        "scores": None if record.scores is None else record.scores.model_dump(mode="json"),
        "reference": record.reference.source,
        "evaluation": str(output) if output else None,
        "mlflow_run_id": run_id,
    }
    written = f"\nevaluation: {output}" if output else ""
    has_passed = exit_zero or record.verdict == "passed"
    return Outcome(
        content, f"\n{record.summary()}{written}\n", status=0 if has_passed else DID_NOT_PASS
    )


def check_gates(
    *,
    evaluations: Annotated[tuple[Path, ...], Argument(metavar="FILE"), "of 'lanflow evaluate'"],
    output: Annotated[OutputFile | None, "record of what was checked"] = None,
) -> Outcome:
    """End with status 3 if a network did not pass its gates."""
    from lanflow.core.files import write_json
    from lanflow.evaluation.record import check_gates, read_evaluation

    records = {str(path): read_evaluation(path) for path in evaluations}
    check_gates(records)
    result = {"verdict": "passed", "evaluations": list(records)}
    if output:
        write_json(output, result)
    return Outcome(result, f"passed: {', '.join(records)}")


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


def plot(
    *,
    network: NetworkOptions,
    output: Annotated[Folder | None, "of the figures; NETWORK_DIR when left out"] = None,
    draws: Annotated[
        Count | None,
        "parameter vectors for errors and calibration; those of the network's evaluation, or "
        "as many as it would take",
    ] = None,
    seed: Annotated[Seed, "of draws and simulations"] = 1,
) -> Outcome:
    """Draw how a network compares with its model."""
    from lanflow.core.files import write_bytes
    from lanflow.core.folders import refuse_foreign_files
    from lanflow.evaluation.evaluate import find_reference, scores_of
    from lanflow.networks import folder as network_folder
    from lanflow.report.figures.network import FIGURES, draw_figure

    loaded = network.load()
    folder = output or network.folder
    if folder is None:
        raise UsageError("--onnx: give --output, the folder of the figures")
    if output is not None:
        refuse_foreign_files(folder, network_folder.IN_NETWORK_FOLDER, what="a network's figures")
    loaded.require_inputs()
    reference = find_reference(loaded)

    @functools.cache
    def scores() -> Any:
        assert reference is not None  # without one nothing is asked for
        return scores_of(loaded, reference, n_sets=draws, seed=seed)

    paths = {}
    for name in FIGURES:
        log.info("%s: drawing %s", loaded.title, name)
        paths[name] = folder / network_folder.PLOTS[name]
        figure = draw_figure(name, loaded, reference, scores, seed=seed)
        write_bytes(paths[name], figure.png())
    return Outcome(
        {"plots": {name: str(path) for name, path in paths.items()}},
        "\n".join(f"{name + ':':12} {path}" for name, path in paths.items()),
    )


def recover(
    *,
    folder: Annotated[NetworkFolder, "of a likelihood network (lan), by jaxtrain or torchtrain"],
    models: ModelsFileOption,
    n_subjects: Annotated[Count, "subjects to simulate"] = 50,
    n_trials: Annotated[Count, "trials of each subject"] = 500,
    seed: Annotated[Seed, "of parameters and trials"] = 1,
    method: Annotated[
        Literal["auto", "nuts", "maximum-likelihood"],
        "nuts samples posteriors with HSSM; auto does where HSSM is installed",
    ] = "auto",
    hssm_python: Annotated[
        Interpreter | None, "interpreter that has HSSM; this one when left out"
    ] = None,
    output: Annotated[OutputFile, "recovery.json"],
    plot: Annotated[OutputFile | None, "PNG, true against found"] = None,
    processes: Annotated[AtATime | None, "subjects at a time"] = None,
) -> Outcome:
    """Find the parameters of simulated subjects again."""
    from lanflow.core.files import write_bytes, write_json
    from lanflow.core.processes import n_cores
    from lanflow.core.progress import Progress
    from lanflow.evaluation.recovery.record import rank_correlations, without_ranks
    from lanflow.evaluation.recovery.subjects import require_recoverable, simulate_subjects
    from lanflow.networks.network import Network

    python = _hssm_python(method, hssm_python)
    network = Network.from_folder(folder, models_file=models.read())
    require_recoverable(network)
    subjects = simulate_subjects(network, n_subjects=n_subjects, n_trials=n_trials, seed=seed)
    n_processes = processes or n_cores()
    with Progress(len(subjects), f"{network.title}: recovering", "subject") as progress:
        if python is None:
            from lanflow.evaluation.recovery.fit import fit_subjects
            from lanflow.evaluation.recovery.record import likelihood_record

            fits = fit_subjects(
                network, subjects, n_processes=n_processes, on_subject=progress.advance
            )
            record: LikelihoodRecovery | PosteriorRecovery = likelihood_record(
                network, subjects, fits, n_trials=n_trials, seed=seed
            )
        else:
            from lanflow.evaluation.recovery.posterior import sample_subjects
            from lanflow.evaluation.recovery.record import posterior_record

            posteriors = sample_subjects(
                network,
                subjects,
                python=python,
                n_processes=n_processes,
                on_subject=progress.advance,
            )
            record = posterior_record(network, subjects, posteriors, n_trials=n_trials, seed=seed)
    if plot is not None:
        from lanflow.report.figures.records import draw_recovery

        write_bytes(plot, draw_recovery(record).png())
    write_json(output, record.model_dump(mode="json"))
    found = f"rank correlations of true and found values: {rank_correlations(record)}"
    if without_ranks(record) is not None:
        log.warning("%s", found)
        found = f"{record.n_subjects} subjects"
    content = {
        "recovery": str(output),
        "method": record.method,
        "rank_correlation": {
            name: one.spearman for name, one in record.summary.items() if one.spearman is not None
        },
        "without_rank_correlation": without_ranks(record),
        **_of_method(record),
        "n_undecided": record.n_undecided,
        "plot": None if plot is None else str(plot),
    }
    return Outcome(content, f"{record.method}: {found}\nrecovery: {output}")


def _hssm_python(method: str, given: str | None) -> str | None:
    """The interpreter to sample with, or None for maximum likelihood."""
    from lanflow.core.errors import UserError
    from lanflow.evaluation.hssm.interpreter import find_hssm

    if method == "maximum-likelihood":
        return None
    python: str = given or sys.executable
    missing = find_hssm(python)
    if missing is None:
        return python
    if method == "nuts" or given is not None:
        raise UserError(f"posteriors are sampled with HSSM, but {missing}")
    log.info("maximum likelihood: %s", missing)
    return None


def _of_method(record: "LikelihoodRecovery | PosteriorRecovery") -> dict[str, object]:
    """Results that only one of the methods has."""
    from lanflow.evaluation.recovery.record import LikelihoodRecovery

    if isinstance(record, LikelihoodRecovery):
        at_bound = {n: one.n_at_lower + one.n_at_upper for n, one in record.summary.items()}
        return {"n_at_bound": at_bound, "n_below_truth": record.n_below_truth}
    return {
        "coverage": {name: one.coverage for name, one in record.summary.items()},
        "rank_uniformity_p": {n: one.rank_uniformity_p for n, one in record.summary.items()},
        "n_not_converged": record.n_not_converged,
    }
