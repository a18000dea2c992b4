"""Commands that judge a network: ``lanflow evaluate``, ``check-gates``, ``plot``, ``recover``."""

import argparse
import functools
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanflow.cli.options import (
    add_models_file,
    add_store,
    at_a_time,
    count,
    models_file_of,
    output_file,
    plain_name,
    seed,
)
from lanflow.core.errors import UsageError
from lanflow.core.processes import n_cores
from lanflow.networks.types import NETWORK_TYPES

if TYPE_CHECKING:
    from lanflow.evaluation.recovery.record import LikelihoodRecovery, PosteriorRecovery

log = logging.getLogger(__name__)


def _add_network(command: argparse.ArgumentParser) -> None:
    """Add the options that say which network: a folder, or an ONNX file and what it is of."""
    command.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="NETWORK_DIR",
        help="of jaxtrain or torchtrain; else give --onnx and --model",
    )
    command.add_argument("--onnx", type=Path, metavar="FILE", help="any network, by its file")
    command.add_argument("--model", type=plain_name, help="of --onnx, as ssm-simulators has it")
    command.add_argument(
        "--network-type", choices=list(NETWORK_TYPES), default="lan", help="of --onnx"
    )
    command.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="card.json of --onnx, for the trained bounds; ssm-simulators' when left out",
    )
    add_models_file(command)


def _network(parsed: argparse.Namespace) -> Any:
    """The network that the options name."""
    from lanflow.networks.network import Network

    if (parsed.folder is None) == (parsed.onnx is None):
        raise UsageError("give either a network's folder, or --onnx FILE with --model NAME")
    if parsed.folder is not None:
        if parsed.model is not None or parsed.card is not None:
            raise UsageError("--model and --card go with --onnx; a folder's card names its model")
        return Network.from_folder(parsed.folder, models_file=models_file_of(parsed))
    if parsed.model is None:
        raise UsageError(
            "--onnx: give --model, the model's name in ssm-simulators or --models-file"
        )
    return Network.from_onnx(
        parsed.onnx,
        model=parsed.model,
        network_type=parsed.network_type,
        card_path=parsed.card,
        models_file=models_file_of(parsed),
    )


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow evaluate``."""
    _add_network(command)
    command.add_argument(
        "--reference",
        choices=["auto", "analytic", "solver", "kde"],
        default="auto",
        help="what is taken for the truth; auto is the best there is for the model",
    )
    command.add_argument("--output", type=output_file, metavar="FILE", help="evaluation.json")
    command.add_argument("--seed", type=seed, default=1, metavar="N", help="of all draws")
    command.add_argument(
        "--n-sets",
        type=count,
        metavar="N",
        help="random parameter vectors of the scores; 500, with solver 100, with kde 20",
    )
    command.add_argument(
        "--rows", type=count, default=200, metavar="N", help="simulated trials of each"
    )
    command.add_argument(
        "--n-simulated-sets",
        type=count,
        default=20,
        metavar="N",
        help="random parameter vectors that the simulator is run at",
    )
    command.add_argument(
        "--hssm-python",
        metavar="PATH",
        default=None,
        help="interpreter that has HSSM, for its gate; this one when left out",
    )
    add_store(command)
    command.set_defaults(call=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.evaluation.evaluate import evaluate, write_evaluation
    from lanflow.evaluation.record import EvaluationSettings, format_evaluation
    from lanflow.evaluation.track import track_evaluation
    from lanflow.tracking.store import resolve_store

    network = _network(parsed)
    record, scores = evaluate(
        network,
        wanted=parsed.reference,
        settings=EvaluationSettings(
            n_sets=parsed.n_sets, rows=parsed.rows, n_simulated_sets=parsed.n_simulated_sets
        ),
        hssm_python=parsed.hssm_python or sys.executable,
        seed=parsed.seed,
    )
    if parsed.output:
        write_evaluation(parsed.output, record, scores)
    sys.stderr.write(f"\n{format_evaluation(record)}\n\n")
    run_id = None
    if network.folder is not None and parsed.output:
        store = resolve_store(
            uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
        )
        run_id = track_evaluation(network, record, parsed.output, store)
    return {
        "verdict": record.verdict,
        "gates": {gate.name: gate.verdict for gate in record.gates},
        "scores": None if record.scores is None else record.scores.model_dump(mode="json"),
        "reference": record.reference.source,
        "evaluation": str(parsed.output) if parsed.output else None,
        "mlflow_run_id": run_id,
    }


def add_check_gates(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow check-gates``."""
    command.add_argument(
        "evaluations", nargs="+", type=Path, metavar="FILE", help="of 'lanflow evaluate'"
    )
    command.add_argument(
        "--output", type=output_file, metavar="FILE", help="record of what was checked"
    )
    command.set_defaults(call=_check_gates)


def _check_gates(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_json
    from lanflow.evaluation.record import check_gates, read_evaluation

    records = {str(path): read_evaluation(path) for path in parsed.evaluations}
    check_gates(records)
    result = {"verdict": "passed", "evaluations": list(records)}
    if parsed.output:
        write_json(parsed.output, result)
    return result


def add_plot(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow plot``: the figures of one network."""
    _add_network(command)
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="of the figures; NETWORK_DIR when left out"
    )
    command.add_argument(
        "--draws",
        type=count,
        metavar="N",
        help="parameter vectors for errors and calibration; those of the network's evaluation, or "
        "as many as it would take",
    )
    command.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="of draws and simulations"
    )
    command.set_defaults(call=_plot)


def _plot(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_bytes
    from lanflow.core.folders import refuse_foreign_files
    from lanflow.evaluation.evaluate import find_reference, scores_of
    from lanflow.networks import folder as network_folder
    from lanflow.report.figures.network import FIGURES, draw_figure

    network = _network(parsed)
    if parsed.output is None and network.folder is None:
        raise UsageError("--onnx: give --output, the folder of the figures")
    folder = parsed.output or parsed.folder
    if parsed.output is not None:
        refuse_foreign_files(folder, network_folder.IN_NETWORK_FOLDER, what="a network's figures")
    network.require_inputs()
    reference = find_reference(network)

    @functools.cache
    def scores() -> Any:
        assert reference is not None  # without one nothing is asked for
        return scores_of(network, reference, n_sets=parsed.draws, seed=parsed.seed)

    paths = {}
    for name in FIGURES:
        log.info("%s: drawing %s", network.title, name)
        paths[name] = folder / network_folder.PLOTS[name]
        figure = draw_figure(name, network, reference, scores, seed=parsed.seed)
        write_bytes(paths[name], figure.png())
    return {"plots": {name: str(path) for name, path in paths.items()}}


def add_recover(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow recover``: simulated subjects, their parameters found again."""
    command.add_argument(
        "folder",
        type=Path,
        metavar="NETWORK_DIR",
        help="of a likelihood network (lan), by jaxtrain or torchtrain",
    )
    add_models_file(command)
    command.add_argument(
        "--n-subjects", type=count, default=50, metavar="N", help="subjects to simulate"
    )
    command.add_argument(
        "--n-trials", type=count, default=500, metavar="N", help="trials of each subject"
    )
    command.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="of parameters and trials"
    )
    command.add_argument(
        "--method",
        choices=["auto", "nuts", "maximum-likelihood"],
        default="auto",
        help="nuts samples posteriors with HSSM; auto does where HSSM is installed",
    )
    command.add_argument(
        "--hssm-python",
        metavar="PATH",
        help="interpreter that has HSSM; this one when left out",
    )
    command.add_argument(
        "--output", type=output_file, required=True, metavar="FILE", help="recovery.json"
    )
    command.add_argument("--plot", type=output_file, metavar="FILE", help="PNG, true against found")
    command.add_argument(
        "--processes", type=at_a_time, default=n_cores(), metavar="N", help="subjects at a time"
    )
    command.set_defaults(call=_recover)


def _recover(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_bytes, write_json
    from lanflow.core.progress import Progress
    from lanflow.evaluation.recovery.record import rank_correlations, without_ranks
    from lanflow.evaluation.recovery.subjects import require_recoverable, simulate_subjects
    from lanflow.networks.network import Network

    python = _hssm_python(parsed)
    network = Network.from_folder(parsed.folder, models_file=models_file_of(parsed))
    require_recoverable(network)
    size: dict[str, Any] = {"n_trials": parsed.n_trials, "seed": parsed.seed}
    subjects = simulate_subjects(network, n_subjects=parsed.n_subjects, **size)
    with Progress(len(subjects), f"{network.title}: recovering", "subject") as progress:
        how: dict[str, Any] = {"n_processes": parsed.processes, "on_subject": progress.advance}
        if python is None:
            from lanflow.evaluation.recovery.fit import fit_subjects
            from lanflow.evaluation.recovery.record import likelihood_record

            record: LikelihoodRecovery | PosteriorRecovery = likelihood_record(
                network, subjects, fit_subjects(network, subjects, **how), **size
            )
        else:
            from lanflow.evaluation.recovery.posterior import sample_subjects
            from lanflow.evaluation.recovery.record import posterior_record

            record = posterior_record(
                network, subjects, sample_subjects(network, subjects, python=python, **how), **size
            )
    if parsed.plot is not None:
        from lanflow.report.figures.records import draw_recovery

        write_bytes(parsed.plot, draw_recovery(record).png())
    write_json(parsed.output, record.model_dump(mode="json"))
    if without_ranks(record) is None:
        log.info("rank correlations of true and found values: %s", rank_correlations(record))
    else:
        log.warning("rank correlations of true and found values: %s", rank_correlations(record))
    return {
        "recovery": str(parsed.output),
        "method": record.method,
        "rank_correlation": {name: one.spearman for name, one in record.summary.items()},
        "without_rank_correlation": without_ranks(record),
        **_of_method(record),
        "n_undecided": record.n_undecided,
        "plot": None if parsed.plot is None else str(parsed.plot),
    }


def _hssm_python(parsed: argparse.Namespace) -> str | None:
    """The interpreter to sample with, or None for maximum likelihood."""
    from lanflow.core.errors import UserError
    from lanflow.evaluation.hssm.interpreter import find_hssm

    if parsed.method == "maximum-likelihood":
        return None
    python: str = parsed.hssm_python or sys.executable
    missing = find_hssm(python)
    if missing is None:
        return python
    if parsed.method == "nuts" or parsed.hssm_python is not None:
        raise UserError(f"posteriors are sampled with HSSM, but {missing}")
    log.info("maximum likelihood: %s", missing)
    return None


def _of_method(record: "LikelihoodRecovery | PosteriorRecovery") -> dict[str, Any]:
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
