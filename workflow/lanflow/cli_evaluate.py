"""``lanflow evaluate`` and ``lanflow check-gates``: their options."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lanflow.command import add_store, count, plain_name, whole_number
from lanflow.networks import NETWORK_TYPES


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow evaluate``."""
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="NETWORK_FOLDER", help="of a trained network"
    )
    command.add_argument(
        "--onnx", type=Path, metavar="FILE", help="any network, in place of a folder; with --model"
    )
    command.add_argument("--model", type=plain_name, help="of --onnx, as ssm-simulators has it")
    command.add_argument(
        "--network-type", choices=list(NETWORK_TYPES), default="lan", help="of --onnx"
    )
    command.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="card.json of --onnx, for the trained box; ssm-simulators' bounds when left out",
    )
    command.add_argument(
        "--reference",
        choices=["auto", "analytic", "solver", "kde"],
        default="auto",
        help="what is taken for the truth; auto is the best there is for the model",
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="evaluation.json")
    command.add_argument("--seed", type=whole_number, default=1, metavar="N", help="of all draws")
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
    from lanflow.atomic import write_json
    from lanflow.evaluation import evaluate
    from lanflow.evaluation_table import format_evaluation
    from lanflow.examination import Thoroughness
    from lanflow.store import resolve_store
    from lanflow.tracked_evaluation import track_evaluation

    examined = _examined(parsed)
    record = evaluate(
        examined,
        wanted=parsed.reference,
        thoroughness=Thoroughness(parsed.n_sets, parsed.rows, parsed.n_simulated_sets),
        hssm_python=parsed.hssm_python or sys.executable,
        seed=parsed.seed,
    )
    if parsed.output:
        write_json(parsed.output, record.model_dump(mode="json"))
    sys.stderr.write(f"\n{format_evaluation(record)}\n\n")
    run_id = None
    if examined.folder is not None and parsed.output:
        store = resolve_store(
            uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
        )
        run_id = track_evaluation(examined.folder, record, parsed.output, store)
    return {
        "verdict": record.verdict,
        "gates": {gate.name: gate.verdict for gate in record.gates},
        "scores": None if record.scores is None else record.scores.model_dump(mode="json"),
        "reference": record.reference.source,
        "evaluation": str(parsed.output) if parsed.output else None,
        "mlflow_run_id": run_id,
    }


def _examined(parsed: argparse.Namespace) -> Any:
    from lanflow.errors import UsageError, UserError
    from lanflow.examination import ExaminedNetwork

    if (parsed.folder is None) == (parsed.onnx is None):
        raise UsageError("give a network's folder, or --onnx FILE with --model NAME")
    if parsed.folder is not None:
        if parsed.model is not None or parsed.card is not None:
            raise UsageError("--model and --card go with --onnx; a folder's card names its model")
        return ExaminedNetwork.from_folder(parsed.folder)
    if parsed.model is None:
        raise UsageError("--onnx: give --model, the model's name in ssm-simulators")
    try:
        content = parsed.onnx.read_bytes()
    except OSError as e:
        raise UserError(f"{parsed.onnx}: cannot be read ({e.strerror})") from e
    return ExaminedNetwork.from_onnx(content, parsed.model, parsed.network_type, parsed.card)


def add_check_gates(command: argparse.ArgumentParser) -> None:
    """Add the options of ``lanflow check-gates``."""
    command.add_argument(
        "evaluations", nargs="+", type=Path, metavar="FILE", help="of 'lanflow evaluate'"
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="record of what was checked")
    command.set_defaults(call=_check_gates)


def _check_gates(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.atomic import write_json
    from lanflow.evaluation_record import check_gates, read_evaluation

    records = {str(path): read_evaluation(path) for path in parsed.evaluations}
    check_gates(records)
    result = {"verdict": "passed", "evaluations": list(records)}
    if parsed.output:
        write_json(parsed.output, result)
    return result
